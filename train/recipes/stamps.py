"""What is written down of a stage that is done, and what it takes for it to count as done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from train.engine.run_folder import RunError, write_text

STAMP = "stamp.json"
RECIPE = "recipe.json"


@dataclasses.dataclass(frozen=True)
class Stamp:
    """``key``: of what went in; ``outputs``: file, relative to the stage's folder -> [bytes, SHA-256]; ``seconds``
    that it took; ``revision`` of the code that ran."""

    key: str
    outputs: dict[str, list[Any]]
    seconds: float
    revision: str

    @property
    def digest(self) -> str:
        """Of what came out, whatever the time it took."""
        return digest_of(self.outputs)

    def wrong(self, folder: Path) -> str:
        """What is no longer as it was made, in words; empty: nothing. Sizes tell, the contents are not read again."""
        for name, (size, _) in self.outputs.items():
            path = folder / name
            if not path.is_file():
                return f"{path} is missing"
            if path.stat().st_size != size:
                return f"{path} has {path.stat().st_size} bytes, {size} when it was made"
        return ""


def sha256(path: Path) -> str:
    """Of a file's content, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _slow(path)


def _slow(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def digest_of(facts: Any) -> str:
    """24 hex digits of what JSON can write."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def read_stamp(folder: Path) -> Stamp | None:
    """The stamp of a stage's folder; None where there is none.

    Raises:
        RunError: a stamp that cannot be read.
    """
    path = folder / STAMP
    if not path.is_file():
        return None
    try:
        return Stamp(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"recipe: {path} is damaged ({error}); delete it, and the stage is looked at again") from error


def write_stamp(folder: Path, key: str, files: list[Path], seconds: float, revision: str) -> Stamp:
    """Stamp a stage whose outputs are `files` of its folder."""
    outputs = {str(path.relative_to(folder)): [path.stat().st_size, sha256(path)] for path in sorted(files)}
    stamp = Stamp(key, outputs, round(seconds, 1), revision)
    write_text(folder / STAMP, json.dumps(dataclasses.asdict(stamp), indent=1) + "\n")
    return stamp


def begin(out: Path, fixed: dict[str, Any]) -> None:
    """Write down what a recipe was begun with, or compare with what stands there.

    Raises:
        RunError: the folder was begun with something else; the message names what.
    """
    path = out / RECIPE
    out.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        write_text(path, json.dumps(fixed, indent=1) + "\n")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"recipe: {path} is damaged ({error}); choose another folder") from error
    if other := [name for name in fixed if before.get(name) != fixed[name]]:
        words = ", ".join(f"{name} {before.get(name)!r}, got {fixed[name]!r}" for name in other)
        raise RunError(f"recipe: {out} was begun with {words}; give the same, or choose another folder")


__all__ = ["RECIPE", "STAMP", "Stamp", "begin", "digest_of", "read_stamp", "sha256", "write_stamp"]
