"""Picture files of every kind: the content decides, all are shown upright, what holds several is refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from aunet_sdk import InvalidInput
from aunet_sdk.sources import ImageFile, ImageFolder, VideoFile, open_path, open_source, read_image, source_kind

from .clips import noise, write
from .test_display import SHOWN

BGR = cv2.GaussianBlur(noise(size=(60, 40)), (0, 0), 6)  # smooth: what a lossy format keeps
RGB = BGR[:, :, ::-1]
EXIF = {
    1: "as it is",
    2: "left and right",
    3: "half a turn",
    4: "top and bottom",
    5: "main diagonal",
    6: "clockwise",
    7: "other diagonal",
    8: "anticlockwise",
}
avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def save(path: Path, **options: object) -> Path:
    if path.suffix == ".heic":
        pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is an extra")
        pillow_heif.from_pillow(Image.fromarray(RGB)).save(path, quality=95, **options)
    else:
        Image.fromarray(RGB).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm", ".gif", ".avif", ".heic"])
@pytest.mark.parametrize("name", ["right", "picture.mp4", "picture.jpg", "picture"])
def test_the_content_decides(tmp_path: Path, suffix: str, name: str) -> None:
    """AVIF was opened as a video and called broken by its suffix; the same bytes named .jpg worked."""
    path = save(tmp_path / f"right{suffix}").rename(tmp_path / (name if name != "right" else f"a{suffix}"))
    assert source_kind(path) == "image" and isinstance(open_source(path), ImageFile)
    (frame,) = open_path(path)
    assert frame.image.shape == (40, 60, 3) and frame.image.dtype == np.uint8
    assert np.abs(frame.image.astype(int) - BGR).mean() < (20 if suffix == ".gif" else 6)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.flv", "a.ts", "a.wmv"])
def test_a_video_is_one_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    code = {"a.flv": "FLV1", "a.wmv": "WMV2"}.get(name, "mp4v")
    for new in ("b.jpg", "b.png", "b", "b.heic"):
        path = write(tmp_path / name, code, 3).rename(tmp_path / new)
        assert source_kind(path) == "video" and len(list(open_source(path))) == 3


@pytest.mark.parametrize("number", EXIF)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_the_orientation_of_every_format_is_applied(tmp_path: Path, suffix: str, number: int) -> None:
    """OpenCV knew it in JPEG alone."""
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[274] = number
    options = {"quality": 95} if suffix in (".jpg", ".webp", ".avif") else {}
    plain = read_image(save(tmp_path / f"plain{suffix}", **options))
    turned = read_image(save(tmp_path / f"turned{suffix}", exif=exif, **options))
    assert turned.shape == SHOWN[EXIF[number]](plain).shape
    assert np.abs(turned.astype(int) - SHOWN[EXIF[number]](plain)).max() <= (3 if suffix == ".avif" else 0)


def test_damaged_exif_is_no_damage_of_the_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03")
    code = f"from aunet_sdk.sources import read_image; print(read_image({str(path)!r}).shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(40, 60, 3)\n", "")


def animation(path: Path) -> Path:
    pictures = [Image.fromarray(np.roll(RGB, 7 * i, 1)) for i in range(4)]
    timing = {} if path.suffix == ".tif" else {"duration": 100}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **timing)
    return path


@pytest.mark.parametrize("suffix", [".gif", ".png", pytest.param(".avif", marks=avif)])
def test_an_animation_is_a_video(tmp_path: Path, suffix: str) -> None:
    path = animation(tmp_path / f"a{suffix}")
    assert source_kind(path) == "video"
    source = open_source(path)
    assert isinstance(source, VideoFile)
    assert [frame.timestamp_s for frame in source] == pytest.approx([0, 0.1, 0.2, 0.3])
    with pytest.raises(InvalidInput, match=r"is an animation .*read it as a video"):
        read_image(path)


def test_animated_webp_and_pages_are_refused_by_name(tmp_path: Path) -> None:
    """They gave their first picture without a word."""
    path = animation(tmp_path / "a.webp")
    with pytest.raises(InvalidInput, match=r"a\.webp is an animation \(WEBP\).*convert it to a video"):
        list(open_source(path))
    path = animation(tmp_path / "a.tif")
    with pytest.raises(InvalidInput, match=r"a\.tif has 4 pages: expected one picture; save each page"):
        list(open_source(path))
    told = []
    save(tmp_path / "b.png")
    frames = list(ImageFolder(tmp_path, on_error=lambda path, error: told.append(path.name)))
    assert told == ["a.tif", "a.webp"] and [frame.path for frame in frames] == [tmp_path / "b.png"]


def test_a_thumbnail_is_no_page(tmp_path: Path) -> None:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    ifd = ImageFileDirectory_v2()
    ifd[254] = 1
    small = Image.fromarray(np.ascontiguousarray(RGB[::2, ::2]))
    small.encoderinfo = {"tiffinfo": ifd}
    Image.fromarray(RGB).save(tmp_path / "a.tif", save_all=True, append_images=[small])
    assert np.array_equal(read_image(tmp_path / "a.tif"), BGR)


def test_colour_models(tmp_path: Path) -> None:
    grey = Image.fromarray(RGB).convert("L")
    expected = np.dstack([np.asarray(grey)] * 3)
    for name, picture in {
        "grey.png": grey,
        "grey-alpha.png": Image.merge("LA", (grey, grey)),
        "alpha.png": Image.merge("RGBA", (*Image.fromarray(RGB).split(), grey)),
        "alpha.webp": Image.merge("RGBA", (*Image.fromarray(RGB).split(), grey)),
        "palette.png": grey.convert("P"),
        "cmyk.tif": Image.fromarray(RGB).convert("CMYK"),
        "cmyk.jpg": Image.fromarray(RGB).convert("CMYK"),
        "ycc.tif": Image.fromarray(RGB).convert("YCbCr"),
    }.items():
        lossless = {"lossless": True} if name.endswith("webp") else {}
        picture.save(tmp_path / name, **lossless)
        wanted = expected if name.startswith(("grey", "palette")) else BGR
        error = np.abs(read_image(tmp_path / name).astype(int) - wanted)
        assert error.mean() < (4 if name in ("cmyk.jpg", "ycc.tif", "palette.png") else 0.01), name
    see_through = grey.convert("P")
    see_through.save(tmp_path / "p.png", transparency=bytes(range(256)))
    assert np.abs(read_image(tmp_path / "p.png").astype(int) - expected).mean() < 4
    Image.fromarray(np.asarray(grey) > 128).save(tmp_path / "bits.png")
    assert set(np.unique(read_image(tmp_path / "bits.png"))) == {0, 255}


def test_sixteen_bits(tmp_path: Path) -> None:
    deep = BGR[:, :, 1].astype(np.uint16) * 257
    expected = np.dstack([BGR[:, :, 1]] * 3)
    for name in ("a.png", "a.tif", "a.pgm"):
        cv2.imwrite(str(tmp_path / name), deep)
        assert np.array_equal(read_image(tmp_path / name), expected), name
    cv2.imwrite(str(tmp_path / "c.png"), BGR.astype(np.uint16) * 257)
    assert np.array_equal(read_image(tmp_path / "c.png"), BGR)
    Image.fromarray(deep.astype(np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(InvalidInput, match=r"f\.tif: expected an image of dtype uint8 .*float32"):
        read_image(tmp_path / "f.tif")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".ppm", ".gif", ".avif", ".heic"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_picture_that_is_cut_short_is_refused_quietly(
    tmp_path: Path, suffix: str, part: float, capfd: pytest.CaptureFixture
) -> None:
    """It was filled up with grey, or `libpng error` stood on stderr beside our message."""
    path = save(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InvalidInput, match=f"a{suffix}"):
        for source in open_path(path), open_source(path):
            list(source)
    assert "".join(capfd.readouterr()) == ""


def test_a_damaged_picture_says_nothing_on_stderr(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    save(tmp_path / "b.tif", compression="jpeg")
    data = bytearray((tmp_path / "b.tif").read_bytes())
    data[-400:-200] = bytes(200)
    (tmp_path / "b.tif").write_bytes(data)
    code = f"""
