"""FanOut: every sink gets what it takes, in order, and none holds up the caller or another sink."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aunet_sdk.errors import AUNetError, InvalidInput, OutputLost
from aunet_sdk.post.events import AUEvent, Phase
from aunet_sdk.sinks import CallbackSink, CsvSink, FanOut, JsonlSink, Sink
from aunet_sdk.sinks.message import status_message

from ..scripted import face, frame

EVENT = AUEvent(Phase.ONSET, "AU12", 1, 0.2, 0.9, 0.0)
STATUS = status_message("running")
PICTURE = np.zeros((240, 320, 3), np.uint8)


class Kept(Sink):
    """Keeps what it gets; `gate` holds it up, `fault` is raised while it is set."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.images: list[Any] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.fault: BaseException | None = None
        self.tries = 0
        self.closed = self.abandoned = self.flushed = 0
        self.end_fault: Exception | None = None

    def _take(self, what: Any) -> None:
        self.entered.set()
        self.gate.wait(30)
        self.tries += 1
        if self.fault is not None:
            raise self.fault
        self.got.append(what)

    def put(self, result: Any, image: Any = None, file: str | None = None) -> None:
        self.images.append(image)
        self._take(result.index)

    def event(self, event: Any) -> None:
        self._take(event.au)

    def status(self, status: dict[str, Any]) -> None:
        self._take(status["state"])

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed += 1
        if self.end_fault is not None:
            raise self.end_fault

    def abandon(self) -> None:
        self.abandoned += 1


class Numbers(Kept):
    takes_images = False


class Network(Kept):
    takes_images = False
    retries = True


def until(condition: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.005)


def test_every_sink_gets_everything_in_order() -> None:
    first, second = Kept(), Numbers()
    with FanOut({"first": first, "second": second}) as fan_out:
        for index in range(50):
            fan_out.put(frame(index), PICTURE)
        fan_out.event(EVENT)
        fan_out.status(STATUS)
    for sink in (first, second):
        assert sink.got == [*range(50), "AU12", "running"] and sink.closed == 1
    assert fan_out.dropped == {"first": 0, "second": 0} and not fan_out.failed and not fan_out.troubles
    assert first.images[0] is PICTURE and set(second.images) == {None}, "no picture waits for a sink of numbers"
    fan_out.close()
    with pytest.raises(AUNetError, match="closed"):
        fan_out.put(frame(51))


