"""Predictions of another method: paired with the data set's labels, and refused where they do not belong to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.train.data import trees
from tests.train.data.lab import said
from train.data.corpora.corpus import DatasetError
from train.data.corpora.registry import open_corpus
from train.evaluation.outside import outside_predictions
from train.evaluation.predictions import Predictions
from train.paper import tables

AUS = (12, 5, 1)
"""Not ascending, and BP4D does not code AU5 among its twelve."""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    trees.bp4d(tmp_path / "bp4d")
    frames, values = tmp_path / "frames.txt", tmp_path / "values.txt"
    frames.write_text("F007/T1/0650.jpg\nF007/T2/087.jpg\n\n")
    values.write_text("0.9 0.5 0.1\n0.2, 0.3, 0.7\n")
    return tmp_path / "bp4d", frames, values


def test_they_are_paired_with_the_labels(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    root, frames, values = files
    words = ("--corpus", "bp4d", "--root", root, "--frames", frames, "--probabilities", values, "--aus", "AU12,5,1")
    assert "2 frames, AU1, AU12" in said("import-predictions", *words, "--fold", 1, "--out", tmp_path / "out")
    found = Predictions.load(tmp_path / "out")
    assert (found.variant, found.fold, found.au_numbers) == ("jaanet", 1, (1, 12))
    np.testing.assert_allclose(found.probabilities, [[0.1, 0.9], [0.7, 0.2]], atol=1e-6)
    # Frame 650 is the eighth of T1, 87 the first of T2; codes as tests/train/data/trees.py writes them.
    assert found.labels.tolist() == [[float((i + au) % 3 == 0) for au in (1, 12)] for i in (7, 0)]
    assert found.keys() == [("bp4d", "F007_T1", 650), ("bp4d", "F007_T2", 87)]
    table = tables.build("XIII", [found])
    assert ("JÄANet", "ours") in table.columns
    assert ("JÄANet", "ours") not in tables.build("XIII", []).columns


@pytest.mark.parametrize(
    ("frame", "value", "aus", "message"),
    [
        ("F007/T1/0650.jpg", "0.1 0.2", AUS, r"values\.txt:2: expected 3 probabilities in \[0, 1\]"),
        ("F007/T1/0650.jpg", "0.1 0.2 1.5", AUS, r"values\.txt:2: expected 3 probabilities"),
        ("F099/T1/0650.jpg", "0 0 0", AUS, r"frames\.txt:2: expected a frame of bp4d, got"),
        ("F007/T1/0001.jpg", "0 0 0", AUS, r"frames\.txt:2: F007_T1 has no annotated picture 1"),
        ("F007/T1/0650.jpg", "0 0 0", AUS, r"frames\.txt: rows: expected every"),
        ("F007/T1/0651.jpg", "0 0 0\n0 0 0", AUS, r"expected a line for each of the 2"),
        ("F007/T1/0651.jpg", "0 0 0", (5, 9, 16), r"aus: expected different AUs"),
    ],
)
def test_what_does_not_belong_is_refused(
    files: tuple[Path, Path, Path], frame: str, value: str, aus: tuple[int, ...], message: str
) -> None:
    root, frames, values = files
    frames.write_text(f"F007/T1/0650.jpg\n{frame}\n")
    values.write_text(f"0.9 0.5 0.1\n{value}\n")
    with pytest.raises(DatasetError, match=message):
        outside_predictions(open_corpus("bp4d", root), frames, values, aus, "jaanet")
