"""What every sink is: it takes results one by one, and it ends what it holds when it is closed.

A new sink is a module in this folder with one child of `Sink`, and a line in `__init__.py`.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import OutputLost

if TYPE_CHECKING:
    import numpy as np

    from ..results import FrameResult

__all__ = ["Sink", "lost"]


class Sink(ABC):
    """A place for results. It is open from its construction until `close`, and a context manager.

    The constructor raises InvalidInput where the place cannot be used. `put` raises InvalidInput for a result that
    the sink cannot take, and OutputLost where the place gave way: what came before is kept there.
    """

    @abstractmethod
    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        """Takes one result.

        Args:
            result: of one frame, in the order of the frames.
            image: uint8 (H, W, 3) BGR, the picture to be kept with it; sinks of numbers pass it over.
            file: the name of the picture's own file, where every frame has one.
        """

    def flush(self) -> None:  # noqa: B027 (nothing waits in most sinks)
        """Hands on what waits in the sink."""

    def close(self) -> None:  # noqa: B027
        """Ends what the sink holds. It may be called twice. It raises OutputLost where the end cannot be written."""

    def abandon(self) -> None:
        """Ends what the sink holds after an error, as well as that can be done; raises nothing of the output's own."""
        try:
            self.close()
        except OutputLost:
            pass

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()  # the error of the block is the one to tell


def lost(what: str, path: str | os.PathLike[str], error: Exception) -> OutputLost:
    """The error for an output that could not be written any further, from that of the system or of FFmpeg."""
    reason = getattr(error, "strerror", None) or str(error)
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "make room there or give another path" if full else "give another path"
    return OutputLost(f"{what}: cannot write to {os.fspath(path)}: {reason}; {advice}")
