"""A learned flow in AU-flow: what goes into the network and what is made of what comes out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from aunet_sdk.errors import BackendUnavailable
from tests.train.paper_runs import paper_options
from train.configs.options import PaperOptions
from train.models.checkpoint import load_network, save_network
from train.models.config import ModelConfig, ModelFileError
from train.models.fan import FAN
from train.models.flow import CELL_PX, FlowHead
from train.models.raft import LearnedFlow, raft_small
from train.models.variants import FanNetwork, build
from train.paper.run_inputs import inputs_of


class Still(nn.Module):
    """Says of every pixel what it was told, and keeps what it was asked."""

    def __init__(self, moved: float) -> None:
        super().__init__()
        self.moved, self.asked = nn.Parameter(torch.tensor(moved)), list[Tensor]()

    def forward(self, first: Tensor, second: Tensor, num_flow_updates: int) -> list[Tensor]:
        self.asked[:] = first, second
        return [torch.zeros(0)] * (num_flow_updates - 1) + [self.moved * torch.ones_like(first[:, :2])]


@pytest.fixture(scope="module")
def torchvision() -> Any:
    try:
        return import_module("torchvision.models.optical_flow")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no torchvision beside this torch: {error}")


def crops(side: int, seed: int = 0) -> Tensor:
    """(2, 3 frames, 3, side, side): smooth noise that moves to the right by 3 px a frame."""
    generator = torch.Generator().manual_seed(seed)
    noise = functional.avg_pool2d(torch.rand(2, 3, side + 24, side + 24, generator=generator), 9, 1)
    noise = (noise - noise.amin()) / (noise.amax() - noise.amin())
    return torch.stack([noise[..., 8 : 8 + side, 8 - dx : 8 - dx + side] for dx in (-3, 0, 3)], 1)


@pytest.mark.parametrize(("side", "taken"), [(64, 128), (128, 128), (192, 192)])
def test_what_the_network_sees(side: int, taken: int) -> None:
    inner = Still(2.0)
    flow = LearnedFlow(inner)
    former, due, _ = crops(side).unbind(1)
    said = flow(due, former)
    assert said.shape == (2, 2, side, side)
    torch.testing.assert_close(said, torch.full_like(said, 2.0 * side / taken))  # in px of the crop
    for asked, given in zip(inner.asked, (due, former), strict=True):
        assert asked.shape == (2, 3, taken, taken) and asked.min() >= -1 and asked.max() <= 1 and asked.min() < -0.5
        if side == taken:
            torch.testing.assert_close(asked, 2 * given - 1)
    assert not flow(due, due).any()  # a neighbour that the due frame stands in for
    assert not said.requires_grad and not list(p for p in flow.parameters() if p.requires_grad)
    assert not flow.train().network.training


def test_the_head_takes_flow_in_colour() -> None:
    torch.manual_seed(0)
    network = build("au-flow", 3, fan=FAN(16), flow=LearnedFlow(Still(4.0))).eval()
    assert isinstance(network, FanNetwork) and isinstance(network.head, FlowHead)
    former, due, later = (network.features(frame) for frame in crops(128).unbind(1))
    assert due.shape == (2, 3 * 16 + 48, 32, 32)
    flow = network.head.flow(*(features[:, -48:] for features in (former, due, later)))
    torch.testing.assert_close(flow, torch.full((2, 4, 16, 16), 4.0 / CELL_PX))
    network.train()(crops(128)).sum().backward()
    trained = {name for name, p in network.named_parameters() if p.grad is not None}
    assert trained and not {name for name in trained if "learned" in name or name.startswith("fan.")}
    with pytest.raises(ValueError, match="no optical flow"):
        build("au-tdn", 3, width=16, flow=LearnedFlow(Still(1.0)))


def test_without_torchvision_or_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    with pytest.raises(BackendUnavailable, match=r"aunet_sdk\[raft\].*--flow dis"):
        raft_small()
    options = PaperOptions(train_on=("bp4d",), variant="au-flow", flow="raft")
    with pytest.raises(ValueError, match="--flow-weights"):
        options.check()
    dataclasses.replace(options, variant="au-tdn").check()
    with pytest.raises(ValueError, match="flow: expected one of dis, raft"):
        dataclasses.replace(options, flow="farneback").check()


def test_the_weights_belong_to_a_run(data: Path, tmp_path: Path) -> None:
    weights = tmp_path / "raft.pth"
    weights.write_bytes(b"1")
    fan = tmp_path / "fan.safetensors"
    fan.write_bytes(b"fan")
    options = paper_options(data, fan, tmp_path, variant="au-flow", flow="raft", flow_weights=str(weights))
    first = inputs_of(options)
    weights.write_bytes(b"2")
    assert inputs_of(options)["flow_weights"] != first["flow_weights"]
    assert "flow_weights" not in inputs_of(dataclasses.replace(options, flow="dis"))


def test_it_is_torchvisions_raft(torchvision: Any, tmp_path: Path) -> None:
    """The features of the motion path are those of RAFT called by hand; weights come from a file, and go with the
    model's."""
    torch.manual_seed(0)
    by_hand = torchvision.raft_small(weights=None).eval()
    torch.save(by_hand.state_dict(), tmp_path / "raft.pth")
    network = build("au-flow", 3, fan=FAN(16), flow=raft_small(tmp_path / "raft.pth")).eval()
    assert isinstance(network, FanNetwork) and isinstance(network.head, FlowHead)
    assert sum(p.numel() for p in network.head.learned.parameters()) == 990_162  # type: ignore[union-attr]
    former, due, later = crops(128).unbind(1)
    with torch.no_grad():
        expected = [by_hand(2 * due - 1, 2 * other - 1, num_flow_updates=12)[-1] for other in (former, later)]
        packed = [network.features(frame)[:, -48:] for frame in (former, due, later)]
        got = network.head.flow(*packed) * CELL_PX
        torch.testing.assert_close(got, functional.avg_pool2d(torch.cat(expected, 1), 8), rtol=0, atol=1e-5)
        logits = network(crops(128))
        save_network(network, ModelConfig(width=16, resolution=128, au_numbers=(1, 2, 4)), tmp_path / "m.safetensors")
        torch.testing.assert_close(load_network(tmp_path / "m.safetensors")[0](crops(128)), logits)
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelFileError, match="missing"):
        raft_small(tmp_path / "other.pth")


def test_preparation_is_torchvisions(torchvision: Any) -> None:
    preset: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = torchvision.Raft_Small_Weights.DEFAULT.transforms()
    inner = Still(0.0)
    former, due, _ = crops(128).unbind(1)
    LearnedFlow(inner)(due, former)
    for asked, expected in zip(inner.asked, preset(due, former), strict=True):
        torch.testing.assert_close(asked, expected)
