"""What a bundle says of its own answers, and engines that answer otherwise. TensorRT and CUDA are fakes here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aunet_sdk.bundle import Bundle, int8_beside, shipped_names
from aunet_sdk.engines import open_engine
from aunet_sdk.engines.cpu import auto
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.cuda.ort import OrtGpuStreamEngine
from aunet_sdk.engines.parity import ParityVector, answers, check_parity, difference
from aunet_sdk.engines.tensorrt.engine import TrtStreamEngine
from aunet_sdk.errors import BundleMismatch, EngineMismatch

from ..reference_graph import R, describe, write
from .fake_cuda import FakeCuda
from .fake_trt import fake_tensorrt


def vector_of(path: Path) -> ParityVector:
    random = np.random.default_rng(0)
    crops = random.integers(0, 256, (3, 3, R, R), np.uint8)
    reference = random.normal(0, 0.1, (68, 2)).astype(np.float32).round(4)
    with OrtStreamEngine(path, max_faces=1, threads=1) as engine:
        return ParityVector(crops, reference, answers(engine, crops, reference)[0])


def told(path: Path, wrong: float = 0.0, **changes: Any) -> Path:
    """The bundle with what it says of itself, which is off by `wrong`."""
    bundle = describe(**changes)
    vector = vector_of(write(path, bundle))
    off = dataclasses.replace(vector, expected=vector.expected + wrong)
    return write(path, dataclasses.replace(bundle, parity=off.to_json()))


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return told(tmp_path_factory.mktemp("parity") / "right.onnx")


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return told(tmp_path_factory.mktemp("parity") / "wrong.onnx", wrong=0.01)


def trt(path: Path, folder: Path, cuda: FakeCuda | None = None) -> TrtStreamEngine:
    cuda = cuda or FakeCuda()
    return TrtStreamEngine(path, max_faces=3, library=fake_tensorrt(cuda), cuda=cuda, cache_dir=folder)


def on_cuda(path: Path, folder: Path) -> OrtGpuStreamEngine:
    return OrtGpuStreamEngine(path, provider="cpu", max_faces=3, cache_dir=folder)


def test_round_trip(right: Path) -> None:
    vector, bundle = vector_of(right), Bundle.load(right)
    read = ParityVector.of(bundle)
    assert read is not None and read.expected.shape == (3, 2, 3)
    np.testing.assert_array_equal(read.crops, vector.crops)
    np.testing.assert_array_equal(read.reference, vector.reference)
    np.testing.assert_allclose(read.expected, vector.expected, atol=1e-6)
    assert not np.allclose(read.expected[0], read.expected[2]), "the reference makes a difference"
    with OrtStreamEngine(right, max_faces=4, threads=1) as engine:
        assert difference(engine) == check_parity(engine) < 1e-5  # type: ignore[operator]
    with OrtStreamEngine(write(right.with_name("silent.onnx"), describe()), threads=1) as engine:
        assert check_parity(engine) is None


@pytest.mark.parametrize("engine", [trt, on_cuda])
def test_an_engine_that_answers_otherwise_is_refused(
    engine: Callable[..., Any], right: Path, wrong: Path, tmp_path: Path
) -> None:
    engine(right, tmp_path).close()
    with pytest.raises(EngineMismatch, match=r"to answer as tells-references says .* got 0.01 apart; take another"):
        engine(wrong, tmp_path)


def test_a_plan_that_computes_wrongly_is_refused_each_time_and_gives_everything_back(
    right: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake of a TensorRT whose plans go wrong from the second face of a batch on."""
    from . import fake_trt

    class Session:
        def __init__(self, real: Any) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def run(self, names: Any, feed: Any) -> list[np.ndarray]:
            results = self._real.run(names, feed)
            where = [v.name for v in self._real.get_outputs()].index("logits")
            results[where][1:] = np.nan
            return results

    real = fake_trt.session_of
    monkeypatch.setattr(fake_trt, "session_of", lambda model: Session(real(model)))
    for _ in range(2):
        cuda = FakeCuda()
        with pytest.raises(EngineMismatch, match="got inf apart"):
            trt(right, tmp_path, cuda)
        assert cuda.used() == 0 and not cuda.streams


