"""Crop geometry and the warp kernel against its NumPy reference."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.errors import InvalidInput
from aunet_sdk.geometry import crop as alignment
from aunet_sdk.geometry.crop import (
    box_to_matrix,
    five_points,
    invert,
    points_to_matrix,
    similarity,
    transform,
    warp_crop,
    warp_crop_reference,
)

from .. import native

TEMPLATE = [[0.3583, 0.4066], [0.6417, 0.4066], [0.5, 0.5471], [0.3895, 0.709], [0.6105, 0.709]]
DTYPES = (np.float32, np.float16, np.uint8)

needs_kernel = pytest.mark.skipif(not native.built("align"), reason="the compiled kernels are not built")


def turned(angle_rad: float, scale: float, x: float, y: float) -> np.ndarray:
    a, b = scale * np.cos(angle_rad), scale * np.sin(angle_rad)
    return np.array([[a, -b, x], [b, a, y]])


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.02, 20)
shifts = st.floats(-400, 400)


def both(image: np.ndarray, matrix: np.ndarray, out: np.ndarray, **kwargs: float) -> tuple[np.ndarray, np.ndarray]:
    expected = np.zeros_like(out)
    warp_crop_reference(image, matrix, expected, **kwargs)
    warp_crop(image, matrix, out, **kwargs)
    return out, expected


def assert_close(got: np.ndarray, expected: np.ndarray) -> None:
    """To a hundredth of a grey level; float16 to its last bit, uint8 to the tie at one half."""
    limit = {"float32": 0.01 / 255, "float16": 0.01 / 255 + 2**-11, "uint8": 1.0}[got.dtype.name]
    assert np.abs(got.astype(np.float64) - expected.astype(np.float64)).max() <= limit
    if got.dtype == np.uint8:
        assert (got != expected).mean() < 0.1


@needs_kernel
@given(
    angle=angles,
    scale=scales,
    x=shifts,
    y=shifts,
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    side=st.sampled_from([1, 2, 31, 64, 65, 130]),
    dtype=st.sampled_from(DTYPES),
    last=st.booleans(),
)
def test_kernel_is_the_reference(angle, scale, x, y, height, width, side, dtype, last):
    image = noise(height, width, 3, seed=height * 100 + width)
    out = np.empty((side, side, 3) if last else (3, side, side), dtype)
    assert_close(*both(image, turned(angle, scale, x, y), out))


@needs_kernel
@given(angle=angles, scale=st.floats(0.3, 3), dx=st.floats(-20, 20), dy=st.floats(-20, 20))
def test_kernel_is_the_reference_inside_the_frame(angle, scale, dx, dy):
    """The crop's middle is the frame's middle: most blocks take the fast path."""
    image = noise(360, 480, 3)
    matrix = turned(angle, scale, 0, 0)
    matrix[:, 2] = 63.5 - matrix[:, :2] @ (240 + dx, 180 + dy)
    assert_close(*both(image, matrix, np.empty((3, 128, 128), np.float32)))


VIEWS = {
    "upside down": lambda image: image[::-1],
    "mirrored": lambda image: image[:, ::-1],
    "rgb order": lambda image: image[..., ::-1],
    "every second": lambda image: image[::2, ::3],
    "cut out": lambda image: image[20:150, 30:200],
    "four channels": lambda image: np.dstack([image, image[..., :1]])[..., :3],
    "column order": lambda image: np.asfortranarray(image),
    "turned": lambda image: image.transpose(1, 0, 2),
    "planes": lambda image: np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
    "one row again and again": lambda image: np.broadcast_to(image[:1], image.shape),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_strides_of_the_image(view, dtype):
    image = VIEWS[view](noise(170, 230, 3))
    image.flags.writeable = False
    matrix = turned(0.3, 0.7, 20, -10)
    got, dense = np.empty((3, 70, 70), dtype), np.empty((3, 70, 70), dtype)
    warp_crop(image, matrix, got)
    warp_crop(np.ascontiguousarray(image), matrix, dense)
    assert_close(got, dense)
    assert_close(*both(image, matrix, got))


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_strides_of_the_crop(dtype):
    image, matrix = noise(200, 200, 3), turned(-0.2, 0.9, 3, 4)
    expected = np.empty((3, 80, 80), dtype)
    warp_crop(image, matrix, expected)
    batch = np.full((4, 3, 90, 100), 7, dtype)
    warp_crop(image, matrix, batch[2, :, 5:85, 6:86])
    np.testing.assert_array_equal(batch[2, :, 5:85, 6:86], expected)
    batch[2, :, 5:85, 6:86] = 7
    assert (batch == 7).all()  # not one element beside the slot
    backwards = np.empty((80, 160, 3), dtype)[::-1, ::-2, ::-1]
    warp_crop(image, matrix, backwards)
    np.testing.assert_array_equal(backwards.transpose(2, 0, 1), expected)


def test_identity_gives_the_picture_as_rgb():
    image = noise(50, 50, 3)
    out = np.empty((50, 50, 3), np.uint8)
    warp_crop(image, [[1, 0, 0], [0, 1, 0]], out)
    np.testing.assert_array_equal(out, image[..., ::-1])
    planar = np.empty((3, 50, 50), np.float32)
    warp_crop(image, [[1, 0, 0], [0, 1, 0]], planar)
    np.testing.assert_allclose(planar, image[..., ::-1].transpose(2, 0, 1) / 255, atol=1e-6)


@given(x=st.integers(1, 97), y=st.integers(1, 97), fx=st.floats(0, 1), fy=st.floats(0, 1), channel=st.integers(0, 2))
def test_impulse_spreads_over_four_pixels(x, y, fx, fy, channel):
    image = np.zeros((100, 100, 3), np.uint8)
    image[y, x, channel] = 200
    out = np.empty((3, 100, 100), np.float32)
    warp_crop(image, [[1, 0, fx], [0, 1, fy]], out, scale=1 / 200)
    plane = out[2 - channel]
    expected = np.outer([1 - fy, fy], [1 - fx, fx])
    np.testing.assert_allclose(plane[y : y + 2, x : x + 2], expected, atol=2e-5)
    plane[y : y + 2, x : x + 2] = 0
    assert np.abs(out).max() < 2e-5


def test_the_border_fades_to_black_over_one_pixel():
    image = np.full((4, 4, 3), 255, np.uint8)
    out = np.empty((3, 8, 8), np.float32)
    warp_crop(image, [[1, 0, 2.25], [0, 1, 2.5]], out)
    np.testing.assert_allclose(out[0, 4], [0, 0, 0.75, 1, 1, 1, 0.25, 0], atol=1e-6)
    np.testing.assert_allclose(out[1, :, 4], [0, 0, 0.5, 1, 1, 1, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e3, 1e9])
def test_wild_matrices_stay_inside_the_memory(scale):
    for shift in (0.0, 1e12, -1e12):
        assert_close(*both(noise(30, 40, 3), turned(0.5, scale, shift, 5.0), np.empty((3, 65, 65), np.float32)))


@needs_kernel
@pytest.mark.parametrize("width", [3, 4, 5, 64, 66, 67, 130])
@pytest.mark.parametrize("mirror", [1, -1])
def test_crops_that_touch_the_last_byte(width, mirror):
    """The fast path reads eight bytes a row: up to the frame's last ones, and never beyond."""
    memory = np.full(width * width * 3 + 64, 255, np.uint8)
    image = memory[: width * width * 3].reshape(width, width, 3)
    image[...] = noise(width, width, 3)
    for nudge in (-1e-3, -1e-7, 0.0, 1e-7, 1e-3, 0.0099, 0.0101):
        matrix = np.array([[mirror, 0, nudge + (width - 1 if mirror < 0 else 0)], [0, 1, nudge]])
        assert_close(*both(image, matrix, np.empty((3, width, width), np.float32)))


