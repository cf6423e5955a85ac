"""Files at their own pace, and pictures as the options ask."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk.sources import PacedSource, SourceOptions, open_source
from aunet_sdk.sources.adjust import Adjustment, RateLimit

from .clips import write

CORNER = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_turns_are_clockwise_and_mirroring_comes_after(rotation: int, mirror: bool) -> None:
    expected = np.rot90(CORNER, -rotation // 90)
    adjustment = Adjustment(SourceOptions(rotation=rotation, mirror=mirror))
    got = adjustment.apply(CORNER)
    assert np.array_equal(got, expected[:, ::-1] if mirror else expected)
    assert adjustment.changes == (rotation != 0 or mirror) and (adjustment.changes or got is CORNER)


@pytest.mark.parametrize(
    "options, size",
    [
        ({"width": 320}, (320, 180)),
        ({"height": 90}, (160, 90)),
        ({"width": 320, "height": 90}, (160, 90)),
        ({"width": 2000}, (640, 360)),
        ({"width": 90, "rotation": 90}, (90, 160)),
        ({"width": 1}, (1, 1)),
    ],
)
def test_pictures_are_made_smaller_with_their_aspect(options: dict[str, int], size: tuple[int, int]) -> None:
    image = np.zeros((360, 640, 3), np.uint8)
    assert Adjustment(SourceOptions(**options)).apply(image).shape[1::-1] == size  # type: ignore[arg-type]


def test_a_rate_is_kept_over_jitter_and_gaps() -> None:
    random = np.random.default_rng(0)
    limit = RateLimit(10.0)
    times = np.arange(300) / 30 + random.uniform(-0.004, 0.004, 300)
    kept = [t for t in times if limit.keeps(t)]
    assert len(kept) == 100
    assert limit.keeps(1000.0) and not limit.keeps(1000.03) and limit.keeps(1000.1), "a gap is not made up for"
    assert all(RateLimit(50.0).keeps(t) for t in times) and all(RateLimit(None).keeps(0.0) for _ in range(3))


def test_a_file_comes_at_its_own_pace(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "H264", 10)
    came = []
    with open_source(path, SourceOptions(realtime=True)) as source:
        for frame in source:
            came.append((time.monotonic(), frame.timestamp_s))
    assert len(came) == 10 and came[0][1] == 0
    begun_s = came[0][0]
    assert all(now_s - begun_s >= time_s - 0.03 for now_s, time_s in came), "none comes before its time"


def test_latest_and_all_for_one_who_is_slow(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "H264", 20)
    with open_source(path, SourceOptions(realtime=True)) as source:
        assert isinstance(source, PacedSource)
        frames = iter(source)
        next(frames)
        time.sleep(0.3)
        assert [frame.index for frame in frames] == list(range(1, 20)) and not source.dropped
    with open_source(path, SourceOptions(realtime=True, policy="latest")) as source:
        assert isinstance(source, PacedSource)
        frames = iter(source)
        next(frames)
        time.sleep(0.3)
        rest = [frame.index for frame in frames]
        assert rest[0] >= 5 and rest[-1] == 19 and source.dropped == {"superseded": 19 - len(rest)}


def test_close_from_another_thread_ends_the_pause(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", "H264", 3, times_s=[0.0, 1000.0, 2000.0])
    with open_source(path, SourceOptions(realtime=True)) as source:
        threading.Timer(0.2, source.close).start()
        assert len(list(source)) <= 1


def test_frames_beyond_the_rate_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "H264", 20)
    with open_source(path, SourceOptions(fps=10)) as source:
        assert isinstance(source, PacedSource)
        frames = list(source)
        assert source.dropped == {"rate": 10}
    assert [frame.index for frame in frames] == list(range(0, 20, 2))
    assert all(b.timestamp_s - a.timestamp_s == pytest.approx(0.1) for a, b in itertools.pairwise(frames))
