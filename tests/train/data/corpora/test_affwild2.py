from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.train.data import trees
from train.data.corpora.corpus import DatasetError
from train.data.corpora.registry import open_corpus


def test_labels_masks_and_gaps(tmp_path: Path) -> None:
    corpus = open_corpus("affwild2", trees.affwild2(tmp_path / "a"))
    assert corpus.au_numbers == trees.AFFWILD2_AUS
    video = corpus.video("video2")
    assert video.frames.tolist() == [1, *range(3, 15)]
    assert np.isnan(video.labels[:, corpus.au_numbers.index(4)]).all()
    assert np.isnan(video.labels[1]).all()  # frame 3
    row = video.frames.tolist().index(8)
    assert video.labels[row, corpus.au_numbers.index(7)] == (7 + 7) % 2
    train = corpus.select("train")
    assert [s.video.video for s in train] == ["video1", "video2"]
    assert not train[0].chosen[1] and train[0].chosen.sum() == 12
    assert [s.video.video for s in corpus.select("test")] == ["video3"]
    assert corpus.check(decode=True).ok  # frames without a picture are as published
    with pytest.raises(DatasetError, match="no folds"):
        corpus.select("train", 1)


def test_aus_outside_the_fifteen_are_dropped(tmp_path: Path) -> None:
    corpus = open_corpus("affwild2", trees.affwild2(tmp_path / "a", aus=(1, 2, 4, 6, 12, 15, 20, 25)))
    assert corpus.au_numbers == (1, 2, 4, 6, 12, 15, 25) and any("AU20" in n for n in corpus.notes)
    video = corpus.video("video1")
    assert video.labels[0, -1] == (0 + 25) % 2


def test_columns_are_taken_by_name(tmp_path: Path) -> None:
    corpus = open_corpus("affwild2", trees.affwild2(tmp_path / "a", aus=(12, 1, 25)))
    assert corpus.au_numbers == (1, 12, 25)
    assert corpus.video("video1").labels[0].tolist() == [1, 0, 1]


def test_videos_with_two_people(tmp_path: Path) -> None:
    corpus = open_corpus("affwild2", trees.affwild2(tmp_path / "a", "video"))
    left, right, alone = (corpus.video(name) for name in ("video2_left", "video2_right", "video3"))
    assert (left.side, right.side, alone.side) == ("left", "right", None)
    assert np.array_equal(left.read(0), right.read(0)) and alone.fps == 15 and alone.frames[0] == 1


def test_small_crops_do_not_win_over_videos(tmp_path: Path) -> None:
    root = trees.affwild2(tmp_path / "a", "video")
    crops = root / "cropped_aligned"
    for name in ("video1", "video3"):
        trees.write_pictures(crops / name, [f"{i + 1:05d}.jpg" for i in range(trees.FRAMES)], 112)
    corpus = open_corpus("affwild2", root)
    assert corpus.video("video1").read(0).shape == (trees.SIDE, trees.SIDE, 3)
    assert any("4 videos are read from their files and not from cropped_aligned" in note for note in corpus.notes)
    (root / "batch2" / "video3.avi").unlink()
    corpus = open_corpus("affwild2", root)
    assert corpus.video("video3").read(0).shape == (112, 112, 3) and corpus.video("video3").fps == 30
    assert any("1 videos come from cropped_aligned, whose pictures are cut out" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("line", "new", "message"),
    [
        (1, "frame,AU1", r"video1\.txt:1: expected the AUs' names"),
        (1, "AU1,AU2", r"video1\.txt:1: expected the same AUs as in the other files|expected 2 numbers"),
        (4, "0,1", r"video1\.txt:4: expected 12 numbers"),
        (4, ",".join(["2"] * 12), r"video1\.txt:4: expected 0, 1 or -1"),
    ],
)
def test_an_unreadable_annotation_is_named(tmp_path: Path, line: int, new: str, message: str) -> None:
    root = trees.affwild2(tmp_path / "a")
    path = root / "annotations" / "AU_Detection_Challenge" / "Train_Set" / "video1.txt"
    lines = path.read_text().splitlines()
    lines[line - 1] = new
    path.write_text("\n".join(lines))
    with pytest.raises(DatasetError, match=message):
        open_corpus("affwild2", root).video("video1")


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    root = trees.affwild2(tmp_path / "a")
    shutil.rmtree(root / "cropped_aligned" / "video2")
    corpus = open_corpus("affwild2", root)
    with pytest.raises(DatasetError, match=r"1 annotated videos of train have no pictures.*video2"):
        corpus.select("train")
    assert [s.video.video for s in corpus.select("train", skip_missing=True)] == ["video1"]
    assert any("video2 is annotated, and has no picture" in p for p in corpus.check().problems)
    annotation = root / "annotations" / "AU_Detection_Challenge"
    shutil.copy(annotation / "Train_Set" / "video1.txt", annotation / "Validation_Set")
    with pytest.raises(DatasetError, match="video1 is annotated in"):
        open_corpus("affwild2", root)
    shutil.rmtree(root / "cropped_aligned")
    (annotation / "Validation_Set" / "video1.txt").unlink()
    with pytest.raises(DatasetError, match="found neither cropped_aligned"):
        open_corpus("affwild2", root)
    shutil.rmtree(annotation)
    with pytest.raises(DatasetError, match="found no AU_Detection_Challenge"):
        open_corpus("affwild2", root)
