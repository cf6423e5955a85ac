"""A video with a known course of its AUs as triplets: canonical crops by the runtime's own landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aunet_sdk.geometry import crop as alignment
from train.data.triplets import TripletSet
from train.models.config import TEMPLATE

ON, OFF = 0.3, 0.15
"""An intensity from ON is active, up to OFF it is not; between them, not labelled: as in the synthetic set."""
LIPS_PART = (0.4, 0.2)
"""The same for AU25, whose intensity is the gap of the lips."""


class _ClipFrames:
    """Frames of the clip with a face (train.data.frames.FrameTable)."""

    def __init__(
        self, images: Sequence[NDArray[np.uint8]], points: NDArray[np.float32], template: Sequence[tuple[float, float]]
    ) -> None:
        self._images, self.points, self._template = images, points, np.asarray(template)

    def read(self, row: int) -> NDArray[np.uint8]:
        return self._images[row]

    def matrix(self, row: int, resolution: int) -> NDArray[np.float64]:
        return alignment.similarity(self.points[row], self._template * resolution - 0.5)


def clip_triplets(
    clip: str | Path,
    track: str | Path,
    resolution: int,
    interval_s: float = 0.4,
    template: Sequence[tuple[float, float]] = TEMPLATE,
) -> TripletSet:
    """Triplets of every frame in which a face is found (the one that is largest); its neighbours are those nearest to
    t +- `interval_s`, frame t itself where the clip has none.

    Args:
        clip: video file.
        track: CSV with `timestamp_s` and `AU..` columns, intensity 0 to 1.
        resolution: side of a crop, px.
        template: five points of the canonical crop, normalised to its side: those of the network that sees the crops
            (networks of the paper's data have train.models.pretrained.PAPER_TEMPLATE).

    Raises:
        InvalidInput: one of the files.  ValueError: no face anywhere.
    """
    from aunet_sdk import Detector
    from aunet_sdk.sources import VideoFile
    from aunet_sdk.view.timeline import read_truth

    truth = read_truth(track)
    images, points, times, numbers = [], [], [], []
    with Detector() as detector, VideoFile(clip) as source:
        for frame in source:
            faces = detector.detect(frame.image).faces
            if faces:
                face = max(faces, key=lambda one: float(one.box[2] * one.box[3]))
                images.append(np.ascontiguousarray(frame.image))
                points.append(alignment.five_points(face.landmarks))
                times.append(frame.timestamp_s)
                numbers.append(frame.index)
    if not images:
        raise ValueError(f"{clip}: expected a face in some frame, found none")
    at = np.array(times)
    period = float(np.median(np.diff(at))) if len(at) > 1 else interval_s
    own = np.arange(len(at))
    sides = []
    for offset in (-interval_s, interval_s):
        near = np.abs(at[:, None] - (at + offset)[None]).argmin(0)
        sides.append(np.where(np.abs(at[near] - at - offset) <= 1.5 * period, near, own))
    au_numbers = tuple(sorted(int(name[2:]) for name in truth.au_names))
    order = [truth.au_names.index(f"AU{number}") for number in au_numbers]
    nearest = np.abs(truth.timestamps_s[:, None] - at[None]).argmin(0)
    stem = Path(clip).stem
    return TripletSet(
        _ClipFrames(images, np.stack(points).astype(np.float32), template),
        np.stack((sides[0], own, sides[1]), 1).astype(np.int64),
        track_labels(truth.intensity[nearest][:, order], au_numbers),
        au_numbers,
        corpus=np.full(len(at), "clip"),
        video=np.full(len(at), stem),
        subject=np.full(len(at), stem),
        frame=np.array(numbers, np.int64),
        resolution=resolution,
    )


def track_labels(intensity: NDArray[np.float64], au_numbers: Sequence[int]) -> NDArray[np.float32]:
    """Intensities (T, n) -> labels (T, n): 1, 0, and NaN between the two limits."""
    on = np.array([LIPS_PART[0] if number == 25 else ON for number in au_numbers])
    off = np.array([LIPS_PART[1] if number == 25 else OFF for number in au_numbers])
    return np.where(intensity >= on, 1.0, np.where(intensity <= off, 0.0, np.nan)).astype(np.float32)
