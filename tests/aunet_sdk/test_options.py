from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk import Detector, DetectorOptions, InvalidInput


def test_the_defaults_are_those_of_the_contract() -> None:
    options = DetectorOptions()
    assert (options.look_ahead, options.max_faces, options.detect_interval_s) == ("full", 8, 0.5)
    assert (options.finder, options.min_face_px, options.engine) == ("auto", 24, "auto")
    assert options.model is options.finder_model is options.threads is options.thresholds is options.aus is None


@pytest.mark.parametrize(
    "name, value",
    [
        ("look_ahead", "half"),
        ("finder", "haar"),
        ("engine", "coreml"),
        ("max_faces", 0),
        ("max_faces", 65),
        ("max_faces", 2.0),
        ("max_faces", True),
        ("detect_interval_s", -0.1),
        ("detect_interval_s", float("nan")),
        ("min_face_px", 1),
        ("min_face_px", "24"),
        ("threads", 0),
        ("thresholds", 1.5),
        ("thresholds", {"AU12": float("nan")}),
        ("thresholds", {"smile": 0.5}),
        ("aus", ()),
        ("aus", ("smile",)),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"{name}|Action Unit"):
        DetectorOptions(**{name: value})  # type: ignore[arg-type]


def test_aus_and_thresholds_take_any_spelling() -> None:
    options = DetectorOptions(aus=("12", 1), thresholds={12: 0.25, "au1": 1}, max_faces=np.int32(3))  # type: ignore
    assert options.aus == ("AU1", "AU12")
    assert options.thresholds == {"AU12": 0.25, "AU1": 1.0}
    assert DetectorOptions(aus="1,2").aus == ("AU1", "AU2")  # type: ignore[arg-type]


def test_options_are_frozen_and_can_be_replaced() -> None:
    options = DetectorOptions(thresholds={"AU1": 0.5})
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.max_faces = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        options.thresholds["AU1"] = 0.1  # type: ignore[index]
    changed = dataclasses.replace(options, max_faces=2)
    assert changed.max_faces == 2 and changed.thresholds == {"AU1": 0.5}


def test_options_with_thresholds_can_be_pickled_copied_and_hashed() -> None:
    options = DetectorOptions(thresholds={"AU1": 0.5, "AU12": 0.25}, model=Path("a.onnx"))
    other_order = DetectorOptions(thresholds={12: 0.25, 1: 0.5}, model=Path("a.onnx"))  # type: ignore[dict-item]
    for twin in (pickle.loads(pickle.dumps(options)), copy.deepcopy(options), other_order):
        assert twin == options and hash(twin) == hash(options)
    assert dataclasses.asdict(options)["thresholds"] == {"AU1": 0.5, "AU12": 0.25}


def test_numpy_counts_become_ints() -> None:
    options = DetectorOptions(max_faces=np.int64(2), threads=np.int64(1))  # type: ignore[arg-type]
    assert type(options.max_faces) is int and type(options.threads) is int
    with Detector(options) as detector:
        assert detector.engine.max_faces == 2


@pytest.mark.parametrize("name", ["model", "finder_model"])
def test_what_is_no_path_is_refused_by_its_name(name: str) -> None:
    for wrong in (123, b"a.onnx", ["a.onnx"]):
        with pytest.raises(InvalidInput, match=f"^{name}: expected a path"):
            DetectorOptions(**{name: wrong})  # type: ignore[arg-type]
    assert getattr(DetectorOptions(**{name: "a.onnx"}), name) == "a.onnx"  # type: ignore[arg-type]


def test_engine_options_are_frozen_hashed_pickled_and_replaced() -> None:
    given = {"cpu_nodes": False, "provider_options": {"trt_fp16_enable": "1"}}
    options = DetectorOptions(engine="onnxruntime-tensorrt", engine_options=given)
    given["provider_options"]["trt_fp16_enable"] = "0"  # type: ignore[index]
    assert options.engine_options == {"cpu_nodes": False, "provider_options": {"trt_fp16_enable": "1"}}
    for part in (options.engine_options, options.engine_options["provider_options"]):
        with pytest.raises(TypeError):
            part["more"] = 1
    for twin in (pickle.loads(pickle.dumps(options)), copy.deepcopy(options), dataclasses.replace(options)):
        assert twin == options and hash(twin) == hash(options)
    assert dataclasses.asdict(options)["engine_options"] == options.engine_options
    assert DetectorOptions(engine_options={}) == DetectorOptions(), "none are none, also with auto"


@pytest.mark.parametrize(
    ("engine", "value", "text"),
    [
        ("auto", {"fps": 25}, "expected an engine by name, got engine='auto' with fps"),
        ("tensorrt", "graphs=False", "expected a mapping or None, got 'graphs=False'"),
        ("tensorrt", {1: 2}, "expected names as keys, got 1"),
        ("onnxruntime-cuda", {"provider_options": {"a": [1]}}, "a value that can be hashed, got"),
    ],
)
def test_engine_options_are_checked(engine: str, value: object, text: str) -> None:
    with pytest.raises(InvalidInput, match=f"engine_options.*: .*{text}|engine_options: {text}"):
        DetectorOptions(engine=engine, engine_options=value)  # type: ignore[arg-type]
