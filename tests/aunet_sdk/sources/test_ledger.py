"""Which pictures of a video are missing, and the numbers of those that came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.sources.ledger import Ledger


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[int], list[int], set[int]]:
    """Keys in the order of decoding (reordered by up to three), the same in the order of showing, those that fail."""
    steps = draw(st.lists(st.integers(1, 50), min_size=1, max_size=40))
    start = draw(st.integers(-200, 200))
    shown = [start + sum(steps[:i]) for i in range(len(steps))]
    sent, rest = [], list(shown)
    while rest:
        sent.append(rest.pop(draw(st.integers(0, min(3, len(rest) - 1)))))
    return sent, shown, draw(st.sets(st.sampled_from(shown)))


@given(streams(), st.integers(0, 6))
def test_every_picture_keeps_its_number_whatever_fails(
    stream: tuple[list[int], list[int], set[int]], delay: int
) -> None:
    """A decoder with threads tells of errors `delay` packets later; pictures come in the order of their times."""
    sent, shown, failing = stream
    ledger, got, ready = Ledger(), {}, []

    def take(until: int) -> None:
        for key in sent[max(0, until - 1) : until]:
            if key in failing:
                ledger.failed()
            else:
                ready.append(key)
        sure = min((key for key in sent[until:]), default=10**9)  # nothing earlier can come any more
        for key in sorted(key for key in ready if key < sure):
            ready.remove(key)
            got[key] = ledger.received(key)

    for i, key in enumerate(sent):
        ledger.sent(key)
        if i >= delay:
            take(i - delay + 1)
    for until in range(max(1, len(sent) - delay + 1), len(sent) + 1):
        take(until)
    ledger.ended()
    good = [key for key in shown if key not in failing]
    assert [got[key] for key in good] == sorted(got.values())
    assert ledger.lost == ledger.count - len(good)
    assert ledger.lost <= len(failing)
    if not failing:
        assert [got[key] for key in shown] == list(range(len(shown)))


@given(st.integers(1, 30), st.sets(st.integers(0, 29)), st.data())
def test_without_reordering_the_numbers_are_exact(count: int, failing: set[int], data: st.DataObject) -> None:
    failing = {index for index in failing if index < count}
    broken = data.draw(st.sets(st.sampled_from(sorted(failing)))) if failing else set()
    ledger = Ledger()
    for index in range(count):
        ledger.sent(10 * index, broken=index in broken)
        if index not in failing:
            assert ledger.received(10 * index, is_key_frame=True) == index
        elif index in broken and data.draw(st.booleans()):
            assert ledger.received(10 * index) is None
        elif index not in broken:
            ledger.failed()
    ledger.ended()
    assert (ledger.lost, ledger.count) == (len(failing), count)
    assert not failing or ledger.first_lost == min(failing)


def test_what_was_never_meant_to_be_shown_takes_no_number() -> None:
    """As the hidden reference pictures of some encoders: nothing failed, so nothing is missing."""
    ledger = Ledger()
    for key in (0, 10, 11, 20):
        ledger.sent(key)
    assert [ledger.received(key) for key in (0, 10, 20)] == [0, 1, 2]
    ledger.ended()
    assert ledger.lost == 0


def test_a_key_frame_behind_the_damage_ends_the_suspicion() -> None:
    ledger = Ledger()
    ledger.sent(0)
    ledger.sent(10)
    ledger.failed()
    assert ledger.is_damaged
    ledger.sent(20)
    assert ledger.received(20, is_key_frame=True) == 2 and ledger.gap == 2
    assert not ledger.is_damaged
    ledger.sent(30)  # hidden
    ledger.sent(40)
    assert ledger.received(40) == 3 and ledger.gap == 0
    assert (ledger.lost, ledger.first_lost) == (2, 0)


def test_packets_without_times_are_counted_by_their_errors() -> None:
    ledger = Ledger()
    ledger.sent(None)
    assert ledger.received(None) == 0
    ledger.sent(None)
    ledger.failed()
    ledger.sent(None)
    assert ledger.received(None) == 2 and ledger.gap == 1
    ledger.failed()
    ledger.ended()
    assert (ledger.lost, ledger.count, ledger.first_lost) == (2, 4, 1)
