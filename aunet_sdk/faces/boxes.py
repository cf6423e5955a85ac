"""The boxes of two sets against each other: overlap, distance, and which belong together.

A set of boxes is (N, 4): x, y, width, height in px; any dtype and strides, read as float64. The compiled kernel
(csrc/boxes.pyx) runs where it is built, else the references.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native

__all__ = ["NATIVE", "gaps", "gaps_reference", "match", "match_reference", "overlaps", "overlaps_reference"]

_kernel = _native.load("boxes")

NATIVE: bool = _kernel is not None
"""Whether the compiled kernel runs."""

_SMALLEST_PX = 1e-9

Table = NDArray[np.float64]


def _boxes(values: ArrayLike) -> Table:
    array = np.ascontiguousarray(values, np.float64)
    return array if array.ndim == 2 and array.shape[1] == 4 else array.reshape(-1, 4)  # no boxes at all: (0,)


def _table(fill: Callable[[Table, Table, Table], None], a: ArrayLike, b: ArrayLike) -> Table:
    first, second = _boxes(a), _boxes(b)
    out = np.empty((len(first), len(second)))
    fill(first, second, out)
    return out


def overlaps(a: ArrayLike, b: ArrayLike) -> Table:
    """Intersection over union, float64 (N, M), 0..1, of boxes a (N, 4) and b (M, 4).

    0 where they touch or lie apart, where one has no area, and where one holds NaN or infinity.
    """
    return overlaps_reference(a, b) if _kernel is None else _table(_kernel.overlaps, a, b)


def overlaps_reference(a: ArrayLike, b: ArrayLike) -> Table:
    """`overlaps` in NumPy: what the kernel is held to."""
    first, second = _boxes(a)[:, None], _boxes(b)[None]
    with np.errstate(all="ignore"):
        low = np.maximum(first[..., :2], second[..., :2])
        sides = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:]) - low
        shared = sides[..., 0] * sides[..., 1]
        ratio = shared / (first[..., 2] * first[..., 3] + second[..., 2] * second[..., 3] - shared)
        finite = np.isfinite(first.sum(axis=2) + second.sum(axis=2))
        return np.where((sides > 0).all(axis=2) & (ratio > 0) & finite, np.minimum(ratio, 1.0), 0.0)


def gaps(a: ArrayLike, b: ArrayLike) -> Table:
    """Distance of the centres in units of the smaller box's size (mean of width and height), float64 (N, M), of boxes
    a (N, 4) and b (M, 4). Infinite where one holds NaN or infinity.
    """
    return gaps_reference(a, b) if _kernel is None else _table(_kernel.gaps, a, b)


def gaps_reference(a: ArrayLike, b: ArrayLike) -> Table:
    """`gaps` in NumPy: what the kernel is held to."""
    first, second = _boxes(a)[:, None], _boxes(b)[None]
    with np.errstate(all="ignore"):
        away = first[..., :2] + first[..., 2:] / 2 - second[..., :2] - second[..., 2:] / 2
        size = np.fmin((first[..., 2] + first[..., 3]) / 2, (second[..., 2] + second[..., 3]) / 2)
        gap = np.hypot(away[..., 0], away[..., 1]) / np.fmax(_SMALLEST_PX, size)
    return np.where(np.isnan(gap), np.inf, gap)


def match(overlap: Table, gap: Table, least_overlap: float, most_gap: float) -> NDArray[np.intp]:
    """Pairs of rows and columns, none used twice: the best first, then the best of those left.

    A pair counts where its overlap is at least `least_overlap` or its gap at most `most_gap`. Better is the larger
    overlap, then the smaller gap, then the earlier row and column.

    Args:
        overlap, gap: float64 (N, M), without NaN, as `overlaps` and `gaps` give them.

    Returns:
        intp (N,): each row's column, or -1.
    """
    if _kernel is None:
        return match_reference(overlap, gap, least_overlap, most_gap)
    partner, taken = np.empty(overlap.shape[0], np.intp), np.empty(overlap.shape[1], np.intp)
    _kernel.match(overlap, gap, least_overlap, most_gap, partner, taken)
    return partner


def match_reference(overlap: Table, gap: Table, least_overlap: float, most_gap: float) -> NDArray[np.intp]:
    """`match` in NumPy: what the kernel is held to."""
    partner = np.full(overlap.shape[0], -1, np.intp)
    rows, columns = np.nonzero((overlap >= least_overlap) | (gap <= most_gap))
    taken: set[int] = set()
    for at in np.lexsort((columns, rows, gap[rows, columns], -overlap[rows, columns])):
        row, column = int(rows[at]), int(columns[at])
        if partner[row] < 0 and column not in taken:
            partner[row] = column
            taken.add(column)
    return partner
