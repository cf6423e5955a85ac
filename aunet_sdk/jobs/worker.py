"""One worker: it keeps its engine, takes one file after the other, and writes their rows."""

from __future__ import annotations

import os
import pickle
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from .._util.uris import without_credentials
from ..bundle import Bundle
from ..detector import Detector
from ..engines import StreamEngine, open_engine
from ..errors import AUNetError, InvalidInput, SourceLost
from ..options import DetectorOptions
from ..sinks.base import lost
from ..sources import VideoFile, read_image, source_kind
from ..stream import Stream, results_of
from .dataset import DataSet, Status
from .items import Item, file_system, is_address
from .joining import Joined
from .rest import KeptStates, Recorded, settle
from .rows import ROW_GROUP, Rows, arrow, schema_of
from .split import Part

if TYPE_CHECKING:
    from ..results import FrameResult

__all__ = ["Task", "Worker"]

TOLD_S = 0.5
"""progress is told this often"""


@dataclass(frozen=True)
class Task:
    """A file, or a part of one, that is begun for the `attempt`th time."""

    item: Item
    part: Part | None = None
    attempt: int = 1
    joined: Joined | None = None
    """all parts are done, and what is left are the faces at rest"""


class Worker:
    """Takes files to their rows. The engine is opened with the first file and kept.

    Args:
        root: the data set's folder, which every worker reaches under the same path.
        options: of the detector.
        facts: what stands in every table's metadata.
        together: so many files are worked on at the same time, the faces of all in one batch.
    """

    def __init__(self, root: str, options: DetectorOptions, facts: Mapping[str, str], together: int = 1) -> None:
        self._data = DataSet(root)
        self._options, self._facts, self._together = options, dict(facts), together
        self._detector: Detector | None = None
        self._lock = threading.Lock()

    def ready(self) -> bool:
        """That it is there."""
        return True

    def run_all(self, tasks: Sequence[Task]) -> list[Status | Exception]:
        """Work on files and parts, `together` at the same time; of each its status, or what `run` or `run_part` has
        raised, in order."""

        def outcome(task: Task) -> Status | Exception:
            try:
                if task.joined is not None:
                    return self.run_joined(task.item, task.joined)
                return self.run(task.item, task.attempt) if task.part is None else self.run_part(task.item, task.part)
            except Exception as error:
                return _portable(error)

        if self._together == 1 or len(tasks) == 1:
            return [outcome(task) for task in tasks]
        with ThreadPoolExecutor(self._together) as threads:
            return list(threads.map(outcome, tasks))

    def run(self, item: Item, attempt: int = 1) -> Status:
        """Work on one file; its rows and its status are in the data set afterwards.

        A file that cannot be read, or breaks off, is a status and no error. Raises OutputLost where the data set can
        take no more, ModelError or BackendUnavailable where the model or its engine cannot be had: those are no fault
        of the file.
        """
        began = time.perf_counter()
        status = Status(item.shown, item.key, "done", size=item.size, stamp=item.stamp, attempts=attempt)
        with ExitStack() as stack:
            try:
                path = stack.enter_context(_Fetched(item, self._data.work))
                results = self._results(path)
                first = next(results, None)
                if first is None:
                    raise InvalidInput("it has no frame that can be read")
            except (InvalidInput, SourceLost) as error:
                status = replace(status, state="failed", problem=without_credentials(str(error)))
                self._data.finish(status, None)
                return status
            place = self._data.work / f"{item.key}.{os.getpid()}.parquet"
            stack.callback(place.unlink, missing_ok=True)
            status = self._write(item.key, status, chain([first], results), place)
            status = replace(status, work_s=round(time.perf_counter() - began, 3))
            self._data.finish(status, place)
        return status

    def run_part(self, item: Item, part: Part) -> Status:
        """Work on a part of a video; its rows are at `part.place` in the data set's `_work`, for `split.join`."""
        began = time.perf_counter()
        status = Status(item.shown, item.key, "done", size=item.size, stamp=item.stamp)
        source = VideoFile(item.uri, begin=part.begin)
        frames = takewhile(lambda frame: part.end is None or frame.index < part.end, source)
        stream, place = self._stream(_begin_s(item.uri)), self._data.work / part.place(item.key)
        try:
            kept = KeptStates(place) if self._learns_rest else None
        except OSError as error:
            raise lost("data set", self._data.root, error) from error
        with kept or nullcontext():
            if kept is not None:
                stream.session.record(kept.see)
            status = self._write(f"{item.key}.{part.begin}", status, results_of(frames, stream), place, kept)
        if source.lost and not status.problem:
            problem = f"video: {source.path} is broken: {source.lost} frames could not be decoded"
            status = replace(status, state="broken", problem=problem)
        return replace(status, work_s=round(time.perf_counter() - began, 3))

    def run_joined(self, item: Item, joined: Joined) -> Status:
        """Learn the faces at rest over all parts of a video (jobs/rest.py); its rows and its status are in the data
        set afterwards."""
        began = time.perf_counter()
        detector, work = self._open(), self._data.work
        recorded = Recorded(detector.bundle, [work / part.place(item.key) for part in joined.parts], joined.begins)
        table = joined.table(work, item.key, numbered=True)
        table = settle(table, recorded, detector.engine, detector.au_names, list(detector.thresholds.values()))
        status = replace(joined.status, work_s=round(joined.status.work_s + time.perf_counter() - began, 3))
        return joined.finish(self._data, item.key, status, table)

    @property
    def _learns_rest(self) -> bool:
        """Whether faces at rest are learned, which a part cannot by itself."""
        return self._options.neutral == "auto" and self._open().bundle.reference

    def _open(self) -> Detector:
        with self._lock:
            if self._detector is None:
                self._detector = Detector(self._options, engine=self._engine)
            return self._detector

    def _engine(self, bundle: Bundle, options: DetectorOptions) -> StreamEngine:
        """As the detector opens it, for the faces of all files that are worked on together."""
        return open_engine(
            bundle,
            options.engine,
            max_faces=self._together * options.max_faces,
            threads=options.threads,
            options=options.engine_options,
        )

    def _stream(self, origin_s: float | None = None) -> Stream:
        return self._open().open_stream("full", joint=self._together > 1, origin_s=origin_s)

    def _results(self, path: Path) -> Iterator[FrameResult]:
        if source_kind(path) == "image":
            yield self._open().detect(read_image(path))
        else:
            yield from results_of(VideoFile(path), self._stream())

    def _write(
        self, name: str, status: Status, results: Iterator[FrameResult], place: Path, kept: KeptStates | None = None
    ) -> Status:
        """The rows of `results` to the Parquet file `place`, their states to `kept`; the status with its counts."""
        names = self._open().au_names
        schema = schema_of(names, {**self._facts, "uri": status.uri})
        rows = Rows(schema, names)
        ids: set[int] = set()
        frames = with_face = count = 0
        first_s = last_s = next_s = 0.0
        problem = ""
        told = self._data.work / f"{name}.frames"
        try:
            with arrow().parquet.ParquetWriter(place, schema, compression="zstd") as writer:
                try:
                    for result in results:
                        first_s = result.timestamp_s if not frames else first_s
                        last_s = result.timestamp_s
                        frames += 1
                        with_face += bool(result.faces)
                        count += len(result.faces)
                        ids.update(face.id for face in result.faces)
                        rows.add(result)
                        if kept is not None:
                            kept.add(result)
                        if len(rows) >= ROW_GROUP:
                            writer.write_table(rows.take())
                        if time.monotonic() >= next_s:
                            next_s = time.monotonic() + TOLD_S
                            told.write_text(str(frames), encoding="utf-8")
                except SourceLost as error:
                    problem = without_credentials(str(error))
                writer.write_table(rows.take())
        except OSError as error:
            place.unlink(missing_ok=True)
            raise lost("data set", self._data.root, error) from error
        finally:
            told.unlink(missing_ok=True)
        return replace(
            status,
            state="broken" if problem else "done",
            problem=problem,
            frames=frames,
            frames_with_face=with_face,
            rows=count,
            faces=len(ids),
            duration_s=round(last_s - first_s, 3),
        )

    def close(self) -> None:
        """Give the engine back."""
        if self._detector is not None:
            self._detector.close()
            self._detector = None


