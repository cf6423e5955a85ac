"""The AU heads: what is computed per frame and per decision, and that the parts add up to the plain form."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import avg_pool2d

from tests.train.networks import randomised
from train.models.aunet_head import AUNetHead
from train.models.points_head import Gate, GeometryPath, PointsHead


@pytest.mark.parametrize("width", [16, 64])
def test_split_equals_the_plain_forward(width: int) -> None:
    torch.manual_seed(0)
    head = randomised(AUNetHead(15, width))
    former, due, later = torch.randn(3, 2, 3 * width, 16, 16)
    with torch.no_grad():
        plain = head(former, due, later)
        (_, e_former, _), (s, e, late), (_, _, l_later) = map(head.split, (former, due, later))
        assert (head.combine(s, e_former, e, late, l_later) - plain).abs().max() < 1e-5
        assert (head.combine(s, e, e, late, late) - plain).abs().max() > 1e-4  # the motion path is heard


def test_means_of_the_neighbours_decide_as_whole_features() -> None:
    torch.manual_seed(0)
    head = randomised(AUNetHead(15, 16))
    former, due, later = torch.randn(3, 2, 48, 16, 16)
    with torch.no_grad():
        kept = head.from_means(avg_pool2d(former, 2), due, avg_pool2d(later, 2))
        torch.testing.assert_close(kept, head(former, due, later), atol=1e-5, rtol=1e-5)
        still = avg_pool2d(due, 2)
        assert (head.from_means(still, due, still) - kept).abs().max() > 1e-4  # the neighbours are heard


def spots(points: torch.Tensor, side: int = 32) -> torch.Tensor:
    """Heatmaps (B, 68, side, side) with a Gaussian at points (B, 68, 2) in cells."""
    grid = torch.arange(side, dtype=torch.float32)
    dx, dy = grid - points[..., :1], grid - points[..., 1:]
    return torch.exp(-(dx[:, :, None, :] ** 2 + dy[:, :, :, None] ** 2) / 2)


def test_points_are_normalised_by_the_eyes() -> None:
    torch.manual_seed(0)
    head = PointsHead(15, 16).eval()
    points = 8 + 16 * torch.rand(1, 68, 2)
    points[:, 36:42] = torch.tensor([10.0, 12.0])
    points[:, 42:48] = torch.tensor([20.0, 12.0])
    features, cos, sin = torch.randn(2, 48, 32, 32), math.cos(0.3), math.sin(0.3)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    turned = (points - 15) @ turn.T * 0.8 + 15
    with torch.no_grad():
        described = head.describe(features, spots(torch.cat((points, turned))))
    assert described.shape == (2, 68, 34) and described.dtype == torch.float32
    first, second = described[..., -2:]
    torch.testing.assert_close(first[36], torch.tensor([-5.0, 0.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(first[47], torch.tensor([5.0, 0.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(first[30], points[0, 30] - torch.tensor([15.0, 12.0]), atol=0.1, rtol=0)
    assert (first - second).abs().max() < 0.2  # a similarity changes nothing


def test_pooling_reads_the_features_under_the_point() -> None:
    head = PointsHead(15, 16).eval()
    torch.nn.init.ones_(head.reduce.weight)
    torch.nn.init.zeros_(head.reduce.bias)
    features = torch.arange(32.0).expand(1, 48, 32, 32).contiguous() / 48  # value = column
    points = torch.stack((torch.linspace(4, 27, 68), torch.full((68,), 15.0)), 1)[None]
    with torch.no_grad():
        described = head.describe(features, spots(points))
    torch.testing.assert_close(described[0, :, 0], points[0, :, 0], atol=0.1, rtol=0)


@pytest.mark.parametrize("heat", [0.0, -1.0, 1e-4, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_points_head_survives_empty_heatmaps(heat: float, dtype: torch.dtype) -> None:
    head = PointsHead(15, 16).eval().to(dtype)
    described = head.describe(torch.randn(2, 48, 16, 16).to(dtype), torch.full((2, 68, 16, 16), heat).to(dtype))
    assert described.isfinite().all()
    assert head.combine(described, described, described).isfinite().all()


def test_gradients_of_empty_heatmaps_are_finite() -> None:
    head = PointsHead(3, 16)
    heat = torch.zeros(4, 68, 16, 16, requires_grad=True)
    described = head.describe(torch.randn(4, 48, 16, 16), heat)
    head.combine(described, described.roll(1, 0), described).sum().backward()
    assert heat.grad is not None and heat.grad.isfinite().all()


def test_pooled_description_equals_the_description() -> None:
    torch.manual_seed(0)
    head = PointsHead(15, 16).eval()
    features, heatmaps = torch.randn(3, 48, 32, 32), torch.rand(3, 68, 32, 32) ** 8
    with torch.no_grad():
        pooled = head.describe_pooled(*head.pool(features, heatmaps))
        torch.testing.assert_close(pooled, head.describe(features, heatmaps), atol=1e-5, rtol=1e-5)


def test_a_reference_of_zeros_is_none_at_all() -> None:
    torch.manual_seed(0)
    head = randomised(PointsHead(15, 16, geometry=24, intensity=True)).eval()
    former, due, later = torch.randn(3, 4, 68, 34)
    known = torch.randn(4, 68, 2)
    some = torch.where(torch.tensor([True, False, True, False])[:, None, None], known, 0.0)
    with torch.no_grad():
        none, zeros, mixed, all_known = (
            head.decide(former, due, later, reference) for reference in (None, torch.zeros(4, 68, 2), some, known)
        )
    for k in range(2):
        torch.testing.assert_close(none[k], zeros[k], rtol=0, atol=0)
        torch.testing.assert_close(mixed[k][1::2], none[k][1::2])
        torch.testing.assert_close(mixed[k][::2], all_known[k][::2])
        assert (all_known[k] - none[k]).abs().amax(1).min() > 1e-4
    assert ((all_known[1] > 0) & (all_known[1] < 1)).all()


def test_the_gate_tells_apart_what_is_known() -> None:
    gate = Gate(2)
    torch.nn.init.zeros_(gate.weight[0, 1])
    torch.nn.init.constant_(gate.shift[1], -3.0)
    said = gate(torch.full((2, 2), 1.0), torch.full((2, 2), 5.0), torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(said, torch.tensor([[1.0, 1.0], [3.0, 3.0]]))


def test_the_geometry_path_sees_the_coordinates_of_the_due_frame_alone() -> None:
    torch.manual_seed(0)
    head = PointsHead(15, 16, geometry=24).eval()
    former, due, later, other = torch.randn(4, 2, 68, 34)
    assert head.geometry is not None
    with torch.no_grad():
        geometry = head.combine(former, due, later) - head.appearance(former, due, later)
        torch.testing.assert_close(geometry, head.geometry(due[..., -2:]), atol=1e-5, rtol=1e-5)
        mixed = torch.cat((other[..., :-2], due[..., -2:]), 2)  # another picture, the same points
        again = head.combine(later, mixed, former) - head.appearance(later, mixed, former)
    torch.testing.assert_close(geometry, again, atol=1e-5, rtol=1e-5)
    assert geometry.std() > 0.01


def test_a_lost_point_cannot_decide_everything() -> None:
    """The coordinates of a face that is none reach 100 tenths of the eye distance; spreads are near 1."""
    path = GeometryPath(15, 24).eval()
    torch.nn.init.ones_(path.predictor[0].weight)
    usual = torch.zeros(1, 68, 2)
    wild, beyond = usual.clone(), usual.clone()
    wild[0, 30], beyond[0, 30] = 100.0, path.limit
    with torch.no_grad():
        torch.testing.assert_close(path(wild), path(beyond), atol=1e-3, rtol=1e-4)
        assert not torch.allclose(path(wild), path(usual))
