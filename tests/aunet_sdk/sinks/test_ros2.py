"""ROS 2 with real rclpy and hri_msgs: another process subscribes and reads. Skipped where they are not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk.errors import AUNetError, InvalidInput
from aunet_sdk.post.events import AUEvent, Phase
from aunet_sdk.sinks import open_sink
from aunet_sdk.sinks.message import status_message

from ..scripted import face, frame

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2)")
pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not built")

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre:DeprecationWarning")  # of rclpy's own parser

LISTENER = """
import json, sys, time
import rclpy
from rclpy.qos import qos_profile_sensor_data
from hri_msgs.msg import FacialActionUnits, FacialLandmarks, IdsList, NormalizedRegionOfInterest2D
from sensor_msgs.msg import Image
from std_msgs.msg import String

base = sys.argv[1]
rclpy.init()
node = rclpy.create_node("listener")
got = {}
kinds = {
    "humans/faces/tracked": (IdsList, lambda m: list(m.ids)),
    "humans/faces/f00001/roi": (NormalizedRegionOfInterest2D, lambda m: [m.xmin, m.ymin, m.xmax, m.ymax, m.c]),
    "humans/faces/f00001/landmarks": (FacialLandmarks, lambda m: [m.width, m.height, m.landmarks[0].x]),
    "humans/faces/f00001/facs": (FacialActionUnits, lambda m: [float(m.intensity[26]), float(m.confidence[26])]),
    "humans/faces/f00001/cropped": (Image, lambda m: [m.width, m.height, m.encoding, max(m.data), m.header.frame_id]),
    "aunet/frame": (String, lambda m: json.loads(m.data)["frame"]),
    "aunet/event": (String, lambda m: json.loads(m.data)["phase"]),
    "aunet/status": (String, lambda m: json.loads(m.data)["state"]),
}
for topic, (kind, value) in kinds.items():
    take = lambda m, topic=topic, value=value: got.setdefault(topic, value(m))
    node.create_subscription(kind, f"{base}/{topic}", take, qos_profile_sensor_data)
print("ready", flush=True)
end_s = time.monotonic() + 60
while len(got) < len(kinds) and time.monotonic() < end_s:
    rclpy.spin_once(node, timeout_sec=0.1)
print(json.dumps(got), flush=True)
"""


@pytest.fixture(autouse=True)
def on_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))


@pytest.mark.parametrize("namespace", ["/", "/robot/left"])
def test_another_process_reads_every_topic(namespace: str) -> None:
    image = np.full((240, 320, 3), 200, np.uint8)
    command = [sys.executable, "-c", LISTENER, namespace.rstrip("/")]
    with open_sink(f"ros2:{namespace}", frame_id="eye") as sink:
        listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ended = threading.Event()
        assert listener.stdout is not None and listener.stdout.readline() == "ready\n"
        reader = threading.Thread(target=lambda: (listener.wait(90), ended.set()), daemon=True)
        reader.start()
        index = 0
        while not ended.is_set():
            sink.put(frame(index, face()), image)
            sink.event(AUEvent(Phase.ONSET, "AU12", 1, 0.2, 0.9, 0.0))
            sink.status(status_message("running"))
            index += 1
            ended.wait(0.05)
    got = json.loads(listener.stdout.readline())
    listener.stdout.close()
    assert got["humans/faces/tracked"] == ["f00001"]
    assert got["humans/faces/f00001/roi"] == pytest.approx([0.125, 0.125, 0.3125, 110 / 240, 0.9])
    assert got["humans/faces/f00001/landmarks"] == pytest.approx([320, 240, (face().landmarks[0, 0] + 0.5) / 320])
    assert got["humans/faces/f00001/facs"] == pytest.approx([0.95, 0.9])
    assert got["humans/faces/f00001/cropped"] == [128, 128, "bgr8", 200, "eye"]
    assert got["aunet/frame"] >= 0 and got["aunet/event"] == "onset" and got["aunet/status"] == "running"
    sink.close()
    with pytest.raises(AUNetError, match="closed"):
        sink.put(frame(0))


def test_topics_of_people_who_have_gone_go() -> None:
    with open_sink("ros2:/") as sink:
        for person in range(1, 30):
            sink.put(frame(person, face(person)))
        assert len(sink._publishers) > 3 * 25
        for index in range(60):
            sink.put(frame(100 + index))
        assert set(sink._publishers) == {"/humans/faces/tracked", "/aunet/frame"}
        start_s = time.monotonic()
    assert time.monotonic() - start_s < 60


def test_what_is_no_namespace_is_refused() -> None:
    for uri in ("ros2:/9robot", "ros2:a-b", "ros2:a b"):
        with pytest.raises(InvalidInput, match="namespace"):
            open_sink(uri)
    with pytest.raises(InvalidInput, match="stamp"):
        open_sink("ros2:/", stamp="then")


@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "bgra8", "mono8", "yuv422_yuy2"])
def test_pictures_of_every_encoding(encoding: str, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2
    from sensor_msgs.msg import Image

    monkeypatch.syspath_prepend(str(repository / "examples" / "ros2" / "aunet_ros"))
    from aunet_ros.pictures import to_bgr

    image = np.zeros((4, 6, 3), np.uint8)
    image[:] = (10, 100, 200) if encoding not in ("mono8", "yuv422_yuy2") else 90
    rows = {
        "bgr8": lambda: image,
        "rgb8": lambda: image[:, :, ::-1],
        "bgra8": lambda: cv2.cvtColor(image, cv2.COLOR_BGR2BGRA),
        "mono8": lambda: image[:, :, 0],
        "yuv422_yuy2": lambda: np.tile(np.array([93, 128], np.uint8), (4, 6)),
    }[encoding]()
    rows = np.ascontiguousarray(rows).reshape(4, -1)
    padded = np.pad(rows, ((0, 0), (0, 5)))
    message = Image(height=4, width=6, encoding=encoding, step=padded.shape[1], data=padded.tobytes())
    assert np.abs(to_bgr(message).astype(int) - image).max() <= 1
    message.data = message.data[:-1]
    with pytest.raises(ValueError, match="bytes"):
        to_bgr(message)
    with pytest.raises(ValueError, match="encoding"):
        to_bgr(Image(height=4, width=6, encoding="16UC1", step=12, data=bytes(48)))