@pytest.mark.parametrize(
    "damage",
    [
        {"crops": "AAAA"},
        {"crops": "no base64"},
        {"expected": [[1, 2, 3]]},
        {"expected": None},
        {"reference": None},
        {"reference": [[1, 2]]},
    ],
)
def test_a_damaged_vector_is_named(right: Path, damage: dict[str, Any]) -> None:
    bundle = Bundle.load(right)
    with pytest.raises(BundleMismatch, match="in the metadata 'parity' of tells-references"):
        ParityVector.of(dataclasses.replace(bundle, parity={**bundle.parity, **damage}))  # type: ignore[dict-item]
    with pytest.raises(BundleMismatch):
        ParityVector.of(dataclasses.replace(bundle, parity={}))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(auto, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(auto, "ENOUGH_MS", 0.0)
    return tmp_path


def test_auto_opens_nothing_that_answers_otherwise(
    right: Path, wrong: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, error in ((right, None), (wrong, EngineMismatch)):
        one = {"onnxruntime": lambda path=path: OrtStreamEngine(path, max_faces=1, threads=1)}
        both = one | {"again": one["onnxruntime"]}
        for candidates in (one, both):
            if error is None:
                auto.choose(Bundle.load(path), candidates, folder=cache)[0].close()
            else:
                with pytest.raises(error):
                    auto.choose(Bundle.load(path), candidates, folder=cache)


def test_the_int8_form_beside_is_a_candidate_and_taken_where_it_is_faster(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = told(cache / "model.onnx")
    bundle = Bundle.load(path)
    assert int8_beside(bundle) is None
    told(cache / "model-int8.onnx", precision="int8", arithmetic="int8")
    small = int8_beside(bundle)
    assert small is not None and small.arithmetic == "int8" and int8_beside(small) is None
    monkeypatch.setattr(auto, "installed", lambda name: False)

    def turns(engines: dict[str, Any]) -> dict[str, list[float]]:
        return {name: [10.0 if "int8" not in name else times] * 8 for name in engines}

    for times, arithmetic in ((6.0, "int8"), (9.9, "fp32")):
        monkeypatch.setattr(auto, "take_turns", turns)
        with open_engine(bundle, "auto", max_faces=1, threads=round(times)) as engine:  # type: ignore[attr-defined]
            assert engine.bundle.arithmetic == arithmetic, times
    told(cache / "model-int8.onnx", wrong=0.1, precision="int8", arithmetic="int8")
    times = 6.0
    with open_engine(bundle, "auto", max_faces=1, threads=1) as engine:  # type: ignore[attr-defined]
        assert engine.bundle.arithmetic == "fp32", "it does not hold what it says"


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint_sha256": "d" * 64},
        {"arithmetic": "int8-symmetric"},
        {"thresholds": (0.4,) * 3},
        {"precision": "fp32", "arithmetic": "fp32"},
    ],
)
def test_another_model_beside_is_no_form_of_this_one(tmp_path: Path, changes: dict[str, Any]) -> None:
    bundle = Bundle.load(write(tmp_path / "model.onnx", describe()))
    write(tmp_path / "model-int8.onnx", describe(**({"precision": "int8", "arithmetic": "int8"} | changes)))
    assert int8_beside(bundle) is None


def test_a_damaged_int8_form_is_passed_over(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(cache / "model.onnx", describe())
    (cache / "model-int8.onnx").write_bytes(b"damaged")
    monkeypatch.setattr(auto, "installed", lambda name: False)
    open_engine(path, "auto", max_faces=1, threads=1).close()
    assert "the INT8 form beside tells-references is passed over" in caplog.text


def test_int8_forms_are_no_models_of_their_own() -> None:
    assert not [name for name in shipped_names() if name.endswith("-int8")]
