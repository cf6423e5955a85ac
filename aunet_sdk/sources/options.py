"""SourceOptions: how a source is opened and what is done with its frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from ..errors import InvalidInput

__all__ = ["Policy", "SourceOptions"]

Policy = Literal["latest", "all"]
_ROTATIONS = (0, 90, 180, 270)


@dataclass(frozen=True)
class SourceOptions:
    """How a source is opened and what is done with its frames. Raises InvalidInput for a value out of range."""

    width: int | None = None
    """of the frames that are handed out, in pixels. A camera is asked for this size. Frames that come larger are scaled
    down to fit into `width` x `height`, with their aspect; smaller ones stay as they are. None: as they come"""
    height: int | None = None
    fps: float | None = None
    """at most so many frames a second; a camera is asked for this rate, and frames beyond it are dropped ("rate"). For
    a folder it is the rate of its pictures, for raw video without times (MJPEG on stdin) that of the stream"""
    rotation: int = 0
    """0, 90, 180 or 270: by how many degrees the frames are turned clockwise"""
    mirror: bool = False
    """whether left and right change places, after the rotation"""
    realtime: bool = False
    """whether a file comes at its own pace rather than as fast as it is read"""
    policy: Policy | None = None
    """what happens to frames that come faster than they are taken: "latest": the newest wins, the others are dropped
    and counted ("superseded"); "all": the source waits, nothing is dropped. None: "latest" for cameras and streams,
    "all" for files, folders and stdin"""
    wait: bool = False
    """whether a live source that cannot be opened at first is tried again, as one that was lost is; False: opening it
    raises SourceLost"""
    open_timeout_s: float = 5.0
    """so long a live source may take to answer when it is opened"""
    read_timeout_s: float = 3.0
    """so long a live source may send nothing before it counts as lost"""
    retry_first_s: float = 0.25
    """pause before the first attempt to open a lost source again; it doubles with every further one, and each is
    shortened by a random half at most"""
    retry_most_s: float = 3.0
    """the longest such pause"""

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**15):
                raise InvalidInput(f"{name}: expected a whole number of pixels from 1 to 32767, got {value!r}")
        if self.fps is not None and not (_is_number(self.fps) and 0 < self.fps < 1e6):
            raise InvalidInput(f"fps: expected a number over 0, got {self.fps!r}")
        if self.rotation not in _ROTATIONS or isinstance(self.rotation, bool):
            raise InvalidInput(f"rotation: expected 0, 90, 180 or 270 degrees clockwise, got {self.rotation!r}")
        for name in ("mirror", "realtime", "wait"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInput(f"{name}: expected True or False, got {getattr(self, name)!r}")
        if self.policy is not None and self.policy not in get_args(Policy):
            raise InvalidInput(f'policy: expected "latest" or "all", got {self.policy!r}')
        for name in ("open_timeout_s", "read_timeout_s", "retry_first_s", "retry_most_s"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 < value < math.inf):
                raise InvalidInput(f"{name}: expected a number of seconds over 0, got {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
