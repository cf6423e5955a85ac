"""A video from its middle on: the frames of the whole one, and what lies before is not decoded."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from aunet_sdk.errors import InvalidInput, SourceLost
from aunet_sdk.sources import Frame, VideoFile
from aunet_sdk.sources.key_frames import packets_before

FRAMES = 60


def write(path: Path, codec: str, **options: str) -> Path:
    """Frames of noise that moves, at 25 fps."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 96 + 2 * FRAMES, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.gop_size = 12
        for i in range(FRAMES):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[:, 2 * i : 2 * i + 96]), "bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


KINDS = {
    "b-frames.mp4": ("libx264", {"bf": "2", "x264-params": "keyint=12:scenecut=0"}),
    "open.mkv": ("libx264", {"bf": "3", "x264-params": "keyint=12:open-gop=1:scenecut=0"}),
    "plain.avi": ("mpeg4", {}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "stream.ts": ("libx264", {"bf": "2", "x264-params": "keyint=12:scenecut=0"}),
}


@pytest.mark.parametrize("name", KINDS)
def test_frames_times_and_numbers_are_those_of_the_whole_file(name: str, tmp_path: Path) -> None:
    codec, options = KINDS[name]
    path = write(tmp_path / name, codec, **options)
    whole = list(VideoFile(path, read_ahead=0))
    assert len(whole) == FRAMES
    for begin in (0, 1, 11, 12, 13, 35, FRAMES - 1, FRAMES, FRAMES + 9):
        source = VideoFile(path, begin=begin)
        for frames in (list(source), list(source)):
            assert [frame.index for frame in frames] == list(range(begin, FRAMES))
            for frame in frames:
                assert frame.timestamp_s == whole[frame.index].timestamp_s
                assert np.array_equal(frame.image, whole[frame.index].image)
        assert source.lost == 0


def test_what_lies_before_the_key_frame_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", *KINDS["b-frames.mp4"][:1], **KINDS["b-frames.mp4"][1])
    assert [packets_before(path, frame) for frame in (0, 5, 12, 23, 24, 59, 99)] == [0, 0, 12, 12, 24, 48, 48]


def test_a_file_without_key_frames_on_the_way_is_decoded_as_a_whole(repository: Path) -> None:
    begin = 340
    whole = [frame for frame in VideoFile(repository / "examples" / "sample.mp4") if frame.index >= begin]
    frames = list(VideoFile(repository / "examples" / "sample.mp4", begin=begin))
    assert [frame.index for frame in frames] == [frame.index for frame in whole]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, whole, strict=True))


def frames_of(source: VideoFile) -> tuple[list[Frame], str]:
    """Those that can be read, and what is wrong with the file."""
    frames = []
    try:
        for frame in source:
            frames.append(frame)
    except SourceLost as error:
        return frames, str(error)
    return frames, ""


def test_what_is_damaged_is_said_where_it_is_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "mpeg4")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in packets[40:43]:
        assert packet.pos is not None
        data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    whole, problem = frames_of(VideoFile(path))
    assert "could not be decoded" in problem and whole[-1].index == FRAMES - 1
    for begin in (30, 50):
        source = VideoFile(path, begin=begin)
        frames, told = frames_of(source)
        expected = [frame for frame in whole if frame.index >= begin]
        assert [(frame.index, frame.timestamp_s) for frame in frames] == [(f.index, f.timestamp_s) for f in expected]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, expected, strict=True))
        assert bool(told) == bool(source.lost) == (begin < 48), "what lies before the key frame is not looked at"


@pytest.mark.parametrize("begin", [-1, 1.5, True])
def test_bad_beginnings_are_refused(begin: object, repository: Path) -> None:
    with pytest.raises(InvalidInput, match="begin"):
        VideoFile(repository / "examples" / "sample.mp4", begin=begin)  # type: ignore[arg-type]
