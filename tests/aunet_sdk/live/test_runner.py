"""LiveRunner: the same numbers as the detector alone, sources that come, go and break, thresholds that change."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from aunet_sdk import AUNetError, Detector, FrameResult, InvalidInput, SourceLost
from aunet_sdk.live import LiveRunner
from aunet_sdk.live import feed as feed_module
from aunet_sdk.live.health import health_of
from aunet_sdk.post.events import EventTracker
from aunet_sdk.sinks.message import message_schema

from ..painted import painted_detector
from ..streams import clip, probabilities
from ..streams import run as run_clip
from .playback import Camera, Kept, Script


def run(detector: Detector, *sources: Any, **options: Any) -> Kept:
    kept = Kept()
    with LiveRunner(detector, [kept], **options) as runner:
        for i, source in enumerate(sources):
            runner.add(f"source {i}", source)
        runner.run()
        kept.errors = runner.errors  # type: ignore[attr-defined]
    return kept


def test_results_are_those_of_the_detector_with_their_pictures(
    detector: Detector, reference: list[FrameResult]
) -> None:
    source = Script(30)
    kept = run(detector, source)
    assert [r.index for r in kept.results] == list(range(30))
    assert np.array_equal(probabilities(kept.results), probabilities(reference))
    assert all(image is source.frames[i].image for i, image in enumerate(kept.pictures))
    assert kept.statuses[-1]["state"] == "closed" and kept.statuses[-1]["engine"] == detector.engine.name
    for status in kept.statuses:
        Draft202012Validator(message_schema()).validate(status)


def test_both_gives_every_picture_twice(detector: Detector) -> None:
    source = Script(30)
    kept = run(detector, source, look_ahead="both")
    early = [i for i, result in enumerate(kept.results) if result.provisional]
    final = [i for i, result in enumerate(kept.results) if not result.provisional]
    for chosen in (early, final):
        assert [kept.results[i].index for i in chosen] == list(range(30))
        assert all(kept.pictures[i] is source.frames[n].image for n, i in enumerate(chosen))


def test_events_are_those_of_the_tracker() -> None:
    """Nobody asks what can be seen: painted faces are blurred, and would have no event."""
    settings = {"min_duration_s": 0.0, "min_pause_s": 0.0}
    with painted_detector(validity=False) as detector:
        reference = run_clip(detector, clip(30))
        level = float(np.median(probabilities(reference)[:, 0]))
        thresholds = {detector.au_names[0]: level}
        expected = list(EventTracker({**detector.thresholds, **thresholds}, **settings).events(reference))
        kept = run(detector, Script(30), events=settings, thresholds=thresholds)
    told = [asdict(event) for event in kept.events]
    assert told == [{**asdict(event), "source": "source 0"} for event in expected] and expected


def test_thresholds_change_while_it_runs(detector: Detector) -> None:
    source, seen = Script(30, free=20), threading.Event()
    kept = Kept(lambda result: seen.set() if result.index >= 5 else None)
    name = detector.au_names[0]
    with LiveRunner(detector, [kept]) as runner:
        runner.add("a", source)
        thread = threading.Thread(target=runner.run)
        thread.start()
        assert seen.wait(30)
        with pytest.raises(InvalidInput, match="AU99"):
            runner.use_thresholds({"AU99": 0.5})
        runner.use_thresholds({name: 0.0})
        source.gate.set()
        thread.join(30)
    first, last = kept.results[0].faces[0], kept.results[-1].faces[0]
    assert last.is_active(name) and last.thresholds is not None and last.thresholds[0] == 0
    assert first.thresholds is not None and first.thresholds[0] == pytest.approx(detector.thresholds[name])
    assert last.thresholds[1] == first.thresholds[1]


def test_a_source_that_breaks_gives_its_results_and_leaves_the_others_alone(detector: Detector) -> None:
    kept = run(detector, Script(30), Script(12, error=SourceLost("the cable")))
    assert len(kept.results) == 42
    errors = kept.errors  # type: ignore[attr-defined]
    assert list(errors) == ["source 1"] and str(errors["source 1"]) == "the cable"
    assert any(s["state"] == "closed" and s["reason"] == "the cable" for s in kept.statuses)


def test_sources_come_and_go_while_it_runs(detector: Detector) -> None:
    first, second = Script(30, free=15), Script(20)
    ten = threading.Event()
    kept = Kept(lambda result: ten.set() if result.index >= 2 else None)
    own = Kept()
    with LiveRunner(detector, [kept]) as runner:
        runner.add("a", first)
        thread = threading.Thread(target=runner.run)
        thread.start()
        assert ten.wait(30)
        with pytest.raises(InvalidInput, match="in use"):
            runner.add("a", Script(1))
        feed = runner.add("rtsp://user:secret@host/b", second, outputs=[own], label="b")
        assert feed.wait(30)
        removed = runner.remove("a")
        assert removed.ended and first.closed.is_set() and not removed.alive
        thread.join(30)
        assert not thread.is_alive()
        with pytest.raises(InvalidInput):
            runner.remove("a")
    with pytest.raises(AUNetError, match="stopped"):
        runner.add("c", Script(1))
    assert [r.index for r in own.results] == list(range(20))
    assert kept.files[None] == 15 and kept.files["b"] == 20  # what waited for its later frame came, too
    assert "secret" not in str(kept.statuses) + str(own.statuses)


@pytest.mark.parametrize("how", ["stop", "duration", "interrupt"])
def test_it_ends_early_with_everything_that_is_due(detector: Detector, how: str) -> None:
    source = Script(30, free=20)

    def tick(reports: Any) -> None:
        if reports and reports[0].frames >= 20:
            if how == "interrupt":
                raise KeyboardInterrupt
            if how == "stop":
                runner.stop()

    kept = Kept()
    runner = LiveRunner(detector, [kept], on_tick=tick)
    feed = runner.add("a", source)
    if how == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            runner.run()
    else:
        runner.run(1.0 if how == "duration" else None)
    count = feed.report().frames if how == "duration" else 20
    assert [r.index for r in kept.results] == list(range(count)) and source.closed.is_set()
    assert not runner.feeds and kept.statuses[-1]["state"] == "closed"


def test_a_camera_survives_frames_and_steps_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    with painted_detector() as detector:
        step, calls = detector.engine.step, iter(range(1000))

        def brittle(*arguments: Any, **options: Any) -> Any:
            if next(calls) in (4, 5, 9):
                raise AUNetError("the engine stumbled")
            return step(*arguments, **options)

        monkeypatch.setattr(detector.engine, "step", brittle)
        camera = Camera(30)
        camera.frames[20] = type(camera.frames[20])(np.zeros((2, 2)), camera.frames[20].timestamp_s, 20)
        camera.dropped = {"older": 7}
        kept = run(detector, camera)
        assert len(kept.results) == 26 and not kept.errors  # type: ignore[attr-defined]
        assert kept.statuses[-1]["dropped"] == {"older": 7, "error": 4}
        with pytest.raises(AUNetError, match="stumbled"):  # the same costs a file its end
            calls = iter(range(1000))
            raise run(detector, Script(30)).errors["source 0"]  # type: ignore[attr-defined]


def test_an_engine_that_fails_for_good_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "LASTING_S", 0.05)
    with painted_detector() as detector:

        def broken(*_: Any, **__: Any) -> Any:
            raise AUNetError("the device is gone")

        monkeypatch.setattr(detector.engine, "step", broken)
        camera = Camera(400)
        kept = run(detector, camera)
        assert "gone" in str(kept.errors["source 0"])  # type: ignore[attr-defined]
        assert kept.statuses[-1]["state"] == "closed"


def test_while_paused_frames_are_read_and_counted(detector: Detector) -> None:
    camera = Camera(20)
    kept = Kept()
    with LiveRunner(detector, [kept]) as runner:
        runner.pause()
        runner.add("a", camera)
        runner.run()
    assert not kept.results and kept.statuses[-1]["dropped"] == {"paused": 20}


def test_health_knows_a_camera_that_is_away_from_an_engine_that_hangs(detector: Detector) -> None:
    camera = Camera(10, free=0)
    camera.state, camera.reason = "reconnecting", "no route to host"
    with LiveRunner(detector, [Kept()]) as runner:
        feed = runner.add("door", camera)
        health = health_of(runner)
        assert health.alive and not health.ready and "door: reconnecting, no route to host" in health.line
        assert detector.engine.name in health.engine
        feed.busy_since_s = 100.0
        assert health_of(runner, 105.0).alive
        hung = health_of(runner, 120.0)
        assert not hung.alive and "20 s" in str(hung.reason)
        feed.busy_since_s, runner.ticked_s = None, 100.0
        assert not health_of(runner, 120.0).alive
        assert hung.to_dict()["alive"] is False
