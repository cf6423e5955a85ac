"""Both halves of the engine `triton` without a server between them: what the client asks, the sequences answer."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import NEW, Query, Slot, StreamEngine, open_engine
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.triton import engine as module
from aunet_sdk.engines.triton import wire
from aunet_sdk.engines.triton.engine import TritonStreamEngine
from aunet_sdk.engines.triton.sequences import Request, Sequences
from aunet_sdk.engines.triton.states import TritonStates
from aunet_sdk.errors import AUNetError, BackendUnavailable, EngineMismatch, InvalidInput

from ..cpu.test_ort import describe, told, write

FACES = 3


class Loop:
    """A connection that reaches `Sequences` in this process, and fails when it is told to.

    fault: "lost": the request does not arrive; "late": it is done, and the answer does not arrive
    """

    def __init__(self, bundle: Bundle, most_rows: int | None = None) -> None:
        self.bundle, self.fault = bundle, ""
        self.start()

    def start(self) -> None:
        """The server, anew: it knows no sequence."""
        self.sequences = Sequences(OrtStreamEngine(self.bundle, max_faces=FACES, threads=1))

    def parameter(self, name: str) -> str | None:
        return self.bundle.to_json() if name == wire.PARAMETER else None

    def infer(
        self, sequence: int, start: bool, tensors: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        for name, array in tensors.items():
            kind, shape = wire.INPUTS[name]
            assert array.dtype == {"FP32": np.float32, "INT64": np.int64}[kind] and array.ndim == len(shape)
            assert len(array), f"{name} has no rows: Triton is not asked with empty tensors"
        if self.fault == "lost":
            raise BackendUnavailable("expected the model to answer, got no connection")
        if not start and sequence not in self.sequences._open:
            raise BackendUnavailable("got: inference request for sequence 1 must specify the START flag on the first")
        answer = self.sequences.step(sequence, start, False, {name: each.copy() for name, each in tensors.items()})
        if self.fault == "late":
            raise BackendUnavailable("expected the model to answer within 1 s, got nothing")
        assert set(answer) <= set(outputs)
        return {name: each.copy() for name, each in answer.items()}

    def end(self, sequence: int) -> None:
        self.sequences._end(sequence)

    def close(self) -> None:
        self.sequences.close()

    def __str__(self) -> str:
        return "the model of the test"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("triton") / "tell-tale.onnx", describe())


def connected(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[TritonStreamEngine, Loop]:
    loop = Loop(Bundle.load(path))
    monkeypatch.setattr(module, "Connection", lambda *_: loop)
    return TritonStreamEngine(path, max_faces=FACES), loop


@pytest.fixture
def pair(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[TritonStreamEngine, Loop]:
    return connected(path, monkeypatch)


def feed(engine: StreamEngine, *values: float) -> None:
    for crop, value in zip(engine.crops, values, strict=False):
        crop[:] = value


def test_it_answers_as_the_engine_in_the_server_does(pair: tuple[TritonStreamEngine, Loop], path: Path) -> None:
    ours, _ = pair
    assert isinstance(ours, StreamEngine)
    kept: dict[StreamEngine, list[list[Slot]]] = {}
    results: dict[StreamEngine, list[np.ndarray]] = {}
    with OrtStreamEngine(path, max_faces=FACES, threads=1) as other:
        for engine in (ours, other):
            states, frames, answers = engine.open_states(), kept.setdefault(engine, []), results.setdefault(engine, [])
            for t in range(30):
                feed(engine, t, 100 + t)
                asked: list[Query | None] = [None, Query(NEW, NEW, NEW)]
                if t >= 8:
                    asked += [Query(frames[t - 8][k], frames[t - 4][k], frames[t - 1][k]) for k in range(2)]
                former = [frames[t - 4][0] if t >= 4 else None, None]
                result = engine.step(2, asked, former, states)
                frames.append(result.slots)
                assert result.logits_causal is not None
                answers += [result.heatmaps.copy(), result.logits, result.logits_causal]
                if t >= 8:
                    states.settle(frames[t - 4])
            answers.append(engine.query([Query(frames[20][0], frames[24][0], frames[28][0])], states))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(results[ours], results[other], strict=True))


def test_streams_do_not_mix_and_slots_are_given_back(pair: tuple[TritonStreamEngine, Loop]) -> None:
    engine, loop = pair
    streams = [engine.open_states() for _ in range(3)]
    kept: list[list[Slot]] = [[], [], []]
    for t in range(20):
        for k, states in enumerate(streams):
            feed(engine, 10 * t + k)
            mine = kept[k]
            query = Query(mine[0], mine[-1], NEW) if mine else None
            result = engine.step(1, [query], states=states)
            if query is not None:
                assert result.logits[0].tolist() == told(10 * (t - len(mine)) + k, 10 * (t - 1) + k, 10 * t + k)
            mine += result.slots
            del mine[:-4]
            del query, result
        if t > 15:
            gc.collect()  # of the last frames: it takes long beside torch
    assert len(loop.sequences) == 3
    assert max(len(each.slots) for each in loop.sequences._open.values()) <= 6, "what nobody holds is released there"
    assert not streams[0].holds(kept[1][0], "due")
    with pytest.raises(EngineMismatch, match="another engine's"):
        engine.step(0, [Query(kept[1][0], kept[1][0], kept[1][0])], states=streams[0])
    for states in streams:
        states.close()
        states.close()
    assert len(loop.sequences) == 0


def test_what_the_server_gives_up_is_known(pair: tuple[TritonStreamEngine, Loop]) -> None:
    """Settled states may go in the rings, and `holds` says so."""
    engine, _ = pair
    states = engine.open_states()
    kept: list[Slot] = []
    for t in range(60):
        feed(engine, t)
        kept += engine.step(1, states=states).slots
        states.settle([kept[-1]])
    assert states.holds(kept[0], "former") and states.holds(kept[-1], "due"), "no ring gives these up"
    assert not states.holds(kept[0], "due"), "its row was taken for a later frame"
    with pytest.raises(EngineMismatch, match="as due"):
        engine.query([Query(kept[0], kept[0], kept[0])], states)


@pytest.mark.parametrize("fault", ["lost", "late"])
def test_a_step_that_fails_may_be_repeated(pair: tuple[TritonStreamEngine, Loop], fault: str) -> None:
    engine, loop = pair
    states = engine.open_states()
    feed(engine, 1)
    (first,) = engine.step(1, states=states).slots
    loop.fault = fault
    feed(engine, 2)
    for _ in range(5):
        with pytest.raises(BackendUnavailable):
            engine.step(1, [Query(first, NEW, NEW)], states=states)
    loop.fault = ""
    result = engine.step(1, [Query(first, NEW, NEW)], states=states)
    assert result.logits[0].tolist() == told(1, 2, 2)
    engine.step(0, [Query(first, first, first)], states=states)
    (sequence,) = loop.sequences._open.values()
    assert len(sequence.slots) == 2, "slots of steps whose answer was lost are released"


def test_the_first_step_that_fails_begins_the_stream_anew(pair: tuple[TritonStreamEngine, Loop]) -> None:
    engine, loop = pair
    states = engine.open_states()
    loop.fault = "late"
    with pytest.raises(BackendUnavailable):
        engine.step(1, states=states)
    loop.fault = ""
    feed(engine, 3)
    assert engine.step(1, [Query(NEW, NEW, NEW)], states=states).logits[0].tolist() == told(3, 3, 3)


def test_after_a_restart_of_the_server_the_stream_goes_on(pair: tuple[TritonStreamEngine, Loop]) -> None:
    engine, loop = pair
    states = engine.open_states()
    (first,) = engine.step(1, states=states).slots
    loop.start()
    with pytest.raises(EngineMismatch, match="push the frame again"):
        engine.step(1, [Query(first, NEW, NEW)], states=states)
    assert not states.holds(first, "former")
    feed(engine, 4)
    result = engine.step(1, [Query(NEW, NEW, NEW)], states=states)
    assert result.logits[0].tolist() == told(4, 4, 4)
    loop.start()
    feed(engine, 5)
    again = engine.step(1, [Query(NEW, NEW, NEW)], states=states)
    assert again.logits[0].tolist() == told(5, 5, 5), "nothing is missed where no earlier frame was asked for"
    assert not states.holds(result.slots[0], "due") and states.holds(again.slots[0], "due")


def test_a_first_step_that_is_answered_too_late_leaves_no_second_stream_in_the_server(
    pair: tuple[TritonStreamEngine, Loop],
) -> None:
    engine, loop = pair
    states = engine.open_states()
    loop.fault = "late"
    for _ in range(5):
        with pytest.raises(BackendUnavailable):
            engine.step(1, states=states)
    assert len(loop.sequences) == 1
    loop.fault = ""
    feed(engine, 3)
    assert engine.step(1, [Query(NEW, NEW, NEW)], states=states).logits[0].tolist() == told(3, 3, 3)
    assert len(loop.sequences) == 1
    states.close()
    assert len(loop.sequences) == 0


def test_a_silent_stream_is_given_up_by_the_server(path: Path) -> None:
    sequences = Sequences(OrtStreamEngine(path, max_faces=FACES, threads=1), idle_s=0.0)
    crops = {"CROPS": np.zeros((1, 3, 8, 8), np.float32), "SLOTS": np.zeros(1, np.int64)}
    sequences.step(7, True, False, crops)
    with pytest.raises(EngineMismatch, match="sequence 7"):
        sequences.step(7, False, False, crops)
    sequences.step(8, True, True, crops)
    assert len(sequences) == 0
    sequences.close()


def test_steps_of_several_streams_run_as_one_and_one_that_is_wrong_disturbs_nobody(path: Path) -> None:
    """Streams with one face, two, and none at all, each as it is alone."""
    together = Sequences(OrtStreamEngine(path, max_faces=3 * FACES, threads=1), batch=3)
    alone = Sequences(OrtStreamEngine(path, max_faces=FACES, threads=1))
    for t in range(12):
        requests = []
        for number, faces in ((5, 1), (6, 2), (7, 0)):
            tensors = {}
            if faces:
                crops = np.full((faces, 3, 8, 8), 10 * t + number, np.float32)
                tensors = {"CROPS": crops, "SLOTS": np.arange(faces) + 2 * t}
                former = 2 * (t - 2) if t >= 2 else wire.NEW
                tensors["QUERIES"] = np.array(
                    [[0, former, wire.NEW, wire.NEW], [faces, former, former, former]][: t + 1]
                )
                tensors["CAUSAL"] = np.array([former] + [wire.NEW] * (faces - 1))
                if t == 0:
                    del tensors["QUERIES"]
                if t == 1:
                    tensors["QUERIES"] = tensors["QUERIES"][:1]
                if t >= 5:
                    tensors["RELEASED"] = np.array([2 * (t - 5)])
            requests.append(Request(number, t == 0, t == 11, tensors))
        if t in (3, 8):  # a slot that was never there, and one that only the engine finds wrong
            wrong = {"QUERIES": np.array([[0, wire.NEW, wire.NEW, wire.NEW if t == 8 else 99]])}
            requests[2] = Request(7, False, False, wrong)
        answers = together.steps(requests)
        for request, answer in zip(requests, answers, strict=True):
            if request.number == 7 and t in (3, 8):
                assert isinstance(answer, EngineMismatch if t == 3 else InvalidInput)
                continue
            expected = alone.step(request.number, request.start, request.end, request.tensors)
            assert not isinstance(answer, Exception) and set(answer) >= set(expected) - {"HELD"}
            for name in set(expected) - {"HELD"}:
                assert np.array_equal(answer[name], expected[name], equal_nan=True), (t, request.number, name)
    assert len(together) == len(alone) == 0
    joint = together._joint
    assert joint.steps == 2 * 12 + 1 + 3 and joint.batches == 12 + 3, "each of three alone, once"
    together.close()
    alone.close()


def test_bad_requests_are_refused(pair: tuple[TritonStreamEngine, Loop], path: Path) -> None:
    engine, _ = pair
    for call, match in (
        (lambda: engine.step(FACES + 1), "n_new"),
        (lambda: engine.step(1, causal=[]), "causal"),
        (lambda: engine.step(1, references=[None, None]), "references"),
        (lambda: engine.step(0, [Query(NEW, NEW, NEW)]), "no crop"),
        (lambda: engine.step(0, states=OrtStreamEngine(path).open_states()), "states"),
    ):
        with pytest.raises(InvalidInput, match=match):
            call()
    assert np.isnan(engine.step(0, [None]).logits).all() and engine.query([]).shape == (0, 5)
    engine.close()
    engine.close()
    with pytest.raises(InvalidInput, match="closed"):
        engine.step(1)


def test_another_bundle_in_the_server_is_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(Bundle.load(path))
    monkeypatch.setattr(module, "Connection", lambda *_: loop)
    other = write(tmp_path / "other.onnx", describe(checkpoint_sha256="ab"))
    with pytest.raises(EngineMismatch, match="checkpoint_sha256"):
        TritonStreamEngine(other)
    monkeypatch.setattr(loop, "parameter", lambda name: None)
    with pytest.raises(EngineMismatch, match="write the repository anew"):
        TritonStreamEngine(path)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"url": "http://localhost:8000"}, InvalidInput),
        ({"timeout_s": 0}, InvalidInput),
        ({"port": 3}, InvalidInput),
        ({"url": "127.0.0.1:9", "timeout_s": 2.0}, BackendUnavailable),
    ],
)
def test_what_cannot_be_reached_is_said(options: dict[str, object], error: type[AUNetError]) -> None:
    pytest.importorskip("tritonclient.grpc")
    with pytest.raises(error):
        open_engine(None, "triton", options=options)


class Faults(RuleBasedStateMachine):
    """Whatever fails on the way: an answer that comes is the right one, and belongs to its stream."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.engine, self.loop = connected(Faults.path, self.patch)
        self.streams = [self.engine.open_states() for _ in range(2)]
        self.kept: list[list[tuple[float, Slot]]] = [[], []]
        self.value = 0.0

    @rule(k=st.sampled_from((0, 1)), fault=st.sampled_from(("", "", "lost", "late")), drop=st.integers(0, 3))
    def step(self, k: int, fault: str, drop: int) -> None:
        self.value += 1
        feed(self.engine, self.value)
        states, kept = self.streams[k], self.kept[k]
        due = next(((v, s) for v, s in kept if states.holds(s, "due")), None)
        query = Query(due[1], due[1], NEW) if due is not None else Query(NEW, NEW, NEW)
        self.loop.fault = fault
        try:
            result = self.engine.step(1, [query], states=states)
        except AUNetError:
            return
        finally:
            self.loop.fault = ""
        before = self.value if due is None else due[0]
        assert result.logits[0].tolist() == told(before, before, self.value)
        kept.append((self.value, result.slots[0]))
        del kept[: max(0, len(kept) - 4) + min(drop, len(kept) - 1)]

    @precondition(lambda self: self.kept[0])
    @rule()
    def settle(self) -> None:
        self.streams[0].settle([self.kept[0][0][1]])

    @rule()
    def restart(self) -> None:
        self.loop.start()

    @rule(k=st.sampled_from((0, 1)))
    def reopen(self, k: int) -> None:
        self.streams[k].close()
        self.streams[k] = self.engine.open_states()
        self.kept[k].clear()

    @invariant()
    def nothing_piles_up(self) -> None:
        if hasattr(self, "loop"):
            assert len(self.loop.sequences) <= 2 + 1
            for states in self.streams:
                assert isinstance(states, TritonStates) and len(states._numbers) <= 6

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.engine.close()
            self.patch.undo()


def test_any_mix_of_faults(path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    Faults.path = path  # type: ignore[attr-defined]
    run_state_machine_as_test(Faults, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))