def test_whoever_closes_second_waits_for_the_first() -> None:
    slow = Kept()
    fan_out = FanOut({"slow": slow})
    slow.gate.clear()
    fan_out.put(frame(0))
    slow.entered.wait(30)
    threads = [threading.Thread(target=fan_out.close) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join(0.05)
        assert thread.is_alive(), "it returned before the sink was closed"
    slow.gate.set()
    for thread in threads:
        thread.join(30)
    assert slow.closed == 1 and slow.got == [0]


def test_a_slow_sink_loses_the_oldest_frames_and_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    slow, quick = Kept(), Kept()
    slow.gate.clear()
    with FanOut({"slow": slow, "quick": quick}, capacity=5) as fan_out:
        fan_out.put(frame(0))
        slow.entered.wait(30)
        fan_out.event(EVENT)
        for index in range(1, 40):
            until(lambda: len(quick.got) >= index, "quick")  # noqa: B023
            fan_out.put(frame(index))
        assert fan_out.dropped == {"slow": 35, "quick": 0}
        slow.gate.set()
    assert slow.got == [0, "AU12", 36, 37, 38, 39], "an event stays where frames have to go"
    assert quick.got == [0, "AU12", *range(1, 40)]
    assert [r.getMessage() for r in caplog.records if "slow" in r.getMessage()] == [
        "sink slow: slower than the results come; some are dropped, and counted"
    ]


def test_pictures_that_wait_are_bounded_by_their_bytes() -> None:
    slow = Kept()
    slow.gate.clear()
    with FanOut({"slow": slow}, most_bytes=3 * PICTURE.nbytes) as fan_out:
        fan_out.put(frame(0), PICTURE)
        slow.entered.wait(30)
        for index in range(1, 10):
            fan_out.put(frame(index), PICTURE)
        assert fan_out.dropped == {"slow": 6}
        slow.gate.set()
    assert slow.got == [0, 7, 8, 9]
    with FanOut({"one": Kept()}, most_bytes=1) as fan_out:
        fan_out.put(frame(0), PICTURE)
    assert fan_out.dropped == {"one": 0}, "one picture is let in, however large"


def test_for_files_the_caller_waits_and_nothing_is_lost() -> None:
    slow = Kept()
    slow.gate.clear()
    with FanOut({"slow": slow}, policy="wait", capacity=2) as fan_out:
        threading.Timer(0.1, slow.gate.set).start()
        for index in range(30):
            fan_out.put(frame(index))
    assert slow.got == list(range(30)) and fan_out.dropped == {"slow": 0}


def test_for_files_nobody_waits_for_a_sink_that_hangs_or_is_in_trouble() -> None:
    hung, dead, well = Kept(), Network(), Kept()
    hung.gate.clear()
    dead.fault = OutputLost("nobody there")
    fan_out = FanOut(
        {"hung": hung, "dead": dead, "well": well},
        policy="wait",
        capacity=2,
        stall_s=0.05,
        end_s=0.1,
        backoff_s=(60, 60),
    )
    for index in range(20):
        fan_out.put(frame(index))
    until(lambda: len(well.got) == 20, "the one that is well")
    assert fan_out.troubles["dead"] == "nobody there" and "takes nothing" in fan_out.troubles["hung"]
    assert not fan_out.failed
    with pytest.raises(OutputLost, match=r"hung: did not end within 0\.1 s; sink dead: nobody there"):
        fan_out.close()
    assert set(fan_out.failed) == {"hung", "dead"} and well.closed == 1
    assert fan_out.dropped["hung"] == 19 and fan_out.dropped["dead"] == 20 and fan_out.dropped["well"] == 0
    hung.gate.set()
    until(lambda: hung.abandoned, "it is ended when it comes back")


def test_a_file_that_takes_no_more_is_set_aside_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    full, well = Kept(), Kept()
    fan_out = FanOut({"csv:secret.csv?token=abc": full, "well": well})
    fan_out.put(frame(0))
    until(lambda: full.got, "first")
    full.fault = OutputLost("table: cannot write: No space left on device")
    for index in range(1, 10):
        fan_out.put(frame(index))
    until(lambda: fan_out.failed, "set aside")
    full.fault = None
    fan_out.put(frame(10))
    with pytest.raises(OutputLost, match="No space left on device"):
        fan_out.close()
    fan_out.close()
    assert full.got == [0] and full.abandoned == 1 and full.closed == 0
    assert well.got == list(range(11))
    assert fan_out.failed == {"csv:secret.csv?token=***": "table: cannot write: No space left on device"}
    assert fan_out.dropped == {"csv:secret.csv?token=***": 10, "well": 0}
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(errors) == 1 and "No space left" in errors[0] and "abc" not in errors[0]


def test_a_network_that_comes_back_gets_what_still_waits(caplog: pytest.LogCaptureFixture) -> None:
    sink = Network()
    sink.fault = OutputLost("unreachable")
    with FanOut({"net": sink}, capacity=4, backoff_s=(0.01, 0.02)) as fan_out:
        for index in range(20):
            fan_out.put(frame(index))
        until(lambda: sink.tries > 5, "it is tried again and again")
        assert fan_out.troubles == {"net": "unreachable"} and not fan_out.failed
        sink.fault = None
        until(lambda: 19 in sink.got, "back")
        assert not fan_out.troubles
    assert sink.got == sorted(sink.got) and len(sink.got) + fan_out.dropped["net"] == 20
    assert len([r for r in caplog.records if "unreachable" in r.getMessage()]) == 1
    assert len([r for r in caplog.records if "goes on" in r.getMessage()]) == 1


@pytest.mark.parametrize("fault", [InvalidInput("too large"), ZeroDivisionError("theirs"), SystemExit(3)])
def test_any_other_error_is_about_one_result(fault: BaseException) -> None:
    sink = Kept()
    with FanOut({"a": sink}) as fan_out:
        sink.fault = fault
        fan_out.put(frame(0))
        until(lambda: fan_out.troubles, "told")
        assert str(fault) in fan_out.troubles["a"]
        sink.fault = None
        fan_out.put(frame(1))
    assert sink.got == [1] and sink.closed == 1 and fan_out.dropped == {"a": 1} and not fan_out.failed


def test_sinks_come_and_go() -> None:
    first, second = Kept(), Kept()
    with FanOut({"a": first}) as fan_out:
        fan_out.put(frame(0))
        fan_out.add("mqtt://me:pw@host/b", second)
        fan_out.put(frame(1))
        with pytest.raises(InvalidInput, match="not in use"):
            fan_out.add("a", Kept())
        fan_out.remove("a")
        assert first.got == [0, 1] and first.closed == 1
        fan_out.put(frame(2))
        assert list(fan_out.sinks) == ["mqtt://***@host/b"]
        with pytest.raises(InvalidInput, match=r"expected one of mqtt://\*\*\*@host/b, got 'a'"):
            fan_out.remove("a")
        fan_out.remove("mqtt://me:pw@host/b")
        fan_out.put(frame(3))
    assert first.got == [0, 1] and second.got == [1, 2]


def test_a_callback_may_remove_itself() -> None:
    fan_out = FanOut()
    got: list[int] = []

    def once(result: Any, image: Any) -> None:
        got.append(result.index)
        fan_out.remove("me")

    fan_out.add("me", CallbackSink(once))
    fan_out.put(frame(0))
    until(lambda: not fan_out.sinks, "gone")
    fan_out.put(frame(1))
    fan_out.close()
    assert got == [0]


def test_what_is_lost_in_the_end_is_told() -> None:
    bad, good = Kept(), Kept()
    bad.end_fault = OutputLost("no index")
    fan_out = FanOut({"bad": bad, "good": good})
    fan_out.put(frame(0))
    with pytest.raises(OutputLost, match="bad: no index"):
        fan_out.close()
    assert good.closed == 1 and fan_out.failed == {"bad": "no index"}
    fan_out.close()


def test_a_sink_that_has_failed_can_be_replaced() -> None:
    sink = Kept()
    with FanOut({"a": sink}) as fan_out:
        sink.fault = OutputLost("full")
        fan_out.put(frame(0))
        until(lambda: fan_out.failed, "set aside")
        fan_out.remove("a")
        another = Kept()
        another.end_fault = OutputLost("no index")
        fan_out.add("a", another)
        assert not fan_out.failed
        with pytest.raises(OutputLost, match="sink a: no index"):
            fan_out.remove("a")


def test_flush_waits_for_what_came_before() -> None:
    sink = Kept()
    with FanOut({"a": sink}) as fan_out:
        for index in range(20):
            fan_out.put(frame(index))
        fan_out.flush()
        assert sink.got == list(range(20)) and sink.flushed == 1
    assert fan_out.dropped == {"a": 0}


def test_many_callers_lose_nothing_among_themselves() -> None:
    sink = Kept()
    with FanOut({"a": sink}, policy="wait", capacity=3) as fan_out:
        threads = [
            threading.Thread(target=lambda k=k: [fan_out.put(frame(100 * k + i)) for i in range(50)]) for k in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(sink.got) == [100 * k + i for k in range(4) for i in range(50)]
    for k in range(4):
        mine = [index for index in sink.got if index // 100 == k]
        assert mine == sorted(mine)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["put", "event", "status", "fault", "mend", "flush"]), max_size=40), st.integers(1, 6))
