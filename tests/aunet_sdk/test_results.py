from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from aunet_sdk import Face, FrameResult, InvalidInput
from aunet_sdk.results import Context, HeadPose

GOOD = {
    "id": 3,
    "box": (10, 20, 30, 40),
    "score": 0.9,
    "landmarks": np.arange(136).reshape(68, 2),
    "landmark_confidence": np.full(68, 0.5),
    "pose": HeadPose(1.0, 2.0, 3.0),
    "au_names": ["AU1", "AU12"],
    "probabilities": [0.25, 0.75],
    "active": [False, True],
    "context": "full",
}


def test_aus_are_read_by_name() -> None:
    face = Face(**GOOD)
    assert dict(face.au) == {"AU1": 0.25, "AU12": 0.75}
    assert face.active_aus == ("AU12",)
    with pytest.raises(KeyError):
        face.au["AU2"]
    with pytest.raises(TypeError):
        face.au["AU1"] = 1.0  # type: ignore[index]


def test_arrays_have_their_dtypes_and_cannot_be_changed() -> None:
    box = np.array([1.0, 2.0, 3.0, 4.0])
    face = Face(**{**GOOD, "box": box})
    assert [getattr(face, n).dtype for n in ("box", "landmarks", "landmark_confidence", "probabilities", "active")] == [
        np.float32,
        np.float32,
        np.float32,
        np.float32,
        np.bool_,
    ]
    box[0] = 99
    assert face.box[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        face.landmarks[0, 0] = 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        face.id = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"box": (1, 2, 3)},
        {"landmarks": np.zeros((67, 2))},
        {"landmark_confidence": np.zeros(5)},
        {"probabilities": [0.5]},
        {"active": [True, False, True]},
        {"au_names": ["AU1", "AU1"]},
        {"context": "half"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_fit_is_refused_by_name(change: dict) -> None:
    with pytest.raises(InvalidInput, match=next(iter(change))):
        Face(**{**GOOD, **change})


def test_context_reads_and_prints_as_its_word() -> None:
    face = Face(**GOOD)
    assert face.context is Context.FULL and face.context == "full" and f"{face.context}" == "full"
    assert Face(**{**GOOD, "context": Context.PAST}).context == "past"


def test_a_frame_result_keeps_faces_and_latencies() -> None:
    latency = {"total": 1.5}
    result = FrameResult(4, 0.25, 640, 360, [Face(**GOOD)], latency_ms=latency)  # type: ignore[arg-type]
    latency["total"] = 9
    assert isinstance(result.faces, tuple) and result.latency_ms["total"] == 1.5
    assert not result.provisional
    assert FrameResult(0, 0.0, 1, 1).faces == ()


@pytest.mark.parametrize("copied", [lambda r: pickle.loads(pickle.dumps(r)), copy.deepcopy, copy.copy])
def test_results_can_be_pickled_and_copied_and_stay_read_only(copied: Callable[[FrameResult], FrameResult]) -> None:
    twin = copied(FrameResult(4, 0.25, 640, 360, (Face(**GOOD),), latency_ms={"total": 1.5}))
    face = twin.faces[0]
    assert (twin.index, twin.latency_ms, face.context, face.au_names) == (4, {"total": 1.5}, "full", ("AU1", "AU12"))
    assert np.array_equal(face.landmarks, GOOD["landmarks"]) and dict(face.au) == {"AU1": 0.25, "AU12": 0.75}
    with pytest.raises(TypeError):
        twin.latency_ms["total"] = 2.0  # type: ignore[index]
    for name in ("box", "landmarks", "landmark_confidence", "probabilities", "active"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(face, name)[0] = 0


def test_results_go_through_asdict_to_json() -> None:
    result = FrameResult(4, 0.25, 640, 360, (Face(**GOOD),), latency_ms={"total": 1.5})
    text = json.dumps(dataclasses.asdict(result), default=lambda array: array.tolist())
    read = json.loads(text)
    assert read["latency_ms"] == {"total": 1.5} and read["faces"][0]["probabilities"] == [0.25, 0.75]
