"""The OpenVINO engine on the tell-tale graph of test_ort.py: the same answers from the same frames."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aunet_sdk.engines import NEW, Query, Slot, StreamEngine, available_engines, open_engine
from aunet_sdk.engines.cpu.openvino import OpenVinoStreamEngine, has_bf16
from aunet_sdk.errors import BackendUnavailable, BundleMismatch, InvalidInput, ModelError

from .test_ort import describe, told, write

openvino = pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("openvino") / "tell-tale.onnx", describe())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def engine(path: Path, cache: Path) -> OpenVinoStreamEngine:
    return OpenVinoStreamEngine(path, max_faces=3, threads=1, cache=cache)


def poison(engine: OpenVinoStreamEngine) -> None:
    """NaN in every row that nobody holds: it must not matter."""
    for ring in engine._rings:
        for row, owner in enumerate(ring._owners):
            if owner is None or owner() is None:
                ring.tensor[row] = np.nan


def test_is_a_stream_engine_and_keeps_its_compiled_models(
    engine: OpenVinoStreamEngine, cache: Path, path: Path
) -> None:
    assert isinstance(engine, StreamEngine)
    assert (engine.name, engine.providers) == ("openvino", ("CPU fp32",))
    assert list(cache.glob("*.blob"))
    assert openvino.__version__.split("-")[0] in available_engines()["openvino"]
    with open_engine(path, "openvino", threads=1) as opened:  # type: ignore[attr-defined]
        assert opened.name == "openvino"


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_order_of_faces_queries_and_drops(path: Path, cache: Path, data: st.DataObject) -> None:
    """One face and several, queries of all kinds over the same rings; rings grow; a flush has no crop."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    kept: list[tuple[Slot, float]] = []
    with OpenVinoStreamEngine(path, max_faces=3, threads=1, fps=1, cache=cache) as engine:
        for _ in range(12):
            n_new = data.draw(st.integers(0, 3))
            values = rng.random(n_new).astype(np.float32)
            for i, value in enumerate(values):
                engine.crops[i] = value
            poison(engine)
            queries: list[Query | None] = []
            expected = []
            for i in range(n_new):
                if kept and data.draw(st.booleans()):
                    (a, u), (b, v) = kept[rng.integers(len(kept))], kept[rng.integers(len(kept))]
                    if b.settled:
                        queries.append(Query(a, NEW, NEW))
                        expected.append(told(u, values[i], values[i]))
                    else:
                        queries.append(Query(a, b, NEW))
                        expected.append(told(u, v, values[i]))
                        kept = [pair for pair in kept if pair[0] is not b]
                else:
                    queries.append(None)
                    expected.append([np.nan] * 5)
            asks_ahead = data.draw(st.booleans())
            causal = [kept[-1][0] if kept else None for _ in range(n_new)] if asks_ahead else None
            before = kept[-1][1] if kept else None
            result = engine.step(n_new, queries, causal)
            np.testing.assert_allclose(
                result.heatmaps, np.broadcast_to(values[:, None, None, None], (n_new, 68, 2, 2)), rtol=1e-6
            )
            np.testing.assert_allclose(result.logits, np.reshape(expected, (-1, 5)), rtol=1e-6)
            ahead = [told(v if before is None else before, v, v) for v in values]
            if asks_ahead:
                np.testing.assert_allclose(result.logits_causal, np.reshape(ahead, (-1, 5)), rtol=1e-6)  # type: ignore[arg-type]
            settled = [query is not None and query.due is NEW for query in queries]
            kept += [
                (slot, float(value))
                for slot, value, done in zip(result.slots, values, settled, strict=True)
                if not done
            ]
            del queries, causal, result
        poison(engine)
        alive = [pair for pair in kept if not pair[0].settled]
        answers = engine.query([Query(slot, slot, slot) for slot, _ in alive])
        np.testing.assert_allclose(answers, np.reshape([told(v, v, v) for _, v in alive], (-1, 5)), rtol=1e-6)


def test_a_step_that_asks_for_nothing_is_run_all_the_same(engine: OpenVinoStreamEngine) -> None:
    """OpenVINO leaves a graph out where one of its outputs is empty."""
    engine.crops[0] = 0.25
    first = engine.step(1)
    np.testing.assert_allclose(first.heatmaps, 0.25)
    assert first.logits.shape == (0, 5)
    engine.crops[:2] = 0.75
    second = engine.step(2, [None])
    np.testing.assert_allclose(second.heatmaps, 0.75)
    assert np.isnan(second.logits).all()
    logits = engine.query([Query(first.slots[0], second.slots[0], second.slots[1])])
    np.testing.assert_allclose(logits[0], told(0.25, 0.75, 0.75))


def test_many_queries_over_rings_that_grew(path: Path, cache: Path) -> None:
    with OpenVinoStreamEngine(path, max_faces=2, threads=1, fps=1, cache=cache) as engine:
        rows = [ring.rows for ring in engine._rings]
        slots = []
        for t in range(40):
            engine.crops[0] = t
            slots += engine.step(1).slots
        assert all(ring.rows > before for ring, before in zip(engine._rings, rows, strict=True))
        answers = engine.query([Query(slots[max(t - 3, 0)], slots[t], slots[min(t + 3, 39)]) for t in range(40)])
        np.testing.assert_allclose(answers, [told(max(t - 3, 0), t, min(t + 3, 39)) for t in range(40)])


