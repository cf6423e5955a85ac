"""Crop geometry: from a face in a frame to the network's input, and back.

A matrix is `float64 (2, 3)` and maps frame pixels to crop pixels. Points are `(x, y)`, pixel centres lie at integers; a
normalised crop coordinate is `u = (x + 0.5) / R` for a crop of side R.

`warp_crop` runs the compiled kernel (csrc/align.pyx) where it is built, else `warp_crop_reference`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from ..errors import InvalidInput

__all__ = [
    "NATIVE",
    "PAPER_CROP_SCALE",
    "box_to_matrix",
    "canonical_matrix",
    "five_points",
    "invert",
    "points_to_matrix",
    "reduce_for_crop",
    "reduction_buffer",
    "similarity",
    "transform",
    "warp_crop",
    "warp_crop_reference",
]

_kernel = _native.load("align")
_geometry = _native.load("geometry")

NATIVE: bool = _kernel is not None
"""Whether the compiled kernel runs."""

PAPER_CROP_SCALE = 200 * 2 / 260
"""Side of the paper's crop over the mean side of the face box: 200 (w + h) / 260."""

Matrix = NDArray[np.float64]
Points = NDArray[np.float64]


def _finite(values: ArrayLike, shape: tuple[int | None, ...], name: str) -> NDArray[np.float64]:
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
    points = _finite(landmarks, (68, 2), "landmarks")
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
    source = _finite(points, (None, 2), "points")
    goal = _finite(target, (None, 2), "target")
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
    x, y, width, height = _finite(box, (4,), "box").tolist()
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
    return canonical_matrix(landmarks, _finite(template, (5, 2), "template") * resolution - 0.5)


def canonical_matrix(landmarks: ArrayLike, target: NDArray[np.float64]) -> Matrix:
    """`points_to_matrix` onto a template that is in crop pixels already: float64 (5, 2)."""
    if _geometry is not None:
        given = np.ascontiguousarray(landmarks, np.float64)
        out = np.empty((2, 3))
        if given.shape == (68, 2) and _geometry.canonical(given, target, out):
            return out
    return similarity(five_points(landmarks), target)


def _inverse(matrix: ArrayLike) -> tuple[float, float, float, float, float, float]:
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
    return np.array(_inverse(matrix)).reshape(2, 3)


def transform(matrix: ArrayLike, points: ArrayLike) -> Points:
    """Map points (N, 2) by a matrix (2, 3); NaN stays NaN. Returns float64 (N, 2)."""
    m = np.asarray(matrix, dtype=np.float64)
    p = np.asarray(points, dtype=np.float64)
    if m.shape != (2, 3) or p.ndim != 2 or p.shape[1] != 2:
        raise InvalidInput(f"expected a matrix (2, 3) and points (N, 2), got {m.shape} and {p.shape}")
    return p @ m[:, :2].T + m[:, 2]


def _check(image: Any, out: Any, scale: float | None) -> tuple[NDArray[Any], float]:
    """Check a call of `warp_crop`; give the crop with the channel axis in front, and the scale."""
    # Characters of dtypes and plain strides: this runs for every crop, and comparing dtypes takes longer than the rest.
    if not isinstance(image, np.ndarray) or image.dtype.char != "B" or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InvalidInput(f"image: expected uint8 (H, W, 3), BGR, got {got}; convert it first")
    if image.size == 0:
        raise InvalidInput(f"image: expected at least one pixel, got {image.shape}")
    kind = out.dtype.char if isinstance(out, np.ndarray) and out.dtype.isnative else ""
    if kind not in ("B", "f", "e") or out.ndim != 3:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise InvalidInput(f"out: expected uint8, float32 or float16 of three axes, got {got}")
    plane, row, column = out.strides
    if not out.flags.writeable or out.size == 0 or (plane | row | column) % out.itemsize:
        raise InvalidInput("out: expected a writable crop of whole elements, got one that is read-only, empty or askew")
    shape = out.shape
    if shape[0] == 3 and shape[1] == shape[2]:
        planar = out
    elif shape[2] == 3 and shape[0] == shape[1]:
        planar = out.transpose(2, 0, 1)
    else:
        raise InvalidInput(f"out: expected (3, R, R) or (R, R, 3), got {shape}")
    if scale is None:
        scale = 1.0 if kind == "B" else 1.0 / 255.0
    if not math.isfinite(scale):
        raise InvalidInput(f"scale: expected a finite number, got {scale}")
    return planar, scale


