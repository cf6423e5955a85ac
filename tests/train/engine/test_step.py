"""One step of the optimiser: precision, what overflows, what a checkpoint has of it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from train.configs.options import RunOptions
from train.engine.run_folder import RunError
from train.engine.step import Stepper, pick_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Small:
    """A network of two classes, its data, and a stepper; `factor` of the loss."""

    def __init__(self, dtype: torch.dtype, ema: float = 0.0) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)
        )
        self.factor, self.seen = 1.0, torch.float64
        options = RunOptions(lr=1e-2, clip=0.0, ema=ema)
        groups = [{"params": list(self.network.parameters()), "lr_scale": 1.0, "weight_decay": 0.0}]
        self.stepper = Stepper(self.network, groups, options, CPU, dtype)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.network(batch["images"])
        self.seen = logits.dtype
        return self.factor * nn.functional.cross_entropy(logits.float(), batch["classes"]), {}

    def step(self, number: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(number)
        images = torch.randn(8, 3, 8, 8, generator=generator)
        batch = {"images": images, "classes": (images.mean((1, 2, 3)) > 0).long()}
        return self.stepper(number, [batch], self.loss)[0]

    def weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.network.parameters()]


def test_precisions_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [pick_dtype(name, CPU) for name in ("fp32", "bf16", "fp16")]
    assert found == [torch.float32, torch.bfloat16, torch.float16]
    for supported, expected in (
        (lambda including_emulation=True: including_emulation, torch.float32),  # a card of before Ampere
        (lambda including_emulation=True: True, torch.bfloat16),
        (lambda: True, torch.bfloat16),  # a torch that has no such word
    ):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
        assert pick_dtype("auto", CUDA) is expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_follows_full(dtype: torch.dtype) -> None:
    full, half = Small(torch.float32), Small(dtype)
    before = half.weights()
    for number in range(3):
        a, b = full.step(number), half.step(number)
        assert b["loss"].item() == pytest.approx(a["loss"].item(), rel=0.05)
        assert b["norm"].item() == pytest.approx(a["norm"].item(), rel=0.05)  # of gradients that are scaled down again
    assert (full.seen, half.seen) == (torch.float32, dtype)
    assert all(weight.dtype == torch.float32 for weight in half.weights())
    assert not any(torch.equal(a, b) for a, b in zip(before[-2:], half.weights()[-2:], strict=True))
    assert ("left_out" in b) is (dtype == torch.float16)


def test_a_step_that_overflows_is_left_out() -> None:
    small = Small(torch.float16, ema=0.5)
    small.step(0)
    before, averaged = small.weights(), copy.deepcopy(list(small.stepper.ema.parameters()))
    scale = small.stepper.scaler.get_scale()
    small.factor = 1e36
    scalars = small.step(1)
    assert scalars["left_out"] == 1 and "norm" not in scalars and scalars["loss_scale"] == scale / 2
    for kept, now in ((before, small.weights()), (averaged, list(small.stepper.ema.parameters()))):
        assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))
    small.factor = 1.0
    assert small.step(2)["left_out"] == 0
    assert not torch.equal(before[-1], small.weights()[-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_loss_that_is_not_finite_is_an_error(dtype: torch.dtype) -> None:
    small = Small(dtype)
    small.step(0)
    small.factor = float("nan")
    with pytest.raises(RunError, match=r"the gradient is not finite \(loss nan\); lower --lr"):
        for number in range(1, 30):  # in float16 the scale falls first
            small.step(number)


def test_the_state_goes_on_as_if_nothing_had_been() -> None:
    whole, first, second = (Small(torch.float16, ema=0.5) for _ in range(3))
    for small in (whole, first):
        small.step(0)
        small.factor = 1e36
        small.step(1)
        small.factor = 1.0
    second.stepper.load(copy.deepcopy(first.stepper.state()))
    assert second.stepper.scaler.get_scale() == whole.stepper.scaler.get_scale() == 2.0**15
    for small in (whole, second):
        small.step(2)
    assert all(torch.equal(a, b) for a, b in zip(whole.weights(), second.weights(), strict=True))
    assert "scaler" not in Small(torch.bfloat16).stepper.state()
