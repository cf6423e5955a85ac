"""Reading ahead: order, errors in their place, a bound, and threads that end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.sources.prefetch import ReadAhead

OTHERS: set[threading.Thread] = set()


@pytest.fixture(scope="module", autouse=True)
def _threads_of_others() -> None:
    """A test before these may have left a file half read."""
    OTHERS.update(threading.enumerate())


def threads() -> int:
    return sum(thread.name == "aunet-read-ahead" for thread in set(threading.enumerate()) - OTHERS)


@given(st.lists(st.integers()), st.integers(1, 5))
def test_what_comes_out_went_in(items: list[int], depth: int) -> None:
    assert list(ReadAhead(iter(items), depth)) == items
    assert threads() == 0


@pytest.mark.parametrize("error", [ValueError("torn"), KeyboardInterrupt(), MemoryError()])
def test_an_error_comes_after_what_was_good(error: BaseException) -> None:
    def source() -> Iterator[int]:
        yield from range(7)
        raise error

    got = []
    with pytest.raises(type(error)) as caught:
        for item in ReadAhead(source(), 3):
            time.sleep(0.001)  # the error is there long before its turn
            got.append(item)
    assert got == list(range(7)) and caught.value is error
    assert threads() == 0


def test_it_runs_ahead_by_the_depth_and_no_more() -> None:
    made = []

    def source() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    ahead = ReadAhead(source(), 4)
    for i in range(20):
        assert next(ahead) == i
        assert len(made) <= i + 1 + 4 + 1  # returned, waiting, and one in the thread's hands
    for _ in range(200):
        if len(made) == 25:
            break
        time.sleep(0.005)
    assert len(made) == 25
    ahead.close()


def test_close_ends_the_thread_and_the_source_wherever_it_stands() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = ReadAhead(source(), 2)
    assert next(ahead) == 1
    ahead.close()
    ahead.close()
    assert closed.is_set() and threads() == 0
    assert list(ahead) == []
    ReadAhead(iter([1]), 1).close()  # never begun


def test_an_error_while_closing_is_not_lost() -> None:
    class Items:
        def __iter__(self) -> Iterator[int]:
            return iter([1, 2])

        def close(self) -> None:
            raise OSError("device gone")

    ahead = ReadAhead(Items(), 2)  # type: ignore[arg-type]
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="device gone"):
        next(ahead)


@pytest.mark.parametrize("depth", [0, -1, 1.5, True])
def test_a_wrong_depth_is_refused(depth: object) -> None:
    with pytest.raises(InvalidInput, match="depth"):
        ReadAhead(iter([]), depth)  # type: ignore[arg-type]