@needs_kernel
def test_float16_rounds_like_numpy():
    """Every grey level times scales that reach subnormals, ties, infinity and NaN's neighbours."""
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    levels = image[..., 0].astype(np.float32)
    random = 2.0 ** np.random.default_rng(0).uniform(-36, 12, 400)
    for scale in [2.0**e for e in range(-34, 12)] + [65519.9 / 255, 65520 / 255, 1e30, *random, *-random]:
        out = np.empty((3, 16, 16), np.float16)
        exact = np.empty((3, 16, 16), np.float32)
        warp_crop(image, np.eye(2, 3), out, scale=scale)
        warp_crop(image, np.eye(2, 3), exact, scale=scale)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(out, exact.astype(np.float16))
        np.testing.assert_allclose(exact[0], levels * np.float32(scale), rtol=1e-6)


@needs_kernel
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float16_of_any_number(value):
    image = np.full((1, 1, 3), 1, np.uint8)
    out = np.empty((3, 1, 1), np.float16)
    warp_crop(image, np.eye(2, 3), out, scale=value)
    with np.errstate(over="ignore"):
        assert out[0, 0, 0] == np.float32(value).astype(np.float16)


def test_uint8_is_rounded_and_limited():
    image = np.array([0, 1, 2, 100, 200, 255] * 6, np.uint8).reshape(6, 6, 1).repeat(3, axis=2)
    for scale in (0.4, 1.0, 1.9, -1.0):
        got, expected = both(image, np.eye(2, 3), np.empty((3, 6, 6), np.uint8), scale=scale)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(got[0], np.clip(np.floor(image[..., 0] * scale + 0.5), 0, 255))


