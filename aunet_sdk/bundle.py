"""The model file: one .onnx with its contract in its metadata (docs/architecture.md, "Bundle").

`Bundle.load` reads that metadata straight from the file's outer protobuf fields and skips over the weights. It needs
numpy alone, builds no session, and takes well under a millisecond for a file of any size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ._util.onnx_file import read_metadata
from ._util.shipped import INT8_SUFFIX, MANIFEST, check_manifest, default_path, sha256_of, shipped_names, shipped_path
from .errors import BundleMismatch, InvalidInput

__all__ = [
    "INT8_SUFFIX",
    "KEY",
    "MANIFEST",
    "SCHEMA",
    "Bundle",
    "StateSpec",
    "default_path",
    "int8_beside",
    "read_metadata",
    "sha256_of",
    "shipped_names",
    "shipped_path",
]

SCHEMA = 2
"""the newest that is read; a bundle is written as the oldest that can say it"""
KEY = "aunet_sdk"
ROLES = ("former", "due", "later")
_EXPORT_HINT = "write it with `python -m export`"


@dataclass(frozen=True)
class StateSpec:
    """One state tensor of the `stream` graph, kept per frame on the engine's device.

    name: graph output of the new frame's state; its ring is the input `ring_{name}`
    shape: of one row, without the batch axis, e.g. (64, 32, 32)
    dtype: "float32" or "float16"
    roles: frames of a query that read it, out of "former", "due", "later"
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    roles: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a model file says about itself. Arrays are read-only.

    kind "stream" | "clip"; head "aunet" | "points"; precision "fp32" | "fp16" | "int8" of the weights in the file
    arithmetic "fp32" | "fp16" | "int8" | "int8-symmetric": what the graph computes in (precision fp16 with arithmetic
        fp32: storage alone)
    au_numbers ascending FACS numbers; thresholds probabilities in [0, 1], one per AU
    interval_s distance of the neighbouring frames; width channels; resolution side of the crop in px
    crop_scale, template (5, 2) float64 normalised: the crop geometry
    points3d (68, 3) float64: mean face, any unit, y up, z towards the camera
    min_confidence landmark confidence in [0, 1] under which a face counts as lost
    reference: the graph reads the person's points at rest: one more input `reference` (queries, 68, 2); since schema 2
    intensity: behind the n logits of a query come n intensities in [0, 1]; since schema 2
    parity: crops and what the graph answers to them where it was exported (engines/parity.py); None: none; schema 2
    path, sha256: where the file lies and its hash (the hash only where a MANIFEST.json beside it names it)
    """

    kind: str
    name: str
    au_numbers: tuple[int, ...]
    thresholds: tuple[float, ...]
    interval_s: float
    width: int
    resolution: int
    precision: str
    head: str
    crop_scale: float
    template: np.ndarray
    points3d: np.ndarray
    min_confidence: float
    state: tuple[StateSpec, ...]
    producer: str = ""
    training_data: str = ""
    licence: str = ""
    created: str = ""
    checkpoint_sha256: str = ""
    arithmetic: str = "fp32"
    reference: bool = False
    intensity: bool = False
    parity: Mapping[str, Any] | None = None
    path: Path | None = None
    sha256: str | None = None
    schema: int = 0
    """of the file; 0: of a new one, the oldest that can say it"""

    def __post_init__(self) -> None:
        if not self.schema:
            object.__setattr__(self, "schema", 2 if self.reference or self.intensity or self.parity else 1)

    @property
    def answers(self) -> int:
        """Numbers per query in the graph's output `logits`: one per AU, or two with intensities."""
        return len(self.au_numbers) * (2 if self.intensity else 1)

    @property
    def au_names(self) -> tuple[str, ...]:
        """("AU1", "AU2", ...), in the order of every AU array."""
        return tuple(f"AU{number}" for number in self.au_numbers)

    @classmethod
    def load(cls, path: str | Path | None = None) -> Bundle:
        """The bundle at `path`, the shipped one of that name, or the default one.

        Raises InvalidInput (no such file), ModelError (no ONNX file, cut short, or its hash differs from MANIFEST.json)
        and BundleMismatch (no metadata of aunet_sdk, a newer schema, a field missing or wrong).
        """
        file = default_path() if path is None else Path(path)
        if not file.is_file() and str(path) in shipped_names():
            file = shipped_path(str(path))
        if not file.is_file():
            raise InvalidInput(
                f"expected a bundle (.onnx file) or a shipped model ({', '.join(shipped_names())}), got {str(file)!r}, "
                f"which is not a file; {_EXPORT_HINT}"
            )
        digest = check_manifest(file)
        metadata = read_metadata(file)
        if KEY not in metadata:
            raise BundleMismatch(
                f"expected a bundle of aunet_sdk, got {file.name}, an ONNX file without {KEY!r} in it; {_EXPORT_HINT}"
            )
        return cls.from_json(metadata[KEY], path=file, sha256=digest)

    @classmethod
    def from_json(cls, text: str, *, path: Path | None = None, sha256: str | None = None) -> Bundle:
        """The bundle described by the JSON `text`. Raises BundleMismatch with the name of the field that is wrong."""
        where = path.name if path else "the metadata"
        try:
            data = json.loads(text)
        except ValueError as error:
            raise BundleMismatch(
                f"expected JSON in the metadata {KEY!r} of {where}, got {error}; export it again"
            ) from error
        if not isinstance(data, dict):
            raise BundleMismatch(f"expected a JSON object in {where}, got {type(data).__name__}; export it again")
        schema = data.get("schema")
        if type(schema) is not int or schema < 1:
            raise BundleMismatch(f"expected schema {SCHEMA} in {where}, got {schema!r}; export it again")
        if schema > SCHEMA:
            raise BundleMismatch(
                f"expected schema {SCHEMA} or older, got {schema} in {where}, which is newer; update aunet_sdk"
            )
        try:
            bundle = cls(path=path, sha256=sha256, **_parse(data))
            _check(bundle)
        except (KeyError, TypeError, ValueError) as error:
            what = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise BundleMismatch(
                f"expected a bundle of schema {schema}, got {what} in {where}; export it again"
            ) from error
        return bundle

    def to_json(self) -> str:
        """The metadata text; `from_json` reads it back. Raises BundleMismatch if a field is wrong."""
        try:
            _check(self)
        except (TypeError, ValueError) as error:
            raise BundleMismatch(f"this bundle cannot be written: {error}; mend the export's configuration") from error
        data = {
            "schema": self.schema,
            "kind": self.kind,
            "name": self.name,
            "au_numbers": list(self.au_numbers),
            "thresholds": [float(value) for value in self.thresholds],
            "interval_s": self.interval_s,
            "width": self.width,
            "resolution": self.resolution,
            "precision": self.precision,
            "arithmetic": self.arithmetic,
            "head": self.head,
            "crop_scale": self.crop_scale,
            "template": np.asarray(self.template).round(6).tolist(),
            "points3d": np.asarray(self.points3d).round(6).tolist(),
            "min_confidence": self.min_confidence,
            "state": [
                {"name": s.name, "shape": list(s.shape), "dtype": s.dtype, "roles": list(s.roles)} for s in self.state
            ],
            "producer": self.producer,
            "training_data": self.training_data,
            "licence": self.licence,
            "created": self.created,
            "checkpoint_sha256": self.checkpoint_sha256,
        }
        if self.schema >= 2:
            data |= {"reference": self.reference, "intensity": self.intensity, "parity": self.parity}
        return json.dumps(data)


