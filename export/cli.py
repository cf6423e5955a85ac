"""`python -m export`: write bundles from a checkpoint, compare them with torch, and choose the default one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from aunet_sdk.bundle import INT8_SUFFIX, sha256_of
from aunet_sdk.errors import AUNetError

if TYPE_CHECKING:
    import onnx

    from aunet_sdk.bundle import Bundle

    from .crops import Sample

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_CALIBRATION_TRIPLETS = 128


class Kind(str, Enum):
    clip = "clip"
    stream = "stream"
    both = "both"


class Ship(str, Enum):
    default = "default"
    nano = "nano"


class Precision(str, Enum):
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class StatePrecision(str, Enum):
    fp32 = "fp32"
    fp16 = "fp16"


class Head(str, Enum):
    aunet = "aunet"
    points = "points"


@app.command()
def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A .safetensors file of train, or the folder of a run: its best, else last weights."),
    ],
    kind: Annotated[Kind, typer.Option(help="stream: live and video; clip: three crops at once.")] = Kind.both,
    precision: Annotated[
        Precision,
        typer.Option(
            help="fp16: a half-precision graph with FP32 islands, for GPUs (see --storage); int8: QDQ convolutions."
        ),
    ] = Precision.fp32,
    storage: Annotated[
        bool, typer.Option("--storage", help="With fp16: FP16 in the file alone, FP32 arithmetic, for CPUs.")
    ] = False,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="With int8: signed activations, for TensorRT; CPUs take unsigned ones.")
    ] = False,
    state: Annotated[
        StatePrecision | None,
        typer.Option(help="Of the kept states; fp16 halves the rings [default: that of the arithmetic, int8: fp32]."),
    ] = None,
    head: Annotated[Head, typer.Option(help="aunet: the paper's; points: the embedded one.")] = Head.points,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs/export"),
    name: Annotated[str | None, typer.Option(help="Start of the file names [default: CHECKPOINT-HEAD].")] = None,
    crops: Annotated[
        Path | None,
        typer.Option(
            help="Synthetic set (its test split is compared on; int8 wants its train and val split, too), shard, "
            "images or video [default: the example]."
        ),
    ] = None,
    clip: Annotated[
        list[Path] | None, typer.Option(help="Video whose first face is compared on, too; may be given repeatedly.")
    ] = None,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            help="For int8: set (its train split), images of face crops, or video (its first face is found and "
            "aligned); may be given repeatedly [default: train split of --crops]."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="Triplets of crops to compare on, per set or clip.", min=1)] = 32,
    training_data: Annotated[str | None, typer.Option(help="For the metadata [default: from the checkpoint].")] = None,
    licence: Annotated[str | None, typer.Option(help="For the metadata [default: from the checkpoint].")] = None,
    ship: Annotated[
        Ship | None,
        typer.Option(
            "--ship",
            help="Make the stream bundle aunet_sdk/models/SHIP.onnx; fp16 means --storage then, int8 "
            "SHIP-int8.onnx beside it.",
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            metavar="REPOSITORY",
            help="Write the bundles into a model repository for Triton, too: aunet_stream and aunet_clip.",
        ),
    ] = None,
    triton_batch: Annotated[int, typer.Option(help="Streams whose steps the server runs as one; for GPUs.", min=1)] = 1,
) -> None:
    """Write NAME-KIND-PRECISION.onnx and a .parity.json beside it. A bundle that differs too much from torch is not
    written: its report alone is, and the exit code is 1."""
    console, errors = Console(), Console(stderr=True)
    kinds = ("stream", "clip") if kind is Kind.both else (kind.value,)
    if ship and "stream" not in kinds:
        raise typer.BadParameter("--ship: expected --kind stream or both, since the detector runs a stream bundle")
    if storage and precision is not Precision.fp16:
        raise typer.BadParameter(f"--storage: expected --precision fp16 with it, got {precision.value}")
    if symmetric and precision is not Precision.int8:
        raise typer.BadParameter(f"--symmetric: expected --precision int8 with it, got {precision.value}")
    from train.models.model import Model

    from . import build, parity
    from .crops import load_clip
    from .vector import parity_vector

    storage = storage or (ship is not None and precision is Precision.fp16)
    arithmetic = "fp32" if storage else precision.value + ("-symmetric" if symmetric else "")
    failed = False
    try:
        file = checkpoint_file(checkpoint)
        if file != checkpoint:
            console.print(f"checkpoint: {file}", highlight=False, soft_wrap=True)
        model = Model.load(file)
        config = model.config
        label = name or (f"{checkpoint.stem}-{head.value}" if ship is None else ship.value)
        samples = [_sample(crops, config.resolution, limit, au_numbers=config.aus_of(head.value))]
        if precision is Precision.int8:
            _check_clips(clip or (), calibrate or ())
            if crops is None or samples[0].labels is None:
                raise ValueError("INT8: expected crops with labels for its gate, got none; give a set with --crops")
            _check_splits(crops, calibrate or ())
        for path in clip or ():
            samples.append(load_clip(path, config.resolution, np.array(config.template), config.interval_s, limit))
        expected = [parity.reference(model, head.value, sample) for sample in samples]
        for one in kinds:
            bundle = build.describe(
                model,
                kind=one,
                head=head.value,
                precision=precision.value,
                arithmetic=arithmetic,
                state_dtype=None if state is None else {"fp16": "float16", "fp32": "float32"}[state.value],
                name=label,
                checkpoint_sha256=sha256_of(file),
                training_data=training_data,
                licence=licence,
            )
            proto = build.build(model, bundle)
            how: dict[str, Any] = {}
            if precision is Precision.int8:
                proto, how = _int8(proto, bundle, crops, calibrate or (), limit)
                console.print(
                    f"INT8: {how['convolutions'] - len(how['left_out'])} of {how['convolutions']} convolutions",
                    highlight=False,
                )
            path = out / f"{label}-{one}-{'fp16-storage' if storage else arithmetic}.onnx"
            with tempfile.TemporaryDirectory() as folder:
                tried = build.save(proto, Path(folder) / path.name)
                if one == "stream":
                    build.stamp(proto, replace(bundle, parity=parity_vector(tried), schema=0))
                    tried = build.save(proto, tried)
                reports = [
                    parity.compare(model, tried, sample, expected=before)
                    for sample, before in zip(samples, expected, strict=True)
                ]
                size = tried.stat().st_size
            passed = all(report.passed for report in reports)
            if precision is Precision.int8 and not any(report.labelled for report in reports):
                passed = False
                errors.print("export: INT8: expected a known label of some AU for its gate, got none", style="red")
            _write(path.with_suffix(".parity.json"), {**_merged(path.name, reports, passed), **how})
            for report in reports:
                console.print(parity.headline(report), highlight=False, soft_wrap=True)
                console.print(parity.table(report))
            if precision is Precision.fp16 and not any(report.f1_judged for report in reports):
                errors.print(
                    f"export: warning: the F1 gate of {path.name} was not judged: {reports[0].f1_unjudged_because}; "
                    "pass --crops SET, a set with labels",
                    style="yellow",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
            if not passed:
                failed = True
                path.unlink(missing_ok=True)
                continue
            build.save(proto, path)
            if triton is not None:
                _into_repository(path, triton, triton_batch, console)
            console.print(f"{path} ({size / 2**20:.2f} MiB)", highlight=False)
            if ship and one == "stream":
                shipped = ship.value + (INT8_SUFFIX if precision is Precision.int8 else "")
                console.print(f"the package ships {build.ship(path, name=shipped)}", highlight=False)
    except (AUNetError, OSError, ValueError) as error:
        errors.print(f"export: {error}", style="red", highlight=False, markup=False)
        raise typer.Exit(2) from error
    if failed:
        errors.print("export: the bundle is not within the gate; it was not written, its report was", style="red")
        raise typer.Exit(1)


def _into_repository(path: Path, repository: Path, batch: int, console: Console) -> None:
    from aunet_sdk.bundle import Bundle

    from .triton import write_clip, write_stream

    bundle = Bundle.load(path)
    if bundle.kind == "stream":
        folder = write_stream(repository, bundle, batch=batch)
    else:
        folder = write_clip(repository, bundle)
    console.print(f"Triton: {folder}", highlight=False, soft_wrap=True)


def checkpoint_file(checkpoint: Path) -> Path:
    """The file itself; of a run folder model.safetensors, the last weights, which the tables are of; of another folder
    the only file. best.safetensors, the best on a validation part, is taken where it is named. Label VAEs
    (vae-*.safetensors) are no models of AUs.

    Raises ValueError for a folder without model.safetensors that holds several others or none.
    """
    if not checkpoint.is_dir():
        return checkpoint
    from train.models.config import MODEL

    if (checkpoint / MODEL).is_file():
        return checkpoint / MODEL
    found = sorted(path for path in checkpoint.glob("*.safetensors") if not path.name.startswith("vae-"))
    if len(found) != 1:
        raise ValueError(
            f"checkpoint: expected one .safetensors file in {checkpoint}, or {MODEL}, got "
            f"{', '.join(path.name for path in found) or 'none'}; name the file"
        )
    return found[0]


def _sample(
    crops: Path | None, resolution: int, limit: int, split: str = "test", au_numbers: Sequence[int] | None = None
) -> Sample:
    """What --crops names; the given split of a synthetic set that has it."""
    from .crops import load_sample

    there = crops is not None and split in _splits(crops)
    return load_sample(crops, resolution, limit, split if there else None, au_numbers)


def _splits(crops: Path) -> Sequence[str]:
    """Of a synthetic set; none of anything else."""
    described = crops / "dataset.json"
    return list(json.loads(described.read_text(encoding="utf-8")).get("splits", {})) if described.is_file() else []


def _check_splits(crops: Path, calibrate: Sequence[Path]) -> None:
    """ValueError where INT8 would be calibrated or chosen on the crops that judge it."""
    own = not calibrate or crops.resolve() in [path.resolve() for path in calibrate]
    missing = [split for split in (("train", "val", "test") if own else ("val", "test")) if split not in _splits(crops)]
    if missing:
        raise ValueError(
            f"INT8: expected a set with the splits train, val and test, got {crops} without {', '.join(missing)}: what "
            "judges a graph must neither calibrate nor choose it; give a whole set (train is not needed with "
            "--calibrate)"
        )


def _check_clips(clips: Sequence[Path], calibrate: Sequence[Path]) -> None:
    """ValueError where INT8 would be calibrated on a clip that it is compared on."""
    both = {path.resolve() for path in clips} & {path.resolve() for path in calibrate}
    if both:
        raise ValueError(
            f"INT8: expected other videos for --calibrate than for --clip, got {min(both).name} for both: what judges "
            "a graph must not calibrate it"
        )


def _calibration(bundle: Bundle, crops: Path | None, calibrate: Sequence[Path], limit: int) -> Sample:
    """Crops for the ranges of INT8: 128 triplets at most, shared evenly among what was given; videos as face crops."""
    from .crops import VIDEOS, joined, load_clip

    sources: Sequence[Path | None] = calibrate or [crops]
    each = max(1, min(limit, _CALIBRATION_TRIPLETS) // len(sources))
    samples = []
    for source in sources:
        if source is not None and source.suffix.lower() in VIDEOS:
            samples.append(load_clip(source, bundle.resolution, bundle.template, bundle.interval_s, each))
        else:
            samples.append(_sample(source, bundle.resolution, each, "train"))
    return joined(samples)


def _int8(
    proto: onnx.ModelProto, bundle: Bundle, crops: Path | None, calibrate: Sequence[Path], limit: int
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The quantised graph with its metadata, and how it came about."""
    from . import build
    from .quantise import quantise

    calibration = _calibration(bundle, crops, calibrate, limit)
    selection = _sample(crops, bundle.resolution, limit, "val", bundle.au_numbers)
    made = quantise(proto, bundle, calibration, selection)
    build.stamp(made.proto, bundle)
    return made.proto, {"calibration": calibration.name, "selection": selection.name, **made.to_dict()}


def _merged(file: str, reports: list[Any], passed: bool) -> dict[str, Any]:
    """One object: the first report at the top, all of them under "parts"."""
    return {**reports[0].to_dict(), "file": file, "passed": passed, "parts": [report.to_dict() for report in reports]}


def _write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    app()
