"""`python -m train run | sweep`: the runs of an experiment of the paper, or of every point of a grid."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from train.cli.flags import ExperimentCommand, experiment_parameters, flags, said
from train.configs.experiment import available, read_experiment
from train.paper.runs import run_all

Data = Annotated[
    Path | None, typer.Option(help="Folder with bp4d, disfa, affwild2 and prepared, or of a synthetic set.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with runs that were begun.")]
Dry = Annotated[bool, typer.Option("--dry", help="Print the runs and stop.")]


def run(
    given: Mapping[str, Any],
    experiment: Annotated[
        str | None, typer.Argument(help="A .yaml file, or a name out of train/configs/experiments/; none: list them.")
    ] = None,
    data: Data = None,
    out: Annotated[Path, typer.Option(help="Parent of the run folders.")] = Path("runs/paper"),
    resume: Resume = False,
    dry: Dry = False,
) -> None:
    """Train the networks of an experiment and write their predictions; runs that are finished are passed over, where
    they had the same options.

    A run folder is OUT/EXPERIMENT/VARIANT[-foldN]-seedN[-release]. EXPERIMENT stands before the flags; what a flag does
    not say is as the experiment, the preset or the paper has it. Several GPUs: torchrun --nproc-per-node N -m train
    run ...
    """
    if experiment is None:
        for name in available():
            found = read_experiment(name)
            tables = f" (Table {', '.join(found.tables)})" if found.tables else ""
            typer.echo(f"{name:24}{found.title}{tables}")
        return
    found = read_experiment(experiment, given)
    if data is None and not dry:
        raise ValueError("--data: expected the folder of the data sets, got none")
    runs = found.runs(str(data or ""), out)
    if dry:
        for options in runs:
            typer.echo(options.run)
        return
    run_all(found, runs, resume)


def sweep(
    given: Mapping[str, Any],
    file: Annotated[
        str | None, typer.Argument(help="A .yaml file, or a name out of train/configs/sweeps/; none: list them.")
    ] = None,
    data: Data = None,
    out: Annotated[Path, typer.Option(help="Parent of the sweep's folder.")] = Path("runs/paper"),
    resume: Resume = False,
    dry: Dry = False,
) -> None:
    """Train every point of a grid, measure it on held-out people of the training part, and rank the points.

    Writes OUT/sweep-NAME/ranking.csv. The test part is not opened. Runs that are finished are passed over.
    """
    from rich.console import Console
    from rich.table import Table

    from train.paper import sweep as sweeps

    if file is None:
        for name in sweeps.available():
            typer.echo(f"{name:24}{sweeps.read_sweep(name).title}")
        return
    found = sweeps.read_sweep(file, given)
    if data is None and not dry:
        raise ValueError("--data: expected the folder of the data sets, got none")
    runs = [options for _, options in found.runs(str(data or ""), out)]
    if dry:
        for options in runs:
            typer.echo(options.run)
        return
    run_all(found.experiment, runs, resume)
    places = sweeps.judge(found, str(data), out)
    target = out / f"sweep-{found.name}" / "ranking.csv"
    sweeps.write_ranking(places, target)
    table = Table("options", "F1 (%)", "± runs", "AUC (%)", "runs", title=f"{found.title}: held-out people")
    for p in places:
        table.add_row(sweeps.label(p.point), *(f"{100 * value:.1f}" for value in (p.f1, p.spread, p.auc)), str(p.runs))
    Console().print(table)
    typer.echo(f"{target}; the best of them: {shlex.join(flags(places[0].point))}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run", cls=ExperimentCommand)(_with_flags(run))
    app.command("sweep", cls=ExperimentCommand)(_with_flags(sweep))


def _with_flags(inner: Callable[..., None]) -> Callable[..., None]:
    """`inner` with a flag per field of an experiment and its options in place of its first argument."""
    own = list(inspect.signature(inner, eval_str=True).parameters.values())[1:]
    parameters = [*own, *experiment_parameters()]

    def command(**values: Any) -> None:
        inner(said({p.name: values.pop(p.name) for p in parameters[len(own) :]}), **values)

    command.__doc__ = inner.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command
