"""The command line of the training: `python -m train run | fan | aunet | points | evaluate | synthetic ...`."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import sys
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

from aunet_sdk.errors import BackendUnavailable
from train.cli.data import register as register_data
from train.cli.embedded import register as register_embedded
from train.cli.flags import field_parameter
from train.cli.models import register as register_models
from train.cli.recipe import app as recipe_app
from train.cli.results import register as register_results
from train.cli.run import register as register_run
from train.cli.synthetic import app as synthetic_app
from train.configs.options import (
    AUNetOptions,
    ExtraOptions,
    FanOptions,
    GeometryOptions,
    ParserOptions,
    PointsOptions,
    RunOptions,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(synthetic_app, name="synthetic")
register_data(app)
app.add_typer(recipe_app, name="recipe")


def _register(name: str, kind: type[RunOptions], run: Callable[[Any, bool], None]) -> None:
    """Make a command whose options are the fields of a dataclass."""
    parameters = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        required = field.name in ("data", "run", "source")
        parameters.append(field_parameter(field, hints[field.name], required))
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


def _run_parser(options: ParserOptions, resume: bool) -> None:
    from train.engine.loop import train
    from train.recipes.parser_task import ParserTask

    options.check()
    train(ParserTask(options), options, resume)


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


def _run_extra(options: ExtraOptions, resume: bool) -> None:
    from train.engine.loop import train
    from train.recipes.extra_task import ExtraTask

    options.check()
    train(ExtraTask(options), options, resume)


_register("fan", FanOptions, _run_fan)
_register("parser", ParserOptions, _run_parser)
_register("aunet", AUNetOptions, _run_aunet)
_register("points", PointsOptions, _run_points)
_register("extra", ExtraOptions, _run_extra)
_register("geometry", GeometryOptions, _run_geometry)

register_models(app)
register_run(app)
register_results(app)
register_embedded(app)


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
