"""Frames with a face, numbered by row over all videos: where the crops of triplets come from."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aunet_sdk.geometry import crop as alignment
from train.data.corpora.corpus import Video
from train.data.faces.stored import Faces
from train.data.sequences import SequenceSet
from train.data.transforms.sequences import crop_matrix


class FrameTable(Protocol):
    """Frames with a face, numbered by row over all videos; can be pickled."""

    points: NDArray[np.float32]
    """(M, 5, 2) px of the frame"""

    def read(self, row: int) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) BGR; DatasetError where it cannot be read."""
        ...

    def matrix(self, row: int, resolution: int) -> NDArray[np.float64]:
        """(2, 3): frame pixels to crop pixels."""
        ...


class CorpusFrames:
    """Frames of prepared videos; the crop is the paper's square about the box."""

    def __init__(self, videos: Sequence[tuple[Video, NDArray[np.int64], Faces]]) -> None:
        self._readers = [video.reader for video, _, _ in videos]
        self._index = [good for _, good, _ in videos]
        self._starts = np.cumsum([0, *(len(good) for good in self._index)])
        self.points = np.concatenate([faces.points[good] for _, good, faces in videos])
        self._boxes = np.concatenate([faces.box[good] for _, good, faces in videos])
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def read(self, row: int) -> NDArray[np.uint8]:
        video = int(np.searchsorted(self._starts, row, side="right")) - 1
        reader, index = self._readers[video], int(self._index[video][row - self._starts[video]])
        if hasattr(reader, "close"):  # a video file has one position
            with self._lock:
                return reader.read(index)
        return reader.read(index)

    def matrix(self, row: int, resolution: int) -> NDArray[np.float64]:
        return alignment.box_to_matrix(self._boxes[row], alignment.PAPER_CROP_SCALE, resolution)


class SequenceFrames:
    """Frames of the synthetic set."""

    def __init__(self, sequences: SequenceSet) -> None:
        info = sequences.info
        self._images, self._per, self._size, self._margin = sequences.images, info.frames, info.size, info.margin
        pixels = sequences.points.reshape(-1, 68, 2) * info.size - 0.5
        eyes = [pixels[:, 36:42].mean(1), pixels[:, 42:48].mean(1)]
        self.points = np.stack([*eyes, *(pixels[:, k] for k in (30, 48, 54))], 1).astype(np.float32)

    def read(self, row: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._images[row // self._per][row % self._per][..., ::-1])

    def matrix(self, row: int, resolution: int) -> NDArray[np.float64]:
        return crop_matrix(resolution, self._size, self._margin)