def test_whatever_happens_every_parcel_is_delivered_or_counted(steps: list[str], capacity: int) -> None:
    logging.disable(logging.CRITICAL)
    try:
        sink, offered = Network(), 0
        with FanOut({"a": sink}, capacity=capacity, backoff_s=(0.001, 0.002)) as fan_out:
            for index, step in enumerate(steps):
                if step == "fault":
                    sink.fault = OutputLost("gone")
                elif step == "mend":
                    sink.fault = None
                elif step == "flush":
                    fan_out.flush()
                else:
                    offered += 1
                    {"put": lambda i=index: fan_out.put(frame(i)), "event": lambda: fan_out.event(EVENT)}.get(
                        step, lambda: fan_out.status(STATUS)
                    )()
            sink.fault = None
        frames = [got for got in sink.got if isinstance(got, int)]
        assert frames == sorted(set(frames))
        assert len(sink.got) + fan_out.dropped["a"] == offered
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_real_full_disk_leaves_the_other_table_whole(tmp_path: Path) -> None:
    link = tmp_path / "full.jsonl"
    link.symlink_to("/dev/full")
    fan_out = FanOut({"full": JsonlSink(link), "csv": CsvSink(tmp_path / "a.csv", face().au_names)})
    for index in range(20):
        fan_out.put(frame(index, face()))
    with pytest.raises(OutputLost, match="No space left on device"):
        fan_out.close()
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 21
    assert "No space left on device" in fan_out.failed["full"] and fan_out.dropped == {"full": 20, "csv": 0}


@pytest.mark.parametrize(
    "wrong", [{"policy": "newest"}, {"capacity": 0}, {"most_bytes": 0}, {"end_s": -1}, {"backoff_s": (2, 1)}]
)
def test_limits_outside_their_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        FanOut(**wrong)
