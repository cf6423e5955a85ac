"""LiveSource over scripted connections: what hangs, what ends, what is not taken, what is told."""

from __future__ import annotations

import gc
import itertools
import logging
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from aunet_sdk import BackendUnavailable, InvalidInput, SourceLost
from aunet_sdk.sources import LiveSource, SourceState, live, reader

from .scripted import QUICK, Act, Script

LATEST = replace(QUICK, policy="latest")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "HANG_MARGIN_S", 0.05)
    monkeypatch.setattr(reader, "STUCK_PAUSE_S", 0.1)
    monkeypatch.setattr(live, "CLOSE_WAIT_S", 0.2)


def source_threads() -> int:
    return sum(thread.name == "aunet-source" for thread in threading.enumerate())


def fewer_threads_than(count: int) -> bool:
    """Whether it comes to that."""
    until_s = time.monotonic() + 10
    while source_threads() >= count and time.monotonic() < until_s:
        time.sleep(0.01)
    return source_threads() < count


def test_a_connection_that_hangs_is_left_behind() -> None:
    """A driver that never returns: no error ends the read, so that nobody ever opened the camera again."""
    stuck = threading.Event()
    opener = Script([Act(2, then=lambda: stuck.wait(20) and None), Act(3)])
    try:
        with opener.source() as source:
            frames = list(itertools.islice(source, 5))
            assert [(int(f.image[0, 0, 0]), f.segment) for f in frames] == [(0, 0)] * 2 + [(1, 1)] * 3
            assert source_threads() == 2
            stuck.set()
            assert fewer_threads_than(2), "the thread gives its connection back once its driver lets it go"
        assert opener.closed == 2
    finally:
        stuck.set()


def test_an_opening_that_hangs_is_an_error_and_is_tried_again_with_wait() -> None:
    stuck = threading.Event()
    calls = 0
    good = Script([Act(3)])

    def opener() -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            stuck.wait(20)
        return good()

    try:
        with pytest.raises(SourceLost, match="cam does not answer"):
            LiveSource(opener, "cam", QUICK)  # type: ignore[arg-type]
        calls = 0
        with LiveSource(opener, "cam", replace(QUICK, wait=True)) as source:  # type: ignore[arg-type]
            assert len(list(itertools.islice(source, 3))) == 3 and calls >= 2
    finally:
        stuck.set()


def test_a_driver_that_always_hangs_leaves_few_threads_behind() -> None:
    stuck = threading.Event()
    opener = Script([Act(1)] + [Act(0, then=lambda: stuck.wait(20) and None)] * 50)
    try:
        with opener.source() as source:
            frames = iter(source)
            next(frames)
            waiting = threading.Thread(target=lambda: list(frames))
            waiting.start()
            time.sleep(1.0)  # seven attempts, were no thread to be waited for
            assert opener.attempts <= 2 + reader.MOST_STUCK and source_threads() <= 1 + reader.MOST_STUCK
            source.close()
            waiting.join(5)
            assert not waiting.is_alive()
    finally:
        stuck.set()


def test_a_source_with_an_end_ends() -> None:
    opener = Script([Act(3, ends=True, stream_s=[7.0, 7.5, 8.5])])
    with opener.source() as source:
        assert [frame.timestamp_s for frame in source] == [7.0, 7.5, 8.5], "its own times, however fast it comes"
        assert (source.state, source.reason) == (SourceState.CLOSED, "it is at its end") and not source.live
        assert list(source) == []
    assert opener.attempts == 1


def test_one_that_breaks_off_is_an_error_after_its_frames() -> None:
    def torn() -> None:
        raise SourceLost("cam broke off at 1 s")

    got = []
    with Script([Act(3, ends=True, then=torn)]).source() as source:
        with pytest.raises(SourceLost, match="broke off"):
            for frame in source:
                got.append(frame)
        assert source.reason == "cam broke off at 1 s" and list(source) == []
    assert len(got) == 3


