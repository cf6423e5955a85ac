"""GStreamer pipelines, through PyGObject or an OpenCV that was built with GStreamer; cameras of a Jetson by them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from .._util.cv2 import load_cv2
from .._util.uris import without_credentials
from ..errors import BackendUnavailable, SourceLost
from .camera import CameraCapture
from .capture import HANG_MARGIN_S, Capture, Pulse, Shot
from .options import SourceOptions

__all__ = ["PipelineCapture", "csi_pipeline", "open_pipeline"]

_SINK = "aunet"
_LOOK_S = 0.25
"""so often the pipeline's messages are looked at while no picture comes"""
_HOW = (
    "install PyGObject and GStreamer (Debian and JetPack: apt install python3-gi gir1.2-gst-plugins-base-1.0 "
    "gstreamer1.0-plugins-good, and a virtual environment made with --system-site-packages)"
)


def csi_pipeline(sensor: int, options: SourceOptions) -> str:
    """The pipeline for camera `sensor`, from 0, at the CSI port of a Jetson: 1280 x 720 at 30 frames a second unless
    the options say otherwise."""
    width, height = options.width or 1280, options.height or 720
    if options.rotation in (90, 270):
        width, height = (options.height or 1280), (options.width or 720)
    rate = round(options.fps or 30)
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM),width={width},height={height},"
        f"framerate={rate}/1,format=NV12 ! nvvidconv ! video/x-raw,format=BGRx"
    )


def open_pipeline(pipeline: str, options: SourceOptions, every: bool) -> Capture:
    """A connection to a pipeline in the language of gst-launch, which ends in raw video; an `appsink` at its end may be
    left out.

    Args:
        every: whether no frame may be dropped inside the pipeline.

    Raises BackendUnavailable where neither PyGObject nor OpenCV has GStreamer, or an element of the pipeline is not
    installed; SourceLost where it does not start.
    """
    body = re.sub(r"\s*!\s*appsink\b[^!]*$", "", pipeline.strip())
    gst = _load_gst()
    if gst is not None:
        return PipelineCapture(gst, body, options, every)
    cv2 = load_cv2()
    if re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()):
        drop = "" if every else " max-buffers=1 drop=true"
        whole = f"{body} ! videoconvert ! video/x-raw,format=BGR ! appsink sync=false{drop}"
        return CameraCapture(whole, SourceOptions(), cv2.CAP_GSTREAMER, f"gst:{without_credentials(body)}")
    raise BackendUnavailable(
        f"gst: neither PyGObject nor OpenCV ({cv2.__version__} of this environment) has GStreamer here; {_HOW}"
    )


def _load_gst() -> Any:
    try:
        import gi  # type: ignore[import-not-found, unused-ignore]

        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        from gi.repository import (  # type: ignore[import-not-found, unused-ignore]
            Gst,
            GstApp,  # noqa: F401  it knows try_pull_sample
        )
    except (ImportError, ValueError):
        return None
    Gst.init(None)
    return Gst


class PipelineCapture:
    """One run of a pipeline, see `Capture`. A pipeline that is not live, such as one of a file, has an end."""

    fps: float | None = None

    def __init__(self, gst: Any, body: str, options: SourceOptions, every: bool) -> None:
        self._gst = gst
        self._name = f"gst:{without_credentials(body)}"
        self._read_s = options.read_timeout_s
        drop = "max-buffers=4" if every else "max-buffers=1 drop=true"
        tail = f"videoconvert ! video/x-raw,format=BGR ! appsink name={_SINK} sync=false {drop}"
        self._pipeline = _parse(gst, f"{body} ! {tail}", self._name)
        self._bus = self._pipeline.get_bus()
        try:
            paused = self._pipeline.set_state(gst.State.PAUSED)  # which a live source answers by NO_PREROLL
            if paused == gst.StateChangeReturn.ASYNC:
                paused = self._pipeline.get_state(int(options.open_timeout_s * gst.SECOND))[0]
            failed = paused in (gst.StateChangeReturn.FAILURE, gst.StateChangeReturn.ASYNC)
            if failed or self._pipeline.set_state(gst.State.PLAYING) == gst.StateChangeReturn.FAILURE:
                late = f"it does not begin within {options.open_timeout_s:g} s"
                raise SourceLost(f"{self._name} cannot be opened: {self._complaint() or late}")
        except BaseException:
            self.close()
            raise
        self.ends = paused != gst.StateChangeReturn.NO_PREROLL
        self._sink = self._pipeline.get_by_name(_SINK)

    def shots(self, pulse: Pulse) -> Iterator[Shot]:
        gst = self._gst
        last_s = time.monotonic()
        while True:
            pulse.expect(self._read_s + HANG_MARGIN_S)
            sample = self._sink.try_pull_sample(int(_LOOK_S * gst.SECOND))
            now_s = time.monotonic()
            if sample is not None:
                last_s = now_s
                pts = sample.get_buffer().pts
                time_s = None if pts == gst.CLOCK_TIME_NONE else pts / gst.SECOND
                yield Shot(partial(self._image, sample), now_s, time_s)
                last_s = max(last_s, time.monotonic() - self._read_s / 2)  # it was the caller who took his time
                continue
            if reason := self._complaint():
                raise SourceLost(f"{self._name} was lost: {reason}")
            if self._sink.is_eos():
                return
            if now_s - last_s > self._read_s:
                raise SourceLost(f"{self._name} was lost: no picture came for {self._read_s:g} s")

    def _image(self, sample: Any) -> np.ndarray:
        """uint8 (H, W, 3) BGR in memory of its own; GStreamer's rows begin at multiples of four bytes."""
        shape = sample.get_caps().get_structure(0)
        width, height = shape.get_value("width"), shape.get_value("height")
        buffer = sample.get_buffer()
        data = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8)
        stride = (3 * width + 3) // 4 * 4
        rows = np.lib.stride_tricks.as_strided(data, (height, 3 * width), (stride, 1), writeable=False)
        return np.ascontiguousarray(rows.reshape(height, width, 3))

    def _complaint(self) -> str:
        """The first error that an element has reported, or an empty string."""
        message = self._bus.pop_filtered(self._gst.MessageType.ERROR)
        return "" if message is None else without_credentials(message.parse_error()[0].message)

    def close(self) -> None:
        self._pipeline.set_state(self._gst.State.NULL)


def _parse(gst: Any, text: str, name: str) -> Any:
    try:
        return gst.parse_launch(text)
    except Exception as error:  # GLib.Error, which only PyGObject has
        reason = without_credentials(str(getattr(error, "message", error)))
    raise BackendUnavailable(f"{name}: GStreamer cannot build this pipeline: {reason}; install the plugin, or mend it")
