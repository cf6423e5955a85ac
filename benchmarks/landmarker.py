"""MediaPipe's Face Landmarker as a yardstick, in VIDEO mode, one face. A tool of the benchmarks, no dependency.

Wants the wheel `mediapipe` (tried: 1.2.2) and a `face_landmarker.task` file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from aunet_sdk.sources import Frame

N_POINTS = 478

# MediaPipe's points that stand for the 68, in order. Against dlib: inner points 2.2 % of the inter-ocular distance.
_PARTS = (
    (127, 234, 93, 215, 138, 136, 149, 176, 152, 400, 378, 365, 367, 435, 323, 454, 356),  # jaw
    (70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
    (168, 197, 195, 4, 59, 99, 2, 326, 305),  # nose
    (33, 160, 158, 155, 153, 144, 382, 385, 387, 263, 373, 380),  # eyes
    (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
    (77, 82, 13, 312, 325, 317, 14, 87),  # inner lips
)
IBUG_68 = np.array([point for part in _PARTS for point in part])


@dataclass(frozen=True, eq=False)
class Reading:
    """What MediaPipe says of the n frames of a clip.

    present (n,) bool; points (n, 478, 2) float32 px, pixel centres at integers, NaN without a face; names of the
    blendshapes; blendshapes (n, k) float32 in [0, 1], NaN without a face.
    """

    present: np.ndarray
    points: np.ndarray
    names: tuple[str, ...]
    blendshapes: np.ndarray


def available(task: Path | None) -> str:
    """Why MediaPipe cannot be asked, or an empty string."""
    if find_spec("mediapipe") is None:
        return "mediapipe is not installed"
    if task is None:
        return "no .task file given (--task)"
    return "" if task.is_file() else f"{task} is no file"


class Landmarker:
    """One run over one clip: frames in the order of time."""

    def __init__(self, task: Path) -> None:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        self._mediapipe: Any = mediapipe
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(task)),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=1,
            output_face_blendshapes=True,
        )
        self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
        self._last_ms = -1

    def read(self, frame: Frame) -> tuple[np.ndarray, dict[str, float]] | None:
        """Points (478, 2) px and blendshapes of the face, or None."""
        rgb = np.ascontiguousarray(frame.image[..., ::-1])
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=rgb)
        self._last_ms = max(self._last_ms + 1, round(1000 * frame.timestamp_s))
        found = self._landmarker.detect_for_video(image, self._last_ms)
        if not found.face_landmarks:
            return None
        size = np.array([frame.image.shape[1], frame.image.shape[0]], np.float32)
        points = np.array([(p.x, p.y) for p in found.face_landmarks[0]], np.float32) * size - 0.5
        return points, {shape.category_name: float(shape.score) for shape in found.face_blendshapes[0]}

    def close(self) -> None:
        self._landmarker.close()


def read_all(task: Path, frames: Iterable[Frame]) -> Reading:
    """The reading of a whole clip."""
    landmarker = Landmarker(task)
    found = [landmarker.read(frame) for frame in frames]
    landmarker.close()
    names = next((tuple(one[1]) for one in found if one is not None), ())
    nothing = np.full((N_POINTS, 2), np.nan, np.float32)
    return Reading(
        np.array([one is not None for one in found], bool),
        np.array([nothing if one is None else one[0] for one in found], np.float32).reshape(-1, N_POINTS, 2),
        names,
        np.array([[np.nan if one is None else one[1][name] for name in names] for one in found], np.float32),
    )
