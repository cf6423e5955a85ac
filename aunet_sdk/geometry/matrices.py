"""Matrices between frame and crop: from boxes and points, their inverse, and points through them.

A matrix is `float64 (2, 3)` and maps frame pixels to crop pixels. Points are `(x, y)`, pixel centres lie at integers; a
normalised crop coordinate is `u = (x + 0.5) / R` for a crop of side R.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from ..errors import InvalidInput

__all__ = [
    "PAPER_CROP_SCALE",
    "Matrix",
    "box_to_matrix",
    "canonical_matrix",
    "finite",
    "five_points",
    "inverse",
    "invert",
    "points_to_matrix",
    "similarity",
    "transform",
]

_geometry = _native.load("geometry")

PAPER_CROP_SCALE = 200 * 2 / 260
"""Side of the paper's crop over the mean side of the face box: 200 (w + h) / 260."""

Matrix = NDArray[np.float64]
Points = NDArray[np.float64]


def finite(values: ArrayLike, shape: tuple[int | None, ...], name: str) -> NDArray[np.float64]:
    """As float64 of this shape (None: any length). Raises InvalidInput, also for NaN and infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        text = ", ".join("N" if side is None else str(side) for side in shape)
        raise InvalidInput(f"{name}: expected the shape ({text}), got {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidInput(f"{name}: expected finite numbers, got NaN or infinity; skip this face")
    return array


def five_points(landmarks: ArrayLike) -> Points:
    """The five points that steer the crop, from the 68.

    Args:
        landmarks: (68, 2), any unit, iBUG order.

    Returns:
        float64 (5, 2): eye centres (image left, image right), nose tip, mouth corners (left, right).

    Raises:
        InvalidInput: wrong shape, NaN or infinity.
    """
    if _geometry is not None:
        given = np.ascontiguousarray(landmarks, np.float64)
        out = np.empty((5, 2))
        if given.shape == (68, 2) and _geometry.five_points(given, out):
            return out
    return five_points_reference(landmarks)


def five_points_reference(landmarks: ArrayLike) -> Points:
    """`five_points` in NumPy: what the kernel is held to."""
    points = finite(landmarks, (68, 2), "landmarks")
    five = np.empty((5, 2))
    five[0] = points[36:42].mean(axis=0)
    five[1] = points[42:48].mean(axis=0)
    five[2:] = points[[30, 48, 54]]
    return five


def similarity(points: ArrayLike, target: ArrayLike) -> Matrix:
    """The similarity (turn, scale, shift; no mirroring) that brings `points` closest to `target` in least squares.

    Args:
        points: (N, 2), N >= 2, not all the same.
        target: (N, 2).

    Returns:
        float64 (2, 3), maps `points` to `target`.

    Raises:
        InvalidInput: wrong shapes, NaN or infinity, points that coincide, or a fit of scale zero.
    """
    if _geometry is not None:
        given, wanted = np.ascontiguousarray(points, np.float64), np.ascontiguousarray(target, np.float64)
        out = np.empty((2, 3))
        if given.ndim == 2 and given.shape == wanted.shape and given.shape[1] == 2 and len(given) >= 2:
            if _geometry.similarity(given, wanted, out):
                return out
    return similarity_reference(points, target)


def similarity_reference(points: ArrayLike, target: ArrayLike) -> Matrix:
    """`similarity` in NumPy: what the kernel is held to."""
    source = finite(points, (None, 2), "points")
    goal = finite(target, (None, 2), "target")
    if len(source) != len(goal) or len(source) < 2:
        raise InvalidInput(f"expected as many points as targets, 2 or more, got {len(source)} and {len(goal)}")
    centre, goal_centre = source.mean(axis=0), goal.mean(axis=0)
    p, q = source - centre, goal - goal_centre
    size = float((p * p).sum())
    a = float((p * q).sum())
    b = float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum())
    if size <= 1e-12 * len(source) or math.hypot(a, b) <= 1e-12 * size:
        raise InvalidInput("expected points that span a face, got points that (nearly) coincide; skip this face")
    a, b = a / size, b / size
    x, y = float(centre[0]), float(centre[1])
    return np.array([[a, -b, goal_centre[0] - a * x + b * y], [b, a, goal_centre[1] - b * x - a * y]])


def box_to_matrix(box: ArrayLike, crop_scale: float, resolution: int) -> Matrix:
    """The upright square crop about the centre of a face box.

    Args:
        box: x, y, w, h in px.
        crop_scale: side of the crop over (w + h) / 2; the paper's is `PAPER_CROP_SCALE`.
        resolution: side R of the crop in px.

    Returns:
        float64 (2, 3). The edges of the square lie on the outer edges of the crop (u = 0 and u = 1).

    Raises:
        InvalidInput: a box without size, a scale or resolution that is not positive, NaN or infinity.
    """
    x, y, width, height = finite(box, (4,), "box").tolist()
    side = crop_scale * (width + height) / 2
    if not (width > 0 and height > 0 and math.isfinite(side) and side > 0 and resolution > 0):
        raise InvalidInput(
            f"expected a box, a crop_scale and a resolution above 0, got {width:g} x {height:g} px, "
            f"{crop_scale:g} and {resolution}"
        )
    scale = resolution / side
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    return np.array([[scale, 0.0, -scale * left - 0.5], [0.0, scale, -scale * top - 0.5]])


def points_to_matrix(landmarks: ArrayLike, template: ArrayLike, resolution: int) -> Matrix:
    """The canonical crop: the similarity that maps the five points of a face onto the template.

    Args:
        landmarks: (68, 2) px in the frame, iBUG order.
        template: (5, 2), normalised crop coordinates, from the bundle.
        resolution: side R of the crop in px.

    Returns:
        float64 (2, 3).

    Raises:
        InvalidInput: as `five_points` and `similarity`.
    """
    return canonical_matrix(landmarks, finite(template, (5, 2), "template") * resolution - 0.5)


def canonical_matrix(landmarks: ArrayLike, target: NDArray[np.float64]) -> Matrix:
    """`points_to_matrix` onto a template that is in crop pixels already: float64 (5, 2)."""
    if _geometry is not None:
        given = np.ascontiguousarray(landmarks, np.float64)
        out = np.empty((2, 3))
        if given.shape == (68, 2) and _geometry.canonical(given, target, out):
            return out
    return similarity(five_points(landmarks), target)


def inverse(matrix: ArrayLike) -> tuple[float, float, float, float, float, float]:
    """The six numbers of the inverse of an affine matrix, row by row; plain floats, because it runs for every crop."""
    array = np.asarray(matrix, dtype=np.float64)
    if array.shape != (2, 3):
        raise InvalidInput(f"matrix: expected the shape (2, 3), got {array.shape}")
    (a, b, x), (c, d, y) = array.tolist()
    if not math.isfinite(a + b + c + d + x + y):
        raise InvalidInput("matrix: expected finite numbers, got NaN or infinity; skip this face")
    determinant = a * d - b * c
    if determinant == 0.0 or not math.isfinite(1.0 / determinant):
        raise InvalidInput("matrix: expected one that can be inverted, got a determinant of 0")
    f = 1.0 / determinant
    return d * f, -b * f, (b * y - d * x) * f, -c * f, a * f, (c * x - a * y) * f


def invert(matrix: ArrayLike) -> Matrix:
    """The inverse of an affine matrix (2, 3); InvalidInput where it has none."""
    return np.array(inverse(matrix)).reshape(2, 3)


def transform(matrix: ArrayLike, points: ArrayLike) -> Points:
    """Map points (N, 2) by a matrix (2, 3); NaN stays NaN. Returns float64 (N, 2)."""
    m = np.asarray(matrix, dtype=np.float64)
    p = np.asarray(points, dtype=np.float64)
    if m.shape != (2, 3) or p.ndim != 2 or p.shape[1] != 2:
        raise InvalidInput(f"expected a matrix (2, 3) and points (N, 2), got {m.shape} and {p.shape}")
    return p @ m[:, :2].T + m[:, 2]
