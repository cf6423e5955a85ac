"""Crops: from a face in a frame to the network's input. The matrices are those of geometry/matrices.py.

`warp_crop` runs the compiled kernel (csrc/align.pyx) where it is built, else `warp_crop_reference`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from ..errors import InvalidInput
from .matrices import (
    PAPER_CROP_SCALE,
    box_to_matrix,
    canonical_matrix,
    finite,
    five_points,
    inverse,
    invert,
    points_to_matrix,
    similarity,
    transform,
)

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

NATIVE: bool = _kernel is not None
"""Whether the compiled kernel runs."""


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
    _kernel.warp_crop(image, inverse(matrix), planar.view(np.uint16) if out.dtype.char == "e" else planar, factor)


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
    given = np.asarray(matrix, np.float64)
    numbers = given.ravel().tolist()  # plain numbers: this runs for every crop of a large face
    if given.shape != (2, 3) or not math.isfinite(sum(numbers)):
        given = finite(matrix, (2, 3), "matrix")
    a, b, _, c, d, _ = numbers
    factor = int(1 / max(1e-9, math.sqrt(abs(a * d - b * c))))
    if factor < 2:
        return image, given
    xx, xy, x0, yx, yy, y0 = inverse(given)
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
    x0, y0 = x + middle, y + middle
    whole = [(p * factor, q * factor, p * x0 + q * y0 + r) for p, q, r in (numbers[:3], numbers[3:])]
    return small, np.array(whole)  # type: ignore[return-value]  # of the dtype of `part`


def warp_crop_reference(
    image: NDArray[np.uint8], matrix: ArrayLike, out: NDArray[Any], *, scale: float | None = None
) -> None:
    """`warp_crop` in NumPy: what the kernel is held to."""
    planar, factor = _check(image, out, scale)
    back = invert(matrix)
    height, width = image.shape[:2]
    row, column = np.mgrid[: planar.shape[1], : planar.shape[2]]
    x = np.clip(back[0, 0] * column + back[0, 1] * row + back[0, 2], -2, width + 1)
    y = np.clip(back[1, 0] * column + back[1, 1] * row + back[1, 2], -2, height + 1)
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
