"""A real RTSP server that is killed, frozen and started again, with a password."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from aunet_sdk import SourceLost
from aunet_sdk.sources import Frame, LiveSource, SourceOptions, SourceState, open_source

from .rtsp_server import RtspServer, why_not

USER, PASSWORD = "operator", "s3cr/et"


@pytest.fixture
def server() -> Iterator[RtspServer]:
    if why_not():
        pytest.skip(why_not())
    with RtspServer(user=USER, password=PASSWORD) as server:
        yield server


def until_segment(frames: Iterator[Frame], segment: int, count: int = 5) -> list[Frame]:
    """All frames up to the fifth of that segment."""
    got = []
    while sum(frame.segment == segment for frame in got) < count:
        got.append(next(frames))
    return got


def test_it_comes_back_after_it_was_killed_and_after_it_was_frozen(
    server: RtspServer, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[SourceState, str | None]] = []
    caplog.set_level(logging.DEBUG)
    options = SourceOptions(read_timeout_s=1.0, open_timeout_s=20.0)
    source = open_source(server.url, options, on_state=lambda state, reason: told.append((state, reason)))
    assert isinstance(source, LiveSource) and source.live
    with source:
        frames = iter(source)
        got = until_segment(frames, 0)
        server.kill()
        server.start()
        got += until_segment(frames, 1)
        server.freeze()
        while (SourceState.LOST, "was lost: nothing came for 1.0 s") not in told:
            got += [frame] if (frame := _next_or_none(frames, source)) is not None else []
        server.thaw()
        got += until_segment(frames, 2)
        assert source.state is SourceState.RUNNING and source.fps is not None
    assert {frame.image.shape for frame in got} == {(120, 160, 3)}
    assert [frame.segment for frame in got] == sorted(frame.segment for frame in got)
    assert all(a.index < b.index and a.timestamp_s < b.timestamp_s for a, b in itertools.pairwise(got))
    assert abs(got[-1].timestamp_s - time.monotonic()) < 60, "the times are those of our clock"
    order = [state for state, _ in told]
    assert order.count(SourceState.LOST) == 2 and order[-1] is SourceState.CLOSED
    everything = caplog.text + repr(told) + source.name + repr(source.reason)
    assert PASSWORD not in everything and USER not in everything and "s3cr" not in everything
    assert "rtsp://***@127.0.0.1" in caplog.text


def _next_or_none(frames: Iterator[Frame], source: LiveSource) -> Frame | None:
    """The next frame of the segment, or None as soon as the source is lost; the watchdog lives in `next`."""
    box: list[Frame] = []
    if source._reader._ready:
        box.append(next(frames))
        return box[0]
    time.sleep(0.02)
    return None


def test_a_wrong_password_and_a_missing_path_are_named(server: RtspServer) -> None:
    for url, reason in (
        (server.url.replace(PASSWORD, "hunter2"), r"not accepted, or is missing \(401\)"),
        (server.url.replace(f"{USER}:{PASSWORD}@", ""), r"not accepted, or is missing \(401\)"),
        (server.url.replace("/live", "/other"), r"nothing under this path \(404\)"),
    ):
        with pytest.raises(SourceLost, match=reason) as caught:
            open_source(url, SourceOptions(open_timeout_s=20.0))
        error: BaseException | None = caught.value
        while error is not None:
            assert PASSWORD not in str(error) and "hunter2" not in str(error)
            error = error.__context__


def test_nobody_there() -> None:
    url = "rtsp://me:secret@127.0.0.1:1/live"
    with pytest.raises(SourceLost, match=r"^rtsp://\*\*\*@127.0.0.1:1/live cannot be opened: Connection refused"):
        open_source(url)
    with open_source(url, SourceOptions(wait=True)) as source:
        assert isinstance(source, LiveSource) and source.state is SourceState.OPENING
        frames = iter(source)
        threading.Timer(0.5, source.close).start()
        assert list(frames) == [] and source.state is SourceState.CLOSED
