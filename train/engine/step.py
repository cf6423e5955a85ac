"""One step of the optimiser: precision, gradients of all parts and processes, clipping, averaged weights."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from train.configs.options import RunOptions
from train.engine.distributed import Group
from train.engine.run_folder import RunError

Loss = Callable[[dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
"""Loss and scalars of a batch on the model's device."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What a precision (fp32, bf16, fp16, auto) computes in; auto: bfloat16 where the processor has it, or float32."""
    if precision == "auto":
        flags = Path("/proc/cpuinfo")
        text = flags.read_text(errors="ignore") if flags.is_file() else ""
        precision = "bf16" if (_cuda_has_bf16() if device.type == "cuda" else "amx_bf16" in text) else "fp32"
    return PRECISIONS[precision]


def _cuda_has_bf16() -> bool:
    """Whether the GPU computes in bfloat16 itself; emulation, which older cards have, is slower than float32."""
    try:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    except TypeError:  # a torch that does not know emulation
        return torch.cuda.is_bf16_supported()


@torch.no_grad()
def average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `ema` towards `model`: floating tensors by 1 - decay, the others all the way."""
    pairs = list(zip(ema.state_dict().values(), model.state_dict().values(), strict=True))
    floating = [(a, b) for a, b in pairs if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floating], [b for _, b in floating], 1 - decay)
    for a, b in pairs:
        if not a.is_floating_point():
            a.copy_(b)


class Stepper:
    """AdamW, averaged weights and mixed precision of one training.

    In float16 small gradients would vanish: the loss is scaled up and the gradients down again; a step whose gradients
    overflow is left out, and the scale is halved.

    Args:
        model: on `device`.
        groups: AdamW's; `lr_scale` beside `params`.
        options: lr, clip, ema and seed are used.
        dtype: float32, bfloat16 or float16.
        group: the processes that train `model` together.
    """

    def __init__(
        self,
        model: Any,
        groups: list[dict[str, Any]],
        options: RunOptions,
        device: torch.device,
        dtype: torch.dtype,
        group: Group | None = None,
    ) -> None:
        self.model, self.options, self.device, self.dtype = model, options, device, dtype
        self.group = group or Group()
        self.ema: Any = model
        """The averaged weights; `model` itself where none are kept."""
        if options.ema > 0:
            self.ema = copy.deepcopy(model).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(groups, lr=options.lr, fused=True)
        self.parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def __call__(
        self,
        step: int,
        parts: Sequence[dict[str, Tensor]],
        loss: Loss,
        rate: float = 1.0,
        stop: threading.Event | None = None,
    ) -> tuple[dict[str, Tensor], bool]:
        """Make step `step`.

        Args:
            parts: of the batch, on any device; their losses add up to the batch's.
            rate: factor of the learning rate.
            stop: set, at the latest while the losses are computed, where this process is to stop.

        Returns:
            scalars of the whole batch, and whether any process is to stop.

        Raises:
            RunError: a gradient that is not finite; in float16 one that no scale of 1 and more makes finite.
        """
        torch.manual_seed(self.options.seed * 1_000_003 + step)
        for entry in self.optimizer.param_groups:
            entry["lr"] = self.options.lr * entry["lr_scale"] * rate
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for part in parts:
            for name, value in self._backward(part, loss).items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        wanted = stop is not None and stop.is_set()
        sums, stopped = self.group.sum_gradients(self.parameters, sums, wanted)
        return sums | self._update(step, sums["loss"]), stopped

    def _backward(self, part: dict[str, Tensor], loss: Loss) -> dict[str, Tensor]:
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in part.items()}
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            value, scalars = loss(batch)
        self.scaler.scale(value).backward()
        return {"loss": value, **scalars}

    def _update(self, step: int, loss: Tensor) -> dict[str, Tensor]:
        """Move the weights by the present gradients; returns scalars about it."""
        options, scaler = self.options, self.scaler
        scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, options.clip or math.inf)
        finite = bool(torch.isfinite(norm))
        if not finite and (not scaler.is_enabled() or scaler.get_scale() < 1):
            raise RunError(f"step {step}: the gradient is not finite (loss {float(loss)}); lower --lr")
        scaler.step(self.optimizer)  # none where the gradient overflowed
        scaler.update()
        if finite and self.ema is not self.model:
            average(self.ema, self.model, min(options.ema, (1 + step) / (10 + step)))
        scalars = {"norm": norm} if finite else {}
        if scaler.is_enabled():
            scalars |= {"loss_scale": torch.tensor(scaler.get_scale()), "left_out": torch.tensor(float(not finite))}
        return scalars

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, for `load`."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.ema is not self.model:
            state["ema"] = self.ema.state_dict()
        if self.scaler.is_enabled():
            state["scaler"] = self.scaler.state_dict()
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not self.model:
            self.ema.load_state_dict(state["ema"])
        if "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])