from aunet_sdk import InvalidInput
from aunet_sdk.sources import read_image
for name in ("a.png", "b.tif"):
    try:
        read_image({str(tmp_path)!r} + "/" + name)
    except InvalidInput as error:
        print("refused" if name in str(error) else error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("refused") and done.stderr == ""


def test_heic_without_its_decoder_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InvalidInput, match=r"HEIF picture.*pip install 'aunet_sdk\[heif\]'"):
        read_image(path)


def test_pillows_limit_of_megapixels_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns of 90 Mpx and refuses 180; a telephone's camera has 200. The limit is set below a small picture."""
    path = save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB.shape[0] * RGB.shape[1] // 3)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    assert np.array_equal(read_image(path), BGR)


def test_a_jpeg_with_a_second_picture_gives_the_first(tmp_path: Path) -> None:
    """Depth, a preview or the other eye: telephones append it to the photo."""
    second = Image.fromarray(RGB[::2, ::2])
    Image.fromarray(RGB).save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    assert source_kind(tmp_path / "a.jpg") == "image"
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - BGR).mean() < 6


def test_raw_jpegs_one_after_the_other_are_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mjpeg"
    path.write_bytes(b"".join(save(tmp_path / f"{i}.jpg").read_bytes() for i in range(3)))
    assert source_kind(path) == "video" and len(list(open_source(path))) == 3


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(__import__("os"), "mkfifo"):
        pytest.skip("no named pipes here")
    import os

    os.mkfifo(tmp_path / "a.jpg")
    assert source_kind(tmp_path / "a.jpg") == "image"
    with pytest.raises(InvalidInput, match="expected a file"):
        open_source(tmp_path / "a.jpg")
