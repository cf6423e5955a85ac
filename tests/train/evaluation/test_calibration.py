"""Scale and shift of logits: they find what was done to them, and .5 decides afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.train.networks import randomised
from train.evaluation import calibration, metrics
from train.models.points_head import PointsHead


def test_platt_undoes_a_known_distortion() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20_000)
    targets = (rng.random(len(true)) < 1 / (1 + np.exp(-true))).astype(float)
    a, b = calibration.platt((true - 1.2) / 0.4, targets)
    assert a == pytest.approx(0.4, abs=0.04) and b == pytest.approx(1.2, abs=0.1)


def test_half_is_the_best_decision_after_the_fit() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((4000, 2)) < 0.1).astype(float)
    logits = 3 * labels + rng.normal(0, 1, labels.shape) - 4
    scale, shift = calibration.fit(logits, labels, labels)
    decided = scale * logits + shift >= 0
    for i in range(2):
        best = max(metrics.f1(logits[:, i] >= t, labels[:, i]) for t in np.linspace(-6, 2, 81))
        assert metrics.f1(decided[:, i], labels[:, i]) > best - 0.02
    assert metrics.f1(logits[:, 0] >= 0, labels[:, 0]) < best - 0.1  # it was not so before


def test_folding_changes_the_logits_as_said() -> None:
    predictor = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(4, 3))
    x = torch.randn(5, 4)
    before = predictor(x).detach().numpy()
    scale, shift = np.array([0.5, 1.0, 2.0]), np.array([0.1, 0.0, -1.0])
    calibration.fold_into(predictor, scale, shift)
    np.testing.assert_allclose(predictor(x).detach().numpy(), before * scale + shift, atol=1e-6)


def test_folding_into_a_head_with_two_paths_shifts_once() -> None:
    """Both paths are scaled; a shift on each would count twice in their sum."""
    torch.manual_seed(0)
    head = randomised(PointsHead(3, 16, geometry=8)).eval()
    described = torch.randn(5, 68, 34)
    with torch.no_grad():
        before = head.combine(described, described, described).numpy()
        scale, shift = np.array([0.5, 1.0, 2.0]), np.array([0.1, 0.0, -1.0])
        calibration.fold(head, scale, shift)
        after = head.combine(described, described, described).numpy()
    np.testing.assert_allclose(after, before * scale + shift, atol=1e-5)


def test_an_au_that_never_shows_is_left_alone() -> None:
    scale, shift = calibration.fit(np.zeros((50, 1)), np.zeros((50, 1)), np.zeros((50, 1)))
    assert scale[0] == 1 and shift[0] == 0
