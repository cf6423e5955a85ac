"""What a result is in ROS 2: the topics and messages of REP-155 (hri_msgs 2), without ROS itself.

`Ros2Sink` makes them of rclpy's message classes, `RosbagSink` of those of rosbags. docs/ros2.md has the topics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..facs import parse_au

if TYPE_CHECKING:
    from ..results import Face, FrameResult

__all__ = ["DEFINITIONS", "face_name", "messages_of", "string_message"]

Make = Callable[..., Any]
"""makes a message: its type, such as "hri_msgs/msg/IdsList", and its fields by name"""

_HEADER = "std_msgs/Header header\n"
DEFINITIONS = {
    "hri_msgs/msg/IdsList": _HEADER + "string[] ids\n",
    "hri_msgs/msg/NormalizedRegionOfInterest2D": _HEADER
    + "".join(f"float32 {name}\n" for name in ("xmin", "ymin", "xmax", "ymax", "c")),
    "hri_msgs/msg/NormalizedPointOfInterest2D": "float32 x\nfloat32 y\nfloat32 c\n",
    "hri_msgs/msg/FacialLandmarks": _HEADER
    + "hri_msgs/NormalizedPointOfInterest2D[70] landmarks\nuint32 height\nuint32 width\n",
    "hri_msgs/msg/FacialActionUnits": _HEADER + "float32[99] intensity\nfloat32[99] confidence\n",
}
"""The fields of the messages of hri_msgs 2.3 that stand here, for where ROS does not know them."""

POINTS = 70
"""68 landmarks of iBUG, which are the first ones of hri_msgs, and two pupils, which are not known"""
CODES = 99
NOT_VISIBLE = {70: (1, 2, 4), 71: (5, 6, 7, 43, 45), 72: tuple(range(8, 29)), 73: tuple(range(1, 46))}
"""FACS codes of what cannot be seen, and the AUs that then are not valid"""
CROP_PX = 128


def face_name(face_id: int) -> str:
    """The id of a face in ROS, where no part of a topic's name begins with a digit: "f00003"."""
    return f"f{face_id:05d}"


def messages_of(
    result: FrameResult, image: np.ndarray | None, stamp_ns: int, frame_id: str, make: Make
) -> Iterator[tuple[str, str, Any]]:
    """(topic, type, message) of a final result, below humans/faces. image: uint8 (H, W, 3) BGR, for the crops; None:
    there are none. stamp_ns: when the picture was taken, ns since 1970; frame_id: the optical frame of the camera."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    time = make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    header = make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)
    ids = [face_name(face.id) for face in result.faces]
    yield "humans/faces/tracked", "hri_msgs/msg/IdsList", make("hri_msgs/msg/IdsList", header=header, ids=ids)
    size = np.array([result.width, result.height], np.float64)
    for name, face in zip(ids, result.faces, strict=True):
        base = f"humans/faces/{name}"
        kind = "hri_msgs/msg/NormalizedRegionOfInterest2D"
        (x0, y0), (x1, y1) = _corners(face, size)
        box = {"xmin": x0, "ymin": y0, "xmax": x1, "ymax": y1, "c": min(1.0, max(0.0, face.score))}
        yield f"{base}/roi", kind, make(kind, header=header, **box)
        kind = "hri_msgs/msg/FacialLandmarks"
        points = _points(face, size, make)
        fields = {"landmarks": points, "height": int(result.height), "width": int(result.width)}
        yield f"{base}/landmarks", kind, make(kind, header=header, **fields)
        kind = "hri_msgs/msg/FacialActionUnits"
        intensity, confidence = action_units(face)
        yield f"{base}/facs", kind, make(kind, header=header, intensity=intensity, confidence=confidence)
        crop = _crop(image, (x0, y0, x1, y1)) if image is not None else None
        if crop is not None:
            kind = "sensor_msgs/msg/Image"
            picture = {"height": CROP_PX, "width": CROP_PX, "encoding": "bgr8", "is_bigendian": 0, "step": 3 * CROP_PX}
            yield f"{base}/cropped", kind, make(kind, header=header, data=crop, **picture)


def string_message(text: str, make: Make) -> Any:
    """std_msgs/msg/String."""
    return make("std_msgs/msg/String", data=text)


def action_units(face: Face) -> tuple[np.ndarray, np.ndarray]:
    """(99,) float32 each, by FACS number, 0 to 1. Intensity: that of the model, or else the probability.
    Confidence: 0 for an AU that the model does not have or that cannot be seen, else the score of the face."""
    intensity, confidence = np.zeros(CODES, np.float32), np.zeros(CODES, np.float32)
    valid = dict(getattr(face, "valid", None) or {})
    strength = dict(getattr(face, "intensity", None) or {})
    for name, probability in zip(face.au_names, face.probabilities.tolist(), strict=True):
        code = parse_au(name)
        value = strength.get(name)
        value = probability if value is None else value
        if code < CODES and value == value:
            intensity[code] = min(1.0, max(0.0, value))
            confidence[code] = min(1.0, max(0.0, face.score)) if valid.get(name, True) is not False else 0.0
    for code, of in NOT_VISIBLE.items():
        known = [valid[name] for name in face.au_names if parse_au(name) in of and valid.get(name) is not None]
        if known and not any(known):
            intensity[code] = confidence[code] = 1.0
    return intensity, confidence


def _corners(face: Face, size: np.ndarray) -> list[list[float]]:
    """[[xmin, ymin], [xmax, ymax]], 0 to 1."""
    box = face.box.astype(np.float64)
    corners = np.stack([box[:2], box[:2] + box[2:]]) / size
    return np.clip(np.nan_to_num(corners), 0, 1).tolist()


def _points(face: Face, size: np.ndarray, make: Make) -> list[Any]:
    kind = "hri_msgs/msg/NormalizedPointOfInterest2D"
    places = np.clip(np.nan_to_num((face.landmarks + 0.5) / size), 0, 1).tolist()
    sure = np.clip(np.nan_to_num(face.landmark_confidence), 0, 1).tolist()
    known = [make(kind, x=x, y=y, c=c) for (x, y), c in zip(places, sure, strict=True)]
    return known + [make(kind, x=0.0, y=0.0, c=0.0) for _ in range(POINTS - len(known))]


def _crop(image: np.ndarray, corners: tuple[float, float, float, float]) -> np.ndarray | None:
    """uint8 (128 * 128 * 3,) BGR: the box within the picture, scaled and centred on black."""
    import cv2

    height, width = image.shape[:2]
    x0, y0, x1, y1 = (round(c * s) for c, s in zip(corners, (width, height, width, height), strict=True))
    if x1 <= x0 or y1 <= y0:
        return None
    scale = CROP_PX / max(x1 - x0, y1 - y0)
    w, h = (max(1, min(CROP_PX, round(side * scale))) for side in (x1 - x0, y1 - y0))
    out = np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
    left, top = (CROP_PX - w) // 2, (CROP_PX - h) // 2
    out[top : top + h, left : left + w] = cv2.resize(image[y0:y1, x0:x1], (w, h), interpolation=cv2.INTER_AREA)
    return out.ravel()
