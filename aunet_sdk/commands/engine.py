"""`aunet engine`: build TensorRT engines on this device, list those that are kept, remove them."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import guard

if TYPE_CHECKING:
    from ..engines.tensorrt.build import Progress

app = typer.Typer(no_args_is_help=True, help="TensorRT engines: build on this device, list, clear.")


class Library(str, Enum):
    """--library"""

    tensorrt = "tensorrt"
    rtx = "tensorrt-rtx"


ModelPath = Annotated[Path | None, typer.Option("--model", help="Bundle (.onnx) or shipped model [default: default].")]
Cache = Annotated[Path | None, typer.Option("--cache", help="Folder of the engines [default: in the user's cache].")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]


@app.command()
def build(
    model: ModelPath = None,
    max_faces: Annotated[int, typer.Option(help="Faces of one frame at most.")] = 8,
    typical_faces: Annotated[int, typer.Option(help="Faces of most frames: kernels are chosen for that count.")] = 1,
    workspace: Annotated[int, typer.Option(metavar="MB", help="Scratch memory that a layer may use.")] = 1024,
    tf32: Annotated[bool, typer.Option("--tf32", help="Let FP32 layers round to TF32.")] = False,
    library: Annotated[Library, typer.Option(help="TensorRT, or TensorRT-RTX from PyPI.")] = Library.tensorrt,
    device: Annotated[int, typer.Option(help="Number of the GPU.")] = 0,
    cache: Cache = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    debug: Debug = False,
) -> None:
    """Build the engine of a bundle for this GPU, keep it, and run it once. The first use builds one, too, where no
    engine for as many faces or more is kept."""
    with guard(debug):
        from ..engines import NEW, Query
        from ..engines.tensorrt.engine import TrtStreamEngine

        options: dict[str, Any] = dict(
            max_faces=max_faces,
            typical_faces=typical_faces,
            workspace_mb=workspace,
            tf32=tf32,
            library=library.value,
            device_id=device,
            cache_dir=cache,
            exact=True,
        )
        with _bar(quiet) as told, TrtStreamEngine(model, progress=told, **options) as engine:
            for _ in range(3):  # the third replays the CUDA graph
                engine.step(1, [Query(NEW, NEW, NEW)])
            plan, replays = engine.plan, engine.replays
            providers = ", ".join(engine.providers)
        what = "built" if plan.fresh else "was there already"
        place = str(plan.path) if plan.path.is_file() else "not kept: the cache folder cannot be written"
        typer.echo(f"{plan.key.model}: {what}, {plan.size / 2**20:.1f} MiB, {place}")
        typer.echo(f"runs with {providers}, {'with' if replays else 'without'} CUDA graphs, {max_faces} faces at most")


@app.command("list")
def list_engines(cache: Cache = None, debug: Debug = False) -> None:
    """The engines that are kept, and which of them are damaged."""
    with guard(debug):
        import time

        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        from ..engines.tensorrt.cache import PlanCache

        kept = PlanCache(cache)
        table = Table(show_edge=False, pad_edge=False)
        for name in ("model", "precision", "library", "GPU", "MiB", "built", "state"):
            table.add_column(name, justify="right" if name == "MiB" else "left")
        entries = kept.entries()
        for entry in entries:
            key = entry.key
            facts = [f"{entry.size / 2**20:.1f}", time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created_s))]
            if key is not None:
                words = [
                    key.model,
                    key.precision,
                    key.library,
                    f"{key.device} ({key.compute_capability}), {key.driver}",
                ]
            else:
                words = [entry.path.name, "", "", "timing cache" if not entry.problem else ""]
            table.add_row(*map(escape, [*words, *facts, entry.problem or "good"]))
        console = Console()
        if entries:
            console.print(table)
        console.print(escape(f"{len(entries)} files in {kept.folder}"), soft_wrap=True, highlight=False)


@app.command()
def clear(cache: Cache = None, debug: Debug = False) -> None:
    """Remove all engines and timing caches, ONNX Runtime's too; they are built again when they are needed."""
    with guard(debug):
        from ..engines.tensorrt.cache import PlanCache

        kept = PlanCache(cache)
        files, size = kept.clear()
        typer.echo(f"{files} files removed, {size / 2**20:.1f} MiB, from {kept.folder}")


class _bar:
    """A progress bar on stderr, if that is a terminal; else None, for the lines of the log."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def __enter__(self) -> Progress | None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=self._quiet or not console.is_terminal,
        )
        self._progress.start()
        if not self._quiet and not console.is_terminal:
            return None
        task = self._progress.add_task("opening", total=1.0)

        def told(phase: str, share: float) -> None:
            self._progress.update(task, description=phase[:40], completed=share)

        return told

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