@needs_kernel
def test_the_usual_call_is_the_general_one() -> None:
    kernel = native.kernel("align")
    image, matrix = noise(40, 50, 3), turned(0.3, 0.8, 5, -3)
    usual, general = np.zeros((2, 3, 16, 16), np.float32)
    assert kernel.warp_crop_float(image, matrix, usual, 0.5) is True
    kernel.warp_crop(image, tuple(invert(matrix).ravel().tolist()), general, 0.5)
    np.testing.assert_allclose(usual, general, atol=1e-4)
    assert usual.any()


@needs_kernel
def test_the_usual_call_leaves_to_the_general_one_what_is_amiss() -> None:
    kernel = native.kernel("align")
    image, matrix, out = noise(8, 8, 3), turned(0.1, 1, 0, 0), np.full((3, 4, 4), 7, np.float32)
    spaced = np.dtype({"names": ["v"], "formats": ["f4"], "offsets": [0], "itemsize": 6})
    askew = np.zeros(3 * 4 * 4, spaced)["v"].reshape(3, 4, 4)
    for other in (
        (noise(8, 8, 4), matrix, out, 1.0),
        (noise(0, 8, 3), matrix, out, 1.0),
        (image, matrix[:, :2].copy(), out, 1.0),
        (image, np.zeros((2, 3)), out, 1.0),
        (image, np.full((2, 3), np.nan), out, 1.0),
        (image, matrix, np.zeros((4, 4, 3), np.float32), 1.0),
        (image, matrix, out, float("nan")),
        (image, matrix, askew, 1.0),
    ):
        assert kernel.warp_crop_float(*other) is False
    assert (out == 7).all()
    readonly = out.copy()
    readonly.flags.writeable = False
    for other in (None, [[1]], noise(8, 8), image.astype(np.float32)):
        with pytest.raises((TypeError, ValueError)):
            kernel.warp_crop_float(other, matrix, out, 1.0)
    for other in (None, readonly, out.astype(">f4"), out.astype(np.float16)):
        with pytest.raises((TypeError, ValueError)):
            kernel.warp_crop_float(image, matrix, other, 1.0)


def test_several_threads_at_once():
    image = noise(480, 640, 3)
    matrices = [turned(0.1 * k, 0.5, 10 * k, 5) for k in range(16)]
    crops = np.empty((16, 3, 128, 128), np.float32)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            list(pool.map(lambda k: warp_crop(image, matrices[k], crops[k]), range(16)))
    for k in range(16):
        alone = np.empty((3, 128, 128), np.float32)
        warp_crop(image, matrices[k], alone)
        np.testing.assert_array_equal(crops[k], alone)


