"""Two real faces that meet in one picture keep their ids: clips are made by pasting heads onto a plain wall."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk import Detector, DetectorOptions
from aunet_sdk.sources import VideoFile

FRAMES, FPS = 60, 25
WALL = (300, 560)
HEAD = (190, 130)
"""height and width of a pasted head, px"""
Plan = Callable[[float], tuple[float, float]]
PLANS: dict[str, Plan] = {
    "they pass each other": lambda way: (110 + 340 * way, 450 - 340 * way),
    "they turn back": lambda way: (110 + 320 * min(way, 1 - way), 450 - 320 * min(way, 1 - way)),
}


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    with Detector(DetectorOptions(threads=1, look_ahead="none", validity=False)) as made:
        yield made


@pytest.fixture(scope="module")
def heads(detector: Detector, corpus: Path) -> list[list[np.ndarray]]:
    """Eight pictures of each of two people, cut out around the face."""
    return [
        [cut(frame.image, detector) for frame in islice(VideoFile(corpus / "clips" / name), start, start + 8)]
        for name, start in (("single_face.mp4", 0), ("WolfgangLanger_Pexels.mp4", 160))
    ]


def cut(image: np.ndarray, detector: Detector) -> np.ndarray:
    (face, *_) = detector.detect(image).faces
    x, y, width, height = face.box
    scale = HEAD[1] / (1.4 * width)
    shift = np.array([[scale, 0, HEAD[1] / 2 - scale * (x + width / 2)], [0, scale, 110 - scale * (y + height / 2)]])
    return cv2.warpAffine(image, shift, HEAD[::-1], flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def picture(heads: list[list[np.ndarray]], centres: tuple[float, float], front: int, index: int) -> np.ndarray:
    wall = np.full((*WALL, 3), 110, np.uint8)
    mask = np.zeros(HEAD, np.float32)
    cv2.ellipse(mask, (HEAD[1] // 2, HEAD[0] // 2), (HEAD[1] // 2 - 6, HEAD[0] // 2 - 6), 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), 2)[..., None]
    for who in (1 - front, front):
        x0, y0 = round(centres[who]) - HEAD[1] // 2, 60
        place = wall[y0 : y0 + HEAD[0], x0 : x0 + HEAD[1]]
        place[:] = heads[who][index // 4 % 8] * soft + place * (1 - soft)
    return wall


@pytest.mark.parametrize("front", [0, 1])
@pytest.mark.parametrize("plan", PLANS)
def test_two_people_who_meet_keep_their_ids(
    detector: Detector, heads: list[list[np.ndarray]], plan: str, front: int
) -> None:
    detector.flush()
    seen = []
    for index in range(FRAMES):
        centres = PLANS[plan](index / (FRAMES - 1))
        (result,) = detector.push(picture(heads, centres, front, index), index / FPS)
        at = {face.id: float(face.landmarks[:, 0].mean()) for face in result.faces}
        seen.append([min(at, key=lambda one, x=x: abs(at[one] - x)) for x in centres] if len(at) == 2 else None)
    first, last = seen[10], seen[-1]
    assert first is not None and len(set(first)) == 2 and last == first
    assert None in seen, "nobody was hidden: nothing was tested"
