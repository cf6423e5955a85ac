"""Where built TensorRT plans are kept, so that a device builds each once.

A plan belongs to one model, one profile, one TensorRT version, one GPU and one driver: all of it stands in the file
beside the plan, with the plan's hash. What does not fit exactly, or is damaged, is built anew, never run. Files appear
under their names only when they are whole, and one build goes on at a time in a folder, whatever process asks.
ONNX Runtime keeps the engines of its TensorRT provider in a folder of their own inside, one for each key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["ORT_FOLDER", "Entry", "PlanCache", "PlanKey", "default_folder"]

log = logging.getLogger(__name__)

ORT_FOLDER = "onnxruntime"
"""in the cache folder: what ONNX Runtime's TensorRT provider keeps"""

_MAGIC = b"aunet_sdk plan 1\n"
_WAIT_S = 0.2


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


@dataclass(frozen=True)
class Entry:
    """One file of the cache. key and problem: exactly one of them is None for a plan; both are for a timing cache."""

    path: Path
    size: int
    created_s: float
    key: PlanKey | None
    problem: str | None


def default_folder() -> Path:
    """`aunet_sdk/engines` in the user's cache folder ($XDG_CACHE_HOME, ~/.cache, %LOCALAPPDATA%, ~/Library/Caches)."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "aunet_sdk" / "engines"


class PlanCache:
    """Plans and timing caches in one folder; None: `default_folder()`.

    Nothing here raises for the folder's sake: where it cannot be written, that is logged with what to do, and plans
    live for one process.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)
        self._warned = False

    def get(self, key: PlanKey, build: Callable[[], bytes]) -> tuple[bytes, bool]:
        """The plan for `key`, from here or from `build`; True where it was built now. Errors of `build` pass."""
        plan = self.load(key)
        return self.build_once(key, build) if plan is None else (plan, False)

    def build_once(self, key: PlanKey, build: Callable[[], bytes], refused: bytes | None = None) -> tuple[bytes, bool]:
        """As `get`, when nothing was there: the plan of `build`, or of another process that built it meanwhile.

        refused: a plan that proved useless; it is not read again, not even where it cannot be removed.
        """
        with self.building():
            plan = self.load(key)
            if plan is not None and plan != refused:
                return plan, False
            plan = build()
            self.store(key, plan)
            return plan, True

    def keys(self) -> list[PlanKey]:
        """Of the plans that are here, by file name. Reads headers alone: `load` says whether a plan is whole."""
        found = []
        for path in sorted(self.folder.glob("*.plan")):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                key = PlanKey(**_read_header(path)["key"])
                if key.file_name == path.name:
                    found.append(key)
        return found

    def load(self, key: PlanKey) -> bytes | None:
        """The plan, or None: there is none, or (logged) it is damaged or was made for something else."""
        path = self.folder / key.file_name
        try:
            header, payload = _read(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("engine %s cannot be used: %s; it is built anew", path, error)
            return None
        if header.get("key") != asdict(key):
            log.warning("engine %s was built for something else; it is built anew", path)
            return None
        return payload

    def store(self, key: PlanKey, plan: bytes) -> Path | None:
        """Where the plan lies now; None where the folder cannot be written, which is logged once."""
        return self._write(key.file_name, plan, asdict(key))

    def discard(self, key: PlanKey, plan: bytes) -> None:
        """Remove a plan that proved useless, unless another process has put a new one there."""
        path = self.folder / key.file_name
        with contextlib.suppress(OSError, ValueError), self.building():
            if _read(path)[1] == plan:
                path.unlink()

    def load_timing(self, key: PlanKey) -> bytes:
        """What the builder learnt before on this device; empty where there is nothing, or it is damaged."""
        path = self.folder / key.timing_name
        try:
            return _read(path)[1]
        except FileNotFoundError:
            return b""
        except (OSError, ValueError) as error:
            log.warning("timing cache %s cannot be used: %s; it is begun anew", path, error)
            return b""

    def store_timing(self, key: PlanKey, timing: bytes) -> Path | None:
        """Keep it for the next build."""
        return self._write(key.timing_name, timing, None) if timing else None

    def entries(self) -> list[Entry]:
        """Every plan and timing cache, by name. Reads the plans whole, since a damaged one is to be told."""
        found = []
        for path in sorted([*self.folder.glob("*.plan"), *self.folder.glob("*.cache")]):
            key, problem = None, None
            try:
                status = path.stat()
                header, _ = _read(path)
                if path.suffix == ".plan":
                    key = PlanKey(**header["key"])
                    problem = None if key.file_name == path.name else "lies under the name of another"
            except FileNotFoundError:
                continue
            except (OSError, ValueError, TypeError, KeyError) as error:
                problem = f"damaged: {error}"
            found.append(Entry(path, status.st_size, status.st_mtime, None if problem else key, problem))
        return found

    def clear(self) -> tuple[int, int]:
        """Remove all of them, ONNX Runtime's too, and what cut-off builds left: (files, bytes). OSError passes."""
        files = size = 0
        if not self.folder.is_dir():
            return 0, 0
        with self.building():
            by_onnxruntime = self.folder / ORT_FOLDER
            ours = [path for pattern in ("*.plan", "*.cache", ".*.partial") for path in self.folder.glob(pattern)]
            for path in (*ours, *(path for path in by_onnxruntime.rglob("*") if path.is_file())):
                size += path.stat().st_size
                path.unlink()
                files += 1
            if by_onnxruntime.is_dir():
                shutil.rmtree(by_onnxruntime)
        return files, size

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """One process at a time; a second waits, and says so. A lock of a process that died is gone with it."""
        try:
            self._make_folder()
            lock = open(self.folder / "build.lock", "ab")
        except OSError as error:
            self._complain(error)
            yield
            return
        with lock:
            said = False
            while not _try_lock(lock):
                if not said:
                    log.warning("another process builds an engine in %s; waiting for it", self.folder)
                    said = True
                time.sleep(_WAIT_S)
            try:
                yield
            finally:
                _unlock(lock)

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _write(self, name: str, payload: bytes, key: dict[str, Any] | None) -> Path | None:
        path = self.folder / name
        partial = self.folder / f".{name}.{os.getpid()}.partial"
        header = json.dumps({"key": key, "sha256": hashlib.sha256(payload).hexdigest(), "bytes": len(payload)}).encode()
        try:
            self._make_folder()
            try:
                with partial.open("wb") as file:
                    file.write(_MAGIC + len(header).to_bytes(4, "little") + header)
                    file.write(payload)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            self._complain(error)
            return None
        return path

    def _complain(self, error: OSError) -> None:
        if not self._warned:
            log.warning(
                "the engine cache %s cannot be written (%s): engines are built anew at every start; make the folder "
                "writable, free space, or name another one (cache_dir, --cache)",
                self.folder,
                error.strerror or error,
            )
            self._warned = True


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and payload. Raises OSError, and ValueError that says what is wrong with it."""
    with path.open("rb") as file:
        header = _header(file)
        payload = file.read()
    if len(payload) != header.get("bytes"):
        raise ValueError(f"expected {header.get('bytes')} bytes, got {len(payload)}")
    if hashlib.sha256(payload).hexdigest() != header.get("sha256"):
        raise ValueError("its hash does not fit its content")
    return header, payload


def _read_header(path: Path) -> dict[str, Any]:
    """The header alone. Raises as `_read`."""
    with path.open("rb") as file:
        return _header(file)


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


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: Any) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: Any) -> None:
        file.seek(0)
        with contextlib.suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: Any) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # a file system without locks: files are still whole, work may be done twice
            log.info("no lock in the engine cache (%s)", error)
        return True

    def _unlock(file: Any) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)