@pytest.mark.parametrize(
    ("image", "matrix", "out", "message"),
    [
        (noise(9, 9, 3).astype(np.uint16), np.eye(2, 3), np.empty((3, 8, 8), np.float32), "uint8"),
        (noise(9, 9), np.eye(2, 3), np.empty((3, 8, 8), np.float32), "image"),
        (noise(9, 9, 4), np.eye(2, 3), np.empty((3, 8, 8), np.float32), "image"),
        (noise(0, 9, 3), np.eye(2, 3), np.empty((3, 8, 8), np.float32), "at least one pixel"),
        ("picture.png", np.eye(2, 3), np.empty((3, 8, 8), np.float32), "str"),
        (noise(9, 9, 3), np.eye(3), np.empty((3, 8, 8), np.float32), "matrix"),
        (noise(9, 9, 3), np.zeros((2, 3)), np.empty((3, 8, 8), np.float32), "determinant"),
        (noise(9, 9, 3), np.full((2, 3), np.nan), np.empty((3, 8, 8), np.float32), "finite"),
        (noise(9, 9, 3), np.eye(2, 3), np.empty((3, 8, 9), np.float32), "out"),
        (noise(9, 9, 3), np.eye(2, 3), np.empty((3, 8, 8), np.float64), "out"),
        (noise(9, 9, 3), np.eye(2, 3), np.empty((1, 3, 8, 8), np.float32), "out"),
        (noise(9, 9, 3), np.eye(2, 3), np.broadcast_to(np.float32(0), (3, 8, 8)), "read-only"),
    ],
)
def test_bad_input_is_refused(image, matrix, out, message):
    for function in (warp_crop, warp_crop_reference):
        with pytest.raises(InvalidInput, match=message):
            function(image, matrix, out)


# Geometry


@given(angle=angles, scale=scales, x=shifts, y=shifts, seed=st.integers(0, 99))
def test_similarity_is_recovered(angle, scale, x, y, seed):
    points = np.random.default_rng(seed).uniform(0, 500, (5, 2))
    matrix = turned(angle, scale, x, y)
    np.testing.assert_allclose(similarity(points, transform(matrix, points)), matrix, atol=1e-6 * max(1, scale))


def test_similarity_is_the_least_squares_one():
    rng = np.random.default_rng(1)
    points, target = rng.uniform(0, 100, (5, 2)), rng.uniform(0, 100, (5, 2))
    matrix = similarity(points, target)
    # the same problem as linear least squares in (a, b, x, y)
    rows = np.concatenate([[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in points])
    a, b, x, y = np.linalg.lstsq(rows, target.ravel(), rcond=None)[0]
    np.testing.assert_allclose(matrix, [[a, -b, x], [b, a, y]], atol=1e-9)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2)), np.zeros((5, 3))])
def test_similarity_refuses(points):
    with pytest.raises(InvalidInput):
        similarity(points, TEMPLATE)
    with pytest.raises(InvalidInput):
        similarity(TEMPLATE, points)


@given(angle=angles, scale=scales, x=shifts, y=shifts)
def test_invert_and_transform_go_back(angle, scale, x, y):
    matrix = turned(angle, scale, x, y)
    points = np.array([[0.0, 0.0], [10.0, -3.0], [200.0, 50.0]])
    np.testing.assert_allclose(transform(invert(matrix), transform(matrix, points)), points, atol=1e-8)


def test_box_fills_the_crop():
    matrix = box_to_matrix((100, 50, 40, 60), 1.0, 128)
    # a square of side 50 about (120, 80): its edges are the crop's outer edges
    np.testing.assert_allclose(transform(matrix, [[95, 55], [145, 105]]), [[-0.5, -0.5], [127.5, 127.5]])
    paper = box_to_matrix((100, 50, 40, 60), alignment.PAPER_CROP_SCALE, 256)
    assert 256 / paper[0, 0] == pytest.approx(200 * 100 / 260)
    for box, scale, side in (
        ((0, 0, 0, 9), 1, 8),
        ((0, 0, 9, 9), 0, 8),
        ((0, 0, 9, 9), 1, 0),
        ((0, 0, np.nan, 9), 1, 8),
    ):
        with pytest.raises(InvalidInput):
            box_to_matrix(box, scale, side)


def test_five_points_come_to_the_template():
    landmarks = np.random.default_rng(3).uniform(0, 300, (68, 2))
    five = five_points(landmarks)
    np.testing.assert_allclose(five[0], landmarks[36:42].mean(axis=0))
    np.testing.assert_allclose(five[1], landmarks[42:48].mean(axis=0))
    np.testing.assert_array_equal(five[2:], landmarks[[30, 48, 54]])
    face = landmarks.copy()
    face[36:42], face[42:48], face[30], face[48], face[54] = np.array(TEMPLATE) * 200 + (50, 30)
    mapped = transform(points_to_matrix(face, TEMPLATE, 128), five_points(face))
    np.testing.assert_allclose((mapped + 0.5) / 128, TEMPLATE, atol=1e-9)


