"""The node `aunet`: faces and Action Units of an image topic, or of a source of its own, on the topics of REP-155."""

from __future__ import annotations

import signal
import threading

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import Image

from aunet_sdk import AUNetError, Detector, DetectorOptions
from aunet_sdk.post.events import EventTracker
from aunet_sdk.sinks import FanOut
from aunet_sdk.sinks.message import status_message
from aunet_sdk.sinks.ros2 import Ros2Sink

from .pictures import to_bgr

STATUS_S = 1.0


class AUNetNode(Node):
    """Subscribes to `image` (best effort, the newest picture wins), or opens the source of the parameter `source`.

    A picture whose time does not grow begins a new stream: after a bag has been played again, for instance. Parameters
    are read once, at the start; docs/ros2.md has them.
    """

    def __init__(self) -> None:
        super().__init__("aunet")
        self.done = Future()
        """is done where a source of our own has come to its end"""
        self._image_topic = self._parameter("image_topic", "image")
        self._source = self._parameter("source", "")
        frame_id = self._parameter("frame_id", "camera")
        options = DetectorOptions(
            model=self._parameter("model", "") or None,
            engine=self._parameter("engine", "auto"),
            look_ahead=self._parameter("look_ahead", "none"),
            max_faces=self._parameter("max_faces", 4),
        )
        self._detector = Detector(options)
        # "source": an image's own time
        self._sink = Ros2Sink(
            self.get_namespace(),
            self._source or self._image_topic,
            frame_id=frame_id,
            cropped=self._parameter("cropped", True),
            stamp="source" if self._image_topic else "now",
            node=self,
        )
        self._outputs = FanOut({"ros2": self._sink})
        self._events = EventTracker(self._detector.thresholds)
        self._stream = self._detector.open_stream()
        self._pictures: dict[int, object] = {}
        self._index = self._results = self._last_results = 0
        self._last_s = float("-inf")
        self._refused: dict[str, int] = {}
        self._newest: Image | None = None
        self._dropped = 0
        self._change = threading.Condition()
        self._ending = False
        self._worker = threading.Thread(target=self._work if self._image_topic else self._read, daemon=True)
        if self._image_topic:
            self.create_subscription(Image, self._image_topic, self._take, qos_profile_sensor_data)
        self.create_timer(STATUS_S, self._status)
        self._worker.start()

    def _parameter(self, name: str, default: object) -> object:
        return self.declare_parameter(name, default).value

    def _take(self, message: Image) -> None:
        with self._change:
            self._dropped += self._newest is not None
            self._newest = message
            self._change.notify()

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._newest is not None or self._ending)
                if self._ending:
                    return
                message, self._newest = self._newest, None
            try:
                stamp = message.header.stamp
                self._sink.frame_id = message.header.frame_id or self._sink.frame_id
                self._push(to_bgr(message), stamp.sec + stamp.nanosec * 1e-9)
            except (AUNetError, ValueError) as error:
                self._refuse(str(error))

    def _read(self) -> None:
        from aunet_sdk.sources import open_source

        try:
            with open_source(self._source) as source:
                for frame in source:
                    if self._ending:
                        return
                    self._push(frame.image, frame.timestamp_s)
            self._flush()
        except AUNetError as error:
            self.get_logger().error(str(error))
        self.done.set_result(None)

    def _push(self, image: object, time_s: float) -> None:
        if time_s <= self._last_s:
            self._flush()
            self._stream.close()
            self._stream = self._detector.open_stream()
        self._last_s = time_s
        self._pictures[self._index] = image
        self._index += 1
        self._emit(self._stream.push(image, time_s))

    def _flush(self) -> None:
        self._emit(self._stream.flush())
        for event in self._events.flush():
            self._outputs.event(event)
        self._pictures.clear()
        self._index = 0

    def _emit(self, results: list) -> None:
        for result in results:
            for index in [index for index in self._pictures if index < result.index]:
                del self._pictures[index]
            self._outputs.put(result, self._pictures.get(result.index))
            self._results += 1
            for event in self._events.update(result):
                self._outputs.event(event)

    def _refuse(self, reason: str) -> None:
        """Told once for each reason, and counted."""
        self._refused[reason] = self._refused.get(reason, 0) + 1
        if self._refused[reason] == 1:
            self.get_logger().warning(f"a picture was left out: {reason}")

    def _status(self) -> None:
        fps, self._last_results = (self._results - self._last_results) / STATUS_S, self._results
        dropped = {"late": self._dropped, "refused": sum(self._refused.values()), **self._outputs.dropped}
        self._outputs.status(status_message("running", engine=self._detector.engine.name, fps=fps, dropped=dropped))

    def destroy_node(self) -> None:
        with self._change:
            self._ending = True
            self._change.notify()
        self._worker.join(10)
        if not self._worker.is_alive():
            try:
                self._flush()
            except AUNetError as error:
                self.get_logger().error(str(error))
        self._outputs.close()
        self._detector.close()
        super().destroy_node()


def _end(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    # rclpy's own handlers would take the topics away before what waits for its later frame has been published.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, _end)
    node = None
    try:
        node = AUNetNode()
        rclpy.spin_until_future_complete(node, node.done)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except AUNetError as error:
        raise SystemExit(f"aunet_node: {error}") from None
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
