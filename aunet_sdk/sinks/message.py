"""The one message of every transport, "aunet/1": frames, events and states as plain dicts that JSON can hold.

message.schema.json beside this file is the contract; docs/messages.md explains it with an example of each.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from importlib import resources
from typing import Any, Protocol

from .._util.uris import without_credentials
from ..errors import InvalidInput
from ..results import Face, FrameResult

__all__ = [
    "SCHEMA",
    "STATES",
    "EventLike",
    "ValidityLike",
    "encode",
    "event_message",
    "frame_message",
    "message_schema",
    "status_message",
]

SCHEMA = "aunet/1"
"""The version that every message carries. Fields may be added to it; a change of meaning makes another version."""
STATES = ("opening", "running", "lost", "reconnecting", "closed")

Message = dict[str, Any]


class EventLike(Protocol):
    """What `event_message` reads: `aunet_sdk.post.events.AUEvent`."""

    @property
    def phase(self) -> object: ...
    @property
    def au(self) -> str: ...
    @property
    def face(self) -> int: ...
    @property
    def timestamp_s(self) -> float: ...
    @property
    def peak(self) -> float: ...
    @property
    def duration_s(self) -> float: ...


class ValidityLike(Protocol):
    """What `frame_message` reads of an AU: `aunet_sdk.post.validity.Validity`."""

    @property
    def valid(self) -> bool: ...
    @property
    def why_not(self) -> object: ...


def frame_message(
    result: FrameResult,
    source: str,
    *,
    captured_s: float | None = None,
    emitted_s: float | None = None,
    validity: Mapping[int, Mapping[str, ValidityLike]] | None = None,
    intensity: Mapping[int, Mapping[str, float]] | None = None,
) -> Message:
    """The message of one frame.

    Args:
        source: the source as it was given; user, password and token are left out of the message.
        captured_s: Unix time of the capture, where it is known.
        emitted_s: Unix time of the message; None: now.
        validity: by face id and AU name, whether each AU can be seen; None: as the faces say (`Face.valid`).
        intensity: by face id and AU name, 0 to 1; None: as the faces say (`Face.intensity`).

    Pixels and degrees have two decimals, probabilities five, seconds six. A number that is not known (NaN, infinity)
    is null.
    """
    return {
        "schema": SCHEMA,
        "type": "frame",
        "source": without_credentials(source),
        "frame": int(result.index),
        "captured_s": _number(captured_s, 6),
        "emitted_s": round(time.time() if emitted_s is None else float(emitted_s), 6),
        "timestamp_s": _number(result.timestamp_s, 6),
        "provisional": bool(result.provisional),
        "faces": [
            _face(
                face,
                None if validity is None else validity.get(face.id, {}),
                face.intensity if intensity is None else intensity.get(face.id, {}),
            )
            for face in result.faces
        ],
    }


def event_message(event: EventLike) -> Message:
    """The message of one moment of an event (`aunet_sdk.post.events`). An event that has a `source`, as those of a live
    run do, keeps it."""
    source = getattr(event, "source", None)
    return {
        "schema": SCHEMA,
        "type": "event",
        **({"source": without_credentials(source)} if source else {}),
        "phase": str(event.phase),
        "au": event.au,
        "face": int(event.face),
        "timestamp_s": _number(event.timestamp_s, 6),
        "peak": _number(event.peak, 5),
        "duration_s": _number(max(0.0, event.duration_s), 6),
    }


def status_message(
    state: str,
    reason: str | None = None,
    *,
    engine: str | None = None,
    fps: float | None = None,
    dropped: Mapping[str, int] | None = None,
) -> Message:
    """The message of a state: one of STATES. `reason` is text; user, password and token in it are left out. Raises
    InvalidInput for another state."""
    if state not in STATES:
        raise InvalidInput(f"state: expected one of {', '.join(STATES)}, got {state!r}")
    return {
        "schema": SCHEMA,
        "type": "status",
        "state": state,
        "reason": None if reason is None else without_credentials(reason),
        "engine": engine,
        "fps": _number(fps, 2),
        "dropped": {str(name): int(count) for name, count in (dropped or {}).items()},
    }


def encode(message: Mapping[str, Any]) -> str:
    """One line of JSON in ASCII, without a line break. Raises InvalidInput where the message holds NaN or infinity, or
    what JSON does not have."""
    try:
        return json.dumps(message, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"message: expected what JSON can hold, got {error}") from error


def message_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every message follows."""
    text = resources.files(__package__).joinpath("message.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _face(face: Face, validity: Mapping[str, ValidityLike] | None, intensity: Mapping[str, float | None]) -> Message:
    x, y, width, height = (_number(value, 2) for value in face.box.tolist())
    pose = face.pose
    if validity is None:
        valid, why_not = face.valid, face.why_not
    else:
        valid = {name: bool(seen.valid) for name, seen in validity.items()}
        why_not = {name: str(seen.why_not) for name, seen in validity.items() if not seen.valid}
    aus: Message = {}
    for name, probability, active in zip(face.au_names, face.probabilities.tolist(), face.active.tolist(), strict=True):
        aus[name] = {
            "probability": _number(probability, 5),
            "intensity": _number(intensity.get(name), 3),
            "active": active,
            "valid": valid.get(name),
            "why_not": why_not.get(name),
        }
    return {
        "id": int(face.id),
        "box": {"x": x, "y": y, "width": width, "height": height},
        "score": _number(face.score, 5),
        "pose": {
            "yaw_deg": _number(pose.yaw_deg, 2),
            "pitch_deg": _number(pose.pitch_deg, 2),
            "roll_deg": _number(pose.roll_deg, 2),
        },
        "aus": aus,
    }


def _number(value: float | None, decimals: int) -> float | None:
    return round(float(value), decimals) if value is not None and math.isfinite(value) else None
