"""What the tests of jobs share."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

FRAMES = 190


@pytest.fixture(scope="session")
def short_sample(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 190 frames of the sample, with the index at the file's beginning: what is cut off can be read."""
    path = tmp_path_factory.mktemp("sample") / "short.mp4"
    return cut(repository / "examples" / "sample.mp4", FRAMES, path)


def cut(video: Path, frames: int, path: Path) -> Path:
    """The first frames of a video, as they are, at `path`."""
    with av.open(str(video)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = (packet for packet in source.demux(stream) if packet.dts is not None)
        for packet, _ in zip(packets, range(frames), strict=False):
            packet.stream = copy
            target.mux(packet)
    return path
