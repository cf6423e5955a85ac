"""The two graphs that are exported, as torch modules around a folded copy of a train.model.Model.

`fold` rewrites what inference does not need: batch norms that follow a linear layer go into its weights, the others
(FAN is pre-activated: BN -> ReLU -> conv) become a plain scale and shift. All of it is computed in float64, so that
running variances outside the FP16 range do no harm later.

With compute "float16" the graph is a true half-precision one: weights and arithmetic of FAN and of the convolutional
heads are FP16, with explicit FP32 islands where range or cancellation asks for them: the attention plane and all of the
landmark arithmetic, the motion differences, the classifiers. Inputs and outputs keep their types (crop, heatmaps and
logits are FP32).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aunet_sdk.bundle import StateSpec
from train.model import FAN, Model

__all__ = ["Clip", "Stream", "fold", "halve", "query_roles", "state_specs"]

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
        # The largest weight stays as it was trained and stored; a scale of a few numbers costs nothing behind it.
        assert isinstance(predictor[1], nn.BatchNorm1d)
        scale, shift = _scale_shift(predictor[1])
        predictor[1] = Affine(scale.float(), shift.float())
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


class Island(nn.Module):
    """A part that computes in FP32 inside a half-precision graph."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.inner(x.float()))


@torch.no_grad()
def halve(model: Model) -> Model:
    """A folded model, in place, in half precision but for the islands. ValueError where a weight is out of range."""
    for name, tensor in model.named_parameters():
        if float(tensor.abs().max()) > torch.finfo(torch.float16).max:
            raise ValueError(
                f"{name}: expected weights up to 65504 for FP16, got {float(tensor.abs().max()):g}; "
                "export with --precision fp32"
            )
    model.fan.half()
    if hasattr(model, "aunet"):
        model.aunet.half()
        model.aunet.predictor = Island(model.aunet.predictor.float())  # type: ignore[assignment]
    if hasattr(model, "points"):
        model.points.reduce.half()
    return model


def prepared(model: Model, head: str, compute: str) -> Model:
    """`fold`, and `halve` for compute "float16"."""
    if compute not in ("float32", "float16"):
        raise ValueError(f"compute: expected float32 or float16, got {compute!r}")
    folded = fold(model, head)
    return halve(folded) if compute == "float16" else folded


def _look(model: Model, crop: Tensor) -> tuple[Tensor, Tensor]:
    """FAN: heatmaps of the last stack, FP32, and features in the type of the weights."""
    maps, (low, *tops) = model.fan.layers(crop.to(model.fan.conv1.weight.dtype))
    heatmaps = maps[-1].float()
    attention = heatmaps.sum(1, keepdim=True).to(low.dtype)
    return heatmaps, torch.cat([low, *(top * attention for top in tops)], 1)


def _describe(model: Model, head: str, features: Tensor, heatmaps: Tensor) -> tuple[Tensor, ...]:
    """The states of a frame, as `split` and `describe` of the heads give them."""
    if head == "points":
        mask, x, y = model.points._attention(heatmaps)
        reduced = model.points.reduce(features).float().flatten(2).transpose(1, 2)
        return (torch.cat((torch.matmul(mask, reduced), model.points._normalise(x, y)), 2),)
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

    def __init__(self, model: Model, head: str, compute: str = "float32") -> None:
        super().__init__()
        self.model, self.head = prepared(model, head, compute), head
        self.inputs, self.outputs = ("crops",), ("heatmaps", "logits")

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """crops (B, 3 frames, 3, R, R): former, due, later -> heatmaps (B, 68, R/4, R/4), logits (B, n)."""
        batch = crops.shape[0]
        maps, features = _look(self.model, crops.flatten(0, 1))
        heatmaps = maps.unflatten(0, (batch, 3))
        parts = [part.unflatten(0, (batch, 3)) for part in _describe(self.model, self.head, features, maps)]
        logits = _combine(self.model, self.head, [parts[i][:, k] for i, k in _CLIP_ORDER[self.head]])
        return heatmaps[:, 1], logits


# (state, frame) of the arguments of `_combine`; frames 0 former, 1 due, 2 later
_CLIP_ORDER = {
    "aunet": ((0, 1), (1, 0), (1, 1), (2, 1), (2, 2)),
    "points": ((0, 0), (0, 1), (0, 2)),
}


def _combine(model: Model, head: str, parts: Sequence[Tensor]) -> Tensor:
    """Logits (B, n) FP32 of states in the order of `query_roles`, of any floating type."""
    if head == "points":
        return model.points.combine(*(part.float() for part in parts))
    static, e_former, e_due, l_due, l_later = parts
    aunet = model.aunet
    bias = cast(Tensor, aunet.conv1x1_diff.bias).float()[:, None, None]
    motion = e_due.float() - e_former.float() + l_later.float() - l_due.float() + bias
    dtype = aunet.conv1x1.weight.dtype
    return aunet._decide(static.to(dtype), motion.to(dtype))


class Stream(nn.Module):
    """One new crop per face and the states of earlier frames -> heatmaps, new states, logits of the queries.

    Inputs crop (B, 3, R, R); per (state, role) an index (Q,) int64; per state its ring (N, *shape). An index i >= 0 is
    a row of the ring, i < 0 the crop -1 - i of this very call. Rows are gathered and selected, never blended: whatever
    lies in rows that are not asked for (NaN too) has no effect. Queries and crops are independent: Q may be 0.
    """

    def __init__(self, model: Model, head: str, state_dtype: str = "float32", compute: str = "float32") -> None:
        super().__init__()
        self.model, self.head = prepared(model, head, compute), head
        self.specs = state_specs(model, head, state_dtype)
        self.state_dtype = torch.float16 if state_dtype == "float16" else torch.float32
        roles = query_roles(self.specs)
        self.inputs = ("crop", *(f"{s}_{r}" for s, r in roles), *(f"ring_{s.name}" for s in self.specs))
        self.outputs = ("heatmaps", *(s.name for s in self.specs), "logits")

    def forward(self, crop: Tensor, indices: list[Tensor], rings: list[Tensor]) -> tuple[Tensor, ...]:
        maps, features = _look(self.model, crop)
        new = [state.to(self.state_dtype) for state in _describe(self.model, self.head, features, maps)]
        place = {spec.name: i for i, spec in enumerate(self.specs)}
        parts = []
        for (name, _), index in zip(query_roles(self.specs), indices, strict=True):
            parts.append(_pick(index, new[place[name]], rings[place[name]]))
        return (maps, *new, _combine(self.model, self.head, parts))


def _pick(index: Tensor, new: Tensor, ring: Tensor) -> Tensor:
    """Row -1 - index of `new` where index < 0, else row index of `ring`: (Q, ...)."""
    fresh = (index < 0).reshape(-1, *([1] * (new.ndim - 1)))
    kept = ring.index_select(0, index.clamp(min=0))
    return torch.where(fresh, new.index_select(0, (-1 - index).clamp(min=0)), kept)
