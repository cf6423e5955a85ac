"""`python -m export`: write bundles from a checkpoint, compare them with torch, and choose the default one."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aunet_sdk.bundle import sha256_of
from aunet_sdk.errors import AUNetError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Kind(str, Enum):
    clip = "clip"
    stream = "stream"
    both = "both"


class Precision(str, Enum):
    fp32 = "fp32"
    fp16 = "fp16"


class Head(str, Enum):
    aunet = "aunet"
    points = "points"


@app.command()
def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .safetensors file of train (train/checkpoints/NAME.safetensors).")
    ],
    kind: Annotated[Kind, typer.Option(help="stream: live and video; clip: three crops at once.")] = Kind.both,
    precision: Annotated[
        Precision, typer.Option(help="Of the weights in the file; the CPU computes in FP32.")
    ] = Precision.fp32,
    state: Annotated[Precision, typer.Option(help="Of the kept states; fp16 halves the rings.")] = Precision.fp32,
    head: Annotated[Head, typer.Option(help="aunet: the paper's; points: the embedded one.")] = Head.points,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs/export"),
    name: Annotated[str | None, typer.Option(help="Start of the file names [default: CHECKPOINT-HEAD].")] = None,
    crops: Annotated[Path | None, typer.Option(help="Synthetic set, shard, images or video to compare on.")] = None,
    limit: Annotated[int, typer.Option(help="Triplets of crops to compare on.", min=1)] = 32,
    training_data: Annotated[str | None, typer.Option(help="For the metadata [default: from the checkpoint].")] = None,
    licence: Annotated[str | None, typer.Option(help="For the metadata [default: from the checkpoint].")] = None,
    ship: Annotated[bool, typer.Option("--ship", help="Make the stream bundle aunet_sdk/models/default.onnx.")] = False,
) -> None:
    """Write NAME-KIND-PRECISION.onnx and a .parity.json beside; exit 1 if a bundle differs too much from torch."""
    console, errors = Console(), Console(stderr=True)
    kinds = ("stream", "clip") if kind is Kind.both else (kind.value,)
    if ship and "stream" not in kinds:
        raise typer.BadParameter("--ship: expected --kind stream or both, since the detector runs a stream bundle")
    from train.model import Model

    from . import build, parity
    from .crops import load_triplets

    dtype = "float16" if state is Precision.fp16 else "float32"
    label = name or f"{checkpoint.stem}-{head.value}"
    failed = False
    try:
        model = Model.load(checkpoint)
        triplets, source = load_triplets(crops, model.config.resolution, limit)
        for one in kinds:
            bundle = build.describe(
                model,
                kind=one,
                head=head.value,
                precision=precision.value,
                state_dtype=dtype,
                name=label,
                checkpoint_sha256=sha256_of(checkpoint),
                training_data=training_data,
                licence=licence,
            )
            path = build.save(build.build(model, bundle), out / f"{label}-{one}-{precision.value}.onnx")
            report = parity.compare(model, path, triplets, source)
            path.with_suffix(".parity.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
            console.print(f"{path} ({path.stat().st_size / 2**20:.2f} MiB)", highlight=False)
            console.print(parity.headline(report), highlight=False, soft_wrap=True)
            console.print(parity.table(report))
            failed = failed or not report.passed
            if ship and one == "stream" and report.passed:
                console.print(f"the default bundle is now {build.ship(path)}", highlight=False)
    except (AUNetError, OSError, ValueError) as error:
        errors.print(f"export: {error}", style="red", highlight=False, markup=False)
        raise typer.Exit(2) from error
    if failed:
        errors.print("export: the bundle differs from torch by more than the gate; it was not shipped", style="red")
        raise typer.Exit(1)


def main() -> None:
    app()
