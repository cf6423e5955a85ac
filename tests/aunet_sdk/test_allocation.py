"""After the warm-up no frame allocates an array: neither pixels, crops, heatmaps nor states."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from aunet_sdk import Detector, DetectorOptions
from aunet_sdk.geometry import crop as alignment
from aunet_sdk.geometry import heatmap
from aunet_sdk.profiling import SyntheticFrames
from aunet_sdk.profiling.allocations import SMALLEST_ARRAY, allocations


@pytest.mark.parametrize("look_ahead", ["full", "none"])
def test_a_frame_leaves_numbers_and_no_arrays(look_ahead: str) -> None:
    """The finder is left out: it runs twice a second."""
    options = DetectorOptions(
        engine="onnxruntime",
        threads=1,
        look_ahead=look_ahead,  # type: ignore[arg-type]
        detect_interval_s=3600,
    )
    frames = SyntheticFrames(1, 320, 180)
    with Detector(options) as detector:
        coming = iter(frames)

        def push() -> None:
            frame = next(coming)
            results = detector.push(frame.image, frame.timestamp_s)
            assert all(len(result.faces) == 1 for result in results)

        def second() -> None:
            for _ in range(25):
                push()

        for _ in range(5):
            push()
        growth = allocations(second, 2)[1]  # not counted: the first second, which fills the buffer
        top = allocations(push, 10)[0]
    # Per face: landmarks of 1 KiB, twice, and the result's copies of a few hundred bytes, about 5 KiB in all. What
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
    assert allocations(lambda: alignment.warp_crop(image, matrix, crop), 5)[0] < 2048
    assert allocations(lambda: heatmap.decode(heatmaps, out), 5)[0] < 2048


def test_the_measure_sees_an_array() -> None:
    assert allocations(lambda: np.empty((128, 128), np.uint8).sum(), 3)[0] >= SMALLEST_ARRAY
