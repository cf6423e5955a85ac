"""A live run with full look-ahead has the numbers of `detect_video`, on real clips."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk import Detector, DetectorOptions, Frame, FrameResult
from aunet_sdk.live import LiveRunner
from aunet_sdk.sinks import CallbackSink
from aunet_sdk.sources import VideoFile

READ, COMPARED = 48, 30
"""frames; those that are compared have their later neighbour among those that are read"""


class Beginning:
    """The first frames of a clip."""

    frame_count = READ

    def __init__(self, path: Path) -> None:
        self._source = VideoFile(path)

    def __iter__(self) -> Iterator[Frame]:
        return islice(iter(self._source), READ)

    def close(self) -> None:
        self._source.close()


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    with Detector(DetectorOptions(threads=1)) as made:
        yield made


@pytest.mark.parametrize(
    "names",
    [("single_face.mp4",), ("WolfgangLanger_Pexels.mp4", "face_noface.mov")],
    ids=["one source", "two sources at once"],
)
def test_live_equals_offline(detector: Detector, corpus: Path, names: tuple[str, ...]) -> None:
    clips = [corpus / "clips" / name for name in names]
    live: dict[Path, list[FrameResult]] = {clip: [] for clip in clips}
    with LiveRunner(detector, look_ahead="full") as runner:
        for clip, into in live.items():
            runner.add(clip.name, Beginning(clip), outputs=[CallbackSink(lambda r, _, into=into: into.append(r))])
        runner.run()
        assert not runner.errors
    for clip, found in live.items():
        video = detector.detect_video(clip)
        offline = list(islice(video, COMPARED))
        video.close()  # type: ignore[attr-defined]
        for a, b in zip(offline, found[:COMPARED], strict=True):
            assert (a.index, a.timestamp_s, a.ids.tolist()) == (b.index, b.timestamp_s, b.ids.tolist())
            assert [face.context for face in a.faces] == [face.context for face in b.faces]
            assert np.allclose(a.probabilities, b.probabilities, rtol=0, atol=1e-4)
        assert sum(len(result.faces) for result in offline) >= COMPARED * 0.8
