"""The ONNX Runtime engine on a small graph of the real contract, whose logits tell which frames were really used."""

from __future__ import annotations

import dataclasses
import gc
import logging
from collections import deque
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from aunet_sdk.bundle import KEY, Bundle, StateSpec
from aunet_sdk.engines import NEW, Query, Slot, StreamEngine, available_engines, open_engine
from aunet_sdk.engines.cpu.ort import OrtClip, OrtStreamEngine
from aunet_sdk.errors import BundleMismatch, EngineMismatch, InvalidInput, ModelError

ort = pytest.importorskip("onnxruntime")

R = 8
STATES = {"S": (1.0, ("due",)), "E": (2.0, ("former", "due")), "L": (-1.0, ("due", "later"))}


def describe(**changes: object) -> Bundle:
    values = dict(
        kind="stream",
        name="tell-tale",
        au_numbers=(1, 2, 4, 6, 12),
        thresholds=(0.5,) * 5,
        interval_s=0.4,
        width=8,
        resolution=R,
        precision="fp32",
        head="aunet",
        crop_scale=1.3736,
        template=np.full((5, 2), 0.5),
        points3d=np.zeros((68, 3)),
        min_confidence=0.3,
        state=tuple(StateSpec(name, (3, 2), "float32", roles) for name, (_, roles) in STATES.items()),
    )
    return Bundle(**(values | changes))  # type: ignore[arg-type]


