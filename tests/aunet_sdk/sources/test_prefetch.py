"""Reading ahead: order, errors in their place, a bound, and threads that end."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.sources.prefetch import ReadAhead

from .clips import write

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


def test_an_iteration_that_is_forgotten_ends_its_thread() -> None:
    """The thread kept the iteration itself, which was then never collected."""
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = ReadAhead(source(), 2)
    assert next(ahead) == 1
    del ahead
    gc.collect()
    assert closed.wait(5) and threads() == 0


@pytest.mark.parametrize("error", [OSError("gone"), KeyboardInterrupt(), SystemExit(3), GeneratorExit(), MemoryError()])
@pytest.mark.parametrize("count", [0, 1, 25])
def test_every_kind_of_error_comes_last_and_ends_the_thread(error: BaseException, count: int) -> None:
    """25 frames and then OSError: only 15 results came."""

    class Items:
        made = 0

        def __iter__(self) -> Items:
            return self

        def __next__(self) -> int:
            if self.made == count:
                raise error
            self.made += 1
            return self.made

    ahead, got = ReadAhead(Items(), 4), []
    with pytest.raises(type(error)):
        while True:
            got.append(next(ahead))
    assert got == list(range(1, count + 1)) and threads() == 0
    assert list(ahead) == []


def test_a_source_that_was_never_begun_is_closed() -> None:
    closed = []

    class Items:
        def __iter__(self) -> Iterator[int]:
            return iter([1])

        def close(self) -> None:
            closed.append(True)

    ahead = ReadAhead(Items(), 1)  # type: ignore[arg-type]
    ahead.close()
    assert closed and threads() == 0


EXITS = {
    "an iteration is kept": "it = iter(VideoFile(path)); next(it)",
    "in a global list of a module": "import builtins; builtins.kept = [iter(VideoFile(path)) for _ in range(3)]\n"
    "[next(it) for it in builtins.kept]",
    "in a cycle": "it = iter(VideoFile(path)); next(it); cycle = [it]; cycle.append(cycle)",
    "an error is raised": "it = iter(VideoFile(path)); next(it)\ntry:\n    raise OSError\nexcept OSError: pass",
    "sys.exit": "it = iter(VideoFile(path)); next(it); sys.exit(0)",
    "from another thread": "import threading\nkept = []\ndef work():\n    kept.append(iter(VideoFile(path)))\n"
    "    next(kept[0])\nt = threading.Thread(target=work); t.start(); t.join()",
    "far ahead": "it = iter(VideoFile(path, read_ahead=16)); next(it); next(it)",
    "in OpenCV": "import cv2, numpy\n"
    "a = numpy.zeros((1500, 1500, 3), numpy.uint8); it = ReadAhead((cv2.medianBlur(a, 31) for _ in range(99)), 8)\n"
    "next(it)",
    "in a generator": "def items():\n    try:\n        yield from range(99)\n    finally:\n"
    "        print('closed', flush=True)\nit = ReadAhead(items(), 2); next(it)",
}


FORKS = """
import json, os, sys
from aunet_sdk.sources import VideoFile, decoder
from aunet_sdk.sources.prefetch import ReadAhead
path, exits = json.loads(sys.argv[1])
for code in exits:
    child = os.fork()
    if not child:
        exec(code)
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_end_of_the_program_is_clean(tmp_path: Path) -> None:
    """A daemon thread was inside the decoder when Python went down: "terminate called without an active exception",
    code 134, five times of five. Every way out is taken by a fork of a process that has imported everything."""
    path = write(tmp_path / "a.mp4", "H264", 60, size=(640, 360), options={"preset": "ultrafast"})
    arguments = json.dumps([str(path), list(EXITS.values())])
    done = subprocess.run([sys.executable, "-c", FORKS, arguments], capture_output=True, text=True, timeout=120)
    *codes, closed, last = done.stdout.splitlines()
    assert dict(zip(EXITS, [*codes, last], strict=True)) == dict.fromkeys(EXITS, "0"), done.stderr
    assert (closed, done.stderr, done.returncode) == ("closed", "", 0)
