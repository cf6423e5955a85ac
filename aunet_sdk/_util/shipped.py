"""The models that come with the package, and the hashes that its manifest names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import ModelError

__all__ = ["INT8_SUFFIX", "MANIFEST", "check_manifest", "default_path", "sha256_of", "shipped_names", "shipped_path"]

MANIFEST = "MANIFEST.json"
INT8_SUFFIX = "-int8"
"""of a model's INT8 form, which lies beside it"""


def default_path() -> Path:
    """Where the default bundle of the installed package lies."""
    return shipped_path("default")


def shipped_path(name: str) -> Path:
    """Where the bundle lies that comes with the package under this name."""
    return Path(__file__).parents[1] / "models" / f"{name}.onnx"


def shipped_names() -> tuple[str, ...]:
    """The models that come with the package, the default one first."""
    names = sorted(path.stem for path in default_path().parent.glob("*.onnx") if not path.stem.endswith(INT8_SUFFIX))
    return tuple(sorted(names, key=lambda name: name != "default"))


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_manifest(file: Path) -> str | None:
    """The hash of `file` if a MANIFEST.json beside it names it. Raises ModelError where the two differ."""
    manifest = file.parent / MANIFEST
    if not manifest.is_file():
        return None
    try:
        entry = json.loads(manifest.read_text(encoding="utf-8"))["files"].get(file.name)
        expected = None if entry is None else str(entry["sha256"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"expected {{'files': {{name: {{'sha256': hex}}}}}} in {manifest}, got {error!r}; reinstall aunet_sdk"
        ) from error
    if expected is None:
        return None
    got = sha256_of(file)
    if got != expected:
        raise ModelError(
            f"expected {file} with SHA-256 {expected} ({MANIFEST}), got {got}: the file is damaged or was replaced; "
            "reinstall aunet_sdk"
        )
    return got
