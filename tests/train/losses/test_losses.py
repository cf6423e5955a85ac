"""Losses and targets."""

from __future__ import annotations

import pytest
import torch

from train.evaluation.metrics import decode
from train.losses.au import GRADED_UP_TO, au_loss, au_weights, consensus_loss, soft_labels
from train.losses.landmarks import coordinate_loss, heatmap_loss, heatmap_targets, point_weights


def some_points(batch: int = 3) -> torch.Tensor:
    return 20 + 80 * torch.rand(batch, 68, 2, generator=torch.Generator().manual_seed(0))


def test_target_has_its_peak_at_the_point() -> None:
    points = torch.full((1, 68, 2), 4 * 10 + 1.5)
    points[0, 1] = torch.tensor([4 * 3 + 1.5, 4 * 7 + 1.5])
    points[0, 2] = float("nan")
    target = heatmap_targets(points, 32)
    assert target.shape == (1, 68, 32, 32)
    assert target[0, 0, 10, 10] == 1 and target[0, 1, 7, 3] == 1
    assert target[0, 0, 10, 11] == pytest.approx(torch.exp(torch.tensor(-0.5)))
    assert not target[0, 2].any()


def test_decoding_a_target_gives_the_point_back() -> None:
    points = some_points()
    found, confidence = decode(heatmap_targets(points, 32))
    assert (found - points).abs().max() < 0.25  # the 5x5 window cuts a Gaussian off unevenly: up to 0.05 cells
    assert confidence.min() > 0.75 and confidence.max() <= 1


def test_heatmap_loss_is_one_for_an_empty_plane_and_nil_for_the_target() -> None:
    target = heatmap_targets(some_points(), 32)
    weight = torch.ones(3, 68)
    assert heatmap_loss(torch.zeros_like(target), target, weight) == pytest.approx(1.0, abs=0.02)
    assert heatmap_loss(target, target, weight) == 0
    wrong = target.clone()
    wrong[:, 5] = 0
    weight[:, 5] = 0
    assert heatmap_loss(wrong, target, weight) == 0


def test_coordinate_loss_pulls_towards_the_point() -> None:
    points = some_points()
    target = heatmap_targets(points, 32)
    weight = torch.ones(3, 68)
    exact = coordinate_loss(target, points, weight)
    off = coordinate_loss(target, points + torch.tensor([3.0, 0.0]), weight)
    assert exact < 0.01 < 10 * exact < off
    heat = (target + 0.1).requires_grad_()
    coordinate_loss(heat, points + torch.tensor([6.0, 0.0]), weight).backward()
    moved = (heat - 0.5 * heat.grad.sign() * 0.1 * (heat.grad != 0)).detach()
    before = coordinate_loss(heat.detach(), points + torch.tensor([6.0, 0.0]), weight)
    assert coordinate_loss(moved, points + torch.tensor([6.0, 0.0]), weight) < before


def test_points_without_a_truth_count_for_nothing() -> None:
    points = some_points()
    heat = torch.rand(3, 68, 32, 32)
    weight = torch.ones(3, 68)
    before = coordinate_loss(heat[1:], points[1:], weight[1:])
    points[0] = float("nan")
    assert coordinate_loss(heat, points, weight) == pytest.approx(before)
    points[0] = -500.0
    assert coordinate_loss(heat, points, weight) == pytest.approx(before)


def test_soft_labels() -> None:
    nan = float("nan")
    intensity = torch.tensor([[0.0, nan, 0.3, 0.9], [0.0, 0.0, 0.0, 0.0]])
    labels = torch.tensor([[0.0, nan, nan, 1.0], [1.0, nan, 0.0, nan]])
    soft = soft_labels(intensity, labels, torch.tensor([False, True]))
    graded = 0.3 / GRADED_UP_TO
    torch.testing.assert_close(soft, torch.tensor([[0.0, nan, graded, 1.0], [1.0, nan, 0.0, nan]]), equal_nan=True)


def test_au_weights_are_inverse_to_the_rate_with_mean_one() -> None:
    weights = au_weights(torch.tensor([0.1, 0.4, 0.0]))
    assert weights.mean() == pytest.approx(1)
    assert weights[0] / weights[1] == pytest.approx(4)
    assert weights[2] / weights[0] == pytest.approx(5)  # a rate of 0 counts as 0.02


def test_without_a_floor_rare_aus_weigh_as_in_equation_1() -> None:
    rare = torch.tensor([0.1, 0.005, 0.0])
    assert au_weights(rare)[1] / au_weights(rare)[0] == pytest.approx(5)
    weights = au_weights(rare, floor=0.0)
    assert weights[1] / weights[0] == pytest.approx(20)
    assert weights[2] / weights[0] == pytest.approx(5)  # never there: no weight in the equation


def test_consensus_draws_both_heads_to_the_mean_and_leaves_frames_without_a_face_alone() -> None:
    first = torch.tensor([[2.0, -1.0], [4.0, 4.0]], requires_grad=True)
    second = torch.tensor([[0.0, -1.0], [-4.0, -4.0]], requires_grad=True)
    consensus_loss(first, second, torch.ones(2), torch.tensor([True, False])).backward()
    assert first.grad is not None and second.grad is not None
    assert first.grad[0, 0] > 0 > second.grad[0, 0]
    assert first.grad[0, 1] == pytest.approx(0, abs=1e-6) and not first.grad[1].any() and not second.grad[1].any()


def test_au_loss_is_equation_1_over_the_known_labels() -> None:
    logits = torch.tensor([[0.3, -2.0], [1.0, 5.0]])
    targets = torch.tensor([[1.0, float("nan")], [0.0, 1.0]])
    weights = torch.tensor([0.5, 1.5])
    p = logits.sigmoid()
    expected = -(0.5 * p[0, 0].log() + 0.5 * (1 - p[1, 0]).log() + 1.5 * p[1, 1].log()) / 3
    assert au_loss(logits, targets, weights) == pytest.approx(float(expected))
    logits.requires_grad_()
    au_loss(logits, torch.full((2, 2), float("nan")), weights).backward()
    assert logits.grad is not None and not logits.grad.any()


def test_jaw_counts_less() -> None:
    weight = point_weights(torch.tensor([False, True]))
    assert weight[0, 0] == 0.5 and weight[1, 16] == pytest.approx(0.2) and (weight[:, 17:] == 1).all()
