"""Where built TensorRT plans are kept, so that a device builds each once.

A plan belongs to one model, one profile, one TensorRT version, one GPU and one driver: all of it stands in the file
beside the plan, with the plan's hash. What does not fit exactly, or is damaged, is built anew, never run. Files appear
under their names only when they are whole, and one build goes on at a time in a folder, whatever process asks.
The folder may be one that other files lie in: nothing is removed that does not begin as our files do (plan_file.py), or
lies in a folder of ONNX Runtime's that we have marked (ort_folder.py).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..._util.paths import engines_folder, files_in, is_file
from . import ort_folder
from .plan_file import PlanKey, is_ours, read_file, read_header, write_file

__all__ = ["Entry", "PlanCache"]

log = logging.getLogger(__name__)

_LOCK = "build.lock"
_WAIT_S = 0.2


@dataclass(frozen=True)
class Entry:
    """One file of the cache. key and problem: exactly one of them is None for a plan; both are for a timing cache."""

    path: Path
    size: int
    created_s: float
    key: PlanKey | None
    problem: str | None


class PlanCache:
    """Plans and timing caches in one folder; None: `engines_folder()`.

    Nothing here raises for the folder's sake: where it cannot be written, that is logged with what to do, and plans
    live for one process.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = engines_folder() if folder is None else Path(folder)
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
        for path in files_in(self.folder, "*.plan"):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                key = PlanKey(**read_header(path)["key"])
                if key.file_name == path.name:
                    found.append(key)
        return found

    def load(self, key: PlanKey) -> bytes | None:
        """The plan; None where it is missing, or (logged) damaged, or made for something else."""
        path = self.folder / key.file_name
        try:
            header, payload = read_file(path)
        except (FileNotFoundError, NotADirectoryError):
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
            if read_file(path)[1] == plan:
                path.unlink()

    def load_timing(self, key: PlanKey) -> bytes:
        """What the builder learnt before on this device; empty where there is nothing, or it is damaged."""
        path = self.folder / key.timing_name
        try:
            return read_file(path)[1]
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except (OSError, ValueError) as error:
            log.warning("timing cache %s cannot be used: %s; it is begun anew", path, error)
            return b""

    def store_timing(self, key: PlanKey, timing: bytes) -> Path | None:
        """Keep it for the next build."""
        return self._write(key.timing_name, timing, None) if timing else None

    def entries(self) -> list[Entry]:
        """Every plan and timing cache, by name; files that are not ours are left out. Reads the plans whole, since a
        damaged one is to be reported."""
        found = []
        for path in [*files_in(self.folder, "*.plan"), *files_in(self.folder, "*.cache")]:
            if not is_ours(path):
                continue
            key, problem = None, None
            try:
                status = path.stat()
                header, _ = read_file(path)
                if path.suffix == ".plan":
                    key = PlanKey(**header["key"])
                    problem = None if key.file_name == path.name else "lies under the name of another"
            except FileNotFoundError:
                continue
            except (OSError, ValueError, TypeError, KeyError) as error:
                problem = f"damaged: {error}"
            found.append(Entry(path, status.st_size, status.st_mtime, None if problem else key, problem))
        return sorted(found, key=lambda entry: entry.path)

    def clear(self) -> tuple[int, int]:
        """Remove all of them, ONNX Runtime's too, and what cut-off builds left: (files, bytes). OSError passes.

        Files that do not begin as ours do stay, and so do those of ONNX Runtime in a folder without our marker.
        """
        found = [path for pattern in ("*.plan", "*.cache", ".*.partial") for path in files_in(self.folder, pattern)]
        ours = [path for path in found if is_ours(path)]
        by_onnxruntime = self.folder / ort_folder.ORT_FOLDER
        if not ours and not is_file(by_onnxruntime / ort_folder.MARKER):
            return 0, 0  # no lock, which would leave a file in a folder that may not be ours
        with self.building():
            files, size = ort_folder.empty(by_onnxruntime)
            for path in ours:
                with contextlib.suppress(FileNotFoundError):
                    size += path.stat().st_size
                    path.unlink()
                    files += 1
        return files, size

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """One process at a time; a second waits, and says so. A lock of a process that died is gone with it."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / _LOCK)
        try:
            self._make_folder()
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.warning("another process builds an engine in %s; waiting for it", self.folder)
                lock.acquire(poll_interval=_WAIT_S)
        except OSError as error:
            self._complain(error)
            yield
            return
        except NotImplementedError as error:  # a file system without locks: files are still whole, work may be doubled
            log.info("no lock in the engine cache (%s)", error)
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _write(self, name: str, payload: bytes, key: dict[str, Any] | None) -> Path | None:
        path = self.folder / name
        try:
            self._make_folder()
            write_file(path, payload, key)
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
