"""Every function of every compiled kernel with whatever can be handed to it.

The wrappers in Python check what they hand on; the kernels do not rely on it: an array of another shape, an index or a
coordinate from nowhere is refused or drawn as nothing, and never read or written beside its array. Results lie between
two strips of a known value here, which must stay; `make asan` runs the same tests with AddressSanitizer and UBSan.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import native

align, boxes, geometry, heatmap, raster = map(native.kernel, ("align", "boxes", "geometry", "heatmap", "raster"))

ODD = (0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, 1e-30, 1e30, -1e30, 3e9, -3e9, 32767.5, 32768.0, -1.0, 1e308, -1e308)
REFUSALS = (ValueError, TypeError, BufferError)
STRIP = 64
"""elements before and behind a result that must keep their value"""

seeds = st.integers(0, 2**32 - 1)


class Room:
    """Results between strips."""

    def __init__(self) -> None:
        self._all: list[tuple[np.ndarray, int]] = []

    def __call__(self, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
        size = int(np.prod(shape, dtype=int))
        memory = np.full((size + 2 * STRIP) * np.dtype(dtype).itemsize, 0xA5, np.uint8)
        self._all.append((memory, STRIP * np.dtype(dtype).itemsize))
        return memory.view(dtype)[STRIP : STRIP + size].reshape(shape)

    def untouched(self) -> bool:
        return all((m[:strip] == 0xA5).all() and (m[len(m) - strip :] == 0xA5).all() for m, strip in self._all)


def numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """Plain numbers, some of them odd, half of the time."""
    array = rng.normal(0, 100, shape)
    if rng.random() < 0.5:
        array[rng.random(shape) < rng.choice([0.02, 0.5])] = rng.choice(ODD)
        array[rng.random(shape) < 0.02] = rng.choice(ODD)
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def laid_out(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """The same numbers with other strides, or read-only."""
    kind = rng.integers(0, 5)
    if kind == 1:
        return np.asfortranarray(array)
    if kind == 2:
        return array[..., ::-1]
    if kind == 3:
        return np.repeat(array, 2, axis=0)[::2] if array.ndim else array
    if kind == 4:
        array = array.copy()
        array.flags.writeable = False
    return array


def about(rng: np.random.Generator, *shape: int) -> tuple[int, ...]:
    """That shape, and sometimes another."""
    if rng.random() < 0.6:
        return shape
    wrong = list(shape)
    wrong[rng.integers(0, len(wrong))] = int(rng.choice([0, 1, 2, 3, 4, 5, 6, 67, 68, 69]))
    return tuple(wrong)


def calls(function: Callable[..., Any], room: Room, *arguments: Any) -> Any:
    """What it gives, or what it refused with; nothing beside the results was written."""
    try:
        return function(*arguments)
    except REFUSALS as error:
        return error
    finally:
        assert room.untouched()


@given(seeds)
def test_warp(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.choice([0, 1, 2, 3, 5, 17, 64, 200], 2)
    channels = int(rng.choice([3, 3, 3, 3, 1, 2, 4]))
    image = laid_out(rng, rng.integers(0, 256, (height, width, channels), np.uint8))
    side = int(rng.choice([0, 1, 2, 4, 63, 64, 65, 130]))
    shape = about(rng, 3, side, side)
    matrix = np.array([[1.0, 0, 0], [0, 1, 0]]) * rng.uniform(-3, 3) + rng.normal(0, 1, (2, 3)) * rng.choice([0, 1, 99])
    if rng.random() < 0.4:
        matrix.flat[rng.integers(0, 6)] = rng.choice(ODD)
    scale = float(rng.choice([1.0, 1 / 255, 0.0, -1.0, 1e30, -3e38]))
    room = Room()
    out = laid_out(rng, room(shape, np.float32))
    calls(align.warp_crop_float, room, image, laid_out(rng, matrix), out, scale)
    finite = tuple(np.nan_to_num(matrix, nan=1e300, posinf=1e308, neginf=-1e308).ravel().tolist())
    for dtype in (np.float32, np.uint8, np.uint16):
        crop = laid_out(rng, room(shape, dtype))
        calls(align.warp_crop, room, image, finite, crop, scale)


@given(seeds)
def test_boxes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = (int(count) for count in rng.choice([0, 1, 2, 7], 2))
    a, b = (laid_out(rng, numbers(rng, about(rng, count, 4))) for count in (n, m))
    for function in (boxes.overlaps, boxes.gaps):
        room = Room()
        calls(function, room, a, b, room(about(rng, n, m)))
    room = Room()
    overlap, gap = numbers(rng, about(rng, n, m)), numbers(rng, about(rng, n, m))
    partner, taken = room(about(rng, n), np.intp), room(about(rng, m), np.intp)
    if not isinstance(calls(boxes.match, room, overlap, gap, 0.3, 1.0, partner, taken), Exception):
        assert ((partner >= -1) & (partner < overlap.shape[1])).all()


@given(seeds)
def test_heatmaps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch, count, height, width = (int(side) for side in rng.choice([0, 1, 2, 5, 17, 33], 4))
    room = Room()
    maps = laid_out(rng, numbers(rng, (batch, count, height, width), np.float32))
    points, confidence = room(about(rng, batch, count, 2), np.float32), room(about(rng, batch, count), np.float32)
    got = calls(heatmap.decode, room, maps, points, confidence)
    if height * width == 0:
        assert isinstance(got, Exception)
    elif got is None:
        assert ((confidence >= 0) & (confidence <= 1)).all() and np.isfinite(points).all()


@given(seeds)
def test_geometry(seed: int) -> None:
    rng = np.random.default_rng(seed)
    room = Room()

    def some(*shape: int, dtype: Any = np.float64) -> np.ndarray:
        return laid_out(rng, numbers(rng, about(rng, *shape), dtype))

    n = int(rng.choice([0, 1, 2, 5, 68]))
    calls(geometry.five_points, room, some(68, 2), room(about(rng, 5, 2)))
    calls(geometry.similarity, room, some(n, 2), some(n, 2), room(about(rng, 2, 3)))
    calls(geometry.canonical, room, some(68, 2), some(5, 2), room(about(rng, 2, 3)))
    single = np.float32
    calls(
        geometry.place, room, some(68, 2, dtype=single), some(68, dtype=single), some(2, 3),
        float(rng.choice(ODD)), some(5, 2), room(about(rng, 68, 2)),
    )  # fmt: skip
    calls(geometry.head_pose, room, some(68, 2), some(68, 3), some(68))


@given(seeds)
@settings(max_examples=60)
def test_raster(seed: int) -> None:
    """A corner at 3e9 px made a triangle begin at column -2147483648."""
    rng = np.random.default_rng(seed)
    vertices, triangles = int(rng.choice([0, 1, 3, 9])), int(rng.choice([0, 1, 5]))
    xyz = numbers(rng, about(rng, vertices, 3), np.float32)
    attributes = numbers(rng, about(rng, vertices, 2), np.float32)
    index = rng.integers(*((0, max(1, vertices)) if rng.random() < 0.8 else (-3, vertices + 3)), (triangles, 3))
    if rng.random() < 0.2:
        index = index[:, : rng.integers(0, 3)]
    corners = np.ascontiguousarray(index, np.int32)
    height, width = (int(side) for side in rng.choice([-1, 0, 1, 2, 40], 2))
    room = Room()
    with np.errstate(all="ignore"):
        got = calls(raster.rasterise, room, xyz, attributes, corners, height, width)
        if not isinstance(got, Exception):
            drawn, shown = got
            assert drawn.shape == (height, width, attributes.shape[1]) and shown.shape == (height, width)
            assert ((shown >= -1) & (shown < len(corners))).all()
        calls(raster.vertex_normals, room, xyz, corners)


def test_a_triangle_far_outside_the_picture_is_nothing() -> None:
    """A cast of 3e9 to int gives -2147483648: the loop ran from there, for minutes, and beside the picture."""
    xyz = np.array([(3e9, 3e9, 0), (5e9, 3e9, 0), (3e9, 5e9, 0)], np.float32)
    _, shown = raster.rasterise(xyz, np.ones((3, 1), np.float32), np.array([(0, 1, 2)], np.int32), 8, 8)
    assert (shown == -1).all()


def test_normals_of_vertices_that_are_not_there_are_refused() -> None:
    """They were written wherever the index led."""
    xyz = np.zeros((3, 3), np.float32)
    for corners in ((0, 1, 3), (-1, 0, 1), (0, 1, 2**31 - 1)):
        with pytest.raises(ValueError, match=r"vertex indices in \[0, 3\)"):
            raster.vertex_normals(xyz, np.array([corners], np.int32))


def test_heatmaps_without_a_cell_are_refused() -> None:
    """A division by zero, which ends the process."""
    for shape in ((1, 68, 0, 4), (1, 68, 4, 0)):
        with pytest.raises(ValueError, match="other shapes"):
            heatmap.decode(np.zeros(shape, np.float32), np.zeros((1, 68, 2), np.float32), np.zeros((1, 68), np.float32))


def test_results_of_another_size_are_refused() -> None:
    """They were written over their end."""
    f4, f8 = np.float32, np.float64
    room = Room()
    image, identity = np.zeros((4, 4, 3), np.uint8), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    wrong: list[tuple[Any, ...]] = [
        (align.warp_crop, image, identity, room((2, 8, 8), f4), 1.0),
        (align.warp_crop, image, identity, room((3, 8, 4), f4), 1.0),
        (align.warp_crop, image[..., :2], identity, room((3, 8, 8), f4), 1.0),
        (align.warp_crop, image[:0], identity, room((3, 8, 8), f4), 1.0),
        (boxes.overlaps, np.zeros((3, 4)), np.zeros((2, 4)), room((2, 2))),
        (boxes.overlaps, np.zeros((3, 3)), np.zeros((2, 4)), room((3, 2))),
        (boxes.gaps, np.zeros((3, 4)), np.zeros((2, 4)), room((3, 1))),
        (boxes.match, np.zeros((3, 2)), np.zeros((3, 2)), 0.0, 1.0, room((2,), np.intp), room((2,), np.intp)),
        (boxes.match, np.zeros((3, 2)), np.zeros((3, 1)), 0.0, 1.0, room((3,), np.intp), room((2,), np.intp)),
        (heatmap.decode, np.zeros((2, 68, 4, 4), f4), room((1, 68, 2), f4), room((2, 68), f4)),
        (heatmap.decode, np.zeros((2, 68, 4, 4), f4), room((2, 68, 2), f4), room((2, 67), f4)),
        (geometry.five_points, np.zeros((67, 2)), room((5, 2))),
        (geometry.five_points, np.zeros((68, 2)), room((4, 2))),
        (geometry.similarity, np.zeros((5, 2)), np.zeros((4, 2)), room((2, 3))),
        (geometry.canonical, np.zeros((68, 2)), np.zeros((4, 2)), room((2, 3))),
        (
            geometry.place, np.zeros((68, 2), f4), np.zeros(68, f4), np.zeros((2, 3)), 64.0, np.zeros((5, 2)),
            room((67, 2)),
        ),
        (geometry.head_pose, np.zeros((68, 2), f8), np.zeros((68, 3)), np.zeros(67)),
    ]  # fmt: skip
    for function, *arguments in wrong:
        with pytest.raises(ValueError, match="other"):
            function(*arguments)
    assert room.untouched()


def test_several_threads_on_one_crop_and_one_frame() -> None:
    """What they write is the same; nothing else is."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (120, 160, 3), np.uint8)
    matrix = np.array([[0.7, 0.2, 3.0], [-0.2, 0.7, 20.0]])
    room = Room()
    alone, shared = room((3, 64, 64), np.float32), room((3, 64, 64), np.float32)
    assert align.warp_crop_float(image, matrix, alone, 1 / 255)
    maps = rng.random((2, 68, 16, 16), np.float32)
    points, confidence = room((2, 68, 2), np.float32), room((2, 68), np.float32)

    def work(_: int) -> None:
        assert align.warp_crop_float(image, matrix, shared, 1 / 255)
        heatmap.decode(maps, points, confidence)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert np.array_equal(alone, shared) and room.untouched()
