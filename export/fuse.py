"""The two graphs that are exported, as torch modules around a folded copy of a train.model.Model.

`fold` rewrites what inference does not need: batch norms that follow a linear layer go into its weights, the others
(FAN is pre-activated: BN -> ReLU -> conv) become a plain scale and shift. All of it is computed in float64, so that
running variances outside the FP16 range do no harm later.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from aunet_sdk.bundle import StateSpec
from train.model import FAN, Model

__all__ = ["Clip", "Stream", "fold", "query_roles", "state_specs"]

HEADS = ("aunet", "points")
_STATE_ROLES: dict[str, dict[str, tuple[str, ...]]] = {
    "aunet": {"S": ("due",), "E": ("former", "due"), "L": ("due", "later")},
    "points": {"P": ("former", "due", "later")},
}


class Affine(nn.Module):
    """x * weight + bias along the last axis: a batch norm of vectors whose statistics stand still."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


def _scale_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """float64 (C,) scale and shift of a batch norm in evaluation."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("expected a batch norm with running statistics, got one without; train it with them")
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def _into_linear(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Put the batch norm that follows `layer` into it."""
    scale, shift = _scale_shift(norm)
    weight = layer.weight.double() * scale.reshape(-1, *([1] * (layer.weight.ndim - 1)))
    bias = shift if layer.bias is None else layer.bias.double() * scale + shift
    layer.weight = nn.Parameter(weight.float(), requires_grad=False)
    layer.bias = nn.Parameter(bias.float(), requires_grad=False)


def _standard(norm: nn.BatchNorm2d) -> None:
    """Mean 0, variance 1, eps 0: a scale and a shift, and still one BatchNormalization, which runtimes fuse best."""
    scale, shift = _scale_shift(norm)
    norm.weight = nn.Parameter(scale.float(), requires_grad=False)
    norm.bias = nn.Parameter(shift.float(), requires_grad=False)
    norm.running_mean = torch.zeros_like(shift, dtype=torch.float32)
    norm.running_var = torch.ones_like(scale, dtype=torch.float32)
    norm.eps = 0.0


def _fold_fan(fan: FAN) -> None:
    _into_linear(fan.conv1, fan.bn1)
    fan.bn1 = nn.Identity()  # type: ignore[assignment]
    for i in range(fan.stacks):
        conv, norm = fan.get_submodule(f"conv_last{i}"), fan.get_submodule(f"bn_end{i}")
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        _into_linear(conv, norm)
        setattr(fan, f"bn_end{i}", nn.Identity())
        if i < fan.stacks - 1:  # al(l(top)) is one linear layer; the heatmaps between the stacks are not asked for
            to_maps, back = fan.get_submodule(f"l{i}"), fan.get_submodule(f"al{i}")
            assert isinstance(to_maps, nn.Conv2d) and isinstance(back, nn.Conv2d)
            first, second = to_maps.weight.double()[:, :, 0, 0], back.weight.double()[:, :, 0, 0]
            assert to_maps.bias is not None and back.bias is not None
            joined = nn.Conv2d(fan.width, fan.width, kernel_size=1)
            joined.weight = nn.Parameter((second @ first)[:, :, None, None].float(), requires_grad=False)
            joined.bias = nn.Parameter(
                (second @ to_maps.bias.double() + back.bias.double()).float(), requires_grad=False
            )
            setattr(fan, f"l{i}", nn.Identity())
            setattr(fan, f"al{i}", joined)


@torch.no_grad()
def fold(model: Model, head: str) -> Model:
    """A copy of `model` for inference with one head ("aunet" | "points"), equal to it but for rounding."""
    if head not in HEADS:
        raise ValueError(f"head: expected one of {HEADS}, got {head!r}")
    model = copy.deepcopy(model).float().eval().requires_grad_(False)
    _fold_fan(model.fan)
    for predictor in (model.aunet.predictor, model.points.predictor):
        linear, norm = predictor[0], predictor[1]
        assert isinstance(linear, nn.Linear) and isinstance(norm, nn.BatchNorm1d)
        _into_linear(linear, norm)
        predictor[1] = nn.Identity()
    scale, shift = _scale_shift(model.points.norm)
    model.points.norm = Affine(scale.float(), shift.float())  # type: ignore[assignment]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            _standard(module)
    diff = model.aunet.conv1x1_diff
    for name, weight in zip(("early", "late"), diff.weight.chunk(2, 1), strict=True):
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=1, bias=False)
        conv.weight = nn.Parameter(weight.clone(), requires_grad=False)
        model.aunet.add_module(name, conv)
    delattr(model, "points" if head == "aunet" else "aunet")
    return model


