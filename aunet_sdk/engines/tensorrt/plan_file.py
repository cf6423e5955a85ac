"""One file of the engine cache: a line that says it is ours, a header in JSON, and the payload with its hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["PlanKey", "is_ours", "read_file", "read_header", "write_file"]

_MAGIC = b"aunet_sdk plan 1\n"
_ANY_VERSION = b"aunet_sdk plan "
_NAME = re.compile(r"\.?[\w-]+-[0-9a-f]{24}\.(plan|cache)(\.\d+\.partial)?")


@dataclass(frozen=True)
class PlanKey:
    """All that a plan depends on; two keys that differ in anything are two plans."""

    model: str
    """name of the bundle, for people"""
    model_sha256: str
    precision: str
    profile: str
    """input name: smallest, usual and largest shape"""
    library: str
    """"tensorrt 10.3.0.26" """
    compute_capability: str
    device: str
    driver: str
    options: str = ""
    """of the builder"""

    @property
    def file_name(self) -> str:
        """Of the plan in the cache folder."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in self.model)[:40]
        return f"{name}-{digest[:24]}.plan"

    @property
    def timing_name(self) -> str:
        """Of the timing cache, which plans of all models share on one device and version."""
        what = json.dumps([self.library, self.compute_capability, self.device, self.driver])
        return f"timing-{hashlib.sha256(what.encode()).hexdigest()[:24]}.cache"


def is_ours(path: Path) -> bool:
    """Whether a file begins as the files of this module do, of any version of aunet_sdk. A write that was cut off
    before that line counts where its name is one of ours; such a file is empty, or nearly so."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(len(_ANY_VERSION))
    except OSError:
        return False
    cut_off = len(start) < len(_ANY_VERSION) and _ANY_VERSION.startswith(start)
    return start == _ANY_VERSION or (cut_off and _NAME.fullmatch(path.name) is not None)


def read_file(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and payload. Raises OSError, and ValueError that says what is wrong with it."""
    with path.open("rb") as file:
        header = _header(file)
        payload = file.read()
    if len(payload) != header.get("bytes"):
        raise ValueError(f"expected {header.get('bytes')} bytes, got {len(payload)}")
    if hashlib.sha256(payload).hexdigest() != header.get("sha256"):
        raise ValueError("its hash does not fit its content")
    return header, payload


def read_header(path: Path) -> dict[str, Any]:
    """The header alone. Raises as `read_file`."""
    with path.open("rb") as file:
        return _header(file)


def write_file(path: Path, payload: bytes, key: dict[str, Any] | None) -> None:
    """The file appears under its name only when it is whole. Raises OSError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    header = json.dumps({"key": key, "sha256": hashlib.sha256(payload).hexdigest(), "bytes": len(payload)}).encode()
    try:
        with partial.open("wb") as file:
            file.write(_MAGIC + len(header).to_bytes(4, "little") + header)
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _header(file: BinaryIO) -> dict[str, Any]:
    start = file.read(len(_MAGIC) + 4)
    if not start.startswith(_MAGIC) or len(start) < len(_MAGIC) + 4:
        raise ValueError("it is no plan of this version of aunet_sdk")
    try:
        header = json.loads(file.read(int.from_bytes(start[len(_MAGIC) :], "little")))
    except ValueError:
        raise ValueError("its header is damaged") from None
    if not isinstance(header, dict):
        raise ValueError("its header is damaged")
    return header
