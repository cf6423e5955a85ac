"""Folding: the same function, with less in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from export.fold import WholeBlocks, fold
from export.fuse import Clip, Stream, state_specs
from train.models.blocks import ConvBlock
from train.models.model import Model

from .conftest import randomise


@pytest.mark.parametrize("head", ["aunet", "points"])
def test_folded_model_equals_the_model(model: Model, head: str) -> None:
    crops = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        maps, logits = model(*crops.unbind(1))
        got_maps, got = Clip(model, head)(crops)
    torch.testing.assert_close(got[:, :15], logits[head], rtol=1e-4, atol=1e-5)
    assert got.shape[1] == (30 if head == "points" else 15)
    torch.testing.assert_close(got_maps, maps, rtol=1e-4, atol=1e-5)
    assert logits[head].std() > 0.05, "random weights that decide nothing would prove nothing"


def test_the_reference_decides_and_zeros_are_none(model: Model) -> None:
    crops = torch.rand(3, 3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    reference = 3 * torch.randn(3, 68, 2, generator=torch.Generator().manual_seed(2))
    reference[1] = 0
    with torch.inference_mode():
        looks = [model.fan(crop) for crop in crops.unbind(1)]
        frames = [model.points.describe(features, heatmaps[-1]) for heatmaps, features in looks]
        logits, intensity = model.points.decide(*frames, reference)
        assert intensity is not None
        clip = Clip(model, "points")
        got, without = clip(crops, reference)[1], clip(crops)[1]
    torch.testing.assert_close(got, torch.cat((logits, intensity), 1), rtol=1e-4, atol=1e-5)
    apart = (got - without).abs().amax(1)
    assert apart[1] == 0 and apart[0] > 0.01 and apart[2] > 0.01
    assert ((0 <= got[:, 15:]) & (got[:, 15:] <= 1)).all()


def test_a_model_without_a_geometry_path_is_exported_as_before(model: Model) -> None:
    """The fixture has one; checkpoints of before do not."""
    plain = Model(dataclasses.replace(model.config, geometry=0, intensity=False)).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k in plain.state_dict()})
    crops = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = plain(*crops.unbind(1))[1]["points"]
        torch.testing.assert_close(Clip(plain, "points")(crops)[1], expected, rtol=1e-4, atol=1e-5)
        assert (expected - model(*crops.unbind(1))[1]["points"]).abs().max() > 0.01


def test_folding_takes_away_what_can_go_and_leaves_the_original(model: Model) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold(model, "aunet")
    norms = [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms, "FAN is pre-activated: some stay"
    for norm in norms:
        assert (norm.running_mean == 0).all() and (norm.running_var == 1).all() and norm.eps == 0
    assert isinstance(folded.fan.bn1, torch.nn.Identity)
    for name in ("bn_end0", "bn_end1", "l0", "al0"):
        assert hasattr(model.fan, name) and not hasattr(folded.fan, name)
    assert not hasattr(folded, "points")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("inputs", [16, 32])
def test_quarters_side_by_side_are_the_same_block(inputs: int) -> None:
    """16 and 32 channels to 32, as in a FAN of width 64: quarters of 8 share one tensor of 16."""
    torch.manual_seed(0)
    block = _standardised(ConvBlock(inputs, 32))
    assert WholeBlocks.fits(block) and not WholeBlocks.fits(ConvBlock(32, 64)) and not WholeBlocks.fits(ConvBlock(8, 8))
    x = torch.randn(2, inputs, 8, 8)
    expected = block(x)
    whole = WholeBlocks(block)
    assert whole.conv2.weight.shape[0] == whole.conv3.weight.shape[0] == whole.bn3.weight.shape[0] == 16
    torch.testing.assert_close(whole(x), expected, rtol=1e-5, atol=1e-5)


def _standardised(block: ConvBlock) -> ConvBlock:
    """With scales and shifts of its own, in the form that `fold` gives batch norms."""
    for norm in (m for m in block.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.weight.data.uniform_(-1, 1.5)
        norm.bias.data.normal_(0, 0.3)
        norm.eps = 0.0
    return block.eval().requires_grad_(False)


def test_a_model_with_whole_blocks_is_the_same(checkpoint: Path) -> None:
    """Width 64, where the first blocks take that form."""
    torch.manual_seed(1)
    config = dataclasses.replace(Model.load(checkpoint).config, width=64)
    model = randomise(Model(config))
    clip = Clip(model, "points").eval()
    assert isinstance(clip.model.fan.conv2, WholeBlocks) and isinstance(clip.model.fan.conv3, WholeBlocks)
    crops = torch.rand(1, 3, 3, 64, 64)
    with torch.inference_mode():
        maps, logits = model(*crops.unbind(1))
        got_maps, got = clip(crops)
    torch.testing.assert_close(got_maps, maps, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(got[:, :15], logits["points"], rtol=1e-3, atol=1e-4)


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
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits[:, :15], expected, rtol=1e-4, atol=1e-5)


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
