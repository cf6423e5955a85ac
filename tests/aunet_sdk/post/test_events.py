"""Events: what makes one, what does not, and what holds for every sequence of results."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aunet_sdk import Detector, DetectorOptions, InvalidInput
from aunet_sdk.post.events import AUEvent, EventTracker, Phase
from aunet_sdk.post.events import events as events_of
from aunet_sdk.results import Face, FrameResult

from ..scripted import face, frame

FPS = 25.0
AUS = ("AU1", "AU12")


def one(index: int, value: float, *, face_id: int = 1, provisional: bool = False) -> FrameResult:
    """A result with one face whose AU12 has this probability, at index / 25 s."""
    seen = face(face_id, probabilities=[value], au_names=("AU12",), provisional=provisional)
    result = frame(index, seen, fps=FPS)
    return FrameResult(result.index, result.timestamp_s, 320, 240, (seen,), provisional)


def course(values: Sequence[float | None], tracker: EventTracker | None = None) -> list[AUEvent]:
    """The events of AU12 that has these probabilities in turn; None: nobody is there."""
    tracker = tracker if tracker is not None else EventTracker()
    results = [frame(i, fps=FPS) if v is None else one(i, v) for i, v in enumerate(values)]
    return list(tracker.events(results))


def moments(events: Sequence[AUEvent]) -> list[tuple[str, int]]:
    """Phase and number of the frame."""
    return [(str(event.phase), round(event.timestamp_s * FPS)) for event in events]


def test_one_smile_has_an_onset_an_apex_and_an_offset() -> None:
    events = course([0.1] * 5 + [0.6, 0.8, 0.95, 0.95, 0.7, 0.5, 0.4] + [0.1] * 10)
    assert moments(events) == [("onset", 5), ("apex", 7), ("offset", 12)]
    onset, apex, offset = events
    assert (onset.au, onset.face, onset.duration_s, onset.cut) == ("AU12", 1, 0.0, False)
    assert apex.peak == offset.peak == pytest.approx(0.95)
    assert apex.duration_s == pytest.approx(2 / FPS) and offset.duration_s == pytest.approx(7 / FPS)
    assert all(event.onset_s == pytest.approx(5 / FPS) for event in events)


def test_thresholds_are_those_of_the_results_where_none_are_given() -> None:
    def low(i: int) -> FrameResult:
        seen = face(1, probabilities=[0.4 if 5 <= i < 15 else 0.1], au_names=("AU12",))
        return frame(i, replace(seen, thresholds=np.array([0.3])), fps=FPS)

    results = [low(i) for i in range(25)]
    assert moments(list(events_of(results))) == [("onset", 5), ("apex", 5), ("offset", 15)]
    assert list(events_of(results, thresholds=0.5)) == list(events_of(results, thresholds={"AU12": 0.5})) == []
    with pytest.raises(InvalidInput, match="release"):
        events_of(results, release=2)


def test_what_the_face_says_cannot_be_seen_is_not_seen() -> None:
    def covered(i: int, reason: str | None) -> FrameResult:
        return frame(i, replace(one(i, 0.9).faces[0], reasons=(reason,)), fps=FPS)

    assert list(events_of(covered(i, "covered") for i in range(30))) == []
    assert len(list(events_of(covered(i, None) for i in range(30)))) == 3
    tracker = EventTracker()
    assert [tracker.update(covered(i, "covered"), {1: {"AU12": True}}) for i in range(8)][-3:] != [[]] * 3


def test_ctrl_c_on_the_way_ends_what_runs_first() -> None:
    def breaks() -> Iterator[FrameResult]:
        yield from (one(i, 0.9) for i in range(10))
        raise KeyboardInterrupt

    told = []
    with pytest.raises(KeyboardInterrupt):
        for event in events_of(breaks()):
            told.append(event)
    assert [str(event.phase) for event in told] == ["onset", "apex", "offset"] and told[-1].cut


def test_a_probability_that_trembles_around_the_threshold_is_one_event() -> None:
    events = course([0.1] * 3 + [0.52, 0.48] * 20 + [0.1] * 10)
    assert moments(events) == [("onset", 3), ("apex", 3), ("offset", 43)]


def test_what_is_shorter_than_the_minimum_is_no_event() -> None:
    assert course([0.1] * 3 + [0.9] * 4 + [0.1] * 10) == []
    assert len(course([0.1] * 3 + [0.9] * 6 + [0.1] * 10)) == 3


def test_a_short_pause_does_not_end_an_event() -> None:
    events = course([0.9] * 10 + [0.1] * 4 + [0.9] * 10 + [0.1] * 10)
    assert moments(events) == [("onset", 0), ("apex", 0), ("offset", 24)]
    assert len(course([0.9] * 10 + [0.1] * 8 + [0.9] * 10 + [0.1] * 10)) == 6


def test_the_onset_is_reported_as_soon_as_it_is_certain() -> None:
    tracker = EventTracker(min_duration_s=0.2)
    reported = [i for i in range(12) for event in tracker.update(one(i, 0.9)) if event.phase is Phase.ONSET]
    assert reported == [5]
    (running,) = tracker.running
    assert (running.au, running.face, running.onset_s) == ("AU12", 1, 0.0)


def test_a_lost_person_ends_the_event_where_it_was_seen_last() -> None:
    events = course([0.9] * 10 + [None] * 30)
    assert moments(events) == [("onset", 0), ("apex", 0), ("offset", 9)]
    assert [event.cut for event in events] == [False, True, True]


def test_a_person_who_is_missed_for_a_few_frames_keeps_the_event() -> None:
    events = course([0.9] * 10 + [None] * 5 + [0.9] * 10 + [0.1] * 10)
    assert moments(events) == [("onset", 0), ("apex", 0), ("offset", 25)]


def test_a_stream_that_stands_still_ends_the_events() -> None:
    """Without a result in between: the source was lost for ten seconds."""
    tracker = EventTracker()
    for i in range(10):
        tracker.update(one(i, 0.9))
    events = tracker.update(one(260, 0.9))
    assert moments(events) == [("apex", 0), ("offset", 9)]
    assert moments([*tracker.update(one(262, 0.9)), *tracker.update(one(266, 0.9))]) == [("onset", 260)]


@pytest.mark.parametrize("hidden", ["valid", "nan"])
def test_an_au_that_cannot_be_seen_is_not_taken_for_absent(hidden: str) -> None:
    def show(i: int, covered: bool) -> list[AUEvent]:
        if not covered:
            return tracker.update(one(i, 0.9))
        if hidden == "nan":
            return tracker.update(one(i, math.nan))
        return tracker.update(one(i, 0.01), {1: {"AU12": False}})

    tracker = EventTracker()
    events = [e for i in range(40) for e in show(i, 10 <= i < 20)] + tracker.flush()
    assert moments(events) == [("onset", 0), ("apex", 0), ("offset", 39)], "a hand for 0.4 s"
    events = [e for i in range(60) for e in show(i, 10 <= i < 30)] + tracker.flush()
    assert moments(events)[:3] == [("onset", 0), ("apex", 0), ("offset", 9)], "a hand for 0.8 s"
    assert events[2].cut and moments(events)[3] == ("onset", 30)


def test_flush_ends_what_runs_and_a_new_stream_may_begin() -> None:
    tracker = EventTracker()
    for i in range(10):
        tracker.update(one(i, 0.9))
    events = tracker.flush()
    assert moments(events) == [("apex", 0), ("offset", 9)] and all(event.cut for event in events)
    assert tracker.flush() == [] and len(tracker) == 0
    assert course([0.9] * 10, tracker)[-1].phase is Phase.OFFSET


def test_provisional_results_change_nothing() -> None:
    final = [one(i, 0.9 if 5 <= i < 20 else 0.1) for i in range(40)]
    both = [r for result in final for r in (one(result.index, 1.0, provisional=True), result)]
    assert list(EventTracker().events(both)) == list(EventTracker().events(final)) != []


def test_thresholds_by_au() -> None:
    tracker = EventTracker({"12": 0.8}, min_duration_s=0)
    seen = face(1, probabilities=[0.6, 0.6], au_names=AUS)
    assert [event.au for event in tracker.update(frame(0, seen))] == ["AU1"]


def test_people_are_kept_apart() -> None:
    tracker = EventTracker()
    events = []
    for i in range(60):
        first = face(1, probabilities=[0.9 if i < 20 else 0.1], au_names=("AU12",))
        second = face(2, probabilities=[0.9 if 10 <= i < 40 else 0.1], au_names=("AU12",))
        events += tracker.update(frame(i, first, second))
    assert moments([e for e in events if e.face == 1]) == [("onset", 0), ("apex", 0), ("offset", 20)]
    assert moments([e for e in events if e.face == 2]) == [("onset", 10), ("apex", 10), ("offset", 40)]


def test_the_callback_has_every_event_in_order() -> None:
    heard: list[AUEvent] = []
    events = course([0.9] * 10 + [0.1] * 10 + [0.9] * 10, EventTracker(on_event=heard.append))
    assert heard == events and len(events) == 6


def test_a_callback_that_raises_does_not_confuse_the_tracker() -> None:
    def refuse(event: AUEvent) -> None:
        raise RuntimeError(event.au)

    tracker, calm = EventTracker(on_event=refuse), EventTracker()
    raised = 0
    for i in range(40):
        value = 0.9 if 5 <= i < 20 else 0.1
        calm.update(one(i, value))
        try:
            tracker.update(one(i, value))
        except RuntimeError:
            raised += 1
        assert tracker.running == calm.running
    assert raised == 2


def test_where_the_source_fails_the_running_events_end_first() -> None:
    def results():  # type: ignore[no-untyped-def]
        yield from (one(i, 0.9) for i in range(10))
        raise OSError("unplugged")

    heard = []
    with pytest.raises(OSError, match="unplugged"):
        for event in EventTracker().events(results()):
            heard.append(event)
    assert moments(heard) == [("onset", 0), ("apex", 0), ("offset", 9)]


@pytest.mark.parametrize("time_s", [0.4, 0.2, math.nan, math.inf])
def test_a_time_that_does_not_grow_is_refused_and_changes_nothing(time_s: float) -> None:
    tracker = EventTracker()
    for i in range(11):
        tracker.update(one(i, 0.9))
    running = tracker.running
    with pytest.raises(InvalidInput, match="flush"):
        tracker.update(FrameResult(11, time_s, 320, 240))
    assert tracker.running == running != ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"thresholds": 1.5},
        {"thresholds": {"AU12": -1}},
        {"release": math.nan},
        {"min_duration_s": -1},
        {"max_gap_s": "1"},
    ],
)
def test_numbers_outside_their_range_are_refused(wrong: dict) -> None:
    with pytest.raises(InvalidInput, match="expected a number from 0"):
        EventTracker(**wrong)


class Streams(RuleBasedStateMachine):
    """Any results of any people in any order of times: what must always hold."""

    def __init__(self) -> None:
        super().__init__()
        self.release, self.gap_s = 0.3, 0.5
        self.tracker = EventTracker(release=self.release, max_gap_s=self.gap_s)
        self.time_s, self.final_s, self.next_id, self.ids = 0.0, 0.0, 1, [1]
        self.events: list[AUEvent] = []
        self.seen: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
        self.last_seen: dict[int, float] = {}

    def take(self, events: list[AUEvent]) -> None:
        self.events += events

    @rule(
        step_s=st.sampled_from([0.001, 0.033, 0.04, 0.1, 0.4, 0.6, 3.0]),
        repeat=st.integers(1, 12),
        values=st.lists(st.floats(0, 1, width=32) | st.just(math.nan), min_size=4, max_size=4),
        who=st.sets(st.integers(0, 1)),
        provisional=st.booleans(),
    )
    def results(self, step_s: float, repeat: int, values: list[float], who: set[int], provisional: bool) -> None:
        for _ in range(repeat):
            self.time_s += step_s
            faces: list[Face] = []
            for k in sorted(who):
                if k < len(self.ids):
                    pair = values[2 * k : 2 * k + 2]
                    faces.append(face(self.ids[k], probabilities=pair, au_names=AUS, provisional=provisional))
            self.take(self.tracker.update(FrameResult(0, self.time_s, 320, 240, tuple(faces), provisional)))
            self.final_s = self.final_s if provisional else self.time_s
            for seen in () if provisional else faces:
                self.last_seen[seen.id] = self.time_s
                for au, value in zip(AUS, seen.probabilities.tolist(), strict=True):
                    if value == value:
                        self.seen[seen.id, au].append((self.time_s, value))

    @rule()
    def somebody_comes(self) -> None:
        self.next_id += 1
        self.ids = [self.next_id, *self.ids[:1]]

    @precondition(lambda self: self.events)
    @rule()
    def flush(self) -> None:
        self.take(self.tracker.flush())
        assert len(self.tracker) == 0 and self.tracker.running == ()
        self.check(open_allowed=False)
        self.next_id += 1
        self.ids, self.last_seen = [self.next_id], {}

    @invariant()
    def the_state_is_bounded(self) -> None:
        recent = [i for i, last_s in self.last_seen.items() if self.final_s - last_s <= self.gap_s + 2e-6]
        assert len(self.tracker) <= len(recent)

    @invariant()
    def events_are_whole(self) -> None:
        self.check(open_allowed=True)

    def check(self, open_allowed: bool) -> None:
        by_course: dict[tuple[int, str], list[AUEvent]] = defaultdict(list)
        for event in self.events:
            by_course[event.face, event.au].append(event)
        running = {(r.face, r.au) for r in self.tracker.running}
        for key, events in by_course.items():
            before_s = -math.inf
            for begin in range(0, len(events), 3):
                three = events[begin : begin + 3]
                phases = [event.phase for event in three]
                assert phases == [Phase.ONSET, Phase.APEX, Phase.OFFSET][: len(phases)]
                onset_s = three[0].timestamp_s
                assert onset_s >= before_s
                if len(three) == 1:
                    assert open_allowed and key in running and begin + 3 > len(events)
                    continue
                _, apex, offset = three
                assert onset_s <= apex.timestamp_s <= offset.timestamp_s
                assert offset.duration_s == pytest.approx(offset.timestamp_s - onset_s)
                assert apex.duration_s == pytest.approx(apex.timestamp_s - onset_s)
                inside = [p for t, p in self.seen[key] if onset_s <= t <= offset.timestamp_s]
                assert max(inside) == offset.peak == apex.peak >= max(0.5, three[0].peak)
                assert dict(self.seen[key])[apex.timestamp_s] == apex.peak
                assert max(p for t, p in self.seen[key] if t == onset_s) >= 0.5
                before_s = offset.timestamp_s
            assert (len(events) % 3 == 1) == (key in running)


Streams.TestCase.settings = settings(max_examples=200, stateful_step_count=20, deadline=None)
test_what_holds_for_every_stream = Streams.TestCase


@given(st.lists(st.floats(0, 1, width=32), max_size=80))
def test_offline_and_step_by_step_agree(values: list[float]) -> None:
    tracker = EventTracker()
    stepwise = [event for i, value in enumerate(values) for event in tracker.update(one(i, value))] + tracker.flush()
    assert stepwise == course(values)


SCRIPTED = ("AU1", "AU2", "AU4", "AU6", "AU9", "AU12", "AU15", "AU17", "AU25", "AU26")


def test_the_events_of_the_sample_are_those_of_its_script(repository: Path) -> None:
    """Of every AU that the known track has; a stretch of the track above a half of the AU's strongest is a movement."""
    with (repository / "examples" / "sample_track.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    times = np.array([float(row["timestamp_s"]) for row in rows])
    with Detector(DetectorOptions(threads=1, aus=SCRIPTED)) as detector:
        events = list(EventTracker().events(detector.detect_video(repository / "examples" / "sample.mp4")))
    found, scripted = 0, 0
    for au in SCRIPTED:
        track = np.array([float(row[au]) for row in rows])
        edges = np.flatnonzero(np.diff(np.r_[0, track >= 0.5 * track.max(), 0].astype(int))).reshape(-1, 2)
        spans = [(e.onset_s, e.timestamp_s) for e in events if e.au == au and e.phase is Phase.OFFSET]
        for first, end in edges:
            scripted += 1
            found += any(begin <= times[end - 1] and finish >= times[first] for begin, finish in spans)
    assert scripted >= 10
    assert found >= 0.9 * scripted, f"{found} of {scripted}"
