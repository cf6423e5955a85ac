"""The data set on disk: one folder per file, its status beside, nothing that is half there.

    OUT/file=KEY/part-0.parquet     the rows of one file; `file` is a column of the data set
    OUT/_status/KEY.json            what became of it
    OUT/_job.json                   model, engine and options: one data set is of one of them
    OUT/_work/                      what is being written; gone when nothing is

Readers of Parquet data sets (pyarrow, pandas, Spark, DuckDB's hive_partitioning) pass over names that begin with "_".
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..sinks.base import lost
from .items import Item

__all__ = ["SCHEMA", "DataSet", "Status"]

SCHEMA = 1


@dataclass(frozen=True)
class Status:
    """What became of one file.

    state: "done"; "broken": it breaks off, its rows until there are kept; "failed": it gave no row at all, `problem`
    says why.
    """

    uri: str
    key: str
    state: str
    problem: str = ""
    size: int | None = None
    stamp: str = ""
    frames: int = 0
    frames_with_face: int = 0
    rows: int = 0
    faces: int = 0
    duration_s: float = 0.0
    work_s: float = 0.0
    attempts: int = 1

    @property
    def finished(self) -> bool:
        """Nothing would come of another attempt."""
        return self.state in ("done", "broken")


class DataSet:
    """OUT. Raises InvalidInput where the folder is no data set of ours, or one of another model or other options."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        self.work = self.root / "_work"

    def begin(self, facts: Mapping[str, Any], resume: bool) -> None:
        """Make the folder, or go on with the one that is there. `facts`: model, engine, options; JSON."""
        facts = json.loads(json.dumps({"schema": SCHEMA, **facts}))
        job = self.root / "_job.json"
        try:
            if job.is_file():
                self._check(json.loads(job.read_text(encoding="utf-8")), facts, resume)
            elif self.root.is_dir() and any(self.root.iterdir()):
                raise InvalidInput(f"--out: {self.root} has something else in it; give a folder that is new or empty")
            self.work.mkdir(parents=True, exist_ok=True)
            (self.root / "_status").mkdir(exist_ok=True)
            if not job.is_file():
                _write(job, facts)
        except ValueError as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"--out: {job} is damaged ({error}); give another folder") from error
        except OSError as error:
            raise InvalidInput(f"--out: cannot use {self.root}: {error.strerror or error}") from error

    def _check(self, before: Mapping[str, Any], facts: Mapping[str, Any], resume: bool) -> None:
        if not resume:
            raise InvalidInput(f"--out: {self.root} is a data set already; go on with it by --resume, or give another")
        other = [name for name in facts if before.get(name) != facts[name]]
        if other:
            raise InvalidInput(
                f"--resume: {self.root} was made with another "
                + ", ".join(f"{name} ({before.get(name)!r}, now {facts[name]!r})" for name in other)
                + "; give another folder, or the options of before"
            )

    def place_of(self, key: str) -> Path:
        """Where a file's rows belong."""
        return self.root / f"file={key}" / "part-0.parquet"

    def status_of(self, item: Item) -> Status | None:
        """Of a file that is finished and has not changed since; else None."""
        try:
            found = Status(**json.loads(self._status(item.key).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        same = (found.uri, found.size, found.stamp) == (item.shown, item.size, item.stamp)
        return (
            found if same and found.finished and (found.state != "done" or self.place_of(item.key).is_file()) else None
        )

    def finish(self, status: Status, rows: Path | None) -> None:
        """The file's rows go to their place and its status is written, in this order: after a kill between them the
        file is done once more, and its rows are replaced. Raises OutputLost."""
        place = self.place_of(status.key)
        try:
            if rows is not None:
                place.parent.mkdir(exist_ok=True)
                os.replace(rows, place)
            elif place.parent.exists():
                shutil.rmtree(place.parent)
            _write(self._status(status.key), dataclasses.asdict(status))
        except OSError as error:
            raise lost("data set", self.root, error) from error

    def statuses(self) -> list[Status]:
        """Of all files that have one, by key."""
        found = []
        for path in sorted((self.root / "_status").glob("*.json")):
            with suppress(OSError, ValueError, TypeError):
                found.append(Status(**json.loads(path.read_text(encoding="utf-8"))))
        return found

    def clean(self) -> None:
        """Nothing is being written any more."""
        shutil.rmtree(self.work, ignore_errors=True)

    def _status(self, key: str) -> Path:
        return self.root / "_status" / f"{key}.json"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Complete or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix="_", suffix=".tmp", delete=False) as stream:
        try:
            json.dump(content, stream, indent=1)
            stream.flush()
            os.chmod(stream.name, 0o644)
            os.replace(stream.name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(stream.name)
            raise
