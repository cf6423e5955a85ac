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
    with (
        av.open(str(repository / "examples" / "sample.mp4")) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = (packet for packet in source.demux(stream) if packet.dts is not None)
        for packet, _ in zip(packets, range(FRAMES), strict=False):
            packet.stream = copy
            target.mux(packet)
    return path