def _describe(model: Model, head: str, features: Tensor, heatmaps: Tensor) -> tuple[Tensor, ...]:
    """The states of a frame, as `split` and `describe` of the heads give them."""
    if head == "points":
        return (model.points.describe(features, heatmaps),)
    early, late = model.aunet.get_submodule("early"), model.aunet.get_submodule("late")
    pooled = functional.avg_pool2d(features, 2)
    return model.aunet.conv1x1(features), early(pooled), late(pooled)


def state_specs(model: Model, head: str, dtype: str = "float32") -> tuple[StateSpec, ...]:
    """Shapes and roles of the state tensors of a head, for the bundle."""
    width, side = model.config.width, model.config.resolution // 4
    shapes: dict[str, tuple[int, ...]] = {
        "S": (width, side, side),
        "E": (width, side // 2, side // 2),
        "L": (width, side // 2, side // 2),
    }
    if head == "points":
        shapes = {"P": (68, model.points.channels)}
    return tuple(StateSpec(name, shapes[name], dtype, roles) for name, roles in _STATE_ROLES[head].items())


def query_roles(state: Sequence[StateSpec]) -> tuple[tuple[str, str], ...]:
    """(state, role) of every index input `{state}_{role}`, in the graph's order."""
    return tuple((s.name, role) for s in state for role in s.roles)


class Clip(nn.Module):
    """Three crops -> heatmaps of the due frame and logits; the paper as it stands, FAN on all three."""

    def __init__(self, model: Model, head: str) -> None:
        super().__init__()
        self.model, self.head = fold(model, head), head
        self.inputs, self.outputs = ("crops",), ("heatmaps", "logits")

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """crops (B, 3 frames, 3, R, R): former, due, later -> heatmaps (B, 68, R/4, R/4), logits (B, n)."""
        batch = crops.shape[0]
        maps, features = self.model.fan(crops.flatten(0, 1))
        heatmaps = maps[-1].unflatten(0, (batch, 3))
        parts = [part.unflatten(0, (batch, 3)) for part in _describe(self.model, self.head, features, maps[-1])]
        logits = _combine(self.model, self.head, [parts[i][:, k] for i, k in _CLIP_ORDER[self.head]])
        return heatmaps[:, 1], logits


# (state, frame) of the arguments of `combine`; frames 0 former, 1 due, 2 later
_CLIP_ORDER = {
    "aunet": ((0, 1), (1, 0), (1, 1), (2, 1), (2, 2)),
    "points": ((0, 0), (0, 1), (0, 2)),
}


def _combine(model: Model, head: str, parts: Sequence[Tensor]) -> Tensor:
    logits: Tensor = model.aunet.combine(*parts) if head == "aunet" else model.points.combine(*parts)
    return logits


class Stream(nn.Module):
    """One new crop per face and the states of earlier frames -> heatmaps, new states, logits of the queries.

    Inputs crop (B, 3, R, R); per (state, role) an index (Q,) int64; per state its ring (N, *shape). An index i >= 0 is
    a row of the ring, i < 0 the crop -1 - i of this very call. Rows are gathered and selected, never blended: whatever
    lies in rows that are not asked for (NaN too) has no effect. Queries and crops are independent: Q may be 0.
    """

    def __init__(self, model: Model, head: str, state_dtype: str = "float32") -> None:
        super().__init__()
        self.model, self.head = fold(model, head), head
        self.specs = state_specs(model, head, state_dtype)
        self.state_dtype = torch.float16 if state_dtype == "float16" else torch.float32
        roles = query_roles(self.specs)
        self.inputs = ("crop", *(f"{s}_{r}" for s, r in roles), *(f"ring_{s.name}" for s in self.specs))
        self.outputs = ("heatmaps", *(s.name for s in self.specs), "logits")

    def forward(self, crop: Tensor, indices: list[Tensor], rings: list[Tensor]) -> tuple[Tensor, ...]:
        maps, features = self.model.fan(crop)
        new = [state.to(self.state_dtype) for state in _describe(self.model, self.head, features, maps[-1])]
        place = {spec.name: i for i, spec in enumerate(self.specs)}
        parts = []
        for (name, _), index in zip(query_roles(self.specs), indices, strict=True):
            parts.append(_pick(index, new[place[name]], rings[place[name]]).float())
        return (maps[-1], *new, _combine(self.model, self.head, parts))


def _pick(index: Tensor, new: Tensor, ring: Tensor) -> Tensor:
    """Row -1 - index of `new` where index < 0, else row index of `ring`: (Q, ...)."""
    fresh = (index < 0).reshape(-1, *([1] * (new.ndim - 1)))
    kept = ring.index_select(0, index.clamp(min=0))
    return torch.where(fresh, new.index_select(0, (-1 - index).clamp(min=0)), kept)
