from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk.errors import InvalidInput, OutputLost
from aunet_sdk.sinks import ImageSink

from .test_video import picture


def test_one_image(tmp_path: Path) -> None:
    with ImageSink(tmp_path / "a.png") as sink:
        sink.write(picture(9))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png")), picture(9))
    with pytest.raises(InvalidInput, match=r"\.png"):
        ImageSink(tmp_path / "a.gif")


def test_a_folder_of_images_keeps_their_names(tmp_path: Path) -> None:
    with ImageSink(tmp_path / "out", folder=True) as sink:
        sink.write(picture(9), "x.jpg")
        sink.write(picture(9), "y.ppm")
        sink.write(picture(9), "deep/z.png")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["deep", "x.jpg", "y.ppm.png"]
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvalidInput, match="folder"):
        ImageSink(tmp_path / "taken", folder=True)


def test_a_folder_without_images_is_removed(tmp_path: Path) -> None:
    ImageSink(tmp_path / "new" / "deep", folder=True).close()
    (tmp_path / "there").mkdir()
    ImageSink(tmp_path / "there", folder=True).close()
    with ImageSink(tmp_path / "used", folder=True) as sink:
        sink.write(picture(9), "x.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there", "used"]


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/{}/x.png", "..", ".", "", None, "a/..", "x\0.png"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str | None) -> None:
    """`write(image, "../x.png")` wrote beside the folder, and so did no name at all."""
    if name is not None:
        name = name.format(tmp_path)
    with ImageSink(tmp_path / "out", folder=True) as sink, pytest.raises(InvalidInput, match="below"):
        sink.write(picture(9), name)
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with ImageSink(tmp_path / "out", folder=True) as sink:
        (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "out" / "x.png").symlink_to(tmp_path / "elsewhere" / "x.png")
        (tmp_path / "out" / "within").symlink_to(tmp_path / "out")
        for name in ("link/x.png", "link/new/x.png", "x.png"):
            with pytest.raises(InvalidInput, match="leaves it"):
                sink.write(picture(9), name)
        sink.write(picture(9), "within/y.png")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "out" / "y.png").is_file()


def test_a_folder_behind_a_link_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    with ImageSink(tmp_path / "out", folder=True) as sink:
        sink.write(picture(9), "x.png")
    assert (tmp_path / "real" / "x.png").is_file()


@pytest.mark.parametrize("image", [None, picture(9)[:0], picture(9).astype(complex)])
def test_what_is_no_picture_is_refused(tmp_path: Path, image: np.ndarray, capfd: pytest.CaptureFixture[str]) -> None:
    with ImageSink(tmp_path / "a.png") as sink, pytest.raises(InvalidInput, match="expected uint8"):
        sink.write(image)
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/dev/full")
    with pytest.raises(OutputLost, match=r"a\.png: No space left"), ImageSink(tmp_path / "a.png") as sink:
        sink.write(picture(9))