def int8_beside(bundle: Bundle) -> Bundle | None:
    """The INT8 form that lies beside a `stream` bundle, NAME-int8.onnx beside NAME.onnx; None where there is none that
    is of the same checkpoint, with the same AUs, thresholds and inputs, and for CPUs. Raises as `Bundle.load` does."""
    if bundle.path is None or bundle.arithmetic != "fp32" or not bundle.checkpoint_sha256:
        return None
    file = bundle.path.with_name(f"{bundle.path.stem}{INT8_SUFFIX}.onnx")
    other = Bundle.load(file) if file.is_file() else None
    if other is None or other.arithmetic != "int8":
        return None
    alike = (
        "kind checkpoint_sha256 au_numbers thresholds head width resolution interval_s crop_scale reference intensity"
    )
    return other if all(getattr(other, name) == getattr(bundle, name) for name in alike.split()) else None


def _parse(data: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments out of the JSON object; KeyError, TypeError or ValueError where it is wrong."""
    text = ("kind", "name", "precision", "head", "producer", "training_data", "licence", "created", "checkpoint_sha256")
    fields: dict[str, Any] = {key: str(data[key]) for key in text}
    fields["arithmetic"] = str(data.get("arithmetic", "fp32"))  # files from before there was another
    if data["schema"] >= 2:
        for key in ("reference", "intensity"):
            if not isinstance(data[key], bool):
                raise TypeError(f"{key} {data[key]!r} (true or false)")
            fields[key] = data[key]
        fields["parity"] = data.get("parity")
    fields["au_numbers"] = tuple(int(number) for number in data["au_numbers"])
    fields["thresholds"] = tuple(float(value) for value in data["thresholds"])
    for key in ("interval_s", "crop_scale", "min_confidence"):
        fields[key] = float(data[key])
    for key in ("width", "resolution", "schema"):
        fields[key] = int(data[key])
    for key in ("template", "points3d"):
        array = np.array(data[key], dtype=np.float64)
        array.flags.writeable = False
        fields[key] = array
    fields["state"] = tuple(
        StateSpec(str(s["name"]), tuple(int(n) for n in s["shape"]), str(s["dtype"]), tuple(str(r) for r in s["roles"]))
        for s in data["state"]
    )
    return fields


def _check(bundle: Bundle) -> None:
    """ValueError that names the first field that is wrong."""

    def need(condition: bool, message: str) -> None:
        if not condition:
            raise ValueError(message)

    precisions = ("fp32", "fp16", "int8")
    for name, allowed in (
        ("kind", ("stream", "clip")),
        ("precision", precisions),
        ("arithmetic", (*precisions, "int8-symmetric")),
        ("head", ("aunet", "points")),
    ):
        need(getattr(bundle, name) in allowed, f"{name} {getattr(bundle, name)!r} (one of {', '.join(allowed)})")
    numbers = bundle.au_numbers
    need(len(numbers) > 0 and all(0 < n < 100 for n in numbers), f"au_numbers {numbers} (FACS numbers, 1 to 99)")
    need(list(numbers) == sorted(set(numbers)), f"au_numbers {numbers} (ascending, each once)")
    need(len(bundle.thresholds) == len(numbers), f"{len(bundle.thresholds)} thresholds for {len(numbers)} AUs")
    need(all(0 <= value <= 1 for value in bundle.thresholds), f"thresholds {bundle.thresholds} (in [0, 1])")
    need(0 <= bundle.min_confidence <= 1, f"min_confidence {bundle.min_confidence} (in [0, 1])")
    for name in ("interval_s", "crop_scale", "width"):
        value = getattr(bundle, name)
        need(np.isfinite(value) and value > 0, f"{name} {value} (above 0)")
    need(bundle.resolution > 0 and bundle.resolution % 4 == 0, f"resolution {bundle.resolution} (a multiple of 4)")
    for name, shape in (("template", (5, 2)), ("points3d", (68, 3))):
        array = np.asarray(getattr(bundle, name))
        need(
            array.shape == shape and bool(np.isfinite(array).all()), f"{name} of shape {array.shape} ({shape}, finite)"
        )
    need(
        (bundle.kind == "stream") == (len(bundle.state) > 0),
        f"{len(bundle.state)} state tensors in a {bundle.kind} bundle",
    )
    need(bundle.parity is None or isinstance(bundle.parity, Mapping), "parity that is no object")
    need(
        bundle.schema >= 2 or not (bundle.reference or bundle.intensity or bundle.parity),
        f"parity, reference or intensity in schema {bundle.schema} (2)",
    )
    need(
        bundle.head == "points" or not (bundle.reference or bundle.intensity),
        f"reference or intensity with the head {bundle.head!r} (points)",
    )
    need(len({s.name for s in bundle.state}) == len(bundle.state), "state tensors with the same name")
    for s in bundle.state:
        need(all(n > 0 for n in s.shape) and len(s.shape) > 0, f"state {s.name} of shape {s.shape} (positive)")
        need(s.dtype in ("float32", "float16"), f"state {s.name} of dtype {s.dtype!r} (float32 or float16)")
        need(len(s.roles) > 0 and set(s.roles) <= set(ROLES), f"state {s.name} with roles {s.roles} (of {ROLES})")
