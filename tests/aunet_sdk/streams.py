"""Streams of a painted face for the tests of the Detector."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from aunet_sdk import Detector, FrameResult

from .painted import paint

PERIOD_S = 1 / 30


def clip(count: int, period_s: float = PERIOD_S) -> list[tuple[np.ndarray, float]]:
    """One face that drifts, under a light that changes."""
    return [(paint((100 + i, 110, 60), background=i), i * period_s) for i in range(count)]


def run(detector: Detector, frames: list[tuple[np.ndarray, float]]) -> list[FrameResult]:
    return [r for image, time_s in frames for r in detector.push(image, time_s)] + detector.flush()


def probabilities(results: list[FrameResult]) -> np.ndarray:
    return np.array([face.probabilities for result in results for face in result.faces])


def write_video(path: Path, frames: list[tuple[np.ndarray, float]]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 1 / PERIOD_S, (320, 240))
    for image, _ in frames:
        writer.write(image)
    writer.release()
    return path
