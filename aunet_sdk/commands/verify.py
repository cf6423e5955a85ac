"""`aunet models verify`: whether model files are those that were shipped, by their hashes or by a signature."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .._util.shipped import MANIFEST, sha256_of
from ..errors import BackendUnavailable, InvalidInput, ModelError

__all__ = ["Checked", "check_hashes", "check_signature", "shipped_folder"]


@dataclass(frozen=True)
class Checked:
    """One file of a manifest."""

    name: str
    problem: str | None
    """None: it is what the manifest says"""


def shipped_folder() -> Path:
    """Where the package's own models lie."""
    return Path(__file__).resolve().parents[1] / "models"


def check_hashes(folder: Path) -> list[Checked]:
    """Every file that MANIFEST.json in `folder` names, and every bundle (.onnx) there that it does not name.

    Raises InvalidInput where there is no manifest, ModelError where it cannot be understood.
    """
    manifest = folder / MANIFEST
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        named = {str(name): (str(entry["sha256"]), entry.get("bytes")) for name, entry in entries.items()}
    except OSError as error:
        raise InvalidInput(f"verify: cannot read {manifest}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"expected {{'files': {{name: {{'sha256': hex}}}}}} in {manifest}, got {error!r}") from error
    checked = [Checked(name, _problem(folder / name, *facts)) for name, facts in sorted(named.items())]
    extra = sorted(path.name for path in folder.glob("*.onnx") if path.name not in named)
    return checked + [Checked(name, f"{MANIFEST} does not name it") for name in extra]


def _problem(file: Path, expected: str, size: object) -> str | None:
    try:
        if isinstance(size, int) and file.stat().st_size != size:
            return f"expected {size} bytes, got {file.stat().st_size}"
        got = sha256_of(file)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return None if got == expected else f"expected SHA-256 {expected}, got {got}"


def check_signature(folder: Path, signature: Path, public_key: Path) -> None:
    """Whether `signature` (OpenSSF Model Signing, with an elliptic key) is one of `folder` as it is now.

    Raises InvalidInput where a file is missing, BackendUnavailable where model-signing is not installed, ModelError
    where the signature is another one or a file has changed, come or gone since.
    """
    for what, path in (("signature", signature), ("public key", public_key)):
        if not path.is_file():
            raise InvalidInput(f"verify: expected the {what} in {path}, found none")
    try:
        from model_signing import verifying
    except ImportError as error:
        raise BackendUnavailable(
            f'verify: expected the library of the signatures, got {error}; pip install "aunet_sdk[signing]"'
        ) from None
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=public_key).verify(folder, signature)
    except Exception as error:  # the library's own, cryptography's and ValueError share no other base class
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"verify: {signature} is no signature of {folder} by {public_key}: {reason}") from error
