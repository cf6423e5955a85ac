"""Commands around the embedded models: `python -m train init | evaluate | calibrate | fuse | card`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelArgument = Annotated[str, typer.Option("--model", help="Model file or run folder.")]
DataArgument = Annotated[str, typer.Option("--data", help="Folder of the synthetic set.")]
ThreadsArgument = Annotated[int, typer.Option(help="Threads of the computation.")]


def init(
    out: Annotated[Path, typer.Option(help="File to write.")],
    width: Annotated[int, typer.Option(help="Channels of an hourglass.")] = 64,
    resolution: Annotated[int, typer.Option(help="Side of the crop in pixels.")] = 128,
    pooling: Annotated[str, typer.Option(help="max or avg.")] = "max",
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 1,
) -> None:
    """Write a model with random weights."""
    import torch

    from train.models.config import ModelConfig
    from train.models.model import Model

    torch.manual_seed(seed)
    config = ModelConfig(width=width, resolution=resolution, pooling=pooling, provenance={"init": {"seed": seed}})
    Model(config).save(out)


def evaluate(
    model: ModelArgument,
    data: DataArgument,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the whole report.")] = None,
    frames: Annotated[int, typer.Option(help="Look at about this many frames, evenly spaced; 0: all.")] = 0,
    ablation: Annotated[
        bool, typer.Option("--paths", help="Also measure the paths of a points head alone, on renders.")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(
            help="File .html or .md for one page on the head points, with pictures of people: not to be shared."
        ),
    ] = None,
    source: Annotated[Path | None, typer.Option(help="For --page: folder with faces/coded_by_eye.csv.")] = None,
    agreement: Annotated[
        Path | None, typer.Option(help="For --page: what benchmarks/agreement.py --json wrote.")
    ] = None,
    threads: ThreadsArgument = 2,
) -> None:
    """Measure a model, or the network of a run of the paper, on one split: per AU, head, context, group; thresholds are
    those in the model's file."""
    from train.recipes.steps import evaluate as step

    step(model, data, split, json_file, frames, ablation, page, source, agreement, threads)


def card(
    card_file: Annotated[Path, typer.Argument(help="Markdown with the two marks between which the tables go.")],
    model: Annotated[Path, typer.Option(help="The checkpoint that is described.")],
    report: Annotated[Path, typer.Option(help="What `evaluate --json` wrote.")],
    agreement: Annotated[Path | None, typer.Option(help="What benchmarks/agreement.py --json wrote.")] = None,
) -> None:
    """Fill in the tables of a model card."""
    from train.recipes.card import write_card

    write_card(card_file, model, report, agreement)


def calibrate(
    model: ModelArgument,
    data: DataArgument,
    out: Annotated[Path | None, typer.Option(help="File to write; without it the model's own.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store weights as FP16.")] = False,
    threads: ThreadsArgument = 2,
) -> None:
    """Calibrate the heads (.5 decides afterwards) and min_confidence on the validation split; writes a model file."""
    from train.recipes.steps import calibrate as step

    step(model, data, out, half, threads)


def fuse(
    model: ModelArgument,
    data: DataArgument,
    source: Annotated[Path, typer.Option(help="Folder with portraits/ and faces/, that of `geometry`.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    geometry: Annotated[
        Path | None,
        typer.Option(
            help="Model file or run folder, of the same FAN, whose geometry path is taken [default: MODEL's]."
        ),
    ] = None,
    where_known: Annotated[
        bool,
        typer.Option(
            "--where-known",
            help="Fuse AU1, AU2, AU12 and AU26 alone, and only where the person's points at rest are known; everything "
            "else stays what MODEL says. Intensities are added, of both paths, for every AU.",
        ),
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="Store weights as FP16.")] = False,
    threads: ThreadsArgument = 2,
) -> None:
    """Weigh the appearance and the geometry path of the points head for each AU, on the validation split and, without
    --where-known, on pictures that no training saw; .5 decides afterwards. Writes a model file."""
    from train.recipes.steps import fuse as step

    step(model, data, source, out, geometry, where_known, half, threads)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (init, evaluate, card, calibrate, fuse):
        app.command(command.__name__)(command)