def _portable(error: Exception) -> Exception:
    """The same, or where it cannot go to another process what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _begin_s(path: str) -> float | None:
    """The time of a video's first frame."""
    first = VideoFile(path, read_ahead=0)
    try:
        return next((frame.timestamp_s for frame in first), None)
    finally:
        first.close()


class _Fetched:
    """A file's path on this machine; what comes from elsewhere is copied for as long as the block lasts."""

    def __init__(self, item: Item, folder: Path) -> None:
        self._item, self._folder = item, folder
        self._copy: Path | None = None

    def __enter__(self) -> Path:
        item = self._item
        if not is_address(item.uri):
            return Path(item.uri)
        system, path = file_system(item.uri)
        suffix = Path(path).suffix
        number, name = tempfile.mkstemp(suffix, f"{item.key}.", self._folder)
        os.close(number)
        self._copy = Path(name)
        try:
            system.get_file(path, name)
        except BaseException as error:
            self._copy.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno is not None and error.filename == name:
                raise lost("data set", self._folder, error) from error
            if isinstance(error, (OSError, ValueError)) and not isinstance(error, AUNetError):
                raise InvalidInput(f"{item.shown} cannot be fetched: {without_credentials(str(error))}") from error
            raise
        return self._copy

    def __exit__(self, *_: object) -> None:
        if self._copy is not None:
            with suppress(OSError):
                self._copy.unlink()
