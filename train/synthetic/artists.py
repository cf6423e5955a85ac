"""Whose shapes make a movement: the ICT head's own, or in part, or altogether, those of another rig (`rigs`).

Rigs are told by the names of their shapes, ``facshuman_12_L``. What they add to a movement is drawn beside the stream
of other draws: with and without rigs a seed gives the same people, acts and pictures but for that.
"""

from __future__ import annotations

import numpy as np

from train.synthetic.ict import AU_NUMBERS
from train.synthetic.makehuman import RIGS

MAKERS = ("ict", *RIGS)
OWN_SHARE = 0.3
"""The least that ICT's own shapes give where rigs are mixed."""
ALONE = 0.25
"""Share of sequences in which one rig, or ICT, makes all movements it can."""


def own_shapes(shape_names: tuple[str, ...]) -> int:
    """How many shapes are the head's own; those of rigs come after them."""
    return sum(not name.startswith(tuple(f"{rig}_" for rig in RIGS)) for name in shape_names)


def columns(shape_names: tuple[str, ...], number: int, side: str = "") -> list[int]:
    """Where the rigs' shapes of an AU stand; ``side``: those of ``_L`` or ``_R`` alone."""
    wanted = {f"{rig}_{number}{end}" for rig in RIGS for end in ([side] if side else ["", "_L", "_R"])}
    return [i for i, name in enumerate(shape_names) if name in wanted]


def shares(known: np.ndarray, rng: np.random.Generator, maker: str = "") -> np.ndarray:
    """(1 + rigs, n) float64, columns sum to 1: how much of each AU ICT and each rig make in a sequence; ``known`` of
    that shape: who has the AU. What a rig lacks is ICT's. ``maker``: one of `MAKERS`, who then makes all of them."""
    if maker not in ("", *MAKERS):
        raise ValueError(f"maker: expected one of {', '.join(MAKERS)}, got {maker!r}")
    drawn = np.zeros(known.shape)
    if maker:
        drawn[MAKERS.index(maker)] = 1
    elif rng.random() < ALONE:
        drawn[rng.integers(len(known))] = 1
    else:
        drawn[:] = (1 - OWN_SHARE) * rng.dirichlet(np.ones(len(known)), known.shape[1]).T
    drawn[~known] = 0
    drawn[0] = 1 - drawn[1:].sum(0)
    return drawn


def weights_of(
    intensity: np.ndarray,
    au_matrix: np.ndarray,
    gain: np.ndarray,
    shape_names: tuple[str, ...],
    rng: np.random.Generator,
    maker: str = "",
) -> np.ndarray:
    """(frames, shapes): shape weights of intensities (frames, n); ``au_matrix`` (n, shapes) is `Head.au_matrix`,
    ``gain`` (n, own shapes) a face's own way to move."""
    own = gain.shape[1]
    if own == len(shape_names):
        return np.asarray(intensity @ (au_matrix * gain))
    aside = rng.spawn(1)[0]
    theirs = {(rig, row): _of(name, shape_names, number) for rig, name in enumerate(RIGS, 1)
              for row, number in enumerate(AU_NUMBERS)}  # fmt: skip
    known = np.ones((1 + len(RIGS), len(AU_NUMBERS)), bool)
    for place, shapes in theirs.items():
        known[place] = len(shapes) > 0
    share = shares(known, aside, maker)
    weights = np.zeros((len(intensity), len(shape_names)))
    weights[:, :own] = (intensity * share[0]) @ (au_matrix[:, :own] * gain)
    for (rig, row), shapes in theirs.items():
        for shape in shapes:
            weights[:, shape] = intensity[:, row] * share[rig, row] * aside.uniform(0.85, 1.1)
    return weights


def _of(rig: str, shape_names: tuple[str, ...], number: int) -> list[int]:
    return [i for i in columns(shape_names, number) if shape_names[i].startswith(f"{rig}_")]


__all__ = ["ALONE", "MAKERS", "OWN_SHARE", "columns", "own_shapes", "shares", "weights_of"]
