"""The choice of the engine: real ONNX Runtime engines, one of them made slow, wrong or missing."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import Query, Slot, StepResult, StreamEngine, StreamStates, open_engine
from aunet_sdk.engines.cpu import auto, choice_file, trial
from aunet_sdk.engines.cpu.auto import choose
from aunet_sdk.engines.cpu.choice_file import cpu_name
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.errors import BackendUnavailable, ModelError

from .test_ort import describe, write


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write(tmp_path_factory.mktemp("auto") / "tell-tale.onnx", describe()))


class Delayed(OrtStreamEngine):
    """An engine that takes its time, and may be wrong."""

    delay_s = 0.0
    off = 0.0
    opened: list[Delayed]

    def step(
        self,
        n_new: int,
        queries: Sequence[Query | None] = (),
        causal: Sequence[Slot | None] | None = None,
        states: StreamStates | None = None,
    ) -> StepResult:
        time.sleep(self.delay_s)
        result = super().step(n_new, queries, causal, states)
        result.logits[:] += self.off
        return result


def engine(bundle: Bundle, delay_s: float, off: float = 0.0) -> tuple[Callable[[], StreamEngine], list[Delayed]]:
    opened: list[Delayed] = []

    def open_it() -> StreamEngine:
        made = Delayed(bundle, max_faces=1, threads=1)
        made.delay_s, made.off = delay_s, off
        opened.append(made)
        return made

    return open_it, opened


def missing() -> StreamEngine:
    raise BackendUnavailable("expected the other library, got none")


def test_the_faster_one_is_chosen_and_remembered(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow, slows = engine(bundle, 0.03)
    fast, fasts = engine(bundle, 0.01)
    with caplog.at_level(logging.INFO):
        chosen, trial = choose(bundle, {"slow": slow, "fast": fast}, folder=tmp_path)
    assert (trial.engine, chosen) == ("fast", fasts[0])
    assert trial.step_ms["slow"] > trial.step_ms["fast"] > 9
    assert slows[0]._session is None, "the other is closed"
    assert chosen.step(1).slots, "the chosen one is open"
    assert "slow passed over" in caplog.text and "measured now" in caplog.text
    _, trial = choose(bundle, {"slow": slow, "fast": fast}, folder=tmp_path)
    assert trial.engine == "fast" and len(slows) == 1 and len(fasts) == 2, "the other is not even opened"


def test_wrong_answers_are_passed_over_however_fast(bundle: Bundle, tmp_path: Path) -> None:
    slow, _ = engine(bundle, 0.02)
    wrong, wrongs = engine(bundle, 0.0, off=0.01)
    _, trial = choose(bundle, {"slow": slow, "wrong": wrong}, folder=tmp_path)
    assert trial.engine == "slow" and "differ" in trial.passed_over["wrong"]
    assert wrongs[0]._session is None


def test_a_small_gain_does_not_count(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standard, _ = engine(bundle, 0.006)
    other, _ = engine(bundle, 0.006)
    monkeypatch.setattr(auto, "take_turns", lambda engines: dict(zip(engines, ([10.0] * 8, [9.7] * 8), strict=True)))
    assert choose(bundle, {"standard": standard, "other": other}, folder=tmp_path)[1].engine == "standard"
    monkeypatch.setattr(auto, "take_turns", lambda engines: dict(zip(engines, ([10.0] * 8, [9.3] * 8), strict=True)))
    assert choose(bundle, {"standard": standard, "other": other}, folder=tmp_path / "b")[1].engine == "other"


def test_where_the_standard_is_quick_nothing_else_is_opened(bundle: Bundle, tmp_path: Path) -> None:
    standard, _ = engine(bundle, 0.0)
    other, others = engine(bundle, 0.0)
    _, trial = choose(bundle, {"standard": standard, "other": other}, folder=tmp_path)
    assert trial.engine == "standard" and not others
    assert trial.passed_over["other"].startswith("not tried: standard needs")


def test_what_cannot_be_opened(bundle: Bundle, tmp_path: Path) -> None:
    standard, _ = engine(bundle, 0.006)
    assert choose(bundle, {"standard": standard, "gone": missing}, folder=tmp_path)[1].passed_over == {
        "gone": "expected the other library, got none"
    }
    assert choose(bundle, {"gone": missing, "standard": standard}, folder=tmp_path)[1].engine == "standard"
    with pytest.raises(BackendUnavailable, match="the other library"):
        choose(bundle, {"gone": missing}, folder=tmp_path)


def test_another_bundle_cpu_version_or_thread_count_is_measured_again(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard, opened = engine(bundle, 0.0)
    other = Bundle.load(write(tmp_path / "other.onnx", describe(name="other")))

    def keys() -> int:
        return len(json.loads((tmp_path / "engine_choice.json").read_text(encoding="utf-8")))

    for expected, (which, threads) in enumerate([(bundle, 1), (bundle, 2), (other, 1)], 1):
        choose(which, {"standard": standard}, threads=threads, folder=tmp_path)
        choose(which, {"standard": standard, "gone": missing}, threads=threads, folder=tmp_path)
        assert keys() == expected, "a lone candidate is not worth an entry"
    monkeypatch.setattr(choice_file, "cpu_name", lambda: "another CPU")
    choose(bundle, {"standard": standard, "gone": missing}, threads=1, folder=tmp_path)
    assert keys() == 4 and len(opened) == 7
    assert cpu_name().endswith("cores")


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": {"engine": "x"}}'])
def test_a_damaged_file_is_measured_again(
    bundle: Bundle, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "engine_choice.json"
    file.write_text(content)
    standard, _ = engine(bundle, 0.0)
    other, _ = engine(bundle, 0.0)
    _, trial = choose(bundle, {"standard": standard, "other": other}, folder=tmp_path)
    assert trial.engine == "standard" and "cannot be read" in caplog.text
    assert [value["engine"] for value in json.loads(file.read_text()).values()] == ["standard"]


def test_a_folder_that_cannot_be_written(bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    standard, _ = engine(bundle, 0.0)
    choose(bundle, {"standard": standard, "gone": missing}, folder=tmp_path / "file")
    assert "is not kept" in caplog.text


def test_a_choice_that_broke_since(bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    slow, _ = engine(bundle, 0.02)
    fast, _ = engine(bundle, 0.005)
    choose(bundle, {"slow": slow, "fast": fast}, folder=tmp_path)

    def broken() -> StreamEngine:
        raise ModelError("expected a graph, got none")

    assert choose(bundle, {"slow": slow, "fast": broken}, folder=tmp_path)[1].engine == "slow"
    assert "cannot be opened now" in caplog.text


def test_auto_is_what_open_engine_does(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    opened = open_engine(bundle, threads=1)
    assert opened.name == "onnxruntime"
    opened.close()


class Broken(Delayed):
    """Raises what no engine should, at one of its steps, and where asked when it is closed."""

    at, error, at_close = 0, RuntimeError("a bug"), False
    steps = 0

    def step(self, *arguments: object) -> StepResult:  # type: ignore[override]
        self.steps += 1
        if self.steps > self.at:
            raise self.error
        return super().step(*arguments)  # type: ignore[arg-type]

    def close(self) -> None:
        super().close()
        if self.at_close:
            raise RuntimeError("closed badly")


def breaking(
    bundle: Bundle, at: int, error: Exception, at_close: bool = False
) -> tuple[Callable[[], StreamEngine], list[Broken]]:
    opened: list[Broken] = []

    def open_it() -> StreamEngine:
        if at < 0:
            raise error
        made = Broken(bundle, max_faces=1, threads=1)
        made.at, made.error, made.at_close, made.delay_s = at, error, at_close, 0.006
        opened.append(made)
        return made

    return open_it, opened


@pytest.mark.parametrize("at", [-1, 0, 2, 5, 9])
@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError("no memory"), ModelError("no graph")])
def test_whatever_a_candidate_raises_it_is_closed_and_passed_over(
    bundle: Bundle, tmp_path: Path, at: int, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error of a candidate reached the caller, and the standard stayed open for good."""
    standard, standards = engine(bundle, 0.006)
    broken, brokens = breaking(bundle, at, error, at_close=True)
    chosen, trial = choose(bundle, {"standard": standard, "broken": broken}, folder=tmp_path)
    assert (trial.engine, chosen) == ("standard", standards[0])
    assert str(error) in trial.passed_over["broken"] and chosen.step(1).slots
    assert all(each._session is None for each in brokens)
    assert isinstance(error, ModelError) or f"broken is passed over: {type(error).__name__}" in caplog.text
    chosen.close()


