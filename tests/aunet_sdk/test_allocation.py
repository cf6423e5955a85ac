"""After the warm-up no frame allocates an array: neither pixels, crops, heatmaps nor states."""

from __future__ import annotations

import tracemalloc
from itertools import islice

import numpy as np
import pytest

from aunet_sdk import Detector, DetectorOptions, alignment, heatmap
from aunet_sdk.profiling import SyntheticFrames

SMALLEST_ARRAY = 128 * 128  # bytes: one channel of a crop in uint8; float heatmaps and states are larger


def spent(call, rounds: int) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    """Bytes at the top of a call above those before it (the largest of all rounds), and the growth over all rounds."""
    tracemalloc.start()
    try:
        call()
        begun, _ = tracemalloc.get_traced_memory()
        top = 0
        for _ in range(rounds):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            call()
            top = max(top, tracemalloc.get_traced_memory()[1] - before)
        return top, tracemalloc.get_traced_memory()[0] - begun
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("look_ahead", ["full", "none"])
def test_a_frame_leaves_numbers_and_no_arrays(look_ahead: str) -> None:
    """The finder is left out: it runs twice a second."""
    options = DetectorOptions(
        engine="onnxruntime",
        threads=1,
        look_ahead=look_ahead,  # type: ignore[arg-type]
        detect_interval_s=3600,
    )
    frames = SyntheticFrames(2, 320, 180)
    with Detector(options) as detector:
        coming = iter(frames)

        def push() -> None:
            frame = next(coming)
            results = detector.push(frame.image, frame.timestamp_s)
            assert all(len(result.faces) == 2 for result in results)

        def second() -> None:
            for _ in range(25):
                push()

        for _ in range(5):
            push()
        growth = spent(second, 2)[1]  # not counted: the first second, which fills the buffer
        top = spent(push, 10)[0]
    # Per face: landmarks of 1 KiB, twice, and the result's copies of a few hundred bytes; here for two faces. What
    # grows are Python's lists of free objects: about 1 KiB per frame, and nothing more after some 1000 frames.
    assert top < SMALLEST_ARRAY, f"a frame took {top} bytes"
    assert growth < 4 * SMALLEST_ARRAY, f"50 frames left {growth} bytes"


def test_the_kernels_write_where_they_are_told() -> None:
    if not (alignment.NATIVE and heatmap.NATIVE):
        pytest.skip("the kernels are not compiled here")
    image = next(islice(SyntheticFrames(1, 320, 180), 1)).image
    crop = np.empty((3, 128, 128), np.float32)
    heatmaps = np.random.default_rng(0).random((4, 68, 32, 32), np.float32)
    out = np.empty((4, 68, 2), np.float32), np.empty((4, 68), np.float32)
    matrix = np.array([[0.7, 0.1, 3.0], [-0.1, 0.7, 4.0]])
    assert spent(lambda: alignment.warp_crop(image, matrix, crop), 5)[0] < 2048
    assert spent(lambda: heatmap.decode(heatmaps, out), 5)[0] < 2048


def test_the_measure_sees_an_array() -> None:
    assert spent(lambda: np.empty((128, 128), np.uint8).sum(), 3)[0] >= SMALLEST_ARRAY