def test_steady_state_binds_nothing_new_but_the_rows(engine: OpenVinoStreamEngine) -> None:
    slot = engine.step(1, [Query(NEW, NEW, NEW)]).slots[0]
    before = dict(engine._bound)
    engine.step(1, [Query(slot, NEW, NEW)])
    assert {name for name, place in engine._bound.items() if before[name] != place} <= {"S", "E", "L"}


def test_bf16_where_the_cpu_has_it(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if has_bf16():
        with OpenVinoStreamEngine(path, max_faces=1, threads=1, precision="bf16", cache=cache) as engine:
            engine.crops[0] = 0.5
            np.testing.assert_allclose(engine.step(1, [Query(NEW, NEW, NEW)]).logits[0], told(0.5, 0.5, 0.5), rtol=1e-2)
            assert engine.providers == ("CPU bf16",)

    class OldCpu(openvino.Core):  # type: ignore[misc]
        def get_property(self, *_: object) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr("aunet_sdk.engines.cpu.openvino._core", OldCpu)
    assert not has_bf16()
    with pytest.raises(BackendUnavailable, match="bfloat16"):
        OpenVinoStreamEngine(path, precision="bf16", cache=cache)


def test_a_cache_that_cannot_be_written_costs_time_alone(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        engine = OpenVinoStreamEngine(path, max_faces=1, threads=1, cache=tmp_path / "file")
    assert "cannot be written" in caplog.text
    assert len(engine.step(1).slots) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_faces": 0}, "max_faces: expected"),
        ({"threads": 0}, "threads: expected"),
        ({"precision": "fp16"}, "precision: expected one of fp32, bf16"),
        ({"fps": 0}, "fps: expected"),
    ],
)
def test_wrong_options(path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        OpenVinoStreamEngine(path, **options)  # type: ignore[arg-type]


def test_files_that_do_not_fit(path: Path, tmp_path: Path, cache: Path) -> None:
    model = onnx.load(path)
    model.graph.output[0].name = "maps"
    model.graph.node[1].output[0] = "maps"
    (tmp_path / "renamed.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleMismatch, match="expected outputs"):
        OpenVinoStreamEngine(tmp_path / "renamed.onnx", cache=cache)
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchLayer"
    (tmp_path / "unknown.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="expected a graph that OpenVINO"):
        OpenVinoStreamEngine(tmp_path / "unknown.onnx", cache=cache)


def test_signed_int8_is_refused(tmp_path: Path, cache: Path) -> None:
    signed = write(tmp_path / "signed.onnx", describe(precision="int8", arithmetic="int8-symmetric"))
    with pytest.raises(BundleMismatch, match="without --symmetric"):
        OpenVinoStreamEngine(signed, cache=cache)


def test_closed(engine: OpenVinoStreamEngine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(InvalidInput, match="closed"):
        engine.step(1)


SIGNALS = """
import gc, os, signal, sys, threading
from aunet_sdk.engines import available_engines
from aunet_sdk.engines.cpu.openvino import OpenVinoStreamEngine
told = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: told.append(number))
path, cache, order = sys.argv[1:]
def opened():
    return OpenVinoStreamEngine(path, threads=1, cache=cache)
engines = [opened(), opened()]
def close():
    while engines:
        engines.pop(0).close()
    gc.collect()
if order == "the first is closed first":
    close()
elif order == "closed in another thread":
    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
elif order == "described and described again":
    available_engines()
    engines.pop(0).close()
    available_engines()
    engines.pop(0).close()
for number in (signal.SIGINT, signal.SIGTERM):
    os.kill(os.getpid(), number)
assert told == [signal.SIGINT, signal.SIGTERM]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    "order",
    ["the first is closed first", "closed in another thread", "described and described again", "none is closed"],
)
def test_a_signal_after_engines_were_closed(path: Path, cache: Path, repository: Path, order: str) -> None:
    """Ctrl-C and SIGTERM ended the process with a segmentation fault: OpenVINO had left the main thread an alternate
    signal stack that was unmapped. All tests in one process fell by it, in the first test of training that signals.
    """
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS, str(path), str(cache), order],
        cwd=repository, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode != -signal.SIGSEGV, f"segmentation fault; {done.stderr}"
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("precision", "name", "told"), [("fp32", "openvino", "fp32"), ("bf16", "openvino-bf16", "bf16")]
)
def test_name_and_precision_are_those_of_the_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, name: str, told: str
) -> None:
    """Not of what the file stores; no CPU with bfloat16 is needed to tell it."""
    monkeypatch.setattr(OpenVinoStreamEngine, "_compile", lambda *_: object())
    stored = write(tmp_path / "half.onnx", describe(precision="fp16", arithmetic="fp32"))
    with OpenVinoStreamEngine(stored, precision=precision) as engine:
        assert (engine.name, engine.precision, engine.providers) == (name, told, (f"CPU {precision}",))
