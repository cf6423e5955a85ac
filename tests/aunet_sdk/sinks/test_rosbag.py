"""Bags, read back by mcap-ros2-support, which knows nothing of rosbags."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from aunet_sdk.errors import AUNetError, InvalidInput
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.post.events import AUEvent, Phase
from aunet_sdk.results import FrameResult
from aunet_sdk.sinks import open_sink
from aunet_sdk.sinks.hri import action_units
from aunet_sdk.sinks.message import message_schema, status_message

from ..scripted import face, frame

pytest.importorskip("rosbags", reason="rosbags is not installed")
mcap = pytest.importorskip("mcap_ros2.reader", reason="mcap-ros2-support is not installed")


def read(bag: Path) -> list[tuple[str, int, Any]]:
    """(topic, time in ns, message), in their order."""
    (file,) = bag.glob("*.mcap")
    return [(m.channel.topic, m.log_time_ns, m.ros_msg) for m in mcap.read_ros2_messages(str(file))]


def ns(stamp: Any) -> int:
    return int(stamp.sec * 1_000_000_000 + stamp.nanosec)


def test_every_topic_of_a_face_and_every_message(tmp_path: Path) -> None:
    image = np.full((240, 320, 3), 50, np.uint8)
    image[30:110, 40:100] = 200
    with open_sink(f"rosbag:{tmp_path / 'bag'}", source="rtsp://a:b@cam/1", cropped=True, frame_id="eye") as sink:
        sink.put(frame(0, face(), face(7, (300, 200, 60, 80))), image)
        sink.event(AUEvent(Phase.APEX, "AU12", 1, 0.2, 0.9, 0.1))
        sink.status(status_message("running"))
        sink.put(frame(1))
        sink.put(FrameResult(2, 0.08, 320, 240, faces=(face(provisional=True),), provisional=True))
    assert (tmp_path / "bag" / "metadata.yaml").is_file()
    messages = read(tmp_path / "bag")
    by_topic: dict[str, list[Any]] = {}
    for topic, _, message in messages:
        by_topic.setdefault(topic, []).append(message)
    faces = [f"/humans/faces/{n}/{t}" for n in ("f00001", "f00007") for t in ("roi", "landmarks", "facs", "cropped")]
    assert set(by_topic) == {"/humans/faces/tracked", *faces, "/aunet/frame", "/aunet/event", "/aunet/status"}
    assert [list(m.ids) for m in by_topic["/humans/faces/tracked"]] == [["f00001", "f00007"], []]
    for texts in (by_topic[f"/aunet/{kind}"] for kind in ("frame", "event", "status")):
        for text in texts:
            jsonschema.validate(json.loads(text.data), message_schema())
    assert json.loads(by_topic["/aunet/frame"][0].data)["source"] == "rtsp://***@cam/1"
    roi = by_topic["/humans/faces/f00001/roi"][0]
    assert [roi.xmin, roi.ymin, roi.xmax, roi.ymax] == pytest.approx([40 / 320, 30 / 240, 100 / 320, 110 / 240])
    assert roi.c == pytest.approx(0.9) and roi.header.frame_id == "eye"
    cut = by_topic["/humans/faces/f00007/roi"][0]
    assert (cut.xmax, cut.ymax) == (1.0, 1.0), "within the picture"
    landmarks = by_topic["/humans/faces/f00001/landmarks"][0]
    assert (landmarks.width, landmarks.height, len(landmarks.landmarks)) == (320, 240, 70)
    assert landmarks.landmarks[0].x == pytest.approx((face().landmarks[0, 0] + 0.5) / 320)
    assert [point.c for point in landmarks.landmarks[66:]] == [pytest.approx(0.8)] * 2 + [0.0] * 2
    facs = by_topic["/humans/faces/f00001/facs"][0]
    assert (len(facs.intensity), len(facs.confidence)) == (99, 99)
    assert facs.intensity[26] == pytest.approx(0.95) and facs.confidence[26] == pytest.approx(0.9)
    assert facs.confidence[5] == 0, "an AU that the model does not have"
    crop = by_topic["/humans/faces/f00001/cropped"][0]
    pixels = np.frombuffer(bytes(crop.data), np.uint8).reshape(128, 128, 3)
    assert (crop.width, crop.height, crop.encoding, crop.step) == (128, 128, "bgr8", 384)
    assert (pixels[:, 20:108] == 200).all() and (pixels[:, :15] == 0).all(), "60 x 80 px, centred on black"


def test_times_are_those_of_the_source(tmp_path: Path) -> None:
    with open_sink(f"rosbag:{tmp_path / 'bag'}") as sink:
        for index in range(4):
            sink.put(frame(index, face()))
        time.sleep(0.2)  # as long as the four took: messages are read by their times
        sink.put(frame(0, face()))  # another stream
    tracked = [(time_ns, m) for topic, time_ns, m in read(tmp_path / "bag") if topic.endswith("tracked")]
    stamps = [ns(m.header.stamp) for _, m in tracked]
    assert [time_ns for time_ns, _ in tracked] == stamps
    assert np.diff(stamps[:4]) == pytest.approx([40e6] * 3, abs=1000)
    assert stamps[4] > stamps[0]


def test_a_killed_process_leaves_what_can_be_recovered(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom tests.aunet_sdk.scripted import face, frame\nfrom aunet_sdk.sinks import open_sink\n"
        f"sink = open_sink('rosbag:{tmp_path / 'bag'}')\n"
        "for i in range(2000):\n    sink.put(frame(i, face()))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], cwd=root, env={"PYTHONPATH": str(root)})
    from mcap.stream_reader import StreamReader

    (file,) = (tmp_path / "bag").glob("*.mcap")
    kinds: list[str] = []
    with file.open("rb") as stream:
        try:
            for record in StreamReader(stream).records:
                kinds.append(type(record).__name__)
        except Exception:  # where it was cut
            pass
    assert kinds.count("Message") > 1000


def test_what_cannot_be_seen_is_told_by_its_codes() -> None:
    class Seen:
        au_names = ("AU1", "AU4", "AU6", "AU12", "AU25")
        probabilities = np.array([0.1, 0.2, 0.3, 0.9, float("nan")], np.float32)
        score = 0.8
        valid = {"AU1": True, "AU4": False, "AU6": True, "AU12": False, "AU25": False}  # noqa: RUF012
        intensity = {"AU12": 0.8}  # noqa: RUF012

    intensity, confidence = action_units(Seen())  # type: ignore[arg-type]
    assert intensity[12] == pytest.approx(0.8) and intensity[1] == pytest.approx(0.1) and intensity[25] == 0
    assert (confidence[1], confidence[4], confidence[12]) == (pytest.approx(0.8), 0, 0)
    assert [intensity[code] for code in (70, 71, 72, 73)] == [0, 0, 1, 0]
    intensity, confidence = action_units(face(au_names=AU_NAMES))
    assert not intensity[70:74].any() and not confidence[70:74].any()


def test_paths_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing" / "deep" / "bag\0"):
        with pytest.raises(InvalidInput, match="rosbag: cannot write"):
            open_sink(f"rosbag:{place}")
    with open_sink(f"rosbag:{tmp_path / 'bag'}") as sink:
        pass
    sink.close()
    with pytest.raises(AUNetError, match="closed"):
        sink.put(frame(0))
