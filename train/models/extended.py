"""Models with and without the part for more AUs: added, taken out, taken over from another model."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from train.models.model import Model

__all__ = ["extended", "with_extra_of", "without_extra"]


def extended(model: Model, au_numbers: tuple[int, ...]) -> Model:
    """A copy of `model` whose head 'points' has a part for `au_numbers`, ascending, not trained yet; all that it said
    before it says still, to the bit. The head 'aunet' keeps its own AUs.

    Raises:
        ValueError: no head 'points', one that has such a part, or AUs that it has.
    """
    config = model.config
    had = config.aus_of("points")
    if "points" not in config.heads or config.extra:
        raise ValueError(
            f"model: expected the head 'points' without a part for more AUs, got heads {config.heads}, extra "
            f"{config.extra}"
        )
    if not au_numbers or set(au_numbers) & set(config.au_numbers):
        raise ValueError(f"au_numbers: expected some beside {config.au_numbers}, got {au_numbers}")
    numbers = tuple(sorted({*config.au_numbers, *au_numbers}))
    kept = dict(zip(had, config.thresholds_of("points"), strict=True))
    thresholds = {**config.thresholds, "points": tuple(kept.get(number, 0.5) for number in numbers)}
    head_aus = {"aunet": config.aus_of("aunet")}
    wider = Model(
        dataclasses.replace(
            config, au_numbers=numbers, head_aus=head_aus, extra=tuple(sorted(au_numbers)), thresholds=thresholds
        )
    )
    _copy(model.state_dict(), wider)
    return wider.eval()


def without_extra(model: Model) -> Model:
    """A copy of `model` without its part for more AUs, and without what was written down about it; the same model where
    it has none."""
    config = model.config
    if not config.extra:
        return model
    numbers = tuple(number for number in config.au_numbers if number not in config.extra)
    kept = dict(zip(config.aus_of("points"), config.thresholds_of("points"), strict=True))
    thresholds = {**config.thresholds, "points": tuple(kept[number] for number in numbers)}
    head_aus = {head: aus for head, aus in config.head_aus.items() if aus != numbers}
    made = {name: entry for name, entry in config.provenance.items() if name != "extra"}
    plain = Model(
        dataclasses.replace(
            config, au_numbers=numbers, head_aus=head_aus, extra=(), thresholds=thresholds, provenance=made
        )
    )
    _copy({name: tensor for name, tensor in model.state_dict().items() if not name.startswith("points.extra.")}, plain)
    return plain.eval()


def with_extra_of(model: Model, other: Model) -> Model:
    """A copy of `model` with the part for more AUs of `other`, which reads what both keep of a frame.

    Raises:
        ValueError: `other` has no such part, or another FAN or other features around the landmarks.
    """
    if other.points.extra is None:
        raise ValueError("extra: expected a model with a part for more AUs, got one without")
    shared, theirs = ("fan.", "points.reduce."), other.state_dict()
    if any(not torch.equal(t, theirs[n]) for n, t in model.state_dict().items() if n.startswith(shared)):
        raise ValueError("extra: expected a model of the same FAN and the same features of the head 'points'")
    wider = extended(model, other.config.extra)
    _copy({name: tensor for name, tensor in theirs.items() if name.startswith("points.extra.")}, wider)
    told = {"extra": other.config.provenance["extra"]} if "extra" in other.config.provenance else {}
    said = dict(zip(other.config.aus_of("points"), other.config.thresholds_of("points"), strict=True))
    own = dict(zip(wider.config.aus_of("points"), wider.config.thresholds_of("points"), strict=True))
    thresholds = tuple(said[n] if n in wider.config.extra else own[n] for n in wider.config.aus_of("points"))
    wider.config = dataclasses.replace(
        wider.config,
        thresholds={**wider.config.thresholds, "points": thresholds},
        provenance={**wider.config.provenance, **told},
    )
    return wider


@torch.no_grad()
def _copy(tensors: dict[str, Tensor], model: Model) -> None:
    own = model.state_dict()
    for name, tensor in tensors.items():
        own[name].copy_(tensor)
