"""`python -m train recipe default`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="One command from the sources to the shipped model.", no_args_is_help=True)


@app.callback()
def _commands() -> None:
    """A recipe is a command of its own, also where it is the only one."""


@app.command("default")
def default(
    source: Annotated[
        Path, typer.Option(help="Folder with ict_facekit_light.npz, portraits/ and faces/ (docs/data.md).")
    ],
    out: Annotated[Path, typer.Option(help="Folder for everything that is made; a begun one is gone on with.")],
    size: Annotated[
        str, typer.Option(help="default, nano, or smoke: a minute, to see that everything runs.")
    ] = "default",
    until: Annotated[str, typer.Option(help="Last stage to run.")] = "card",
    dry: Annotated[
        bool, typer.Option("--dry", help="Say which stages are done and which would run, and run none.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 21,
    fan: Annotated[
        str, typer.Option(help="Model file whose FAN is used, or train [default: that of train/checkpoints].")
    ] = "",
    start: Annotated[
        Path | None,
        typer.Option(
            help="Model file of which all stays as it is, but for a geometry path that it may have; a new one is "
            "trained and added, which counts where the person's points at rest are known."
        ),
    ] = None,
    extra: Annotated[
        str,
        typer.Option(help="With --start: AUs of the lids that the model lacks, as 45, to be added [default: none]."),
    ] = "",
    rigs: Annotated[
        bool, typer.Option("--rigs", help="Mix in the expressions of the rigs in SOURCE/rigs (docs/data.md).")
    ] = False,
    sequences: Annotated[int | None, typer.Option(help="Sequences to render [default: those of the size].")] = None,
    hand_mesh: Annotated[Path | None, typer.Option(help="right.glb of the WebXR generic hand.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of the trainings.", min=1)] = 2,
    workers: Annotated[int, typer.Option(help="Processes that render.", min=1)] = 2,
) -> None:
    """Make the default model: index, render, fan, heads, calibrate, geometry, fuse, evaluate, export, card. What is
    done is left alone; what was broken off goes on, to the same result."""
    from train.recipes.options import RecipeOptions
    from train.recipes.run import run

    run(
        RecipeOptions(source, out, size, seed, fan, start, sequences, hand_mesh, device, threads, workers, extra, rigs),
        until,
        dry,
    )
