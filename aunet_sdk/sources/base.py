"""Frame and what every source of frames promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import InvalidInput

MAX_SIDE_PX = 32_768


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture with its time."""

    image: np.ndarray
    """uint8 (H, W, 3), BGR"""
    timestamp_s: float
    """seconds on the source's own monotonic clock"""
    index: int
    """the frame's number in its source, from 0"""
    path: Path | None = None
    """the file that it was read from, where every frame has its own"""
    segment: int = 0
    """goes up by one wherever frames of the source are missing in between, because it was lost and came back: what lies
    on both sides of such a gap does not belong together"""


@runtime_checkable
class Source(Protocol):
    """Iterates over frames with increasing index; holds something that close() gives back."""

    frame_count: int | None
    """how many frames are to be expected, None where that is not known"""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class SourceBase:
    """`with` for sources."""

    frame_count: int | None = None

    def close(self) -> None:
        """Give back what the source holds; may be called more than once."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def as_bgr(image: object) -> np.ndarray:
    """The picture as uint8 (H, W, 3) BGR; the very same array where it is that already.

    Converted: grey (H, W) or (H, W, 1) -> three equal channels; BGRA (H, W, 4) -> the alpha channel is dropped;
    uint16 -> divided by 257, rounded. Anything else raises InvalidInput: floating point (multiply by 255 and convert to
    uint8 if your picture is in [0, 1]), other dtypes, other channel counts, an empty picture, a side over 32768 px.
    """
    if not isinstance(image, np.ndarray):
        raise InvalidInput(f"expected an image as a NumPy array, uint8 (H, W, 3) BGR, got {type(image).__name__}")
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        if max(image.shape[:2]) <= MAX_SIDE_PX:
            return image
    if image.dtype not in (np.uint8, np.uint16):
        hint = "; multiply by 255 and convert to uint8 if it is in [0, 1]" if image.dtype.kind == "f" else ""
        raise InvalidInput(f"expected an image of dtype uint8 (or uint16), got {image.dtype}{hint}")
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise InvalidInput(f"expected an image of shape (H, W, 3), (H, W, 4) or (H, W), got {image.shape}")
    if not image.size or max(image.shape[:2]) > MAX_SIDE_PX:
        raise InvalidInput(f"expected an image with sides from 1 to {MAX_SIDE_PX} px, got {image.shape}")
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.ndim == 2:
        image = image[:, :, None]
    return np.repeat(image, 3, axis=2) if channels == 1 else np.ascontiguousarray(image[:, :, :3])