@pytest.mark.parametrize("at", [-1, 0, 9, 12])
def test_an_unexpected_error_of_the_standard_closes_all(bundle: Bundle, tmp_path: Path, at: int) -> None:
    broken, brokens = breaking(bundle, at, RuntimeError("a bug"))
    other, others = engine(bundle, 0.006)
    with pytest.raises(BackendUnavailable, match=r"expected engine broken to run.*RuntimeError: a bug; reinstall"):
        choose(bundle, {"broken": broken, "other": other}, folder=tmp_path)
    assert all(each._session is None for each in (*brokens, *others))


def test_ctrl_c_in_a_trial_closes_all(bundle: Bundle, tmp_path: Path) -> None:
    broken, brokens = breaking(bundle, 9, KeyboardInterrupt())  # type: ignore[arg-type]
    other, others = engine(bundle, 0.006)
    with pytest.raises(KeyboardInterrupt):
        choose(bundle, {"other": other, "broken": broken}, folder=tmp_path)
    assert all(each._session is None for each in (*brokens, *others))


def test_a_remembered_choice_that_raises_anything(bundle: Bundle, tmp_path: Path) -> None:
    slow, _ = engine(bundle, 0.02)
    fast, _ = engine(bundle, 0.006)
    choose(bundle, {"slow": slow, "fast": fast}, folder=tmp_path)
    broken, _ = breaking(bundle, -1, MemoryError())
    assert choose(bundle, {"slow": slow, "fast": broken}, folder=tmp_path)[1].engine == "slow"


