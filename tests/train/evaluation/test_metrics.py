"""Measures against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from train.evaluation import metrics


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=4, max_size=60))
def test_auc_and_f1_agree_with_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([s / 5 for s, _ in rows])
    labels = np.array([float(y) for _, y in rows])
    if 0 < labels.sum() < len(labels):
        assert metrics.auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    else:
        assert np.isnan(metrics.auc(scores, labels))
    if labels.any():
        assert metrics.f1(scores >= 0.5, labels) == pytest.approx(f1_score(labels, scores >= 0.5, zero_division=0))


def test_masked_labels_are_left_out() -> None:
    scores, labels = np.array([0.9, 0.1, 0.2, 0.8]), np.array([1, 0, np.nan, np.nan])
    assert metrics.auc(scores, labels) == 1 and metrics.f1(scores > 0.5, labels) == 1
    table = metrics.per_au(scores[:, None], labels[:, None], np.array([0.95]))
    assert table["positives"][0] == 1 and table["known"][0] == 2
    assert table["f1"][0] == 1 and table["f1_calibrated"][0] == 0


def test_threshold_is_the_middle_of_the_best_and_stays_in_its_bounds() -> None:
    labels = np.array([0, 0, 1, 1.0])
    assert metrics.best_threshold(np.array([0.1, 0.3, 0.5, 0.9]), labels) == pytest.approx(0.4, abs=0.01)
    assert 0.2 <= metrics.best_threshold(np.array([0.01, 0.02, 0.05, 0.06]), labels) <= 0.8
    assert metrics.best_threshold(np.array([0.1, 0.2, 0.3, 0.4]), np.zeros(4)) == 0.5


def test_landmark_error_is_in_eye_distances() -> None:
    points = np.random.default_rng(0).random((2, 68, 2)) * 100
    points[:, 36], points[:, 45] = [20, 50], [70, 50]
    assert metrics.landmark_errors(points + np.array([5, 0]), points) == pytest.approx([0.1, 0.1])
    jaw_only = points.copy()
    jaw_only[:, :17] += 30
    assert metrics.landmark_errors(jaw_only, points) == pytest.approx([0, 0])
    assert (metrics.landmark_errors(jaw_only, points, slice(0, 68)) > 0.1).all()
    points[1] = np.nan
    assert np.isnan(metrics.landmark_errors(points, points)[1])


@given(st.integers(0, 1000))
def test_decode_agrees_with_the_runtime(seed: int) -> None:
    heatmap = pytest.importorskip("aunet_sdk.geometry.heatmap")
    rng = np.random.default_rng(seed)
    planes = rng.normal(0, 0.3, (2, 68, 16, 16)).astype(np.float32)
    planes[0, 0] = -1.0  # nothing positive at all
    points, confidence = metrics.decode(torch.from_numpy(planes))
    wanted_points, wanted_confidence = heatmap.decode(planes)
    np.testing.assert_allclose(confidence.numpy(), wanted_confidence, atol=1e-6)
    np.testing.assert_allclose(points.numpy()[:, 1:], wanted_points[:, 1:], atol=1e-3)


def test_mean_of_nothing_is_nan_without_a_warning() -> None:
    assert np.isnan(metrics.nanmean(np.array([]))) and np.isnan(metrics.nanmean(np.full(3, np.nan)))
