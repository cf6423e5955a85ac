"""Validity: with the mouth covered AU12 has to be invalid and AU1 valid; uncovered, both valid.

Every clip is run four times by the real detector: as it is, and with a black patch, a patch of the skin's colour and a
drawn hand over the mouth, laid on by the landmarks of the uncovered run. Frames in which the detector finds no face are
counted apart.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import finish, machine, options_of, parser_of, run

from aunet_sdk import Detector, Face
from aunet_sdk.post.validity import AUValidity
from aunet_sdk.sources import VideoFile

COVERS = ("none", "black", "skin", "hand")
Cover = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Mouth:
    """Where the mouth of a face is: its centre, half its size with a margin, the axes of the face and their unit."""

    def __init__(self, landmarks: np.ndarray) -> None:
        left, right = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
        self.unit = float(np.hypot(*(right - left)))
        self.across = (right - left) / self.unit
        self.down = np.array([-self.across[1], self.across[0]])
        lips = landmarks[48:68]
        self.centre = (lips.min(0) + lips.max(0)) / 2
        self.width = float(np.abs((lips - self.centre) @ self.across).max()) + 0.22 * self.unit
        self.height = float(np.abs((lips - self.centre) @ self.down).max()) + 0.18 * self.unit
        self.cheeks = (landmarks[41] + 0.45 * self.unit * self.down, landmarks[46] + 0.45 * self.unit * self.down)


def patch(image: np.ndarray, mouth: Mouth, colour: np.ndarray) -> np.ndarray:
    """A rectangle of one colour with a little noise, along the face's axes."""
    corners = [
        mouth.centre + a * mouth.width * mouth.across + b * mouth.height * mouth.down
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, (np.array(corners) * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return blend(image, colour + noise, mask / 255)


def blend(image: np.ndarray, over: np.ndarray, share: np.ndarray) -> np.ndarray:
    mixed = image * (1 - share[..., None]) + over * share[..., None]
    return np.clip(mixed, 0, 255).astype(np.uint8)


def skin_of(image: np.ndarray, mouth: Mouth) -> np.ndarray:
    """The colour of the cheeks, BGR."""
    radius, colours = max(2, round(0.08 * mouth.unit)), []
    for x, y in np.array(mouth.cheeks).astype(int):
        around = image[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        if around.size:
            colours.append(np.median(around.reshape(-1, 3), 0))
    return np.mean(colours, 0) if colours else np.array([100.0, 120.0, 160.0])


def hand(image: np.ndarray, mouth: Mouth, angle: float, gain: float) -> np.ndarray:
    """Four shaded fingers and the back of a hand, at this angle to the face, in the skin's colour times `gain`."""
    skin = skin_of(image, mouth) * gain
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    along = np.cos(angle) * mouth.across + np.sin(angle) * mouth.down
    x, y = columns - mouth.centre[0], rows - mouth.centre[1]
    a, b = x * along[0] + y * along[1], y * along[0] - x * along[1]
    finger = 2 * mouth.height / 3.4
    layer, share = np.zeros(image.shape, np.float32), np.zeros(image.shape[:2], np.float32)
    for k, reach in enumerate((0.85, 1.0, 0.95, 0.7)):
        middle, radius = (k - 1.5) * finger * 0.92, finger / 2
        tip = mouth.width * reach + 0.15 * mouth.unit
        distance = np.where(a < tip - radius, np.abs(b - middle), np.hypot(a - tip + radius, b - middle))
        inside = (distance < radius) & (a > -2 * mouth.unit)
        shade = 0.55 + 0.45 * np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1))
        layer[inside] = (skin * shade[..., None])[inside]
        share[inside] = 1
    back = (a < -0.9 * mouth.width) & (np.abs(b) < 1.84 * finger) & (a > -2 * mouth.unit)
    layer[back], share[back] = skin * 0.95, 1
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return blend(image, layer + noise, cv2.GaussianBlur(share, (0, 0), 0.6))


def cover_of(kind: str, name: str) -> Cover:
    """The hand of each clip has an angle and a brightness of its own."""
    rng = np.random.default_rng(sum(map(ord, name)))
    angle, gain = rng.uniform(-0.6, 0.6), rng.uniform(0.75, 1.1)

    def cover(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        mouth = Mouth(landmarks.astype(np.float64))
        if kind == "hand":
            return hand(image, mouth, angle, gain)
        return patch(image, mouth, np.zeros(3) if kind == "black" else skin_of(image, mouth))

    return cover


def largest(faces: tuple[Face, ...]) -> Face | None:
    return max(faces, key=lambda face: float(face.box[2] * face.box[3]), default=None)


def watch(
    detector: Detector, path: Path, frames: int | None, cover: Cover | None, points: dict[int, np.ndarray]
) -> Iterator[tuple[int, Face | None, dict[str, bool]]]:
    """Number, largest face and validity by AU of every frame; `points` say where to cover."""
    validity = AUValidity(detector.bundle.min_confidence)
    detector.flush()
    for frame in islice(VideoFile(path), frames):
        image = frame.image
        if cover is not None:
            if frame.index not in points:
                continue
            image = cover(image, points[frame.index])
        (result,) = detector.push(image, frame.timestamp_s)
        face = largest(result.faces)
        seen = {}
        if face is not None:
            found = validity.check(face, (result.width, result.height), result.timestamp_s, image)
            seen = {au: one.valid for au, one in found.items()}
        yield frame.index, face, seen


def measure(arguments: Namespace) -> int:
    counts = {kind: {"frames": 0, "no_face": 0, "AU1": 0, "AU12": 0} for kind in COVERS}
    with Detector(options_of(arguments, look_ahead="none")) as detector:
        for path in arguments.clips:
            points: dict[int, np.ndarray] = {}
            row = [f"{path.name:28}"]
            for kind in COVERS:
                cover = None if kind == "none" else cover_of(kind, path.stem)
                here = dict.fromkeys(counts[kind], 0)
                for index, face, seen in watch(detector, path, arguments.frames, cover, points):
                    if face is None:
                        here["no_face"] += 1
                        continue
                    if kind == "none":
                        points[index] = face.landmarks
                    here["frames"] += 1
                    here["AU1"] += seen["AU1"]
                    here["AU12"] += seen["AU12"]
                for name, count in here.items():
                    counts[kind][name] += count
                row.append(f"{kind}: AU1 {percent(here, 'AU1'):5.1f} AU12 {percent(here, 'AU12'):5.1f}")
            print(" | ".join(row), flush=True)
    figures: dict[str, Any] = {}
    for kind, here in counts.items():
        figures[kind] = {
            "frames": here["frames"],
            "no_face": here["no_face"],
            "au1_valid": percent(here, "AU1"),
            "au12_valid": percent(here, "AU12"),
        }
    return finish({**figures, "model": detector.bundle.name, "machine": machine()}, arguments.json)


def percent(counts: dict[str, int], au: str) -> float:
    return round(100 * counts[au] / max(1, counts["frames"]), 1)


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("clips", nargs="+", type=Path, help="videos in which nothing covers the mouths")
    parser.add_argument("--frames", type=int, help="look at so many frames of each clip")
    arguments = parser.parse_args(argv)
    return run("validity.py", lambda: measure(arguments))


if __name__ == "__main__":
    sys.exit(main())