# The machine's load, as scripted clocks


class Scripted:
    """An engine whose steps take the time that a script says, on a clock that the test owns."""

    now_s = 0.0

    def __init__(self, script: Callable[[float], float]) -> None:
        self._script = script

    def step(self, *_: object) -> None:
        Scripted.now_s += self._script(Scripted.now_s) / 1e3


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., trial.Verdict]:
    monkeypatch.setattr(trial.time, "perf_counter", lambda: Scripted.now_s)

    def run(standard: Callable[[float], float], other: Callable[[float], float]) -> trial.Verdict:
        engines = {"standard": Scripted(standard), "other": Scripted(other)}
        return trial.judge(trial.take_turns(engines))  # type: ignore[arg-type]

    return run


def load(step_ms: float, seed: int) -> Callable[[float], float]:
    """Of a step at a time: other work comes and goes, and makes all steps up to three times as long."""
    draw = random.Random(seed)
    spans = [draw.uniform(1.2, 3.0) if draw.random() < 0.5 else 1.0 for _ in range(4000)]
    return lambda now_s: step_ms * spans[int(now_s / 0.05) % len(spans)]


@pytest.mark.parametrize("ratio, expected", [(0.6, "other"), (0.9, "other"), (0.97, "standard"), (1.2, "standard")])
def test_a_calm_machine_decides_and_remembers(
    scripted: Callable[..., trial.Verdict], ratio: float, expected: str
) -> None:
    verdict = scripted(lambda _: 6.0, lambda _: 6.0 * ratio)
    assert (verdict.best, verdict.clear) == (expected, True)


@pytest.mark.parametrize("ratio", [0.98, 1.0, 1.1, 1.5])
def test_no_load_makes_an_engine_win_that_is_not_faster(scripted: Callable[..., trial.Verdict], ratio: float) -> None:
    """With one median per engine, load decided: of 200 loads some switched, though the engines were alike."""
    for seed in range(200):
        verdict = scripted(load(6, seed), load(6 * ratio, seed))
        assert verdict.best == "standard", seed


def test_a_much_faster_engine_wins_or_nothing_is_remembered(scripted: Callable[..., trial.Verdict]) -> None:
    found = []
    for seed in range(200):
        verdict = scripted(load(6, seed), load(3.6, seed))
        assert verdict.best == "other" or not verdict.clear, seed
        found.append(verdict.best)
    assert found.count("other") > 100


def test_what_is_not_clear_is_not_remembered(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    standard, _ = engine(bundle, 0.006)
    other, _ = engine(bundle, 0.006)
    noisy = ([10.0, 30.0] * 4, [9.0, 9.0, 31.0, 8.0, 9.0, 40.0, 9.0, 40.0])
    monkeypatch.setattr(auto, "take_turns", lambda engines: dict(zip(engines, noisy, strict=True)))
    assert choose(bundle, {"standard": standard, "other": other}, folder=tmp_path)[1].engine == "standard"
    assert not (tmp_path / "engine_choice.json").exists() and "measured again next time" in caplog.text
