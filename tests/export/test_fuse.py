"""Folding: the same function, with less in it."""

from __future__ import annotations

import pytest
import torch

from export.fuse import Clip, Stream, fold, state_specs
from train.model import Model


@pytest.mark.parametrize("head", ["aunet", "points"])
def test_folded_model_equals_the_model(model: Model, head: str) -> None:
    crops = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        maps, logits = model(*crops.unbind(1))
        got_maps, got = Clip(model, head)(crops)
    torch.testing.assert_close(got, logits[head], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got_maps, maps, rtol=1e-4, atol=1e-5)
    assert logits[head].std() > 0.05, "random weights that decide nothing would prove nothing"


def test_folding_takes_away_what_can_go_and_leaves_the_original(model: Model) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold(model, "aunet")
    norms = [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms, "FAN is pre-activated: some stay"
    for norm in norms:
        assert (norm.running_mean == 0).all() and (norm.running_var == 1).all() and norm.eps == 0
    for name in ("bn1", "bn_end0", "bn_end1", "l0"):
        assert isinstance(folded.fan.get_submodule(name), torch.nn.Identity)
    assert not hasattr(folded, "points")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_a_variance_beyond_fp16_becomes_a_scale_within(model: Model) -> None:
    """Scale and shift are computed in float64 before anything is stored in half precision."""
    from copy import deepcopy

    wild = deepcopy(model)
    wild.fan.conv2.bn1.running_var.fill_(1e9)
    wild.fan.conv2.bn1.running_mean.fill_(1e5)
    scale, shift = fold(wild, "aunet").fan.conv2.bn1.weight, fold(wild, "aunet").fan.conv2.bn1.bias
    expected = model.fan.conv2.bn1.weight.double() / (1e9 + 1e-5) ** 0.5
    torch.testing.assert_close(scale.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(shift.double(), model.fan.conv2.bn1.bias.double() - 1e5 * expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", ["aunet", "points"])
def test_stream_selects_rows_and_never_blends(model: Model, head: str) -> None:
    """Rings full of NaN do no harm where every frame of the query is a new crop."""
    stream = Stream(model, head)
    crop = torch.rand(2, 3, 64, 64)
    rings = [torch.full((3, *s.shape), torch.nan) for s in stream.specs]
    indices = [torch.tensor([-1, -2]) for s in stream.specs for _ in s.roles]
    with torch.inference_mode():
        logits = stream(crop, indices, rings)[-1]
        expected = model(crop, crop, crop)[1][head]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_states_of_half_precision(model: Model) -> None:
    stream = Stream(model, "points", "float16")
    rings = [torch.zeros((3, *s.shape), dtype=torch.float16) for s in stream.specs]
    with torch.inference_mode():
        outputs = stream(torch.rand(1, 3, 64, 64), [torch.tensor([-1])] * 3, rings)
    assert outputs[1].dtype == torch.float16 and outputs[-1].dtype == torch.float32


def test_state_specs(model: Model) -> None:
    specs = {s.name: s for s in state_specs(model, "aunet")}
    assert {name: (s.shape, s.roles) for name, s in specs.items()} == {
        "S": ((16, 16, 16), ("due",)),
        "E": ((16, 8, 8), ("former", "due")),
        "L": ((16, 8, 8), ("due", "later")),
    }


def test_unknown_head(model: Model) -> None:
    with pytest.raises(ValueError, match="head: expected one of"):
        fold(model, "cnn")
