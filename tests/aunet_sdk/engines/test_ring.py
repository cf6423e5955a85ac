"""Rows of a state ring: free, taken, grown, never given away while they are needed."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aunet_sdk.bundle import StateSpec
from aunet_sdk.engines.base import Slot
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.ring import Ring, initial_rows
from aunet_sdk.engines.states import RingStates
from aunet_sdk.errors import EngineMismatch

from ..painted import paint, painted_detector

KEPT = StateSpec("E", (2,), "float32", ("former", "due"))
BRIEF = StateSpec("S", (2,), "float32", ("due",))


def put(ring: Ring, count: int, value: float = 0.0) -> list[Slot]:
    start = ring.take(count)
    slots = [Slot(0, row, (start + row,)) for row in range(count)]
    ring.claim(start, slots)
    ring.tensor[start : start + count] = value
    return slots


def test_initial_rows_cover_the_interval_by_role() -> None:
    assert [initial_rows(BRIEF, 0.4, fps) for fps in (25, 30, 29.97)] == [11, 13, 13]
    assert [initial_rows(KEPT, 0.4, fps) for fps in (25, 30, 29.97)] == [21, 25, 25]


def test_dropped_slots_free_their_rows() -> None:
    ring = Ring(KEPT, 4, 100)
    for _ in range(50):
        put(ring, 2)
    assert ring.rows == 4


def test_settled_slots_free_rows_that_no_former_frame_reads() -> None:
    brief, kept = Ring(BRIEF, 4, 100), Ring(KEPT, 4, 100)
    held = []
    for ring in (brief, kept):
        for _ in range(10):
            held += put(ring, 1)
            held[-1].settled = True
    assert brief.rows == 4
    assert kept.rows >= 10


def test_growth_keeps_content_and_rows(caplog: pytest.LogCaptureFixture) -> None:
    ring = Ring(KEPT, 3, 1000)
    with caplog.at_level(logging.INFO, "aunet_sdk"):
        held = [put(ring, 2, float(i)) for i in range(20)]
    assert ring.rows >= 40
    assert "grew" in caplog.text
    for i, slots in enumerate(held):
        for slot in slots:
            assert ring.holds(slot, slot.rows[0])
            np.testing.assert_array_equal(ring.tensor[slot.rows[0]], [i, i])


def test_one_slot_that_is_kept_forever_does_not_make_the_ring_grow() -> None:
    ring = Ring(KEPT, 6, 100)
    kept = put(ring, 1, 7.0)[0]
    for _ in range(100):
        put(ring, 2)
    assert ring.rows == 6
    assert ring.holds(kept, kept.rows[0]) and ring.tensor[kept.rows[0], 0] == 7


def test_full_ring_gives_up_the_oldest_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    ring = Ring(KEPT, 4, 8)
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        held = [slot for _ in range(12) for slot in put(ring, 1)]
    assert ring.rows == 8
    assert [ring.holds(slot, slot.rows[0]) for slot in held] == [False] * 4 + [True] * 8
    assert caplog.text.count("is full") == 1


def test_rows_that_are_read_now_are_never_taken() -> None:
    ring = Ring(KEPT, 3, 3)
    assert ring.take(1, reading={0, 1}) == 2
    with pytest.raises(EngineMismatch, match="split the queries"):
        ring.take(2, reading={1})


def test_a_slot_of_another_ring_is_not_held() -> None:
    ring, other = Ring(KEPT, 4, 8), Ring(KEPT, 4, 8)
    slot = put(ring, 1)[0]
    put(other, 1)
    assert not other.holds(slot, slot.rows[0])
    assert not ring.holds(slot, -4) and not ring.holds(slot, 99)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6), st.booleans()), min_size=1, max_size=60), st.booleans())
def test_any_order_of_taking_settling_and_dropping(steps: list[tuple[int, int, bool]], former: bool) -> None:
    ring = Ring(KEPT if former else BRIEF, 2, 10_000)
    held: list[tuple[Slot, float]] = []
    for value, (count, drop, settle) in enumerate(steps):
        held += [(slot, float(value)) for slot in put(ring, count, float(value))]
        for _ in range(min(drop, len(held) - 1)):
            slot, _ = held.pop(0)
            slot.settled = settle
        for slot, expected in held:
            assert ring.holds(slot, slot.rows[0])
            assert ring.tensor[slot.rows[0], 0] == expected


@pytest.mark.parametrize("look_ahead", ["full", "both"])
def test_a_face_at_a_steady_rate_needs_no_more_rows(look_ahead: str) -> None:
    with painted_detector(engine_of=lambda *_: OrtStreamEngine(threads=1, fps=25.0), look_ahead=look_ahead) as detector:
        stream = detector.open_stream()
        for i in range(50):
            stream.push(paint((160, 120, 100), background=i), i / 25)
        states = stream.session.states
        assert isinstance(states, RingStates)
        stream.flush()
        assert [ring.rows for ring in states.rings] == [21]
