"""``python -m train synthetic ...``"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Render the open, AU-labelled training data.", no_args_is_help=True)
Source = Annotated[
    Path, typer.Option(help='Folder with portraits/ and ict_facekit_light.npz (docs/data.md, "The training material")')
]


@app.command()
def generate(
    source: Source,
    out: Annotated[Path, typer.Option(help="Folder of the set; begun sets are continued")],
    sequences: Annotated[int, typer.Option(help="Sequences of four frames, 0.4 s apart")] = 7680,
    seed: int = 1,
    workers: int = 2,
    hands: Annotated[float, typer.Option(help="Share of sequences with a hand before the face", min=0, max=1)] = 0.3,
    hand_mesh: Annotated[
        Path | None, typer.Option(help="right.glb of the WebXR generic hand; without it hands are drawn flat")
    ] = None,
    morphs: Annotated[
        int, typer.Option(help="Photos of two people mixed, at rest and smiling; train split only", min=0)
    ] = 768,
    rigs: Annotated[
        bool, typer.Option("--rigs", help="Mix in the expressions of the rigs in SOURCE/rigs (docs/data.md)")
    ] = False,
) -> None:
    """Render the set: shards/*.npz and dataset.json with the split by identity."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from train.synthetic import generate as g
    from train.synthetic.rigs import wanted

    if not source.is_dir():
        raise typer.BadParameter(f"expected a folder, got {source}", param_hint="--source")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    import time

    with Progress(*columns) as bar:
        task = bar.add_task("fitting heads", total=None, rate="")
        start, first = 0.0, None
        settings = g.Settings(source, out, sequences, seed, workers, hands, hand_mesh, morphs, wanted(source, rigs))
        for done, total in g.generate(settings):
            if first is None:
                first, start = done, time.monotonic()
            rate = (done - first) / max(time.monotonic() - start, 1e-9)
            bar.update(task, description="rendering", completed=done, total=total, rate=f"{rate:.1f} images/s")
    typer.echo(f"{out}: {total} rendered frames")


@app.command()
def sheet(
    data: Annotated[Path, typer.Option(help="A rendered set")],
    out: Annotated[Path, typer.Option(help="PNG to write")],
    count: int = 12,
    seed: int = 0,
    points: bool = False,
) -> None:
    """A contact sheet: sequences at random with their AUs, to be looked at."""
    from train.synthetic.sheet import contact_sheet

    contact_sheet(data, out, count, seed, points)


@app.command()
def clip(
    source: Source,
    out: Annotated[Path, typer.Option(help="MP4 to write; the known track goes beside it as .csv")],
    seed: int = 7,
) -> None:
    """Render the sample clip: a person mixed from two held-out portraits, with a scripted course of AUs."""
    from train.synthetic.clip import render_clip

    render_clip(source, out, seed)
