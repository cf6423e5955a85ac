"""Names of files that FFmpeg, or Python, would take for something else; and what a file may not do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aunet_sdk import InvalidInput
from aunet_sdk.sources import VideoFile

from .clips import write

NAMES = [
    "rec-12:30.mp4",
    "file,x.mp4",
    "http:x.mp4",
    "concat:a|b.mp4",
    "file:a.mp4",
    "-i.mp4",
    "a%03d.mp4",
    "a*[b]?.mp4",
    "with space\tand\nline.mp4",
    "\u7528\u6237 \u9762\u90e8.mp4",
    "\U0001f600.mp4",
    "\u00e9.mp4",
    "no suffix",
    "wrong.png",
    "wrong.txt",
    "x.mkv",
]


@pytest.mark.skipif(sys.platform == "win32", reason="such names do not exist there")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("relative", [True, False])
def test_any_name_is_a_files_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, relative: bool) -> None:
    """`rec-12:30.mp4` was a protocol to FFmpeg, `file,x.mp4` a list."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.mp4", "H264", 3).rename(name)
    assert len(list(VideoFile(name if relative else tmp_path / name))) == 3


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode here")
def test_a_name_need_not_be_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    write(tmp_path / "a.mp4", "H264", 3).rename(name)
    assert len(list(VideoFile(name))) == 3
    os.truncate(name, 100)
    with pytest.raises(InvalidInput, match="caf"):
        VideoFile(name)


def test_a_playlist_leads_nowhere(tmp_path: Path) -> None:
    """A file that names others, or the network, is no video: nothing is connected to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        came: list[bool] = []
        server.settimeout(1.0)

        def wait() -> None:
            try:
                server.accept()[0].close()
                came.append(True)
            except TimeoutError:
                pass

        thread = threading.Thread(target=wait)
        thread.start()
        lists = {
            "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
            "b.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
            "c.txt": f"ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.ts\n",
            "d.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
            "a=rtpmap:96 H264/90000\n",
        }
        for name, text in lists.items():
            (tmp_path / name).write_text(text)
            with pytest.raises(InvalidInput, match=name):
                VideoFile(tmp_path / name)
        thread.join()
    assert came == []


@pytest.mark.parametrize("name", ["a.txt", "a.nfo", "a.ans", "a.srt", "a.ass", "a.csv", "a.mp4"])
def test_text_is_no_video(tmp_path: Path, name: str) -> None:
    """FFmpeg draws a text file as the picture of a terminal."""
    (tmp_path / name).write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n" * 30)
    with pytest.raises(InvalidInput, match="no video that can be opened"):
        VideoFile(tmp_path / name)


def test_sound_with_a_cover_is_no_video(tmp_path: Path) -> None:
    import av
    import numpy as np

    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=8000)
        for start in range(0, 8192, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, start
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    with pytest.raises(InvalidInput, match="no video stream"):
        VideoFile(tmp_path / "a.m4a")


def test_nothing_is_said_on_stderr(tmp_path: Path) -> None:
    """Also where the caller has turned Python's log on."""
    path = write(tmp_path / "a.mp4", "H264", 60, container={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 2, len(data), 97):
        data[at] ^= 0x5A
    path.write_bytes(data[:-50])
    code = f"""
import logging; logging.basicConfig(level=logging.DEBUG)
from aunet_sdk import AUNetError
from aunet_sdk.sources import VideoFile
try:
    list(VideoFile({str(path)!r}))
except AUNetError as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("SourceLost\n", "")
