"""profile and compare: that the figures are those of the frames, and add up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk import AUNetError, Detector, DetectorOptions, FrameResult, InvalidInput, SourceLost
from aunet_sdk.profiling import Comparison, Profile, SyntheticFrames, compare, profile
from aunet_sdk.profiling.html import page, write_page
from aunet_sdk.profiling.power import GpuMemory
from aunet_sdk.profiling.synthetic import draw_head
from aunet_sdk.sources import Frame

STAGES = ["decode", "find", "align", "copy_in", "network", "copy_out", "points", "buffer", "sinks", "other"]


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    with Detector(DetectorOptions(engine="onnxruntime", threads=1)) as made:
        yield made


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(islice(SyntheticFrames(2, 320, 180), 40))


def test_a_profile_counts_its_frames_and_adds_up(detector: Detector, frames: list[Frame]) -> None:
    seen: list[FrameResult] = []

    def sink(result: FrameResult) -> None:
        time.sleep(0.002)
        seen.append(result)

    found = profile(detector, frames, warm_up=12, sink=sink)
    assert (found.frames, found.warm_up, found.faces, found.dropped) == (28, 12, 2.0, 0)
    assert (found.width, found.height, found.lookahead_ms) == (320, 180, 1e3 * detector.bundle.interval_s)
    assert list(found.stages) == STAGES
    assert [result.index for result in seen] == list(range(len(seen))) and len(seen) == 40 - 10
    whole = sum(stage.mean_ms for stage in found.stages.values())
    assert whole == pytest.approx(found.frame.mean_ms, rel=1e-3)
    assert sum(found.share(name) for name in STAGES) == pytest.approx(1, abs=1e-3)
    assert found.fps == pytest.approx(1e3 / found.frame.mean_ms, rel=1e-6)
    assert found.stages["sinks"].median_ms >= 2.0 > found.stages["decode"].median_ms
    assert found.age.median_ms <= found.frame.median_ms
    network = found.stages["network"].median_ms
    assert found.network_ms_per_face == pytest.approx(network / 2, rel=0.2) and network > 1
    assert found.peak_memory_mb is None or found.peak_memory_mb > 50


def test_flush_brings_the_results_that_are_left(detector: Detector, frames: list[Frame]) -> None:
    seen: list[int] = []
    lengths = []
    for flush in (False, True):
        seen.clear()
        found = profile(detector, frames[:20], warm_up=4, sink=lambda result: seen.append(result.index), flush=flush)
        assert found.wall_s is not None and found.wall_s >= sum(found.timeline_ms) / 1e3
        lengths.append(len(seen))
    assert lengths == [10, 20] and seen == list(range(20))
    assert found.as_json()["wall_s"] == pytest.approx(found.wall_s, abs=1e-3)


def test_the_wall_holds_the_warm_up_and_the_flush(detector: Detector, frames: list[Frame]) -> None:
    def sink(result: FrameResult) -> None:
        time.sleep(0.01)

    found = profile(detector, frames[:14], warm_up=13, sink=sink, flush=True)
    assert found.frames == 1 and found.wall_s is not None and found.wall_s > 0.14


def test_engines_time_their_copies_while_they_are_measured(detector: Detector, frames: list[Frame]) -> None:
    engine, during = detector.engine, []
    assert engine.timed is False  # type: ignore[attr-defined]
    profile(detector, frames[:12], warm_up=1, sink=lambda _: during.append(engine.timed))  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="warm-up"):
        profile(detector, frames[:2], warm_up=2)
    assert set(during) == {True} and engine.timed is False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "providers, memory, expected",
    [
        (("CPUExecutionProvider",), None, None),
        (("CPUExecutionProvider",), GpuMemory(700.0, of_process=False), None),
        (("CPU fp32",), GpuMemory(700.0, of_process=False), None),
        (("CPUExecutionProvider",), GpuMemory(700.0, of_process=True), 700.0),
        (("CUDAExecutionProvider", "CPUExecutionProvider"), GpuMemory(700.0, of_process=False), 700.0),
    ],
)
def test_gpu_memory_in_a_profile(
    detector: Detector,
    frames: list[Frame],
    monkeypatch: pytest.MonkeyPatch,
    providers: tuple[str, ...],
    memory: GpuMemory | None,
    expected: float | None,
) -> None:
    monkeypatch.setattr(detector.engine, "providers", providers)
    monkeypatch.setattr("aunet_sdk.profiling.measure.PowerMeter.gpu_memory", lambda _: memory)
    found = profile(detector, frames[:3], warm_up=1)
    assert found.peak_gpu_memory_mb == found.as_json()["peak_gpu_memory_mb"] == expected
    of_all = memory is not None and expected is not None and not memory.of_process
    assert any("NVML" in note for note in found.notes) == of_all
    assert ("on the GPU 700 MiB" in " ".join(found.lines())) == (expected is not None)


def test_what_the_json_holds(detector: Detector, frames: list[Frame]) -> None:
    figures = json.loads(json.dumps(profile(detector, frames, warm_up=20).as_json()))
    for name in (
        "fps",
        "engine",
        "precision",
        "faces",
        "lookahead_ms",
        "peak_memory_mb",
        "peak_gpu_memory_mb",
        "dropped",
        "stages",
    ):
        assert name in figures
    bundle = detector.bundle
    assert (bundle.precision, bundle.arithmetic) == ("fp16", "fp32"), "the default bundle stores half, computes single"
    assert figures["precision"] == "fp32", "what is computed in"
    assert list(figures["stages"]) == STAGES
    for stage in figures["stages"].values():
        assert {"mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms", "share"} <= set(stage)
        assert stage["min_ms"] <= stage["p50_ms"] <= stage["p90_ms"] <= stage["p95_ms"] <= stage["max_ms"]


def test_a_slow_source_shows_in_decode_and_a_late_one_in_age(detector: Detector, frames: list[Frame]) -> None:
    class Slow:
        live = True
        dropped = 3

        def __iter__(self) -> Iterator[Frame]:
            start_s = time.monotonic()
            for frame in frames[:16]:
                time.sleep(0.004)
                yield Frame(frame.image, start_s - 1.0 + frame.index * 1e-4, frame.index)

    found = profile(detector, Slow(), warm_up=2)
    assert found.stages["decode"].min_ms >= 4.0 and found.dropped == 3
    assert found.age.min_ms > 1000.0


def test_the_duration_ends_an_endless_source(detector: Detector) -> None:
    start_s = time.perf_counter()
    found = profile(detector, SyntheticFrames(1, 160, 120), duration_s=0.3, warm_up=3)
    assert found.frames >= 1 and time.perf_counter() - start_s < 20
    assert sum(found.timeline_ms) >= 300 - found.frame.max_ms


def test_a_source_that_breaks_leaves_what_was_measured(detector: Detector, frames: list[Frame]) -> None:
    def broken(count: int) -> Iterator[Frame]:
        yield from frames[:count]
        raise SourceLost("the cable was pulled")

    found = profile(detector, broken(9), warm_up=4)
    assert found.frames == 5 and "the cable was pulled" in found.notes
    with pytest.raises(SourceLost, match="cable"):
        profile(detector, broken(3), warm_up=4)


def test_the_detectors_own_stream_goes_on(detector: Detector, frames: list[Frame]) -> None:
    assert detector.push(frames[0].image, 0.0) == []
    profile(detector, frames[:6], warm_up=1)
    (result,) = detector.flush()
    assert result.index == 0 and len(result.faces) == 2


def test_frames_without_a_face_are_noted(detector: Detector) -> None:
    blank = [Frame(np.zeros((64, 64, 3), np.uint8), i / 25, i) for i in range(8)]
    found = profile(detector, blank, warm_up=0)
    assert found.faces == 0 and found.network_ms_per_face is None
    assert any("no face" in note for note in found.notes)


def test_wrong_calls(detector: Detector, frames: list[Frame]) -> None:
    for options in ({"duration_s": 0}, {"duration_s": float("nan")}, {"warm_up": -1}):
        with pytest.raises(InvalidInput, match="expected"):
            profile(detector, frames, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="warm-up"):
        profile(detector, frames[:5], warm_up=5)
    with pytest.raises(InvalidInput, match="two detectors"):
        compare({"one": detector}, frames)
    with Detector(DetectorOptions(engine="onnxruntime", threads=1)) as closed:
        pass
    with pytest.raises(AUNetError, match="closed"):
        profile(closed, frames)


def test_a_comparison_sees_who_is_slower(detector: Detector, frames: list[Frame], tmp_path: Path) -> None:
    with Detector(DetectorOptions(engine="onnxruntime", threads=1)) as slow:
        step = slow.engine.step

        def waits(*args: object) -> object:
            time.sleep(0.05)
            return step(*args)

        slow.engine.step = waits  # type: ignore[method-assign, assignment]
        found = compare({"plain": detector, "slow": slow}, frames, warm_up=5, turn_frames=7)
    assert isinstance(found, Comparison) and list(found.profiles) == ["plain", "slow"]
    assert [p.frames for p in found.profiles.values()] == [35, 35]
    assert found.ratios["plain"] == {"frame": 1.0, "network": 1.0}
    assert found.ratios["slow"]["network"] > 1.2 and found.ratios["slow"]["frame"] > 1.2
    figures = found.as_json()
    assert figures["fps"] == figures["compare"]["plain"]["fps"] and set(figures["ratios"]) == {"plain", "slow"}
    text = page(found)
    assert text.count("<svg") == 4 and "Compared with plain" in text and "http" not in text
    write_page(found, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == text
    with pytest.raises(InvalidInput, match="cannot write"):
        write_page(found, tmp_path)


def test_a_page_shows_every_stage(detector: Detector, frames: list[Frame]) -> None:
    found = profile(detector, frames[:20], warm_up=4)
    assert isinstance(found, Profile)
    text = page(found)
    for name in STAGES:
        assert f"<td>{name.replace('_', ' ')}</td>" in text
    assert len(found.timeline_ms) == 16 and text.count("<rect") == 2 * len(STAGES)


@pytest.mark.parametrize("faces", [1, 8])
def test_drawn_heads_are_followed_and_repeat(detector: Detector, faces: int) -> None:
    frames = SyntheticFrames(faces)
    shown = list(islice(frames, 53))
    assert all(frame.image.shape == (360, 640, 3) for frame in shown)
    assert np.array_equal(shown[0].image, shown[50].image) and not np.array_equal(shown[0].image, shown[1].image)
    assert [frame.index for frame in shown] == list(range(53)) and shown[25].timestamp_s == 1.0
    for frame in shown[:6]:
        detector.push(frame.image, frame.timestamp_s)
    assert [len(result.faces) for result in detector.flush()] == [faces] * 6


@pytest.mark.parametrize("wrong", [(0,), (65,), (8, 64, 64), (1, 0, 10), (1.5,), (1, 640, 360, 0.0)])
def test_frames_that_cannot_be_drawn(wrong: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        SyntheticFrames(*wrong)


def test_a_head_has_the_size_asked_for() -> None:
    assert draw_head(96, 0.5).shape == (96, 96, 3) and draw_head(96).dtype == np.uint8
    assert not np.array_equal(draw_head(96, 0.0), draw_head(96, 1.0))
