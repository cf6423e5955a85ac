"""ROS 2: a node that publishes the topics of REP-155, by rclpy and hri_msgs. docs/ros2.md has the topics."""

from __future__ import annotations

import array
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import AUNetError, InvalidInput
from .base import Sink
from .extras import load_extra
from .hri import messages_of, string_message
from .message import encode, event_message, frame_message

if TYPE_CHECKING:
    from ..results import FrameResult
    from .message import EventLike

__all__ = ["Ros2Sink"]

INSTALL = "source the setup file of your ROS 2, with ros-DISTRO-hri-msgs installed"
FORGET_FRAMES = 50
"""results without a face after which its topics go"""


class Ros2Sink(Sink):
    """Publishes NAMESPACE/humans/faces/tracked, and roi, landmarks, facs and cropped of every face, as best-effort
    sensor data; and the messages "aunet/1" as strings on NAMESPACE/aunet/frame, /event and /status.

    Args:
        namespace: "" or "/": the topics stand as REP-155 has them; else they stand below it.
        source: see `MessageSink`.
        frame_id: the optical frame of the camera.
        cropped: whether the picture of every face is published, 128x128.
        stamp: the time in the headers. "now": when the result is published; "source": the source's own, for sources
            whose clock is Unix time, such as an image topic.
        node: an rclpy node to publish with, which belongs to the caller; None: one of its own, `aunet`.

    Provisional results are left out. Raises InvalidInput for a namespace that is none; BackendUnavailable where rclpy
    or hri_msgs is missing.
    """

    def __init__(
        self,
        namespace: str = "",
        source: str = "",
        *,
        frame_id: str = "camera",
        cropped: bool = True,
        stamp: str = "now",
        node: Any = None,
    ) -> None:
        rclpy = load_extra("rclpy", "ROS 2", INSTALL)
        load_extra("hri_msgs.msg", "ROS 2", INSTALL)
        self._qos = load_extra("rclpy.qos", "ROS 2", INSTALL).qos_profile_sensor_data
        if stamp not in ("now", "source"):
            raise InvalidInput(f"ROS 2: stamp: expected now or source, got {stamp!r}")
        parts = [part for part in namespace.split("/") if part]
        if not all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", part) for part in parts):
            raise InvalidInput(f"ROS 2: expected a namespace such as /robot or /, got {namespace!r}")
        self._base = "".join(f"/{part}" for part in parts)
        self._source, self.frame_id, self._cropped, self._stamp = source, frame_id, cropped, stamp
        self.takes_images = cropped
        self._classes: dict[str, Any] = {}
        self._publishers: dict[str, Any] = {}
        self._seen: dict[str, int] = {}
        self._results = 0
        self._lock = threading.Lock()
        self._context: Any = None
        if node is None:
            signals = load_extra("rclpy.signals", "ROS 2", INSTALL).SignalHandlerOptions
            self._context = rclpy.Context()
            rclpy.init(args=[], context=self._context, signal_handler_options=signals.NO)
            node = rclpy.create_node("aunet", context=self._context, start_parameter_services=False)
        self._node: Any = node
        self._publisher(f"{self._base}/humans/faces/tracked", "hri_msgs/msg/IdsList")  # there from the start

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        if result.provisional:
            return
        stamp_ns = time.time_ns() if self._stamp == "now" else round(result.timestamp_s * 1e9)
        picture = image if self._cropped else None
        with self._lock:
            self._check_open()
            self._results += 1
            for topic, kind, message in messages_of(result, picture, stamp_ns, self.frame_id, self._make):
                self._publish(topic, kind, message)
                if topic.count("/") == 3:
                    self._seen[topic] = self._results
            self._forget()
        self._text("frame", encode(frame_message(result, self._source if file is None else file)))

    def event(self, event: EventLike) -> None:
        self._text("event", encode(event_message(event)))

    def status(self, status: dict[str, Any]) -> None:
        self._text("status", encode(status))

    def close(self) -> None:
        """It may be called twice."""
        with self._lock:
            node, self._node = self._node, None
            if node is None:
                return
            for publisher in self._publishers.values():
                node.destroy_publisher(publisher)
            if self._context is not None:
                node.destroy_node()
                self._context.shutdown()

    def _text(self, name: str, text: str) -> None:
        with self._lock:
            self._check_open()
            self._publish(f"aunet/{name}", "std_msgs/msg/String", string_message(text, self._make))

    def _publish(self, topic: str, kind: str, message: Any) -> None:
        self._publisher(f"{self._base}/{topic}", kind).publish(message)

    def _publisher(self, topic: str, kind: str) -> Any:
        if topic not in self._publishers:
            self._publishers[topic] = self._node.create_publisher(self._class(kind), topic, self._qos)
        return self._publishers[topic]

    def _forget(self) -> None:
        """The topics of people who have gone."""
        for topic in [name for name, last in self._seen.items() if self._results - last > FORGET_FRAMES]:
            del self._seen[topic]
            self._node.destroy_publisher(self._publishers.pop(f"{self._base}/{topic}"))

    def _make(self, kind: str, **fields: Any) -> Any:
        if kind == "sensor_msgs/msg/Image":
            fields["data"] = array.array("B", fields["data"].tobytes())  # anything else is checked byte by byte
        return self._class(kind)(**fields)

    def _class(self, kind: str) -> Any:
        if kind not in self._classes:
            package, _, name = kind.split("/")
            self._classes[kind] = getattr(load_extra(f"{package}.msg", "ROS 2", INSTALL), name)
        return self._classes[kind]

    def _check_open(self) -> None:
        if self._node is None:
            raise AUNetError("ROS 2: this sink is closed; make a new one")