def warp_crop(image: NDArray[np.uint8], matrix: ArrayLike, out: NDArray[Any], *, scale: float | None = None) -> None:
    """Cut a crop out of a frame into a preallocated array: bilinear, BGR to RGB, scaled.

    Outside the frame everything is 0, also beside its outermost pixels: the border fades to black over one pixel.

    Args:
        image: uint8 (H, W, 3), BGR, any strides.
        matrix: (2, 3), frame pixels to crop pixels.
        out: (3, R, R) or (R, R, 3), RGB; uint8, float32 or float16; any strides. Rounded to the nearest value;
            uint8 is limited to 0 .. 255.
        scale: factor on the grey levels 0 .. 255. Default: 1/255, and 1 for uint8.

    Raises:
        InvalidInput: wrong shape or dtype, a matrix that is not finite or has no inverse.
    """
    if _kernel is None:
        warp_crop_reference(image, matrix, out, scale=scale)
        return
    if isinstance(out, np.ndarray) and out.dtype.char == "f":
        try:
            if _kernel.warp_crop_float(image, matrix, out, 1 / 255 if scale is None else scale):
                return
        except (TypeError, ValueError):  # other types: found out below
            pass
    planar, factor = _check(image, out, scale)
    _kernel.warp_crop(image, _inverse(matrix), planar.view(np.uint16) if out.dtype.char == "e" else planar, factor)


def reduction_buffer(resolution: int) -> NDArray[np.uint8]:
    """Room for what `reduce_for_crop` makes for a crop of this side, whatever its turn."""
    return np.empty(3 * (3 * resolution + 8) ** 2, np.uint8)


def reduce_for_crop(
    image: NDArray[np.uint8], matrix: ArrayLike, resolution: int, buffer: NDArray[np.uint8] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Shrink the part of a frame that a crop needs, where the crop is less than half its size: bilinear taps alone
    would skip pixels there and turn fine texture into noise.

    Args:
        image: uint8 (H, W, 3).
        matrix: (2, 3), frame pixels to crop pixels.
        resolution: side of the crop, pixels.
        buffer: of `reduction_buffer`, to be used again and again; None: new memory.

    Returns:
        The image to hand to `warp_crop`, which may lie in `buffer`, and the matrix that goes with it: the arguments
        themselves where nothing is to be shrunk, else the area means of whole blocks of pixels.
    """
    given = _finite(matrix, (2, 3), "matrix")
    (a, b, _), (c, d, _) = given.tolist()
    factor = int(1 / max(1e-9, math.sqrt(abs(a * d - b * c))))
    if factor < 2:
        return image, given
    # Plain floats: this runs for every crop of a large face.
    xx, xy, x0, yx, yy, y0 = _inverse(given)
    end = resolution - 1.0
    left, right = x0 + min(0.0, xx * end) + min(0.0, xy * end), x0 + max(0.0, xx * end) + max(0.0, xy * end)
    top, bottom = y0 + min(0.0, yx * end) + min(0.0, yy * end), y0 + max(0.0, yx * end) + max(0.0, yy * end)
    x, y = max(math.floor(left) - 2 * factor, 0), max(math.floor(top) - 2 * factor, 0)
    columns = (min(math.ceil(right) + 2 * factor, image.shape[1]) - x) // factor
    rows = (min(math.ceil(bottom) + 2 * factor, image.shape[0]) - y) // factor
    if columns < 1 or rows < 1:
        return image, given
    import cv2

    part = image[y : y + rows * factor, x : x + columns * factor]
    size = 3 * rows * columns
    room = buffer[:size].reshape(rows, columns, 3) if buffer is not None and size <= buffer.size else None
    small = cv2.resize(part, (columns, rows), dst=room, interpolation=cv2.INTER_AREA)
    middle = (factor - 1) / 2
    back = np.array([(factor, 0, x + middle), (0, factor, y + middle), (0, 0, 1)], np.float64)
    return small.astype(np.uint8, copy=False), given @ back


def warp_crop_reference(
    image: NDArray[np.uint8], matrix: ArrayLike, out: NDArray[Any], *, scale: float | None = None
) -> None:
    """`warp_crop` in NumPy: what the kernel is held to."""
    planar, factor = _check(image, out, scale)
    inverse = invert(matrix)
    height, width = image.shape[:2]
    row, column = np.mgrid[: planar.shape[1], : planar.shape[2]]
    x = np.clip(inverse[0, 0] * column + inverse[0, 1] * row + inverse[0, 2], -2, width + 1)
    y = np.clip(inverse[1, 0] * column + inverse[1, 1] * row + inverse[1, 2], -2, height + 1)
    left, upper = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    fx, fy = (x - left)[..., None], (y - upper)[..., None]
    crop = np.zeros((*x.shape, 3))
    for shift_y, weight_y in ((0, 1 - fy), (1, fy)):
        for shift_x, weight_x in ((0, 1 - fx), (1, fx)):
            j, i = left + shift_x, upper + shift_y
            inside = ((i >= 0) & (i < height) & (j >= 0) & (j < width))[..., None]
            taps = image[np.clip(i, 0, height - 1), np.clip(j, 0, width - 1)]
            crop += weight_y * weight_x * np.where(inside, taps, 0)
    crop = crop[..., ::-1].transpose(2, 0, 1) * factor
    if out.dtype == np.uint8:
        crop = np.floor(np.clip(crop, 0, 255) + 0.5)
    with np.errstate(over="ignore"):
        planar[...] = crop.astype(np.float32).astype(out.dtype)
