from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.train.data import trees
from train.data.corpora.corpus import DatasetError
from train.data.corpora.disfa import AU_NUMBERS, PART_SUBJECTS, SUBJECTS
from train.data.corpora.registry import open_corpus


@pytest.mark.parametrize("form", ["video", "flat", "split"])
def test_frames_and_labels_of_each_form(tmp_path: Path, form: str) -> None:
    corpus = open_corpus("disfa", trees.disfa(tmp_path / "disfa", form))
    assert corpus.names() == ("SN002", "SN003", "SN013")
    video = corpus.video("SN003")
    assert (video.fps, video.n_frames, video.frames[0]) == (20.0, 14, 0)
    i, au = 4, 9
    assert video.labels[i, AU_NUMBERS.index(au)] == ((i + au) % 6 >= 2) and set(np.unique(video.labels)) == {0, 1}
    for index in (5, 6, 2, 13):  # forwards, on, and back
        error = [np.abs(video.read(index).astype(int) - trees.picture(k)).mean() for k in range(14)]
        assert int(np.argmin(error)) == index
    if form == "video":
        again = pickle.loads(pickle.dumps(video.reader))
        assert np.array_equal(again.read(3), video.read(3))


def test_the_parts_are_the_folds(tmp_path: Path) -> None:
    root = trees.disfa(tmp_path / "disfa", "split")
    corpus = open_corpus("disfa", root)
    assert [s.video.video for s in corpus.select("test", 2)] == ["SN013"]
    assert [s.video.video for s in corpus.select("train", 2)] == ["SN002", "SN003"]
    shutil.rmtree(root / "splits")
    assert [s.video.video for s in open_corpus("disfa", root).select("train", 1)] == ["SN013", "SN003"]
    assert len(SUBJECTS) == len(set(SUBJECTS)) == 27 and all(len(names) == 9 for names in PART_SUBJECTS.values())


def test_lists_are_checked(tmp_path: Path) -> None:
    root = trees.disfa(tmp_path / "disfa", "split")
    with (root / "splits" / "DISFA_part3_path.txt").open("a") as file:
        file.write("\nDISFA/SN003/14.jpg\n")
    with pytest.raises(DatasetError, match=r"DISFA_part3_path\.txt:16: names SN003 frame 14"):
        open_corpus("disfa", root).select("train", 1)
    assert any("part3_path.txt:16" in p for p in open_corpus("disfa", root).check().problems)
    (root / "splits" / "DISFA_part3_path.txt").write_text("DISFA/SN013/1.jpg\n")
    with pytest.raises(DatasetError, match="subjects in train and in test: SN013"):
        open_corpus("disfa", root).select("test", 2)
    (root / "splits" / "DISFA_part3_path.txt").unlink()
    with pytest.raises(DatasetError, match="fold list cannot be read"):
        open_corpus("disfa", root).select("test", 2)


@pytest.mark.parametrize(
    ("line", "new", "message"),
    [
        (3, "3,6", r"SN003_au12\.txt:3: expected `3,intensity`"),
        (3, "4,1", r"SN003_au12\.txt:3: expected `3,intensity`"),
        (14, "14", r"SN003_au12\.txt:14: expected 2 numbers"),
        (14, "", r"SN003_au12\.txt: 13 frames, and AU1 has 14"),
    ],
)
def test_an_unreadable_annotation_is_named(tmp_path: Path, line: int, new: str, message: str) -> None:
    root = trees.disfa(tmp_path / "disfa", "split")
    path = root / "ActionUnit_Labels" / "SN003" / "SN003_au12.txt"
    lines = path.read_text().splitlines()
    lines[line - 1] = new
    path.write_text("\n".join(lines))
    with pytest.raises(DatasetError, match=message):
        open_corpus("disfa", root).video("SN003")


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    root = trees.disfa(tmp_path / "disfa")
    (root / "ActionUnit_Labels" / "SN003" / "SN003_au26.txt").unlink()
    video = root / "Video_LeftCamera" / "LeftVideoSN002_comp.avi"
    video.write_bytes(video.read_bytes()[:200])
    (root / "Video_LeftCamera" / "LeftVideoSN013_comp.avi").unlink()
    problems = "\n".join(open_corpus("disfa", root).check().problems)
    assert "SN003_au26.txt: the labels of AU26 are missing" in problems
    assert "LeftVideoSN002_comp.avi: no video that can be opened" in problems
    assert "SN013 is annotated, and has no picture" in problems
    assert "expected 27 videos, found 1" in problems
    shutil.rmtree(root / "Video_LeftCamera")
    with pytest.raises(DatasetError, match=r"found neither LeftVideoSN001_comp\.avi nor frames"):
        open_corpus("disfa", root)
    shutil.rmtree(root / "ActionUnit_Labels")
    with pytest.raises(DatasetError, match="found no ActionUnit_Labels"):
        open_corpus("disfa", root)


def test_a_video_shorter_than_its_labels(tmp_path: Path) -> None:
    root = trees.disfa(tmp_path / "disfa")
    trees.write_video(root / "Video_LeftCamera" / "LeftVideoSN002_comp.avi", map(trees.picture, range(9)), 20)
    corpus = open_corpus("disfa", root)
    assert corpus.video("SN002").n_frames == 9
    assert any("SN002: 14 labelled frames, 9 of them have a picture" in p for p in corpus.check().problems)
