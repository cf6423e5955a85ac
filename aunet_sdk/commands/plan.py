"""What `aunet detect` is asked to do, checked before any work begins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidInput
from ..options import DetectorOptions
from ..sinks.events import check_events
from ..sinks.images import IMAGE_EXTENSIONS
from ..sources import FOLDER_FPS, source_kind
from .inputs import distinct_names

__all__ = ["Plan", "Wishes", "make_plans"]


@dataclass(frozen=True)
class Wishes:
    """What was asked for, for all inputs. The outputs are files for one input, folders for several."""

    options: DetectorOptions
    table: Path | None = None
    video: Path | None = None
    plot: Path | None = None
    truth: Path | None = None
    landmarks: bool = False
    as_video: bool = False
    fps: float | None = None
    validity: bool = False
    intensity: bool = False
    events: Path | None = None


@dataclass(frozen=True)
class Plan:
    """The work on one input."""

    input: Path
    kind: str
    """video | image | folder | sequence (a folder whose pictures are the frames of a video)"""
    table: Path
    video: Path | None
    """annotated video, image or folder, as the kind asks"""
    plot: Path | None
    wishes: Wishes
    events: Path | None = None
    """table (.csv) or messages (.jsonl), of videos alone"""
    problem: InvalidInput | None = None
    """why this input cannot be worked on, where others can"""

    @property
    def record(self) -> Path:
        """Beside the table: what made it."""
        return self.table.with_name(f"{self.table.name}.json")

    @property
    def timed(self) -> bool:
        """Frames have times."""
        return self.kind in ("video", "sequence")

    @property
    def with_file(self) -> bool:
        """Every frame has a file of its own."""
        return self.kind in ("folder", "sequence")

    @property
    def fps(self) -> float:
        """Frames per second of a folder that is a video."""
        return self.wishes.fps if self.wishes.fps is not None else FOLDER_FPS

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.table, self.record, self.video, self.plot, self.events) if path is not None]


def make_plans(inputs: Sequence[Path], wishes: Wishes) -> list[Plan]:
    """One plan per input; raises InvalidInput where an output would be written over an input or over another output,
    and where no input has such an output.

    One input: its outputs are those that are named; the table's default is the input's stem + .csv in the working
    directory. Several, or a table's folder that exists: the outputs have the inputs' names, in the folders that are
    named. A table without a name of its own never replaces a file that is no table of ours. One of several inputs that
    cannot be used is a plan with a problem.
    """
    if wishes.fps is not None and not wishes.as_video:
        raise InvalidInput("--fps: expected --as-video with it, got none")
    if wishes.truth is not None and wishes.plot is None:
        raise InvalidInput("--truth: expected --plot with it, got none")
    several = len(inputs) > 1
    if several:
        _check_folders(wishes, len(inputs))
    plans = []
    for path, name in zip(inputs, distinct_names(inputs), strict=True):
        try:
            plans.append(_plan(path, name, wishes, several))
        except InvalidInput as error:
            if not several:
                raise
            plans.append(Plan(path, "video", Path(f"{name}.csv"), None, None, wishes, problem=error))
    for option, wanted in (("--plot", wishes.plot), ("--events", wishes.events)):
        if wanted is not None and not any(plan.timed for plan in plans):
            kinds = {"image": "an image", "folder": "a folder"}
            raise InvalidInput(f"{option}: expected a video, got {kinds[plans[0].kind]}")
    if wishes.events is not None and not several:
        check_events(wishes.events)
    _check_places([plan for plan in plans if plan.problem is None], wishes)
    return plans


def _plan(path: Path, name: str, wishes: Wishes, several: bool) -> Plan:
    if not path.exists():
        raise InvalidInput(f"input: {path} does not exist")
    kind: str = source_kind(path)
    if kind == "folder" and wishes.as_video:
        kind = "sequence"
    if wishes.as_video and kind != "sequence" and not several:
        raise InvalidInput(f"--as-video: expected a folder of pictures, got {path}")
    table, video, plot = wishes.table, wishes.video, wishes.plot
    if table is None or several or table.is_dir():
        table = _named_by_us((table or Path()) / f"{name}.csv")
    if several and video is not None:
        suffix = path.suffix.lower() if path.suffix.lower() in IMAGE_EXTENSIONS else ".png"
        video /= name + {"folder": "", "image": suffix}.get(kind, ".mp4")
    if several and plot is not None:
        plot = plot / f"{name}.png" if kind in ("video", "sequence") else None
    events = wishes.events
    if several and events is not None:
        events = events / f"{name}.events.csv" if kind in ("video", "sequence") else None
    plan = Plan(path, kind, table, video, plot, wishes, events)
    _check_record(plan.record)
    return plan


def _named_by_us(path: Path) -> Path:
    """The path, if nothing is lost when it is replaced."""
    if path.is_file():
        with path.open("rb") as stream:
            head = stream.read(64)
        if head and not head.removeprefix(b"file,").startswith(b"frame,timestamp_s,face_id,"):
            raise InvalidInput(f"output: {path} exists and is no table of `aunet detect`; name another one with -o")
    return path


def _check_record(path: Path) -> None:
    """Raises InvalidInput for a file that is no record of ours: nobody named it, so it must not be replaced."""
    if path.is_file():
        try:
            ours = "aunet_sdk" in json.loads(path.read_bytes())
        except (ValueError, TypeError):
            ours = False
        if not ours:
            raise InvalidInput(
                f"output: {path}, where the table's record belongs, exists and is not one; name another table with -o"
            )


def _check_folders(wishes: Wishes, count: int) -> None:
    if wishes.truth is not None:
        raise InvalidInput(f"--truth: expected one input, got {count}")
    for option, path in (
        ("-o", wishes.table),
        ("--video", wishes.video),
        ("--plot", wishes.plot),
        ("--events", wishes.events),
    ):
        if path is not None and not path.is_dir() and (path.exists() or path.suffix):
            raise InvalidInput(f"{option}: expected a folder for the outputs of {count} inputs, got the file {path}")


def _check_places(plans: Sequence[Plan], wishes: Wishes) -> None:
    inputs = [path for path in (*(plan.input for plan in plans), wishes.truth) if path is not None]
    places = {path.resolve() for path in inputs}
    seen: set[Path] = set()
    for path in (path for plan in plans for path in plan.outputs):
        place = path.resolve()
        if place in places or (path.exists() and any(path.samefile(one) for one in inputs if one.exists())):
            raise InvalidInput(f"output: {path} is the input; give another path")
        if place in seen:
            raise InvalidInput(f"output: {path} is named twice; give each output a path of its own")
        seen.add(place)
