"""The report's numbers and its gates."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import f1_score

from aunet_sdk.bundle import Bundle
from export.crops import Sample, load_clip, load_sample
from export.parity import F1_GATES, GATES, Outputs, f1_scores, headline, judge, table
from export.report import markdown
from train.models.config import TEMPLATE

N, AUS = 400, 3


def bundle(precision: str, arithmetic: str = "") -> Bundle:
    return Bundle(
        kind="clip",
        name="x",
        au_numbers=(1, 2, 12),
        thresholds=(0.5, 0.4, 0.6),
        interval_s=0.4,
        width=8,
        resolution=64,
        precision=precision,
        arithmetic=arithmetic or precision,
        head="aunet",
        crop_scale=1.4,
        template=np.full((5, 2), 0.5),
        points3d=np.zeros((68, 3)),
        min_confidence=0.3,
        state=(),
    )


@pytest.fixture
def expected() -> Outputs:
    rng = np.random.default_rng(0)
    return Outputs(rng.random((N, AUS)), rng.random((N, 68, 2), np.float32) * 64, np.ones((N, 68), np.float32))


@pytest.fixture
def sample(expected: Outputs) -> Sample:
    rng = np.random.default_rng(1)
    labels = (expected.probabilities + rng.normal(0, 0.2, (N, AUS)) > 0.5).astype(np.float32)
    labels[rng.random((N, AUS)) < 0.2] = np.nan
    return Sample("made up", np.zeros((N, 3, 3, 4, 4), np.uint8), labels)


def shifted(outputs: Outputs, by: float, column: int = 1) -> Outputs:
    probabilities = outputs.probabilities.copy()
    probabilities[:, column] += by
    return dataclasses.replace(outputs, probabilities=probabilities)


def test_f1_is_that_of_scikit_learn(sample: Sample, expected: Outputs) -> None:
    assert sample.labels is not None
    active = expected.probabilities > 0.3
    got = f1_scores(active, sample.labels)
    for k in range(AUS):
        known = ~np.isnan(sample.labels[:, k])
        assert got[k] == pytest.approx(f1_score(sample.labels[known, k], active[known, k]))
    assert np.isnan(f1_scores(active, np.zeros_like(sample.labels))).all()
    assert np.isnan(f1_scores(active, np.full_like(sample.labels, np.nan))).all()


@pytest.mark.parametrize(
    ("precision", "by", "passed"),
    [
        ("fp32", 9e-5, True),
        ("fp32", 1.1e-4, False),
        ("fp16", 9e-4, True),
        ("fp16", 5.1e-3, False),
        ("int8", 5.1e-3, True),
        ("int8", 0.3, False),
        ("fp32", float("nan"), False),
        ("int8", float("nan"), False),
    ],
)
def test_gates(sample: Sample, expected: Outputs, precision: str, by: float, passed: bool) -> None:
    report = judge(bundle(precision), sample, expected, shifted(expected, by), "test")
    assert report.passed is passed
    if not np.isnan(by):
        assert max(report.max_difference) == pytest.approx(by) and report.max_difference[0] == 0
    assert (GATES["fp32"], GATES["fp16"], F1_GATES["fp16"], F1_GATES["int8"]) == (1e-4, 5e-3, 2e-3, 1e-2)


def test_a_small_shift_that_costs_f1_fails(sample: Sample, expected: Outputs) -> None:
    """Probabilities that all lie just above the threshold: within the first gate, and every decision turned."""
    near = dataclasses.replace(expected, probabilities=np.full((N, AUS), (0.5, 0.4, 0.6)) + 1e-3)
    report = judge(bundle("fp16"), sample, near, shifted(near, -2e-3), "test")
    assert max(report.max_difference) < GATES["fp16"]
    assert report.flipped == (0, N, 0) and not report.passed and abs(report.f1_change) > 0.1
    unlabelled = judge(bundle("fp16"), Sample("no labels", sample.crops), near, shifted(near, -2e-3), "test")
    assert unlabelled.passed and np.isnan(unlabelled.f1_change) and unlabelled.agreement == pytest.approx(0.8)
    assert unlabelled.to_dict()["f1_change"] is None


@pytest.mark.parametrize(
    ("precision", "labels", "judged", "because"),
    [
        ("fp16", "some", True, None),
        ("int8", "some", True, None),
        ("fp16", "none", False, "the crops have no labels with a positive"),
        ("int8", "none", False, "the crops have no labels with a positive"),
        ("fp16", "negative", False, "the crops have no labels with a positive"),
        ("fp32", "some", False, "fp32 has no F1 gate"),
    ],
)
def test_an_f1_gate_that_is_not_judged_says_so(
    sample: Sample, expected: Outputs, precision: str, labels: str, judged: bool, because: str | None
) -> None:
    """In the JSON, the headline, the table and the Markdown."""
    given = {"some": sample.labels, "none": None, "negative": np.zeros((N, AUS), np.float32)}[labels]
    report = judge(bundle(precision), Sample("made up", sample.crops, given), expected, expected, "test")
    data = report.to_dict()
    assert (data["f1_judged"], data["f1_unjudged_because"]) == (judged, because)
    assert (data["f1_gate"] is not None) is judged and report.passed
    silent = judged or precision == "fp32"
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table(report))
    assert (f"F1 gate not judged: {because}" in console.export_text()) is not silent
    assert ("not judged" in headline(report)) is not silent
    assert ("F1 not judged (no labels)" in markdown([{**data, "parts": [data]}])) is not silent


def test_landmarks_that_are_sure(sample: Sample, expected: Outputs) -> None:
    confidence = expected.confidence.copy()
    confidence[:, :34] = 0.05
    points = expected.points + np.array([0.3, 0.4], np.float32)
    points[:, :34] += 100
    report = judge(
        bundle("fp32"),
        sample,
        dataclasses.replace(expected, confidence=confidence),
        dataclasses.replace(expected, points=points),
        "test",
    )
    assert report.landmarks == 34 * N
    assert report.landmark_mean_px == pytest.approx(0.5, abs=1e-4) == report.landmark_max_px


def write_set(folder: Path, au_numbers: list[int] | None, **arrays: np.ndarray) -> None:
    """Six sequences of three people, one in each split."""
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    images = np.zeros((6, 4, 80, 80, 3), np.uint8)
    np.savez(folder / "shards" / "a.npz", images=images, **arrays)
    about = {"margin": 1.25, "splits": {"train": ["a"], "val": ["b"], "test": ["c"]}}
    about |= {} if au_numbers is None else {"au_numbers": au_numbers}
    (folder / "dataset.json").write_text(json.dumps(about))


def test_labels_are_those_of_the_models_aus(tmp_path: Path) -> None:
    """A set has its own AUs in its own order, and a model others: BP4D's 12, DISFA's 8."""
    labels = np.arange(6 * 4 * 3, dtype=np.float32).reshape(6, 4, 3)
    people = np.array(list("abcabc"))
    write_set(tmp_path, [12, 1, 25], labels=labels, identity=people)
    sample = load_sample(tmp_path, 64, 10, "test", au_numbers=(1, 2, 12, 25))
    due = labels[[2, 5], 1]
    assert sample.labels is not None and sample.labels.dtype == np.float32
    np.testing.assert_array_equal(sample.labels, np.stack([due[:, 1], [np.nan] * 2, due[:, 0], due[:, 2]], 1))
    alone = load_sample(tmp_path / "shards" / "a.npz", 64, 10, au_numbers=(1, 12))
    assert alone.labels is not None and alone.labels.shape == (6, 2), "a shard is one of the set that it lies in"
    report = judge(
        bundle("int8"),
        load_sample(tmp_path, 64, 10, "test", (1, 2, 12)),
        *[Outputs(np.full((2, 3), 0.9), np.zeros((2, 68, 2), np.float32), np.ones((2, 68), np.float32))] * 2,
        "test",
    )
    assert np.isnan(report.f1_torch).tolist() == [False, True, False] and report.labelled


def test_labels_of_which_nobody_says_the_aus(tmp_path: Path) -> None:
    labels, people = np.zeros((6, 4, 3), np.float32), np.array(list("abcabc"))
    write_set(tmp_path, None, labels=labels, identity=people)
    assert load_sample(tmp_path, 64, 10, "test", (1, 2, 12)).labels is not None
    with pytest.raises(ValueError, match=r"labels of 2 AUs \(1, 2\), got 3; say which they are by au_numbers"):
        load_sample(tmp_path, 64, 10, "test", (1, 2))


def test_a_split_without_identities_is_no_split(tmp_path: Path) -> None:
    write_set(tmp_path, [1, 2, 12], labels=np.zeros((6, 4, 3), np.float32))
    with pytest.raises(ValueError, match="expected the identities of the split test"):
        load_sample(tmp_path, 64, 10, "test")


def test_split_and_labels_of_a_set(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    images = np.arange(6, dtype=np.uint8)[:, None, None, None, None] * np.ones((6, 4, 80, 80, 3), np.uint8)
    labels = np.arange(6 * 4 * 2, dtype=np.float32).reshape(6, 4, 2)
    np.savez(tmp_path / "shards" / "a.npz", images=images, labels=labels, identity=np.array(list("abcabc")))
    (tmp_path / "dataset.json").write_text(json.dumps({"margin": 1.25, "splits": {"train": ["a"], "test": ["b", "c"]}}))
    sample = load_sample(tmp_path, 64, 10, "test")
    assert sample.crops.dtype == np.uint8 and sample.crops[:, 0, 0, 0, 0].tolist() == [1, 2, 4, 5]
    assert sample.labels is not None and sample.labels.tolist() == labels[[1, 2, 4, 5], 1].tolist()
    with pytest.raises(ValueError, match="expected the split 'val'"):
        load_sample(tmp_path, 64, 10, "val")
    with pytest.raises(ValueError, match="has no splits"):
        load_sample(None, 64, 1, "test")


def test_crops_of_a_clip(sample_part: Callable[[int], Path]) -> None:
    """The sample's first face, aligned: the middle of the eyes lies where the template has it."""
    from aunet_sdk import Detector, DetectorOptions

    path = sample_part(12)
    sample = load_clip(path, 128, np.array(TEMPLATE), 0.16, 3)
    assert sample.crops.shape == (3, 3, 3, 128, 128) and sample.labels is None
    crop = sample.crops[1, 1].transpose(1, 2, 0)[..., ::-1]
    with Detector(DetectorOptions(engine="onnxruntime")) as detector:
        points = detector.detect(np.pad(crop, ((64, 64), (64, 64), (0, 0)))).faces[0].landmarks - 64
    eyes = (points[36:42].mean(0) + points[42:48].mean(0)) / 2
    np.testing.assert_allclose((eyes + 0.5) / 128, (0.5, 0.4066), atol=0.03)
    with pytest.raises(ValueError, match="expected a face for"):
        load_clip(path, 64, np.array(TEMPLATE), 60.0, 2)
