"""A bag of ROS 2 (MCAP) with the topics of REP-155, by rosbags: ROS need not be installed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AUNetError, InvalidInput
from .base import Sink, lost
from .extras import load_extra
from .hri import DEFINITIONS, messages_of, string_message
from .message import encode, event_message, frame_message

if TYPE_CHECKING:
    import numpy as np

    from ..results import FrameResult
    from .message import EventLike

__all__ = ["RosbagSink"]

INSTALL = 'pip install "aunet_sdk[rosbag]"'
MOST_DRIFT_S = 60.0


class RosbagSink(Sink):
    """Writes the topics of `Ros2Sink` to a bag, a folder with an MCAP file and metadata.yaml; docs/ros2.md.

    Args:
        path: of the folder, which must not exist yet.
        source: see `MessageSink`.
        frame_id: the optical frame of the camera.
        cropped: whether the picture of every face is kept, 128x128.

    Times are those of the source: the first result has the time of the clock, and later ones differ from it as their
    `timestamp_s` does; where that jumps back or by more than a minute, the clock counts anew. Provisional results are
    left out. A process that is killed leaves an MCAP file without its index, which `mcap recover` completes.

    Raises InvalidInput where the path cannot be used, OutputLost where the disk is full; BackendUnavailable where
    rosbags is missing.
    """

    def __init__(self, path: str | Path, source: str = "", *, frame_id: str = "camera", cropped: bool = False) -> None:
        rosbag2 = load_extra("rosbags.rosbag2", "rosbag", INSTALL)
        typesys = load_extra("rosbags.typesys", "rosbag", INSTALL)
        self.path = Path(path)
        self._source, self._frame_id, self._cropped = source, frame_id, cropped
        self.takes_images = cropped
        self._types = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
        for name, text in DEFINITIONS.items():
            self._types.register(typesys.get_types_from_msg(text, name))
        self._connections: dict[str, Any] = {}
        self._anchor_ns: int | None = None
        self._last_s, self._last_ns = 0.0, 0
        try:
            self._writer: Any = rosbag2.Writer(self.path, version=9, storage_plugin=rosbag2.StoragePlugin.MCAP)
            self._writer.open()
        except (OSError, ValueError, rosbag2.WriterError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidInput(f"rosbag: cannot write to {self.path}: {reason}; give another path") from error

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        if result.provisional:
            return
        self._last_ns = self._time_ns(result.timestamp_s)
        picture = image if self._cropped else None
        for topic, kind, message in messages_of(result, picture, self._last_ns, self._frame_id, self._make):
            self._write(topic, kind, message)
        self._text("frame", encode(frame_message(result, self._source if file is None else file)))

    def event(self, event: EventLike) -> None:
        self._text("event", encode(event_message(event)))

    def status(self, status: dict[str, Any]) -> None:
        self._text("status", encode(status))

    def close(self) -> None:
        """Writes the index. It may be called twice."""
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except OSError as error:
                raise lost("rosbag", self.path, error) from error

    def _time_ns(self, timestamp_s: float) -> int:
        if self._anchor_ns is None or not 0 <= timestamp_s - self._last_s <= MOST_DRIFT_S:
            self._anchor_ns = time.time_ns() - round(timestamp_s * 1e9)
        self._last_s = timestamp_s
        return self._anchor_ns + round(timestamp_s * 1e9)

    def _text(self, name: str, text: str) -> None:
        self._last_ns = self._last_ns or time.time_ns()
        self._write(f"aunet/{name}", "std_msgs/msg/String", string_message(text, self._make))

    def _write(self, topic: str, kind: str, message: Any) -> None:
        if self._writer is None:
            raise AUNetError("rosbag: this sink is closed; make a new one")
        try:
            if topic not in self._connections:
                self._connections[topic] = self._writer.add_connection(f"/{topic}", kind, typestore=self._types)
            self._writer.write(self._connections[topic], self._last_ns, self._types.serialize_cdr(message, kind))
        except OSError as error:
            raise lost("rosbag", self.path, error) from error

    def _make(self, kind: str, **fields: Any) -> Any:
        return self._types.types[kind](**fields)
