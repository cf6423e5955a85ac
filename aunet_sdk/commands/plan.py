"""What `aunet detect` is asked to do, checked before any work begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidInput
from ..options import DetectorOptions
from ..sources import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Plan:
    """One run of `aunet detect`."""

    input: Path
    kind: str
    """video | image | folder"""
    table: Path
    video: Path | None
    """annotated video, image or folder, as the kind asks"""
    plot: Path | None
    truth: Path | None
    landmarks: bool
    options: DetectorOptions

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.table, self.video, self.plot) if path is not None]


def make_plan(
    input_path: Path,
    options: DetectorOptions,
    table: Path | None = None,
    video: Path | None = None,
    plot: Path | None = None,
    truth: Path | None = None,
    landmarks: bool = False,
) -> Plan:
    """The plan; raises InvalidInput where an output would be written over the input or over another output, and where
    the kind of input has no such output. The table's default: the input's stem + .csv in the working directory, unless
    a file that is no table of ours has that name."""
    if not input_path.exists():
        raise InvalidInput(f"input: {input_path} does not exist")
    if input_path.is_dir():
        kind = "folder"
    else:
        kind = "image" if input_path.suffix.lower() in IMAGE_SUFFIXES else "video"
    table = table or _default_table(input_path.resolve().name if kind == "folder" else input_path.stem)
    plan = Plan(input_path, kind, table, video, plot, truth, landmarks, options)
    if plot is not None and kind != "video":
        raise InvalidInput(f"--plot: expected a video, got {'an image' if kind == 'image' else 'a folder'}")
    if truth is not None and plot is None:
        raise InvalidInput("--truth: expected --plot with it, got none")
    inputs = [path.resolve() for path in (input_path, truth) if path is not None]
    seen: list[Path] = []
    for path in plan.outputs:
        place = path.resolve()
        if place in inputs or any(path.exists() and path.samefile(other) for other in inputs if other.exists()):
            raise InvalidInput(f"output: {path} is the input; give another path")
        if place in seen:
            raise InvalidInput(f"output: {path} is named twice; give each output a path of its own")
        seen.append(place)
    return plan


def _default_table(stem: str) -> Path:
    path = Path(f"{stem}.csv")
    if path.is_file():
        with path.open("rb") as stream:
            head = stream.read(64)
        if head and not head.removeprefix(b"file,").startswith(b"frame,timestamp_s,face_id,"):
            raise InvalidInput(f"output: {path} exists and is no table of `aunet detect`; name another one with -o")
    return path
