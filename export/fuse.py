"""The two graphs that are exported, as torch modules around a folded copy (fold.py) of a train.models.model.Model.

With compute "float16" the graph is a true half-precision one: weights and arithmetic of FAN and of the convolutional
heads are FP16, with explicit FP32 islands where range or cancellation asks for them: the attention plane and all of the
landmark arithmetic, the motion differences, the classifiers. Inputs and outputs keep their types (crop, heatmaps and
logits are FP32).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aunet_sdk.bundle import StateSpec
from train.models.model import Model

from .fold import prepared

__all__ = ["Clip", "Stream", "has_intensity", "has_reference", "query_roles", "state_specs"]

_STATE_ROLES: dict[str, dict[str, tuple[str, ...]]] = {
    "aunet": {"S": ("due",), "E": ("former", "due"), "L": ("due", "later")},
    "points": {"P": ("former", "due", "later")},
}


class Look(NamedTuple):
    """What FAN saw in crops (B, 3, R, R)."""

    heatmaps: Tensor
    """(B, 68, R/4, R/4) FP32 of the last stack"""
    attention: Tensor
    """(B, 1 or more copies, R/4, R/4) FP32: their sum over the points"""
    low: Tensor
    """(B, width, R/4, R/4) before the first hourglass, in the type of the weights"""
    tops: tuple[Tensor, ...]
    """(B, width, R/4, R/4) of every stack, in the type of the weights, before `bl`"""


def _look(model: Model, crop: Tensor) -> Look:
    fan, layer = model.fan, model.fan.get_submodule
    x = functional.relu(fan.conv1(crop.to(fan.conv1.weight.dtype)))
    x = low = fan.conv4(fan.conv3(fan.pool(fan.conv2(x))))
    tops: list[Tensor] = []
    for i in range(fan.stacks):
        top = layer(f"conv_last{i}")(layer(f"top_m_{i}")(layer(f"m{i}")(x)))
        tops.append(functional.relu(top))
        if i < fan.stacks - 1:
            x = x + layer(f"carry{i}")(tops[i])
    heatmaps = layer(f"l{fan.stacks - 1}")(tops[-1]).float()
    attention = layer("attention")(tops[-1]) if hasattr(fan, "attention") else heatmaps.sum(1, keepdim=True)
    return Look(heatmaps, attention, low, tuple(tops))


def _describe(model: Model, head: str, look: Look, crop: Tensor) -> tuple[Tensor, ...]:
    """The states of a frame, as `split` and `describe` of the heads give them."""
    if head == "points":
        return (_describe_points(model, look, crop),)
    aunet, dtype = model.aunet, look.low.dtype
    attention = look.attention.to(dtype)
    tops = [model.fan.get_submodule(f"bl{i}")(top) for i, top in enumerate(look.tops[:-1])] + [look.tops[-1]]
    features = torch.cat([look.low, *(top * attention for top in tops)], 1)
    pooled = functional.avg_pool2d(features, 2)
    return aunet.conv1x1(features), aunet.get_submodule("early")(pooled), aunet.get_submodule("late")(pooled)


def _describe_points(model: Model, look: Look, crop: Tensor) -> Tensor:
    """P (B, 68 or 69, d + 2) FP32. The weights around the peaks are divided by their sums after pooling, not before."""
    points = model.points
    readers = cast(nn.ModuleList, points.tops)
    read = [reader(top) for reader, top in zip(readers, look.tops, strict=True)]
    reduced = points.get_submodule("low")(look.low) + look.attention.to(look.low.dtype) * sum(read[1:], read[0])
    peak = look.heatmaps.amax((2, 3), keepdim=True).clamp(min=0.0)
    mask = functional.relu(look.heatmaps - 0.25 * peak)
    mask = mask * mask
    rows, columns = mask.sum(3), mask.sum(2)
    total = rows.sum(2, keepdim=True) + 1e-6  # (B, 68, 1)
    place = torch.arange(rows.shape[2], dtype=torch.float32, device=mask.device)
    x, y = (((line * place).sum(2, keepdim=True) / total)[..., 0] for line in (columns, rows))
    pooled = torch.matmul(mask.flatten(2), reduced.float().flatten(2).transpose(1, 2)) / total
    return points.with_eyes(torch.cat((pooled, points._normalise(x, y)), 2), crop, x, y)


def state_specs(model: Model, head: str, dtype: str = "float32") -> tuple[StateSpec, ...]:
    """Shapes and roles of the state tensors of a head, for the bundle."""
    width, side = model.config.width, model.config.resolution // 4
    shapes: dict[str, tuple[int, ...]] = {
        "S": (width, side, side),
        "E": (width, side // 2, side // 2),
        "L": (width, side // 2, side // 2),
    }
    if head == "points":
        shapes = {"P": (model.points.rows, model.points.channels)}
    return tuple(StateSpec(name, shapes[name], dtype, roles) for name, roles in _STATE_ROLES[head].items())


def has_reference(model: Model, head: str) -> bool:
    """Whether the head reads the person's points at rest."""
    return head == "points" and model.config.geometry > 0


