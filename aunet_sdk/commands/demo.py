"""`aunet demo`: the main job on the sample that comes with the package, to see that an installation works."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .ending import ends_in_order
from .exits import guard, tell

SAMPLE = Path(__file__).parents[1] / "sample" / "sample.mp4"
"""14 s of a rendered head; examples/README.md in the repository says whose skin and head these are"""


def command(
    folder: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the outputs; made where it is missing.")
    ] = Path("aunet-demo"),
    model: Annotated[Path | None, typer.Option("--model", help="Bundle (.onnx) or shipped model.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="As `aunet info` lists them.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no summary.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Action Units of the sample inside the package: table, annotated video, and a timeline beside the known track.

    The same as `aunet detect` on a video of your own. The timeline needs matplotlib, the extra `plot`.
    """
    with guard(debug), ends_in_order():
        from .._util.files import check_working_directory
        from ..errors import InvalidInput
        from ..options import DetectorOptions
        from .detect import run
        from .plan import Wishes, make_plans

        check_working_directory([folder])
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"-o: cannot make the folder {folder}: {error.strerror or error}") from error
        plot = folder / "timeline.png" if find_spec("matplotlib") is not None else None
        if plot is None and not quiet:
            tell('no timeline without matplotlib; pip install "aunet_sdk[plot]"')
        wishes = Wishes(
            DetectorOptions(model=model, engine=engine),  # type: ignore[arg-type]  # checked there
            table=folder / "sample.csv",
            video=folder / "sample.mp4",
            plot=plot,
            truth=SAMPLE.with_name("sample_track.csv") if plot is not None else None,
        )
        code = run(make_plans([SAMPLE], wishes), quiet, debug)
    raise typer.Exit(int(code))
