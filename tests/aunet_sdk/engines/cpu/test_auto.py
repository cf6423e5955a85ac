"""The choice of the engine: real ONNX Runtime engines, one of them made slow, wrong or missing."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import Query, Slot, StepResult, StreamEngine, StreamStates, open_engine
from aunet_sdk.engines.cpu import auto
from aunet_sdk.engines.cpu.auto import choose, cpu_name
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
    monkeypatch.setattr(auto, "_times_ms", lambda engines: dict(zip(engines, (10.0, 9.7), strict=True)))
    assert choose(bundle, {"standard": standard, "other": other}, folder=tmp_path)[1].engine == "standard"
    monkeypatch.setattr(auto, "_times_ms", lambda engines: dict(zip(engines, (10.0, 9.3), strict=True)))
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
    monkeypatch.setattr(auto, "cpu_name", lambda: "another CPU")
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
