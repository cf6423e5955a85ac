"""The states of a live source: no step that does not exist, segments that count gaps, pauses that grow."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aunet_sdk.sources import SourceState
from aunet_sdk.sources.connection import STEADY_S, Connection

from .scripted import QUICK, Act, Script

FIRST_S, MOST_S = 0.25, 3.0


class ConnectionMachine(RuleBasedStateMachine):
    """Any order of calls, beside a model that only counts."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = Connection(FIRST_S, MOST_S, jitter=lambda: self.jitter)
        self.jitter = 0.0
        self.now_s = 0.0
        self.gap_open = self.ever = self.closed = False
        self.segment = 0
        self.since_loss = 0

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(jitter=st.floats(0, 1, exclude_max=True))
    def chance(self, jitter: float) -> None:
        self.jitter = jitter

    @rule()
    def attempt(self) -> None:
        before = self.connection.state
        self.connection.attempting()
        expected = SourceState.RECONNECTING if before is SourceState.LOST else before
        assert self.connection.state is expected

    @rule()
    def frame(self) -> None:
        before = self.connection.state
        self.connection.delivered(self.now_s)
        if before in (SourceState.OPENING, SourceState.RECONNECTING):
            self.segment += self.ever
            self.ever = True
            assert self.connection.state is SourceState.RUNNING and self.connection.reason is None
        else:
            assert self.connection.state is before, "a frame between loss and attempt is no way back"

    @rule(reason=st.sampled_from(["silence", "refused"]))
    def loss(self, reason: str) -> None:
        before = self.connection.state
        pause_s = self.connection.failed(reason, self.now_s)
        assert FIRST_S / 2 <= pause_s <= MOST_S
        if before is SourceState.CLOSED:
            assert self.connection.state is before
        else:
            assert self.connection.reason == reason
            assert self.connection.state is (SourceState.LOST if before is SourceState.RUNNING else before)

    @rule()
    def close(self) -> None:
        self.closed = True
        self.connection.close()
        self.connection.close("again")
        assert self.connection.state is SourceState.CLOSED

    @invariant()
    def it_agrees(self) -> None:
        assert self.connection.segment == self.segment
        assert (self.connection.state is SourceState.CLOSED) == self.closed


TestConnection = ConnectionMachine.TestCase
TestConnection.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_pauses_double_up_to_the_longest_and_begin_again_after_a_steady_run() -> None:
    connection = Connection(FIRST_S, MOST_S, jitter=lambda: 0.0)
    assert [connection.failed("x", 0.0) for _ in range(6)] == [0.25, 0.5, 1, 2, 3, 3]
    connection.delivered(10.0)
    assert connection.failed("x", 10.0 + STEADY_S / 2) == 3, "it flickers"
    connection.attempting()
    connection.delivered(20.0)
    assert connection.failed("x", 20.0 + STEADY_S) == 0.25
    halved = Connection(FIRST_S, MOST_S, jitter=lambda: 0.999999)
    assert halved.failed("x", 0.0) == pytest.approx(FIRST_S / 2, rel=1e-3)
    assert Connection(FIRST_S, MOST_S, jitter=lambda: 0.0).failed("x", 0.0) == 0.25
    for _ in range(5000):
        assert connection.failed("x", 100.0) <= MOST_S


acts = st.builds(Act, frames=st.integers(0, 4), opens=st.booleans())


@settings(max_examples=25, deadline=None)
@given(st.lists(acts, max_size=8).filter(lambda acts: any(act.opens and act.frames for act in acts)))
def test_whatever_happens_all_frames_come_in_order(script: list[Act]) -> None:
    """An opener that follows any script, with the real thread: nothing is lost, doubled or mixed up, every gap makes
    one segment, and the states follow each other as they may."""
    opener = Script(script)
    expected = [number for number, act in enumerate(act for act in script if act.opens) for _ in range(act.frames)]
    states: list[SourceState] = []
    options = type(QUICK)(**{**vars(QUICK), "wait": True})
    source = opener.source(options, lambda state, reason: states.append(state))
    with source:
        frames = list(itertools.islice(source, len(expected)))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == expected
    assert [frame.index for frame in frames] == list(range(len(expected)))
    parts = {number: i for i, number in enumerate(dict.fromkeys(expected))}
    assert [frame.segment for frame in frames] == [parts[number] for number in expected]
    times = [frame.timestamp_s for frame in frames]
    assert all(a < b for a, b in itertools.pairwise(times))
    assert not source.dropped and source.state is SourceState.CLOSED
    assert opener.closed == opener.opened and opener.threads == {"aunet-source"}
    assert states[-1] is SourceState.CLOSED and states.count(SourceState.CLOSED) == 1
    order = [state for state, again in itertools.pairwise([*states, None]) if state is not again]
    for one, two in itertools.pairwise(order):
        assert (one, two) in {
            (SourceState.OPENING, SourceState.RUNNING),
            (SourceState.OPENING, SourceState.CLOSED),
            (SourceState.RUNNING, SourceState.LOST),
            (SourceState.LOST, SourceState.RECONNECTING),
            (SourceState.RECONNECTING, SourceState.RUNNING),
            (SourceState.RUNNING, SourceState.CLOSED),
            (SourceState.LOST, SourceState.CLOSED),
            (SourceState.RECONNECTING, SourceState.CLOSED),
        }
    assert sum(thread.name == "aunet-source" for thread in threading.enumerate()) == 0