def has_intensity(model: Model, head: str) -> bool:
    """Whether the head gives intensities, too."""
    return head == "points" and model.config.intensity


def query_roles(state: Sequence[StateSpec]) -> tuple[tuple[str, str], ...]:
    """(state, role) of every index input `{state}_{role}`, in the graph's order."""
    return tuple((s.name, role) for s in state for role in s.roles)


class Clip(nn.Module):
    """Three crops -> heatmaps of the due frame and logits; as in the paper, FAN runs on all three.

    A head that reads the person's points at rest has the input `reference` (B, 68, 2); one with intensities has them
    behind the logits, see `Stream`.
    """

    def __init__(self, model: Model, head: str, compute: str = "float32") -> None:
        super().__init__()
        self.model, self.head = prepared(model, head, compute), head
        self.inputs = ("crops", "reference") if has_reference(model, head) else ("crops",)
        self.outputs = ("heatmaps", "logits")

    def forward(self, crops: Tensor, reference: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """crops (B, 3 frames, 3, R, R): former, due, later -> heatmaps (B, 68, R/4, R/4), logits (B, n)."""
        batch = crops.shape[0]
        every = crops.flatten(0, 1)
        look = _look(self.model, every)
        heatmaps = look.heatmaps.unflatten(0, (batch, 3))
        parts = [part.unflatten(0, (batch, 3)) for part in _describe(self.model, self.head, look, every)]
        logits = _combine(self.model, self.head, [parts[i][:, k] for i, k in _CLIP_ORDER[self.head]], reference)
        return heatmaps[:, 1], logits


# (state, frame) of the arguments of `_combine`; frames 0 former, 1 due, 2 later
_CLIP_ORDER = {
    "aunet": ((0, 1), (1, 0), (1, 1), (2, 1), (2, 2)),
    "points": ((0, 0), (0, 1), (0, 2)),
}


def _combine(model: Model, head: str, parts: Sequence[Tensor], reference: Tensor | None = None) -> Tensor:
    """Logits (B, n) FP32 of states in the order of `query_roles`, of any floating type; of a head with intensities
    (B, 2 n), those in [0, 1] behind the logits."""
    if head == "points":
        former, due, later = (part.float() for part in parts)
        logits, intensity = model.points.decide(former, due, later, reference)
        return logits if intensity is None else torch.cat((logits, intensity), 1)
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

    A head that reads the person's points at rest has one more input, `reference` (Q, 68, 2), as `PointsHead.decide`
    takes it. A head with intensities has them in [0, 1] behind the logits: (Q, 2 n).
    """

    def __init__(self, model: Model, head: str, state_dtype: str = "float32", compute: str = "float32") -> None:
        super().__init__()
        self.model, self.head = prepared(model, head, compute), head
        self.specs = state_specs(model, head, state_dtype)
        self.state_dtype = torch.float16 if state_dtype == "float16" else torch.float32
        roles = query_roles(self.specs)
        self.inputs = ("crop", *(f"{s}_{r}" for s, r in roles), *(f"ring_{s.name}" for s in self.specs))
        if has_reference(model, head):
            self.inputs += ("reference",)
        self.outputs = ("heatmaps", *(s.name for s in self.specs), "logits")

    def forward(
        self, crop: Tensor, indices: list[Tensor], rings: list[Tensor], reference: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        look = _look(self.model, crop)
        new = [state.to(self.state_dtype) for state in _describe(self.model, self.head, look, crop)]
        place = {spec.name: i for i, spec in enumerate(self.specs)}
        parts = []
        for (name, _), index in zip(query_roles(self.specs), indices, strict=True):
            parts.append(_pick(index, new[place[name]], rings[place[name]]))
        return (look.heatmaps, *new, _combine(self.model, self.head, parts, reference))


def _pick(index: Tensor, new: Tensor, ring: Tensor) -> Tensor:
    """Row -1 - index of `new` where index < 0, else row index of `ring`: (Q, ...)."""
    fresh = (index < 0).reshape(-1, *([1] * (new.ndim - 1)))
    kept = ring.index_select(0, index.clamp(min=0))
    return torch.where(fresh, new.index_select(0, (-1 - index).clamp(min=0)), kept)
