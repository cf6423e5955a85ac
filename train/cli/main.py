"""The command line of the training: `python -m train run | fan | aunet | points | evaluate | synthetic ...`."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import logging
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from aunet_sdk.errors import BackendUnavailable
from train.cli.data import register as register_data
from train.cli.models import register as register_models
from train.cli.recipe import app as recipe_app
from train.cli.results import register as register_results
from train.cli.run import register as register_run
from train.configs.options import AUNetOptions, FanOptions, GeometryOptions, PointsOptions, RunOptions

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
if importlib.util.find_spec("train.cli.synthetic") is not None:
    from train.cli.synthetic import app as synthetic_app

    app.add_typer(synthetic_app, name="synthetic")
register_data(app)
app.add_typer(recipe_app, name="recipe")


def _register(name: str, kind: type[RunOptions], run: Callable[[Any, bool], None]) -> None:
    """Make a command whose options are the fields of a dataclass."""
    parameters = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        required = field.name in ("data", "run", "source")
        option = typer.Option(
            *field.metadata["names"], help=field.metadata["help"], show_default=field.default is not None
        )
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if required else field.default,
                annotation=Annotated[hints[field.name], option],
            )
        )
    resume = typer.Option("--resume", help="Go on with the run in the folder, if there is one.")
    parameters.append(
        inspect.Parameter("resume", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, resume])
    )

    def command(**values: Any) -> None:
        go_on = values.pop("resume")
        run(kind(**values), go_on)

    command.__doc__ = kind.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    app.command(name)(command)


def _run_fan(options: FanOptions, resume: bool) -> None:
    from train.engine.loop import train
    from train.recipes.fan_task import FanTask

    options.check()
    train(FanTask(options), options, resume)


def _run_aunet(options: AUNetOptions, resume: bool) -> None:
    from train.engine.loop import train
    from train.recipes.aunet_task import AUNetTask

    options.check()
    train(AUNetTask(options), options, resume)


def _run_points(options: PointsOptions, resume: bool) -> None:
    from train.engine.loop import train
    from train.recipes.points_task import PointsTask

    options.check()
    train(PointsTask(options), options, resume)


def _run_geometry(options: GeometryOptions, resume: bool) -> None:
    from train.engine.loop import train
    from train.recipes.geometry_task import GeometryTask

    options.check()
    train(GeometryTask(options), options, resume)


_register("fan", FanOptions, _run_fan)
_register("aunet", AUNetOptions, _run_aunet)
_register("points", PointsOptions, _run_points)
_register("geometry", GeometryOptions, _run_geometry)

register_models(app)

register_run(app)
register_results(app)

ModelArgument = Annotated[str, typer.Option("--model", help="Model file or run folder.")]
DataArgument = Annotated[str, typer.Option("--data", help="Folder of the synthetic set.")]
ThreadsArgument = Annotated[int, typer.Option(help="Threads of the computation.")]


@app.command("init")
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


@app.command("evaluate")
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
    import torch

    from train.data.sequences import load_split
    from train.evaluation.report import show
    from train.evaluation.sequences import evenly, report_of

    torch.set_num_threads(threads)
    sequences = load_split(data, split)
    sequences = evenly(sequences, frames) if frames else sequences
    report = {
        "model": model,
        "split": split,
        **report_of(model, sequences),
    }
    if ablation:
        from train.models.checkpoint import load_model
        from train.recipes import fusion

        report["paths"] = fusion.ablation(load_model(model), sequences)
    show(report)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if page is not None:
        from train.models.checkpoint import load_model
        from train.recipes.page import write_page

        write_page(load_model(model), sequences, page, source, agreement)


@app.command("card")
def card(
    card_file: Annotated[Path, typer.Argument(help="Markdown with the two marks between which the tables go.")],
    model: Annotated[Path, typer.Option(help="The checkpoint that is described.")],
    report: Annotated[Path, typer.Option(help="What `evaluate --json` wrote.")],
    agreement: Annotated[Path | None, typer.Option(help="What benchmarks/agreement.py --json wrote.")] = None,
) -> None:
    """Fill in the tables of a model card."""
    from train.recipes.card import write_card

    write_card(card_file, model, report, agreement)


@app.command("calibrate")
def calibrate(
    model: ModelArgument,
    data: DataArgument,
    out: Annotated[Path | None, typer.Option(help="File to write; without it the model's own.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store weights as FP16.")] = False,
    threads: ThreadsArgument = 2,
) -> None:
    """Calibrate the heads (.5 decides afterwards) and min_confidence on the validation split; writes a model file."""
    import torch

    from train.data.sequences import load_split
    from train.engine.loop import MODEL
    from train.evaluation.sequences import calibrate as run
    from train.models.checkpoint import load_model

    torch.set_num_threads(threads)
    place = Path(model)
    target = out or (place / MODEL if place.is_dir() else place)
    trained = load_model(model)
    calibrated = run(trained, load_split(data, "val").of(trained.config.au_numbers))
    command = f"python -m train calibrate --model {model} --data {data}{' --half' if half else ''} --out {target}"
    calibrated.config.provenance["calibration"] = {"command": command, "split": "val"}
    calibrated.save(target, torch.float16 if half else torch.float32)
    logging.getLogger("train").info(
        "%s: %s, min_confidence %s", target, calibrated.config.thresholds, calibrated.config.min_confidence
    )


@app.command("fuse")
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
            "else stays what MODEL says.",
        ),
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="Store weights as FP16.")] = False,
    threads: ThreadsArgument = 2,
) -> None:
    """Weigh the appearance and the geometry path of the points head for each AU, on the validation split and, without
    --where-known, on pictures that no training saw; .5 decides afterwards. Writes a model file."""
    import numpy as np
    import torch

    from train.data.sequences import load_split
    from train.models.checkpoint import load_model
    from train.recipes import fusion

    torch.set_num_threads(threads)
    validation, trained = load_split(data, "val"), load_model(model)
    if geometry is not None:
        trained = fusion.with_path_of(trained, load_model(str(geometry)))
    numbers = trained.config.aus_of("points")
    evidence = [fusion.rendered_evidence(trained, validation.of(numbers))]
    if len(evidence[0][1].labels) == 0:
        raise ValueError(f"data: expected a set that tells how faces look at rest, {data} does not; make it anew")
    if not where_known:
        evidence.append(fusion.pictured_evidence(trained, source, set(validation.info.splits["val"])))
    unknown, known = ([*pair] for pair in zip(*evidence, strict=True))
    if where_known:
        presence = fusion.fit_where_known(known, numbers)
        intensity = fusion.closed(len(numbers)), fusion.closed(len(numbers))
    else:
        presence = fusion.fit(unknown, numbers), fusion.fit(known, numbers)
        intensity = fusion.fit_intensity(unknown, numbers), fusion.fit_intensity(known, numbers)
    before = trained.config.provenance
    fused = fusion.apply(trained, presence, intensity, fusion.WHERE_KNOWN.only if where_known else None)
    more = f"{f' --geometry {geometry}' if geometry else ''}{' --where-known' if where_known else ''}"
    command = (
        f"python -m train fuse --model {model} --data {data} --source {source}{more}"
        f"{' --half' if half else ''} --out {out}"
    )
    table = {
        state: {name: np.round(getattr(one, name), 4).tolist() for name in ("appearance", "geometry", "shift")}
        for state, one in zip(("without", "with"), presence, strict=True)
    }
    fused.config = dataclasses.replace(
        fused.config, provenance={**before, "fusion": {"command": command, "split": "val", **table}}
    )
    fused.save(out, torch.float16 if half else torch.float32)
    for state, columns in table.items():
        for number, a, b, c in zip(numbers, *columns.values(), strict=True):
            told = (number, state, a, b, c)
            logging.getLogger("train").info(
                "AU%d %s the face at rest: %.2f of appearance, %.2f of geometry, shift %.2f", *told
            )


def main() -> None:
    """Entry point: bad input ends with one line and exit code 2, a stopped run with 130."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    try:
        app()
    except SystemExit as end:  # Typer ends on Ctrl-C outside the loop with "Aborted." and 1
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            sys.exit(130)
        raise
    except (ValueError, OSError, BackendUnavailable) as error:
        _fail(str(error), 2)
    except RuntimeError as error:
        if type(error).__name__ != "RunError":
            raise
        _fail(str(error), 2)
    except Exception as error:
        if type(error).__name__ != "Stopped":
            raise
        _fail(str(error), 130)


def _fail(message: str, code: int) -> typing.NoReturn:
    typer.echo(f"error: {message}" if code == 2 else message, err=True)
    sys.exit(code)