def write(path: Path, bundle: Bundle) -> Path:
    """States are the crop's mean times 1, 2 and -1; logits are what the states of the query's frames hold."""

    def tensor(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    constants = {
        "zero": np.int64(0), "minus1": np.int64(-1), "axes": np.array([1, 2, 3]), "column": np.array([-1, 1]),
        "cube": np.array([-1, 1, 1]), "ones": np.ones((1, 68, R // 4, R // 4), np.float32),
        "start": np.array([0, 0]), "end": np.array([1, 1]), "inner": np.array([1, 2]),
        "shape": np.ones((1, 3, 2), np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("ReduceMean", ["crop", "axes"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "ones"], ["heatmaps"]),
        helper.make_node("Reshape", ["mean", "cube"], ["mean3"]),
        helper.make_node("Mul", ["mean3", "shape"], ["mean32"]),
    ]
    inputs, parts = [tensor("crop", TensorProto.FLOAT, "batch", 3, R, R)], []
    outputs = [tensor("heatmaps", TensorProto.FLOAT, "batch", 68, R // 4, R // 4)]
    for name, (factor, roles) in STATES.items():
        constants[f"{name}_factor"] = np.float32(factor)
        nodes.append(helper.make_node("Mul", ["mean32", f"{name}_factor"], [name]))
        inputs.append(tensor(f"ring_{name}", TensorProto.FLOAT, f"rows_{name}", 3, 2))
        outputs.append(tensor(name, TensorProto.FLOAT, "batch", 3, 2))
        for role in roles:
            index = f"{name}_{role}"
            inputs.append(tensor(index, TensorProto.INT64, "queries"))
            parts.append(f"{index}_value")
            nodes += [
                helper.make_node("Less", [index, "zero"], [f"{index}_flag"]),
                helper.make_node("Reshape", [f"{index}_flag", "cube"], [f"{index}_new"]),
                helper.make_node("Max", [index, "zero"], [f"{index}_kept"]),
                helper.make_node("Sub", ["minus1", index], [f"{index}_crop"]),
                helper.make_node("Max", [f"{index}_crop", "zero"], [f"{index}_crops"]),
                helper.make_node("Gather", [f"ring_{name}", f"{index}_kept"], [f"{index}_a"]),
                helper.make_node("Gather", [name, f"{index}_crops"], [f"{index}_b"]),
                helper.make_node("Where", [f"{index}_new", f"{index}_b", f"{index}_a"], [f"{index}_c"]),
                helper.make_node("Slice", [f"{index}_c", "start", "end", "inner"], [f"{index}_d"]),
                helper.make_node("Reshape", [f"{index}_d", "column"], [f"{index}_value"]),
            ]
    nodes.append(helper.make_node("Concat", parts, ["logits"], axis=1))
    outputs.append(tensor("logits", TensorProto.FLOAT, "queries", 5))
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {KEY: bundle.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("engine") / "tell-tale.onnx", describe())


@pytest.fixture
def engine(path: Path) -> OrtStreamEngine:
    return OrtStreamEngine(path, max_faces=4, threads=1)


def told(former: float, due: float, later: float) -> list[float]:
    return [due, 2 * former, 2 * due, -due, -later]


def feed(engine: OrtStreamEngine, *values: float) -> None:
    for crop, value in zip(engine.crops, values, strict=False):
        crop[:] = value


def poison(engine: OrtStreamEngine) -> None:
    for ring in engine._rings:
        for row in range(ring.rows):
            owner = ring._owners[row]
            if owner is None or owner() is None:
                ring.tensor[row] = np.nan


def test_is_a_stream_engine(engine: OrtStreamEngine) -> None:
    assert isinstance(engine, StreamEngine)
    assert engine.providers == ("CPUExecutionProvider",)
    assert engine.crops.shape == (4, 3, R, R) and engine.crops.dtype == np.float32


@pytest.mark.parametrize("faces", [1, 3])
@pytest.mark.parametrize("gap", [1, 12, 40])
def test_every_frame_decides_from_its_own_three(path: Path, faces: int, gap: int) -> None:
    """Long enough to wrap around the rings many times; at gap 40 they must grow."""
    with OrtStreamEngine(path, max_faces=faces, threads=1) as engine:
        rows = [ring.rows for ring in engine._rings]
        kept: deque[list[Slot]] = deque(maxlen=2 * gap)
        for t in range(6 * gap + 100):
            poison(engine)
            feed(engine, *(10 * t + i for i in range(faces)))
            past = t - gap if t < 2 * gap else t - 2 * gap  # the due frame stands in where there is no former one
            queries = [Query(kept[past - t][i], kept[-gap][i], NEW) for i in range(faces)] if t >= gap else []
            causal = [kept[-gap][i] if len(kept) >= gap else None for i in range(faces)]
            result = engine.step(faces, queries, causal)
            for i in range(faces):
                ids = [10 * k + i for k in (past, t - gap, t)]
                if queries:
                    assert result.logits[i].tolist() == told(*ids)
                former = ids[1] if t >= gap else ids[2]
                assert result.logits_causal[i].tolist() == told(former, ids[2], ids[2])
                assert (result.heatmaps[i] == ids[2]).all()
            kept.append(result.slots)
        if gap == 12 and faces == 1:
            assert [ring.rows for ring in engine._rings] == rows, "no growth at the frame rate that it was laid out for"


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_order_of_faces_queries_and_drops(path: Path, data: st.DataObject) -> None:
    engine = OrtStreamEngine(path, max_faces=4, threads=1, fps=2.5)
    held: dict[int, Slot] = {}
    value = 0
    for _ in range(data.draw(st.integers(1, 12))):
        poison(engine)
        n = data.draw(st.integers(0, 4))
        new = list(range(value + 1, value + 1 + n))
        value += n
        feed(engine, *new)
        queries, expected = [], []
        for row in range(data.draw(st.integers(0, 6))):
            choices = [*(k for k, s in held.items() if not s.settled), *([new[row]] if row < n else [])]
            if not choices or data.draw(st.booleans()):
                queries.append(None)
                expected.append([np.nan] * 5)
                continue
            former, due, later = (data.draw(st.sampled_from(choices)) for _ in range(3))
            queries.append(Query(*(NEW if row < n and k == new[row] else held[k] for k in (former, due, later))))
            expected.append(told(former, due, later))
        result = engine.step(n, queries)
        np.testing.assert_array_equal(result.logits, np.array(expected, np.float32).reshape(-1, 5))
        held |= dict(zip(new, result.slots, strict=True))
        del queries, result
        for key in data.draw(st.lists(st.sampled_from(sorted(held)), unique=True)) if held else []:
            del held[key]


def test_flush_answers_without_a_crop_and_leaves_everything_else_alone(engine: OrtStreamEngine) -> None:
    slots = []
    for t in range(50):
        feed(engine, t, 100 + t)
        result = engine.step(2)
        slots.append(result.slots)
    before = result.heatmaps.copy()
    queries = [Query(slots[t][i], slots[t][i], slots[min(t + 3, 49)][i]) for t in range(50) for i in range(2)]
    logits = engine.query(queries)
    expected = [told(100 * i + t, 100 * i + t, 100 * i + min(t + 3, 49)) for t in range(50) for i in range(2)]
    assert logits.tolist() == expected
    np.testing.assert_array_equal(result.heatmaps, before)
    assert engine.query([]).shape == (0, 5)


def test_more_queries_than_crops(engine: OrtStreamEngine) -> None:
    """After a gap in time many frames are due at once."""
    slots = []
    for t in range(60):
        feed(engine, t)
        slots += engine.step(1).slots
    feed(engine, 60)
    queries = [Query(slots[59], NEW, NEW), None, *(Query(s, s, slots[59]) for s in slots[:59])]
    result = engine.step(1, queries, [slots[0]])
    assert result.logits[0].tolist() == told(59, 60, 60)
    assert np.isnan(result.logits[1]).all()
    assert result.logits[2:].tolist() == [told(t, t, 59) for t in range(59)]
    assert result.logits_causal.tolist() == [told(0, 60, 60)]


def test_a_frame_without_faces(engine: OrtStreamEngine) -> None:
    result = engine.step(0)
    assert result.heatmaps.shape == (0, 68, 2, 2) and result.slots == [] and result.logits.shape == (0, 5)
    feed(engine, 5)
    slot = engine.step(1).slots[0]
    assert engine.step(0, [Query(slot, slot, slot)]).logits.tolist() == [told(5, 5, 5)]
    assert engine.step(0, [], []).logits_causal.shape == (0, 5)


def test_results_of_a_step_outlive_the_next(engine: OrtStreamEngine) -> None:
    feed(engine, 1)
    first = engine.step(1, [Query(NEW, NEW, NEW)], [None])
    feed(engine, 2)
    engine.step(1, [Query(NEW, NEW, NEW)], [None])
    assert first.logits.tolist() == [told(1, 1, 1)] and first.logits_causal.tolist() == [told(1, 1, 1)]


def test_settled_frame_whose_row_was_given_away(engine: OrtStreamEngine) -> None:
    feed(engine, 1)
    slot = engine.step(1, [Query(NEW, NEW, NEW)]).slots[0]
    assert engine.query([Query(slot, slot, slot)]).tolist() == [told(1, 1, 1)], "still there"
    held = [engine.step(1).slots for _ in range(40)]
    with pytest.raises(EngineMismatch, match=r"expected state S_due of Slot\(frame=0, row=0\)"):
        engine.query([Query(slot, slot, slot)])
    # E has the role former: kept for as long as the slot is
    assert engine.query([Query(slot, held[0][0], held[0][0])]).tolist() == [told(1, 1, 1)]


def test_a_refused_query_leaves_the_engine_usable(engine: OrtStreamEngine, path: Path) -> None:
    with OrtStreamEngine(path, threads=1) as other:
        foreign = other.step(1).slots[0]
        feed(engine, 3)
        own = engine.step(1).slots[0]
        with pytest.raises(EngineMismatch, match="the engine that made them"):
            engine.step(1, [Query(own, foreign, NEW)])
    feed(engine, 4)
    assert engine.step(1, [Query(own, own, NEW)]).logits.tolist() == [told(3, 3, 4)]


def test_rings_never_outgrow_their_limit(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody keeps every slot: memory stays bounded, old slots are refused, new ones work."""
    with OrtStreamEngine(path, max_faces=1, threads=1) as engine, caplog.at_level(logging.WARNING, "aunet_sdk"):
        slots = []
        for t in range(400):
            feed(engine, t)
            slots += engine.step(1).slots
        assert [ring.rows for ring in engine._rings] == [105, 209, 105]
        with pytest.raises(EngineMismatch):
            engine.query([Query(slots[0], slots[0], slots[0])])
        assert engine.query([Query(slots[300], slots[350], slots[399])]).tolist() == [told(300, 350, 399)]
    assert "drop slots" in caplog.text


def test_steady_state_binds_and_allocates_nothing_new(engine: OrtStreamEngine) -> None:
    """Only the place of the new states moves from step to step."""
    kept: deque[Slot] = deque(maxlen=25)
    bound = []
    inner = engine._binding

    class Counting:
        def bind_input(self, name: str, *args: object) -> None:
            bound.append(name)
            inner.bind_input(name, *args)

        def bind_output(self, name: str, *args: object) -> None:
            bound.append(name)
            inner.bind_output(name, *args)

        def bind_ortvalue_output(self, name: str, value: object) -> None:
            bound.append(name)
            inner.bind_ortvalue_output(name, value)

    for t in range(100):
        if t == 60:
            gc.collect()
            pointers = [ring.pointer for ring in engine._rings]
            places = [list(engine._rows[ring][1]) for ring in engine._rings]
            engine._binding = Counting()
            engine._session = Unwrapping(engine._session, inner)
        feed(engine, t)
        queries = [Query(kept[0], kept[12], NEW)] if len(kept) == 25 else [None]
        kept.append(engine.step(1, queries).slots[0])
    assert set(bound) == {"S", "E", "L"} and len(bound) == 3 * 40
    assert [ring.pointer for ring in engine._rings] == pointers
    assert [list(engine._rows[ring][1]) for ring in engine._rings] == places, "every row has had its value"


class Unwrapping:
    """The session, run with the binding behind the counter."""

    def __init__(self, session: ort.InferenceSession, binding: ort.IOBinding) -> None:
        self.session, self.binding = session, binding

    def run_with_iobinding(self, _: object) -> None:
        self.session.run_with_iobinding(self.binding)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.step(5), "n_new: expected 0 to 4"),
        (lambda e: e.step(-1), "n_new"),
        (lambda e: e.step(1, [None, Query(NEW, NEW, NEW)]), "row 1, which has no crop"),
        (lambda e: e.query([Query(NEW, NEW, NEW)]), "row 0, which has no crop"),
        (lambda e: e.step(2, [], [None]), "causal: expected 2 entries"),
    ],
)
def test_wrong_calls(engine: OrtStreamEngine, call: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call(engine)  # type: ignore[operator]


def test_closed(engine: OrtStreamEngine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(InvalidInput, match="closed"):
        engine.step(1)


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 1.5}, {"max_faces": 0}, {"fps": 0}, {"fps": 1000}])
def test_wrong_options(path: Path, options: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        OrtStreamEngine(path, **options)  # type: ignore[arg-type]


def test_threads_do_not_spin_unless_asked(path: Path) -> None:
    for asked, value in ((False, "0"), (True, "1")):
        with OrtStreamEngine(path, threads=2, spinning=asked) as engine:
            options = engine._session.get_session_options()
            assert options.get_session_config_entry("session.intra_op.allow_spinning") == value
            assert options.intra_op_num_threads == 2


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this ONNX Runtime has CUDA")
@pytest.mark.parametrize(
    "changes",
    [
        {"au_numbers": (1, 2), "thresholds": (0.5, 0.5)},
        {"resolution": 16},
        {"state": describe().state[:2]},
        {"state": (dataclasses.replace(describe().state[0], shape=(3, 3)), *describe().state[1:])},
        {"state": (dataclasses.replace(describe().state[0], dtype="float16"), *describe().state[1:])},
        {"state": (dataclasses.replace(describe().state[0], roles=("later",)), *describe().state[1:])},
    ],
)
def test_metadata_that_do_not_fit_the_graph(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(BundleMismatch, match="by the metadata, got"):
        OrtStreamEngine(write(tmp_path / "wrong.onnx", describe(**changes)))


def test_wrong_kind(tmp_path: Path, path: Path) -> None:
    with pytest.raises(BundleMismatch, match="a clip bundle; export it with --kind stream"):
        OrtStreamEngine(write(tmp_path / "clip.onnx", describe(kind="clip", state=())))
    with pytest.raises(BundleMismatch, match="expected a clip bundle"):
        OrtClip(path)
    with pytest.raises(BundleMismatch, match="by the metadata"):
        OrtClip(write(tmp_path / "clip.onnx", describe(kind="clip", state=())))


def test_graph_that_cannot_run(tmp_path: Path, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOp"
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"can run, got broken.onnx: .*NoSuchOp"):
        OrtStreamEngine(broken)


def test_open_engine(path: Path) -> None:
    with pytest.raises(InvalidInput, match="engine: expected one of auto"):
        open_engine(path, "coreml")
    engine = open_engine(Bundle.load(path), "onnxruntime", max_faces=2, threads=1)
    assert engine.name == "onnxruntime" and engine.max_faces == 2
    engine.close()
    assert available_engines()["onnxruntime"].startswith(ort.__version__)