@pytest.mark.parametrize(
    "error", [RuntimeError("odd"), OSError(5, "gone"), MemoryError(), UnicodeDecodeError("utf8", b"x", 0, 1, "bad")]
)
def test_an_error_that_nobody_foresaw_is_a_loss(error: Exception) -> None:
    def fail() -> None:
        raise error

    with Script([Act(2, then=fail), Act(2)]).source() as source:
        frames = list(itertools.islice(source, 4))
    assert [frame.segment for frame in frames] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "error", [BackendUnavailable("no GStreamer"), InvalidInput("text"), SourceLost("refused"), OSError("odd")]
)
def test_what_the_first_opening_raises_is_raised(error: Exception) -> None:
    def opener() -> object:
        raise error

    with pytest.raises(type(error)) as caught:
        LiveSource(opener, "cam", QUICK)  # type: ignore[arg-type]
    assert caught.value is error
    if not isinstance(error, (SourceLost, OSError)):
        with LiveSource(opener, "cam", replace(QUICK, wait=True)) as source:  # type: ignore[arg-type]
            with pytest.raises(type(error)):
                next(iter(source))
    assert source_threads() == 0


def test_all_waits_and_latest_drops() -> None:
    with Script([Act(100, ends=True)]).source() as source:
        frames = iter(source)
        next(frames)
        time.sleep(0.25)  # longer than a silence may last: a thread that waits for us does not hang
        assert 1 + len(list(frames)) == 100 and not source.dropped
    with Script([Act(100, ends=True)]).source(LATEST) as source:
        frames = iter(source)
        first = next(frames)
        time.sleep(0.05)
        rest = list(frames)
        assert [frame.index for frame in rest] in ([], [99])
        assert source.dropped.get("superseded", 0) == 99 - first.index - len(rest) or first.index


def test_frames_beyond_the_rate_are_dropped_and_counted() -> None:
    stream_s = [i / 30 for i in range(90)]
    with Script([Act(90, ends=True, stream_s=stream_s)]).source(replace(QUICK, fps=10)) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(0, 90, 3)) and source.dropped == {"rate": 60}


def test_reason_and_log_name_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("rtsp://me:secret@host/live?token=secret broke")

    told: list[tuple[SourceState, str | None]] = []

    def listen(state: SourceState, reason: str | None) -> None:
        told.append((state, reason))
        raise ValueError("a listener that fails")

    script = Script([Act(1, then=fail), Act(1)])
    with caplog.at_level(logging.INFO, "aunet_sdk"), script.source(on_state=listen) as source:
        assert len(list(itertools.islice(source, 2))) == 2
    assert "failed: RuntimeError: rtsp://***@host/live?token=*** broke" in [reason for _, reason in told]
    assert "secret" not in caplog.text and "cam is lost: failed: RuntimeError: rtsp://***@host" in caplog.text
    assert told[0] == (SourceState.RUNNING, None), "heard though it came before the constructor returned"
    assert told[-1] == (SourceState.CLOSED, None) and "on_state failed" in caplog.text


def test_close_inside_a_callback_and_from_another_thread() -> None:
    taken = threading.Event()
    source = Script([Act(1, then=lambda: taken.wait(5) and None), Act(1)]).source()
    source.on_state = lambda state, reason: source.close() if state is SourceState.LOST else None
    frames = iter(source)
    next(frames)
    taken.set()
    assert list(frames) == [] and source.state is SourceState.CLOSED
    lost = threading.Event()
    source = Script([Act(1), Act(1)]).source(
        replace(QUICK, retry_first_s=5, retry_most_s=5), lambda state, reason: lost.set() if reason else None
    )
    frames = iter(source)
    next(frames)
    threading.Thread(target=lambda: (lost.wait(5), source.close())).start()
    assert list(frames) == [], "also in the pause before an attempt"
    assert fewer_threads_than(1)


def test_a_source_that_is_forgotten_ends_its_thread() -> None:
    source = Script([Act(10**9)]).source()
    next(iter(source))
    del source
    gc.collect()
    assert fewer_threads_than(1)


def test_the_end_of_the_program_is_clean() -> None:
    code = (
        "import time\nfrom tests.aunet_sdk.sources.scripted import Act, Script\n"
        "kept = Script([Act(10**9)]).source(); next(iter(kept))\n"
        "hung = Script([Act(1, then=lambda: time.sleep(0.3))]).source(); next(iter(hung))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
