"""Results, events and statuses to functions of the caller's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .base import Sink

if TYPE_CHECKING:
    import numpy as np

    from ..results import FrameResult
    from .message import EventLike

__all__ = ["CallbackSink"]


class CallbackSink(Sink):
    """Calls a function with every result, event or status.

    Args:
        on_frame: gets (result, image): the picture, uint8 (H, W, 3) BGR, not to be written into, or None.
        on_event: gets the event (`aunet_sdk.post.events.AUEvent`).
        on_status: gets the message "status" (docs/messages.md).

    In a FanOut they are called in a thread of their own. What they raise there is logged, and the next one comes.
    """

    def __init__(
        self,
        on_frame: Callable[[FrameResult, np.ndarray | None], object] | None = None,
        *,
        on_event: Callable[[EventLike], object] | None = None,
        on_status: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        self._on_frame = on_frame
        self._on_event = on_event
        self._on_status = on_status

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        if self._on_frame is not None:
            self._on_frame(result, image)

    def event(self, event: EventLike) -> None:
        if self._on_event is not None:
            self._on_event(event)

    def status(self, status: dict[str, Any]) -> None:
        if self._on_status is not None:
            self._on_status(status)
