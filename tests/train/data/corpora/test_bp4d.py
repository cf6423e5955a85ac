from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.train.data import trees
from train.data.corpora.bp4d import AU_NUMBERS, SUBJECTS, TEST_SUBJECTS
from train.data.corpora.corpus import DatasetError
from train.data.corpora.registry import open_corpus


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return trees.bp4d(tmp_path / "bp4d")


def test_videos_labels_and_frames(root: Path) -> None:
    corpus = open_corpus("bp4d", root)
    assert corpus.names() == tuple(f"{s}_{t}" for s in ("F001", "F007", "M011") for t in ("T1", "T2"))
    video = corpus.video("F007_T2")
    assert (video.subject, video.fps, video.au_numbers) == ("F007", 25.0, AU_NUMBERS)
    assert video.frames.tolist() == list(range(87, 101)) and video.labels.shape == (14, 12)
    i, au = 5, AU_NUMBERS.index(12)
    assert video.labels[i, au] == ((i + 12) % 3 == 0) and np.isnan(video.labels[:, AU_NUMBERS.index(7)]).all()
    assert np.abs(video.read(3).astype(int) - trees.picture(3)).mean() < 3
    assert not np.isnan(corpus.video("F007_T1").labels).any()


def test_the_folds_are_those_of_the_lists(root: Path) -> None:
    corpus = open_corpus("bp4d", root)
    for fold, subject in enumerate(("F007", "M011", "F001"), 1):
        test = corpus.select("test", fold)
        assert {s.video.subject for s in test} == {subject}
        assert all(not s.chosen[0] and s.chosen[1:].all() for s in test)
        assert {s.video.subject for s in corpus.select("train", fold)} == {"F007", "M011", "F001"} - {subject}


def test_without_lists_the_folds_are_by_subject(root: Path) -> None:
    shutil.rmtree(root / "splits")
    corpus = open_corpus("bp4d", root)
    assert "by subject" in corpus.notes[0]
    assert [s.video.video for s in corpus.select("test", 1)] == ["F007_T1", "F007_T2"]
    assert all(s.chosen.all() for s in corpus.select("train", 1))
    everyone = [name for names in TEST_SUBJECTS.values() for name in names]
    assert sorted(everyone) == sorted(SUBJECTS) and len(set(everyone)) == 41


def test_a_list_that_names_a_missing_frame(root: Path) -> None:
    (root / "BP4D-training" / "F007" / "T1" / "0650.jpg").unlink()
    corpus = open_corpus("bp4d", root)
    with pytest.raises(DatasetError, match=r"BP4D_ts1_path\.txt:7: names F007_T1 frame 650, which has no annotated"):
        corpus.select("test", 1)
    left = corpus.select("test", 1, skip_missing=True)
    assert sum(int(s.chosen.sum()) for s in left) == 2 * 13 - 1 and "left out" in corpus.notes[-1]
    findings = open_corpus("bp4d", root).check()
    assert any("ts1_path.txt:7" in p for p in findings.problems)
    assert any("F007_T1: 1 of 14 coded frames have no picture, the first is 650" in p for p in findings.problems)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("F007_T1_x.jpg", r"BP4D_ts1_path\.txt:27: expected a line like"),
        ("F001_T1_0644.jpg", "subjects in train and in test: F001"),
        ("F023_T1_0001.jpg", r"ts1_path\.txt:27: names F023_T1 frame 1"),
    ],
)
def test_wrong_lists(root: Path, line: str, message: str) -> None:
    with (root / "splits" / "BP4D_ts1_path.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DatasetError, match=message):
        open_corpus("bp4d", root).select("test", 1)


@pytest.mark.parametrize(
    ("line", "new", "message"),
    [
        (3, "645,0,1,torn", r"F007_T1\.csv:3: expected 29 numbers with commas, got '645,0,1,torn'"),
        (4, "645" + ",7" * 28, r"F007_T1\.csv:4: expected a frame number, then 0, 1 or 9"),
        (5, "643" + ",0" * 28, r"F007_T1\.csv:5: frame 643 has two rows"),
        (1, "0,1,2", r"F007_T1\.csv:1: expected columns named by AU, found none for 4, 6, 7 and 7 more"),
    ],
)
def test_an_unreadable_annotation_is_named(root: Path, line: int, new: str, message: str) -> None:
    path = root / "AUCoding" / "AU_OCC" / "F007_T1.csv"
    lines = path.read_text().splitlines()
    lines[line - 1] = new
    path.write_text("\n".join(lines))
    with pytest.raises(DatasetError, match=message):
        open_corpus("bp4d", root).video("F007_T1")
    findings = open_corpus("bp4d", root).check()
    assert findings.videos == 5 and any("F007_T1.csv" in problem for problem in findings.problems)


def test_binary_rubbish_and_an_empty_annotation(root: Path) -> None:
    path = root / "AUCoding" / "AU_OCC" / "F007_T1.csv"
    path.write_bytes(b"\xff\xfe\x00\x81" * 20)
    with pytest.raises(DatasetError, match=r"F007_T1\.csv: the annotation cannot be read"):
        open_corpus("bp4d", root).video("F007_T1")
    problems = open_corpus("bp4d", root).check().problems
    assert sum("F007_T1.csv" in problem for problem in problems) == 1  # told once, though it stops every fold
    path.write_text("0," + ",".join(map(str, trees.BP4D_AUS)) + "\n")
    with pytest.raises(DatasetError, match="the file ends"):
        open_corpus("bp4d", root).video("F007_T1")


def test_what_the_check_says(root: Path) -> None:
    findings = open_corpus("bp4d", root).check(decode=True)
    assert (findings.videos, findings.frames, findings.subjects) == (6, 84, ("F001", "F007", "M011"))
    assert findings.positives[7][1] == 42 and 0 < findings.positives[12][0] < findings.positives[12][1] == 84
    text = findings.text()
    assert "expected 328 videos, found 6; missing: F001_T3, F001_T4, F001_T5 and 319 more" in text
    assert "expected 41 subjects, found 3; missing: F002, F003, F004 and 35 more" in text
    picture = root / "BP4D-training" / "M011" / "T2" / "090.jpg"
    picture.write_bytes(picture.read_bytes()[:-600])
    problems = open_corpus("bp4d", root).check(decode=True).problems
    assert any(
        "M011_T2: 1 of 14 pictures cannot be read" in p and "090.jpg" in p and "cut short" in p for p in problems
    )


def test_a_root_without_the_layout(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no folder; give its root"):
        open_corpus("bp4d", tmp_path / "nowhere")
    shutil.rmtree(root / "BP4D-training")
    with pytest.raises(DatasetError, match=r"found no frames F001/T1"):
        open_corpus("bp4d", root)
    shutil.rmtree(root / "AUCoding")
    with pytest.raises(DatasetError, match=r"found no AU_OCC/F001_T1\.csv"):
        open_corpus("bp4d", root)
    with pytest.raises(DatasetError, match="data set out of bp4d, disfa, affwild2"):
        open_corpus("ck+", root)


def test_parts_and_folds_are_checked(root: Path) -> None:
    corpus = open_corpus("bp4d", root)
    for part, fold in (("val", 1), ("train", 4), ("train", None)):
        with pytest.raises(DatasetError, match="expected"):
            corpus.select(part, fold)
    with pytest.raises(DatasetError, match=r"BP4D_tr1_path\.txt and"):
        open_corpus("bp4d", root, root / "AUCoding")