def test_the_reference_runs_where_the_kernels_are_missing():
    """A process without the extension modules: one warning, the same pixels."""
    code = """
import sys, warnings
import numpy as np
sys.modules["aunet_sdk._native.align"] = sys.modules["aunet_sdk._native.heatmap"] = None
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from aunet_sdk.geometry import crop as alignment, heatmap
assert [w.category for w in caught] == [RuntimeWarning], caught
assert not alignment.NATIVE and not heatmap.NATIVE
out = np.empty((3, 4, 4), np.uint8)
alignment.warp_crop(np.full((4, 4, 3), 9, np.uint8), np.eye(2, 3), out)
assert (out == 9).all()
assert heatmap.decode(np.zeros((1, 68, 8, 8), np.float32))[0].shape == (1, 68, 2)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_large_face_is_averaged_not_sampled() -> None:
    checks = np.zeros((900, 1200, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 255
    matrix = alignment.box_to_matrix((350, 200, 400, 500), 1.4, 128)
    sampled, averaged = np.empty((2, 3, 128, 128), np.float32)
    alignment.warp_crop(checks, matrix, sampled)
    alignment.warp_crop(*alignment.reduce_for_crop(checks, matrix, 128), averaged)
    assert sampled.std() > 0.1
    assert np.abs(averaged - 0.5).max() < 0.1


def test_reducing_moves_nothing() -> None:
    y, x = np.mgrid[:720, :1280]
    smooth = np.stack([x / 5.1, y / 2.9, (x + y) / 8], axis=2).astype(np.uint8)
    turn = np.deg2rad(9)
    matrix = 0.21 * np.array([(np.cos(turn), -np.sin(turn), -300), (np.sin(turn), np.cos(turn), -420)])
    direct, reduced = np.empty((2, 3, 128, 128), np.float32)
    alignment.warp_crop(smooth, matrix, direct)
    alignment.warp_crop(*alignment.reduce_for_crop(smooth, matrix, 128), reduced)
    back = alignment.transform(alignment.invert(matrix), np.mgrid[:128, :128][::-1].reshape(2, -1).T).reshape(
        128, 128, 2
    )
    inside = ((back > 8) & (back < (1270, 710))).all(axis=2)
    assert inside.mean() > 0.3
    assert np.abs(direct - reduced)[:, inside].max() < 3 / 255


@pytest.mark.parametrize("shift", [(0, 0), (5000, 0), (-5000, -5000)])
def test_reducing_leaves_what_it_cannot_help(shift: tuple[int, int]) -> None:
    image = np.full((60, 80, 3), 7, np.uint8)
    far = np.array([(0.2, 0, shift[0]), (0, 0.2, shift[1])])
    same, matrix = alignment.reduce_for_crop(image, far, 128)
    out = np.empty((3, 128, 128), np.float32)
    alignment.warp_crop(same, matrix, out)
    assert out.max() <= 7.001 / 255


@pytest.mark.parametrize("turn_deg", [0, 45, 100])
@pytest.mark.parametrize("scale", [0.49, 0.3, 0.11])
def test_reducing_into_a_buffer_is_the_same_and_fits(turn_deg: float, scale: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    a, b = scale * np.cos(np.deg2rad(turn_deg)), scale * np.sin(np.deg2rad(turn_deg))
    matrix = np.array([(a, -b, 64 - a * 600 + b * 450), (b, a, 64 - b * 600 - a * 450)])
    buffer = alignment.reduction_buffer(128)
    expected, expected_matrix = alignment.reduce_for_crop(image, matrix, 128)
    for _ in range(2):
        small, small_matrix = alignment.reduce_for_crop(image, matrix, 128, buffer)
        assert np.shares_memory(small, buffer) and not np.shares_memory(small, image)
        np.testing.assert_array_equal(small, expected)
        np.testing.assert_array_equal(small_matrix, expected_matrix)


def test_a_buffer_that_is_too_small_is_left_alone() -> None:
    image = np.full((900, 1200, 3), 7, np.uint8)
    small, _ = alignment.reduce_for_crop(image, 0.3 * np.eye(2, 3), 128, np.zeros(10, np.uint8))
    assert (small == 7).all()


def test_a_small_face_is_not_reduced() -> None:
    image = np.zeros((90, 120, 3), np.uint8)
    same, _ = alignment.reduce_for_crop(image, np.eye(2, 3), 128, alignment.reduction_buffer(128))
    assert same is image
