from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from aunet_sdk import InvalidInput
from aunet_sdk.sources import ImageFile, ImageFolder, as_bgr, read_image
from aunet_sdk.sources.images import MIN_SIDE_PX, natural_key


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 20, 3), dtype=np.uint8)


def test_a_good_picture_is_passed_through_as_it_is() -> None:
    image = picture()
    assert as_bgr(image) is image
    view = image[::-1, ::2]
    assert as_bgr(view) is view


def test_conversions() -> None:
    image = picture()
    assert np.array_equal(as_bgr(image[..., 0]), np.dstack([image[..., 0]] * 3))
    assert np.array_equal(as_bgr(image[..., :1]), np.dstack([image[..., 0]] * 3))
    assert np.array_equal(as_bgr(np.dstack([image, image[..., 0]])), image)
    assert np.array_equal(as_bgr(image.astype(np.uint16) * 257), image)
    wide = np.array([[0, 128, 129, 65535]], np.uint16)
    assert as_bgr(wide)[0, :, 0].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, bool, np.int8, complex])
def test_other_dtypes_are_refused_by_name(dtype: type) -> None:
    with pytest.raises(InvalidInput, match=np.dtype(dtype).name):
        as_bgr(np.zeros((4, 4, 3), dtype))


@given(arrays(np.uint8, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
def test_any_shape_is_converted_or_refused(image: np.ndarray) -> None:
    good = image.size > 0 and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4)))
    if good:
        out = as_bgr(image)
        assert out.dtype == np.uint8 and out.shape == (*image.shape[:2], 3)
    else:
        with pytest.raises(InvalidInput, match="expected an image"):
            as_bgr(image)


@pytest.mark.parametrize("value", [None, "a.png", [[1]], 3])
def test_what_is_no_array_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="NumPy array"):
        as_bgr(value)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff", ".ppm"])
def test_files_are_read_as_bgr(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    cv2.imwrite(str(path), picture(), options)
    assert np.array_equal(read_image(path), picture())


def test_deep_grey_and_transparent_files_are_converted(tmp_path: Path) -> None:
    image = picture()
    for name, data in (
        ("deep.png", image.astype(np.uint16) * 257),
        ("alpha.png", np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])),
    ):
        cv2.imwrite(str(tmp_path / name), data)
        assert np.array_equal(read_image(tmp_path / name), image)
    cv2.imwrite(str(tmp_path / "grey.png"), image[..., 1])
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.dstack([image[..., 1]] * 3))


@pytest.mark.parametrize("shape", [(1, 1), (MIN_SIDE_PX - 1, 640), (640, MIN_SIDE_PX - 1)])
def test_a_file_too_small_for_a_face_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), np.zeros((*shape, 3), np.uint8))
    words = rf"one\.png is too small to hold a face: expected sides from 16 px on, got {shape[1]}x{shape[0]}"
    with pytest.raises(InvalidInput, match=words):
        read_image(path)
    with pytest.raises(InvalidInput, match=words):
        list(ImageFile(path))
    cv2.imwrite(str(tmp_path / "two.png"), picture())
    told = []
    frames = list(ImageFolder(tmp_path, on_error=lambda path, error: told.append(path.name)))
    assert told == ["one.png"] and [frame.path for frame in frames] == [tmp_path / "two.png"]


def test_a_file_with_the_shortest_side_is_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((MIN_SIDE_PX, MIN_SIDE_PX, 3), np.uint8))
    assert read_image(tmp_path / "a.png").shape == (MIN_SIDE_PX, MIN_SIDE_PX, 3)


def test_bad_files_are_refused_quietly(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    head = (tmp_path / "a.png").read_bytes()[:40]
    for name, content, words in (
        ("empty.png", b"", "zero bytes"),
        ("text.jpg", b"hello", "no picture"),
        ("head.png", head, "no picture"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInput, match=f"{name}.*{words}"):
            read_image(tmp_path / name)
    with pytest.raises(InvalidInput, match="does not exist"):
        read_image(tmp_path / "missing.png")
    assert "".join(capfd.readouterr()) == ""


def test_one_picture_is_one_frame(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    (frame,) = ImageFile(tmp_path / "a.png")
    assert (frame.index, frame.timestamp_s, frame.path) == (0, 0.0, tmp_path / "a.png")


def test_a_folder_comes_in_natural_order(tmp_path: Path) -> None:
    for i in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"img{i}.png"), picture(i))
    (tmp_path / "notes.txt").write_text("no picture")
    folder = ImageFolder(tmp_path)
    frames = list(folder)
    assert folder.frame_count == 3
    assert [f.path.name for f in frames if f.path] == ["img1.png", "img2.png", "img10.png"]
    assert [(f.index, f.timestamp_s) for f in frames] == [(0, 0.0), (1, 0.0), (2, 0.0)]
    assert np.array_equal(frames[1].image, picture(2))
    assert [f.timestamp_s for f in ImageFolder(tmp_path, fps=10)] == [0.0, 0.1, 0.2]


def test_a_bad_picture_in_a_folder_is_raised_or_told(tmp_path: Path) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture(i))
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"1\.png"):
        list(ImageFolder(tmp_path))
    told = []
    frames = list(ImageFolder(tmp_path, on_error=lambda path, error: told.append((path.name, str(error)))))
    assert [f.index for f in frames] == [0, 2]
    assert told[0][0] == "1.png" and "zero bytes" in told[0][1]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no picture"):
        ImageFolder(tmp_path)
    with pytest.raises(InvalidInput, match="is no folder"):
        ImageFolder(tmp_path / "missing")
    with pytest.raises(InvalidInput, match="fps"):
        ImageFolder(tmp_path, fps=0)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=6, unique=True))
def test_natural_order_is_the_order_of_the_numbers(numbers: list[int]) -> None:
    names = [f"frame_{n}.png" for n in numbers]
    assert sorted(names, key=natural_key) == [f"frame_{n}.png" for n in sorted(numbers)]


@given(st.lists(st.text(alphabet="a1 -b2", max_size=6), max_size=6))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural_key), key=natural_key) == sorted(names, key=natural_key)


def test_digits_that_are_no_decimal_numbers_are_letters(tmp_path: Path) -> None:
    names = ["5\u00b26.jpg", "10.jpg", "9.jpg", "5.jpg", "\u2460.jpg"]
    ordered = sorted(names, key=natural_key)
    assert [name for name in ordered if name[:-4].isdecimal()] == ["5.jpg", "9.jpg", "10.jpg"]
    for name in names:
        cv2.imwrite(str(tmp_path / name), picture())
    assert [file.name for file in ImageFolder(tmp_path).paths] == ordered


def test_a_picture_that_may_not_be_read_is_told_and_passed_over(unreadable: Path) -> None:
    told = []
    frames = list(ImageFolder(unreadable.parent, on_error=lambda path, error: told.append((path.name, str(error)))))
    assert frames == []
    ((name, words),) = told
    assert name == "1.png" and "cannot be read: Permission denied" in words
    with pytest.raises(InvalidInput, match="cannot be read"):
        ImageFile(unreadable)
