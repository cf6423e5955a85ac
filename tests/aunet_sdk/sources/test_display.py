"""Pictures as they are meant to be shown: turned, mirrored, with square pixels."""

from __future__ import annotations

import gc
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.sources import VideoFile
from aunet_sdk.sources.display import EXIF_ORIENTATIONS, UPRIGHT, orientation_of, square_size

from .clips import noise, write

ONE, W = 1 << 16, 1 << 30
MATRICES = {
    "as it is": (ONE, 0, 0, 0, ONE, 0, 0, 0, W),
    "left and right": (-ONE, 0, 0, 0, ONE, 0, 0, 0, W),
    "half a turn": (-ONE, 0, 0, 0, -ONE, 0, 0, 0, W),
    "top and bottom": (ONE, 0, 0, 0, -ONE, 0, 0, 0, W),
    "clockwise": (0, ONE, 0, -ONE, 0, 0, 0, 0, W),
    "anticlockwise": (0, -ONE, 0, ONE, 0, 0, 0, 0, W),
    "main diagonal": (0, ONE, 0, ONE, 0, 0, 0, 0, W),
    "other diagonal": (0, -ONE, 0, -ONE, 0, 0, 0, 0, W),
}
SHOWN = {
    "as it is": lambda x: x,
    "left and right": lambda x: x[:, ::-1],
    "half a turn": lambda x: x[::-1, ::-1],
    "top and bottom": lambda x: x[::-1],
    "clockwise": lambda x: np.rot90(x, -1),
    "anticlockwise": lambda x: np.rot90(x),
    "main diagonal": lambda x: x.swapaxes(0, 1),
    "other diagonal": lambda x: np.rot90(x.swapaxes(0, 1), 2),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_video_is_shown_as_its_display_matrix_says(tmp_path: Path, name: str, suffix: str) -> None:
    """A mirror was taken for half a turn: faces upside down, AU12 .15 instead of .67."""
    plain = next(iter(VideoFile(write(tmp_path / f"a{suffix}", "H264", 3)))).image
    video = VideoFile(write(tmp_path / f"b{suffix}", "H264", 3, matrix=MATRICES[name]))
    frames = list(video)
    assert np.array_equal(frames[0].image, SHOWN[name](plain))
    assert all(frame.image.shape == (video.height, video.width, 3) for frame in frames)
    assert frames[0].image.flags.c_contiguous and frames[0].image.flags.writeable


@given(st.sampled_from(sorted(MATRICES)), st.floats(0.5, 2), st.floats(-0.01, 0.01))
def test_scale_and_rounding_in_a_display_matrix_change_nothing(name: str, scale: float, off: float) -> None:
    rough = [round(value * scale + off * ONE * scale) for value in MATRICES[name]]
    assert orientation_of(rough) == orientation_of(MATRICES[name])


@pytest.mark.parametrize(
    "matrix", [(46341, 46341, 0, -46341, 46341, 0, 0, 0, W), (0,) * 9, (ONE, ONE, 0, 0, ONE, 0, 0, 0, W)]
)
def test_a_slanted_display_matrix_is_refused(matrix: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="multiple of 90 degrees"):
        orientation_of(matrix)
    if any(matrix[:2]):
        with pytest.raises(InvalidInput, match="multiple of 90 degrees"):
            VideoFile(write(tmp_path / "a.mp4", "H264", 2, matrix=matrix))


def test_the_eight_orientations_of_exif() -> None:
    """Each undoes what the camera did: stored pictures of one scene, shown alike."""
    scene = noise(size=(7, 5))
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.swapaxes(0, 1),
        6: np.rot90(scene),
        7: np.rot90(scene.swapaxes(0, 1), 2),
        8: np.rot90(scene, -1),
    }
    for number, orientation in EXIF_ORIENTATIONS.items():
        assert np.array_equal(orientation.apply(np.ascontiguousarray(stored[number])), scene), number
    assert UPRIGHT.apply(scene) is scene


@pytest.mark.parametrize(
    "aspect, shown",
    [(Fraction(16, 11), (93, 48)), (Fraction(4, 3), (85, 48)), (Fraction(1, 2), (64, 96)), (None, (64, 48))],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pixels_become_square(tmp_path: Path, suffix: str, aspect: Fraction | None, shown: tuple[int, int]) -> None:
    """Old camcorders and discs store 16:9 in 4:3: faces were 1.4 times too narrow."""
    video = VideoFile(write(tmp_path / f"a{suffix}", "H264", 3, aspect=aspect))
    assert (video.width, video.height) == shown
    assert all(frame.image.shape == (shown[1], shown[0], 3) for frame in video)


def test_turned_pixels_are_stretched_before_they_are_turned(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "H264", 2, aspect=Fraction(2, 1), matrix=MATRICES["clockwise"])
    assert (VideoFile(path).width, VideoFile(path).height) == (48, 128)


@given(st.integers(1, 4000), st.integers(1, 4000), st.fractions(Fraction(1, 100), 100))
def test_no_side_becomes_shorter(width: int, height: int, aspect: Fraction) -> None:
    wide, tall = square_size(width, height, aspect)
    assert wide >= width and tall >= height and (wide == width or tall == height)
    if not Fraction(1, 8) <= aspect <= 8 or abs(aspect - 1) < Fraction(1, 100):
        assert (wide, tall) == (width, height)
    else:
        assert abs(wide - max(aspect, 1) * width) <= 0.5 and abs(tall - height / min(aspect, 1)) <= 0.5


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("matrix", [None, MATRICES["clockwise"]])
def test_pictures_are_freed_when_they_are_let_go(tmp_path: Path, matrix: tuple[int, ...] | None) -> None:
    """Each picture's side data were looked at, which makes a circle of references in PyAV: pictures of 460 KiB piled up
    until the garbage collector came by, which counts objects and not their size. A clip took 70 MB more each time."""
    grey = [np.full((480, 640, 3), 90, np.uint8)] * 160

    def memory_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    path = write(tmp_path / "a.mp4", "H264", len(grey), size=(640, 480), matrix=matrix, pictures=grey)
    gc.collect()
    gc.disable()
    try:
        list(zip(VideoFile(path), range(40), strict=False))  # what is needed once
        before_mb = memory_mb()
        assert sum(1 for _ in VideoFile(path)) == len(grey)
        assert memory_mb() - before_mb < 25
    finally:
        gc.enable()
