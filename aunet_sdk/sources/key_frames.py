"""Where the decoding of a video may begin when its first frames are not wanted."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

from .._util.pyav import lenient

__all__ = ["packets_before"]


def packets_before(path: Path, frame: int) -> int:
    """How many packets of the best video stream need not be decoded for the pictures from number `frame` on.

    They end in front of a key frame that nothing on either side refers over: all pictures before it come from packets
    before it. 0 where there is none, or where the packets do not tell: some have no time, the same time or damage, or
    are not shown. The packets are read, and none is decoded.
    """
    if frame <= 0:
        return 0
    import av

    keys: list[int] = []
    marked: list[int] = []
    try:
        options = {"protocol_whitelist": "file"}
        with av.open(f"file:{path}", "r", container_options=options, **lenient()) as container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context.name in ("vp8", "libvpx"):  # has packets that are not shown
                return 0
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                if packet.pts is None or packet.is_corrupt or packet.is_discard:
                    return 0
                if packet.is_keyframe:
                    marked.append(len(keys))
                keys.append(packet.pts)
    except (av.FFmpegError, UnicodeError):
        return 0
    order = sorted(keys)
    if len(set(keys)) < len(keys) or not marked or marked[0] != 0:
        return 0
    least = list(keys)  # of this packet and all behind it
    for i in range(len(least) - 2, -1, -1):
        least[i] = min(least[i], least[i + 1])
    for number in reversed(marked):
        rank = bisect_left(order, keys[number])
        if rank <= frame and least[number] == keys[number] and rank == number:
            return number
    return 0
