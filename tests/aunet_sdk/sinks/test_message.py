"""Every message follows the schema, can be written as JSON, and says what the result says."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.post.events import AUEvent, EventTracker, Phase
from aunet_sdk.results import Face, FrameResult, HeadPose
from aunet_sdk.sinks.message import (
    SCHEMA,
    STATES,
    encode,
    event_message,
    frame_message,
    message_schema,
    status_message,
)

from ..scripted import face, frame

VALIDATOR = jsonschema.Draft202012Validator(message_schema())
NAMES = ("AU1", "AU12", "AU45")
anything = st.floats(allow_nan=True, allow_infinity=True, width=32)


def checked(message: dict[str, Any]) -> dict[str, Any]:
    """The message after the schema and JSON: what a reader has."""
    read: dict[str, Any] = json.loads(encode(message))
    VALIDATOR.validate(read)
    assert read == message
    return read


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(message_schema())
    assert message_schema()["title"] == SCHEMA == "aunet/1"


def test_a_frame_says_what_the_result_says() -> None:
    one = face(7, (1.234, -5.678, 30, 40), [0.1, 0.123456, 0.9], au_names=NAMES)
    seen = {
        7: {"AU1": SimpleNamespace(valid=True, why_not=None), "AU12": SimpleNamespace(valid=False, why_not="covered")}
    }
    message = checked(
        frame_message(
            frame(3, one), "cam", captured_s=1e9, emitted_s=1e9 + 0.5, validity=seen, intensity={7: {"AU12": 0.25}}
        )
    )
    assert list(message) == [
        "schema",
        "type",
        "source",
        "frame",
        "captured_s",
        "emitted_s",
        "timestamp_s",
        "provisional",
        "faces",
    ]
    assert {k: message[k] for k in ("schema", "type", "source", "frame", "provisional")} == {
        "schema": "aunet/1",
        "type": "frame",
        "source": "cam",
        "frame": 3,
        "provisional": False,
    }
    assert (message["captured_s"], message["emitted_s"], message["timestamp_s"]) == (1e9, 1e9 + 0.5, 0.12)
    (read,) = message["faces"]
    assert read["id"] == 7 and read["box"] == {"x": 1.23, "y": -5.68, "width": 30.0, "height": 40.0}
    assert read["pose"] == {"yaw_deg": 1.5, "pitch_deg": -2.25, "roll_deg": 3.0}
    assert read["aus"] == {
        "AU1": {"probability": 0.1, "intensity": None, "active": False, "valid": True, "why_not": None},
        "AU12": {"probability": 0.12346, "intensity": 0.25, "active": False, "valid": False, "why_not": "covered"},
        "AU45": {"probability": 0.9, "intensity": None, "active": True, "valid": None, "why_not": None},
    }


def test_no_face_no_capture_time_and_now() -> None:
    message = checked(frame_message(frame(0), "clip.mp4"))
    assert message["faces"] == [] and message["captured_s"] is None
    assert abs(message["emitted_s"] - time.time()) < 60


def test_a_password_reaches_no_message() -> None:
    text = encode(frame_message(frame(0), "rtsp://admin:hunter2@cam/1"))
    text += encode(status_message("lost", "rtsp://admin:hunter2@cam/1 does not answer"))
    assert "hunter2" not in text and "admin" not in text and "cam/1" in text


@given(
    values=st.lists(anything, min_size=3, max_size=3),
    box=st.lists(anything, min_size=4, max_size=4),
    pose=st.lists(anything, min_size=3, max_size=3),
    score=st.floats(0, 1) | st.just(math.nan),
    times=st.lists(st.none() | st.floats(0, 4e9), min_size=2, max_size=2),
    source=st.text(max_size=40),
    provisional=st.booleans(),
)
def test_any_frame_follows_the_schema(
    values: list[float],
    box: list[float],
    pose: list[float],
    score: float,
    times: list[float | None],
    source: str,
    provisional: bool,
) -> None:
    probabilities = [min(max(v, 0.0), 1.0) if math.isfinite(v) else v for v in values]
    one = Face(
        1,
        np.array(box),
        score,
        np.zeros((68, 2)),
        np.zeros(68),
        HeadPose(*pose),
        NAMES,
        np.array(probabilities),
        np.zeros(3),
    )
    result = FrameResult(0, 1.5, 10, 10, (one, one), provisional)
    message = frame_message(result, source, captured_s=times[0], emitted_s=times[1])
    text = encode(message)
    assert "\n" not in text and text.isascii()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    checked(message)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60))
def test_any_event_follows_the_schema(values: list[float]) -> None:
    results = [frame(i, face(1, probabilities=[v], au_names=("AU12",))) for i, v in enumerate(values)]
    for event in EventTracker(min_duration_s=0).events(results):
        message = checked(event_message(event))
        assert (message["phase"], message["au"], message["face"]) == (str(event.phase), "AU12", 1)
        assert message["timestamp_s"] == pytest.approx(event.timestamp_s, abs=1e-6)


def test_an_event_says_what_happened() -> None:
    message = checked(event_message(AUEvent(Phase.OFFSET, "AU12", 4, 12.5, 0.91234567, 1.25)))
    assert list(message.values()) == ["aunet/1", "event", "offset", "AU12", 4, 12.5, 0.91235, 1.25]


@given(
    st.sampled_from(STATES),
    st.none() | st.text(),
    st.none() | st.text(),
    st.none() | st.just(math.nan) | st.floats(0),
    st.none() | st.dictionaries(st.text(), st.integers(0)),
)
def test_any_status_follows_the_schema(
    state: str, reason: str | None, engine: str | None, fps: float | None, dropped: dict[str, int] | None
) -> None:
    checked(status_message(state, reason, engine=engine, fps=fps, dropped=dropped))


def test_what_is_refused() -> None:
    with pytest.raises(InvalidInput, match="state: expected one of opening"):
        status_message("fine")
    with pytest.raises(InvalidInput, match="message: expected what JSON can hold"):
        encode({"a": math.nan})
    with pytest.raises(InvalidInput, match="message: expected what JSON can hold"):
        encode({"a": np.float32(1)})


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "aunet/2"},
        {"type": "picture"},
        {"timestamp_s": "1"},
        {"faces": None},
        {"frame": -1},
    ],
)
def test_the_schema_refuses_what_is_none(change: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({**frame_message(frame(0, face()), "cam"), **change})


def test_an_invalid_au_must_say_why() -> None:
    message = frame_message(frame(0, face(probabilities=[0.5], au_names=("AU1",))), "cam")
    message["faces"][0]["aus"]["AU1"] |= {"valid": False, "why_not": None}
    assert not VALIDATOR.is_valid(message)
    message["faces"][0]["aus"]["AU1"] |= {"valid": True, "why_not": "dark"}
    assert not VALIDATOR.is_valid(message)


def test_the_examples_of_the_page_follow_the_schema(repository: Path) -> None:
    text = (repository / "docs" / "messages.md").read_text(encoding="utf-8")
    examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    assert {example["type"] for example in examples} == {"frame", "event", "status"}
    for example in examples:
        VALIDATOR.validate(example)
