"""Weights that others published, read strictly into our format.

Every tensor of a file is used exactly once and its shape is checked; what does not fit is an error that names it. One
exception: files of old PyTorch versions lack batch norm's counters `num_batches_tracked`, which evaluation never reads;
where all of them are missing they count from 0. Files are read as safetensors or with `torch.load(weights_only=True)`.

    the authors' release     FAN with 2 stacks and max pooling, and a head          from_release
    face-alignment 2DFAN-4   its first 2 stacks, average pooling                    from_face_alignment
    ResNet18                 torchvision's names, the ImageNet classifier left out  train/models/resnet.py
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from aunet_sdk.commands import release as published
from train.models.aunet_head import AUNetHead
from train.models.config import AU_NUMBERS, TEMPLATE, ModelConfig, ModelFileError
from train.models.fan import FAN
from train.models.model import AUNet, Model
from train.models.tensor_file import COUNTER, State, load_exactly, read_state

__all__ = [
    "PAPER_CROP_SCALE", "PAPER_TEMPLATE", "RELEASED_AUS", "blob_id", "compare_published", "default_aus", "fan_model",
    "from_face_alignment", "from_release", "load_exactly", "load_fan", "mean_face", "read_fan", "read_state",
]  # fmt: skip

LOG = logging.getLogger("train")

PAPER_CROP_SCALE = 200 / 130
"""Side of the paper's crop over the mean side of the face box: 200 (w + h) / 260."""
_DRAWN_IN = ModelConfig().crop_scale / PAPER_CROP_SCALE
PAPER_TEMPLATE = tuple((0.5 + (x - 0.5) * _DRAWN_IN, 0.5 + (y - 0.5) * _DRAWN_IN) for x, y in TEMPLATE)
"""Five points of the canonical crop at the paper's scale."""
RELEASED_AUS: dict[int, tuple[int, ...]] = {
    15: AU_NUMBERS,
    12: (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
    8: (1, 2, 4, 6, 9, 12, 25, 26),
}
"""AUs of the released heads by their number: the mixture (as in the release's demo), BP4D, DISFA."""


def _width(fan: State, origin: str) -> int:
    weights = (tensor for name, tensor in fan.items() if name.endswith("conv1.weight"))
    weight = next((tensor for tensor in weights if tensor.ndim == 4 and tensor.shape[1:] == (3, 7, 7)), None)
    if weight is None or weight.shape[0] % 2:
        raise ModelFileError(f"{origin}: expected FAN's conv1.weight (width / 4, 3, 7, 7), got none; is it a FAN?")
    return 4 * int(weight.shape[0])


def _stacks(fan: State) -> int:
    found = {int(match[1]) for name in fan if (match := re.match(r"(?:.*\.)?m(\d+)\.b1_4\.", name))}
    return max(found, default=-1) + 1


def read_fan(state: State, pooling: str, stacks: int, origin: str = "FAN") -> FAN:
    """A FAN of exactly `stacks` stacks from its state dict, in evaluation mode."""
    found = _stacks(state)
    if found != stacks:
        hint = "`python -m train import` takes the first two" if found > stacks else "is it the right file?"
        raise ModelFileError(f"{origin}: expected {stacks} hourglasses, got {found}; {hint}")
    fan = FAN(_width(state, origin), stacks=stacks, pooling=pooling)
    load_exactly(fan, state, origin)
    return fan.eval()


def from_face_alignment(state: State, origin: str = "2DFAN-4") -> FAN:
    """The first two stacks of face-alignment's FAN (average pooling), which has four; all of its tensors are checked.

    The heatmaps of the second stack do not depend on the later ones, so they are the same.
    """
    stacks = _stacks(state)
    if stacks < 2:
        raise ModelFileError(f"{origin}: expected 2 hourglasses or more, got {stacks}; is it the right file?")
    whole = read_fan(state, "avg", stacks, origin)
    fan = FAN(whole.width, stacks=2, pooling="avg")
    names = fan.state_dict().keys()
    fan.load_state_dict({name: tensor for name, tensor in whole.state_dict().items() if name in names})
    return fan.eval()


def load_fan(path: str | Path) -> tuple[FAN, str]:
    """FAN of a file, and its pooling: a model of ours, the authors' (2 stacks), or face-alignment's (4 stacks)."""
    path = Path(path)
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            ours = "config" in (file.metadata() or {})
        if ours:
            model = Model.load(path)
            return model.fan, model.config.pooling
    state = read_state(path)
    if _stacks(state) == 4:
        return from_face_alignment(state, str(path)), "avg"
    return read_fan(state, "max", 2, str(path)), "max"


def fan_model(fan: FAN, pooling: str, provenance: Mapping[str, Any], resolution: int = 256) -> Model:
    """A model around an imported FAN, as `python -m train fan` writes it: the heads are not trained yet."""
    config = ModelConfig(
        width=fan.width,
        resolution=resolution,
        pooling=pooling,
        template=PAPER_TEMPLATE,
        crop_scale=PAPER_CROP_SCALE,
        points3d=mean_face(),
        provenance={**provenance, "heads": "not trained"},
    )
    model = Model(config)
    model.fan.load_state_dict(fan.state_dict())
    return model.eval()


def from_release(
    fan_state: State,
    head_state: State,
    au_numbers: Sequence[int],
    alpha: float = 0.9,
    beta: float = 0.1,
    *,
    by_order: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> AUNet:
    """The authors' network from its two files.

    Args:
        fan_state: FAN, 2 stacks, max pooling; the width is read from it.
        head_state: the head ("predictor").
        au_numbers: FACS numbers of the head's outputs in the file's order; ours are ascending, so the last layer's rows
            are sorted.
        alpha, beta: weights of the static and the motion features; 0.9 and 0.1 in the released checkpoints.
        by_order: take the head's tensors in the file's order instead of by name, as the authors' own script does; for a
            file whose names differ.

    Raises:
        ModelFileError: a tensor is missing, left over, of another shape or not finite.
        ValueError: au_numbers are not those of the head.
    """
    fan = read_fan(fan_state, "max", 2, "FAN of the release")
    numbers = tuple(int(number) for number in au_numbers)
    if not numbers or len(set(numbers)) != len(numbers) or min(numbers) < 1:
        raise ValueError(f"au_numbers: expected FACS numbers, each once, got {numbers}")
    head = AUNetHead(len(numbers), fan.width, alpha, beta)
    origin = "head of the release"
    if by_order:
        head_state = _in_release_order(head, head_state, origin)
    _check_outputs(head_state, len(numbers), origin)
    try:
        load_exactly(head, head_state, origin)
    except ModelFileError as error:
        if by_order or len(head_state) != len(head.state_dict()):
            raise
        raise ModelFileError(f"{error}; if the names alone differ, read it by order (--by-order)") from error
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    with torch.no_grad():
        for tensor in head.predictor[3].parameters():
            tensor.copy_(tensor[order].clone())
    model = AUNet(
        ModelConfig(
            width=fan.width,
            au_numbers=tuple(sorted(numbers)),
            pooling="max",
            template=PAPER_TEMPLATE,
            crop_scale=PAPER_CROP_SCALE,
            points3d=mean_face(),
            alpha=alpha,
            beta=beta,
            provenance=dict(provenance or {}),
        )
    )
    model.fan.load_state_dict(fan.state_dict())
    model.aunet.load_state_dict(head.state_dict())
    return model.eval()


def default_aus(head_state: State) -> tuple[int, ...]:
    """AUs of a released head by the number of its outputs: ascending; ValueError for a number that none has."""
    count = _outputs(head_state)
    if count not in RELEASED_AUS:
        known = ", ".join(str(n) for n in RELEASED_AUS)
        raise ValueError(f"head: expected one of {known} outputs, got {count}; name its AUs in order (--aus 1,2,4,...)")
    return RELEASED_AUS[count]


def _outputs(head_state: State) -> int:
    """Outputs of a head: the last vector in the file that follows a matrix with as many rows."""
    named = [t for name, t in head_state.items() if re.search(r"(^|\.)predictor\.3\.bias$", name)]
    if not named:
        vectors = list(head_state.values())
        named = [b for a, b in pairwise(vectors) if a.ndim == 2 and b.shape == a.shape[:1]]
    return int(named[-1].shape[0]) if named and named[-1].ndim == 1 else 0


def _check_outputs(head_state: State, count: int, origin: str) -> None:
    found = _outputs(head_state)
    if found and found != count:
        raise ValueError(f"{origin}: expected {count} outputs, one per AU of au_numbers, got {found}")


_RELEASE_ORDER = ("conv1x1", "ConvNet_1", "ConvNet_diff", "ConvNet_2", "predictor", "conv1x1_diff")


def _in_release_order(head: AUNetHead, state: State, origin: str) -> State:
    """The tensors of `state` under our names, matched by the order in which the release defines its layers."""
    own = head.state_dict()
    names = [name for part in _RELEASE_ORDER for name in own if name.split(".")[0] == part]
    given = list(state.values())
    if len(given) != len(names):
        without = [name for name in names if not name.endswith(COUNTER)]
        if len(given) != len(without):
            raise ModelFileError(f"{origin}: expected {len(names)} tensors to read by order, got {len(given)}")
        names = without
    return dict(zip(names, given, strict=True))


def mean_face() -> tuple[tuple[float, float, float], ...]:
    """Mean 3D shape of the 68 points, for head pose, from this repository's checkpoint; empty where it is absent."""
    path = Path(__file__).parents[1] / "checkpoints" / "default.safetensors"
    if not path.is_file():
        return ()
    with safe_open(path, framework="pt") as file:
        return ModelConfig.from_json(file.metadata()["config"]).points3d


def blob_id(path: str | Path) -> str:
    """Git's id of a file's content: SHA-1 of "blob <size>", a zero byte and the content."""
    path = Path(path)
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def compare_published(path: str | Path, kind: str = "") -> dict[str, Any]:
    """Say in the log whether a file is the one that the authors published; another one is no error.

    Args:
        kind: "fan" or "head" of their release; empty: a file of somebody else, whose id is not known.

    Returns:
        for a model's provenance: "file", "git_blob" and, where an id is known, "published".
    """
    path = Path(path)
    found = blob_id(path)
    facts: dict[str, Any] = {"file": path.name, "git_blob": found}
    known = {"fan": [published.FAN], "head": list(published.HEADS.values())}.get(kind, [])
    same = [one for one in known if one.blob == found]
    named = known if kind == "fan" else [one for one in known if one.name.split(".")[0] == path.name.split(".")[0]]
    if same:
        LOG.info("%s is the published file %s (git blob %s)", path, same[0].path, found)
    elif named:
        LOG.warning(
            "%s is not the published file %s (expected git blob %s, got %s)", path, named[0].path, named[0].blob, found
        )
    elif known:
        LOG.warning("%s is not one of the published heads (got git blob %s)", path, found)
    else:
        LOG.info("%s: git blob %s; no published id is known to compare it with", path, found)
    return {**facts, "published": bool(same)} if known else facts
