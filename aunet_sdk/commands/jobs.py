"""`aunet jobs`: archives of videos to one Parquet data set, on this machine or on a Ray cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import __version__
from .ending import ends_in_order
from .exits import Exit, guard, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..jobs.dataset import DataSet, Status
    from ..jobs.pools import Pool
    from ..jobs.runner import Progress
    from ..options import DetectorOptions

_READABLE = ("onnxruntime", "openvino")
"""engines whose states lie in ordinary memory"""

app = typer.Typer(no_args_is_help=True, help="Archives: many videos to one Parquet data set.")


@app.callback()
def _root() -> None:
    pass


@app.command("run")
def run_command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Videos, folders of videos, patterns, @LIST (one of them a line), addresses such as s3://bucket/*.mp4.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The data set: new, or with --resume begun.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers at the same time [default: one per core; Ray: per CPU].")
    ] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS", help="Ray's cluster: auto, local, ray://HOST:10001.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a data set: finished files are passed over.")
    ] = False,
    split: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=1, help="Videos that are longer are worked on in parts of about so long."),
    ] = None,
    together: Annotated[
        int, typer.Option(min=1, help="Files that each worker works on at once, all faces in one batch; for GPUs.")
    ] = 1,
    model: Annotated[Path | None, typer.Option(help="Bundle (.onnx) or shipped model [default: default].")] = None,
    engine: Annotated[str, typer.Option(help="What runs the network, as `aunet info` lists them.")] = "onnxruntime",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each worker's network [default: 1].")] = None,
    max_faces: Annotated[int, typer.Option(min=1, help="Faces to follow at once.")] = 8,
    neutral: Annotated[
        str, typer.Option(metavar="auto|off", help="Whether AUs are also read against the person's points at rest.")
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no summary.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Action Units of every face in many videos, as one Parquet data set, partitioned by file.

    A file that is broken is reported, and the rest goes on. After Ctrl-C, a kill or a full disk, the same command with
    --resume goes on: finished files are passed over, the others are done from their beginning, no row is there twice.
    OUT/_summary.html shows every file.

    Exit codes: 0 all files done; 2 an argument cannot be used; 3 model or engine cannot be used; 4 files failed or
    broke off, or the data set could not be written; 129, 130, 143 hangup, Ctrl-C, termination.
    """
    with guard(debug), ends_in_order():
        from ..bundle import Bundle, sha256_of
        from ..errors import InvalidInput
        from ..jobs.dataset import DataSet
        from ..jobs.items import expand
        from ..jobs.rows import arrow
        from ..jobs.runner import run
        from ..jobs.summary import write_page
        from ..options import DetectorOptions

        arrow()
        options = DetectorOptions(
            model=model,
            engine=engine,  # type: ignore[arg-type]  # checked there
            threads=threads or 1,
            max_faces=max_faces,
            neutral=neutral,  # type: ignore[arg-type]  # checked there
        )
        bundle = Bundle.load(options.model)
        learns_rest = neutral == "auto" and bundle.reference
        if split and learns_rest and engine not in _READABLE:
            raise InvalidInput(
                f"--split: the faces at rest of a split video are learned at its end, which needs an engine whose "
                f"states can be kept ({', '.join(_READABLE)}), got {engine}; or give --neutral off"
            )
        items = expand(inputs)
        data = DataSet(out)
        digest = bundle.sha256 or (sha256_of(bundle.path) if bundle.path is not None else "")
        facts = {"model": bundle.name, "model_sha256": digest, "engine": engine, "au_names": list(bundle.au_names)}
        data.begin({**facts, "max_faces": max_faces, "neutral": options.neutral}, resume)
        told = {**{name: str(facts[name]) for name in ("model", "model_sha256", "engine")}, "aunet_sdk": __version__}
        root = str(data.root)
        count = workers or os.cpu_count() or 1
        with _pool(ray, workers, count, root, options, told, together) as pool, _shown(len(items), quiet) as show:
            statuses = run(items, data, pool, bundle.au_names, split, learns_rest, show)
        data.clean()
        page = write_page(data, statuses, bundle.au_names, f"{data.root.name}: Action Units by {bundle.name}")
        bad = [status for status in statuses if status.state != "done"]
        for status in bad:
            tell(f"{status.uri}: {status.state}: {' '.join(status.problem.split())}")
        if not quiet:
            _summary(data, statuses, page)
    raise typer.Exit(int(Exit.BROKEN if bad else Exit.OK))


def _pool(
    ray: str | None,
    workers: int | None,
    count: int,
    root: str,
    options: DetectorOptions,
    facts: dict[str, str],
    together: int,
) -> Pool:
    from ..jobs.pools import LocalPool, RayPool

    if ray is not None:
        return RayPool(workers, ray, root, options, facts, together)
    return LocalPool(count, root, options, facts, together)


def _summary(data: DataSet, statuses: Sequence[Status], page: Path) -> None:
    from rich.console import Console

    console = Console()
    done = sum(status.state == "done" for status in statuses)
    rows, frames = (sum(getattr(status, name) for status in statuses) for name in ("rows", "frames"))
    console.print(f"{done} of {len(statuses)} files done, {frames:,} frames, {rows:,} rows", highlight=False)
    for place in (data.root, page):
        console.print(f"[green]written[/green]  {place}", highlight=False, soft_wrap=True)


@contextmanager
def _shown(total: int, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Files and frames on stderr, where it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns: list[Any] = [TextColumn("files"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}")]
    with Bar(*columns, TimeRemainingColumn(), console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("files", total=total, speed="")

        def show(progress: Progress) -> None:
            spent_s = time.monotonic() - progress.began_s
            speed = f"{progress.frames:,} frames, {progress.frames / max(spent_s, 1e-9):.0f} frames/s"
            bar.update(task, completed=progress.passed_over + len(progress.done), speed=speed)

        yield show
