"""`python -m train run EXPERIMENT`: every run of an experiment of the paper, one after the other."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from train.configs.experiment import Experiment, available, read_experiment
from train.configs.options import PaperOptions

LOG = logging.getLogger("train")


def run(
    experiment: Annotated[
        str | None, typer.Argument(help="A .yaml file, or a name out of train/configs/experiments/; none: list them.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with bp4d, disfa, affwild2 and prepared, or of a synthetic set.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Parent of the run folders.")] = Path("runs/paper"),
    override: Annotated[
        list[str] | None, typer.Option(help="key=value of the experiment or its options; may be repeated.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="paper, or release: options as the authors' code has them (docs/training.md).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with runs that were begun.")] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Print the runs and stop.")] = False,
) -> None:
    """Train the networks of an experiment and write their predictions; runs that are finished are passed over, where
    they had the same options.

    A run folder is OUT/EXPERIMENT/VARIANT[-foldN]-seedN[-release]. Several GPUs: torchrun --nproc-per-node N -m train
    run ...
    """
    if experiment is None:
        for name in available():
            found = read_experiment(name)
            tables = f" (Table {', '.join(found.tables)})" if found.tables else ""
            typer.echo(f"{name:24}{found.title}{tables}")
        return
    found = read_experiment(experiment, override or (), preset)
    if data is None and not dry:
        raise ValueError("--data: expected the folder of the data sets, got none")
    runs = found.runs(str(data or ""), out)
    if dry:
        for options in runs:
            typer.echo(options.run)
        return
    run_all(found, runs, resume)


def run_all(experiment: Experiment, runs: Sequence[PaperOptions], resume: bool) -> None:
    """Do the runs that are not finished, one after the other.

    Raises:
        RunError: one that was begun and `resume` is False, or is finished with other options.
    """
    from train.engine.distributed import leave
    from train.engine.run_folder import CHECKPOINT, RunError, check_finished
    from train.evaluation.predictions import FILE
    from train.paper.run_inputs import inputs_of

    finished = [(Path(options.run) / FILE).exists() for options in runs]
    for options in itertools.compress(runs, finished):
        check_finished(options, functools.partial(inputs_of, options))
    waiting = [options for options, done in zip(runs, finished, strict=True) if not done]
    LOG.info("%s: %d runs, %d of them finished", experiment.name, len(runs), len(runs) - len(waiting))
    begun = [options.run for options in waiting if (Path(options.run) / CHECKPOINT).exists()]
    if begun and not resume:
        raise RunError(f"run: {begun[0]} holds a run already; add --resume to go on with it, or name another --out")
    for number, options in enumerate(waiting, 1):
        LOG.info("run %d of %d: %s", number, len(waiting), options.run)
        _one(experiment, options, resume)
    leave()


def _one(experiment: Experiment, options: PaperOptions, resume: bool) -> None:
    from train.engine.distributed import leads
    from train.engine.run_folder import read_checkpoint, write_text
    from train.paper.run import run_paper

    place = Path(options.run)
    if options.init and experiment.after and not Path(options.init).is_dir():
        raise ValueError(
            f"init: {experiment.name} starts from the runs of {experiment.after}, found none at {options.init}; "
            f"run that experiment first, with the same --out"
        )
    read_checkpoint(options, mapped=True)  # a run of other options keeps its experiment.yaml
    place.mkdir(parents=True, exist_ok=True)
    if leads():
        write_text(place / "experiment.yaml", as_yaml(experiment, options))
    run_paper(options, resume)


def as_yaml(experiment: Experiment, options: PaperOptions) -> str:
    """The one run as an experiment of its own, which `python -m train run` takes: what was run, overrides included."""
    withheld = {"variant", "fold", "seed", "run", "data"}
    values: dict[str, Any] = {
        "title": experiment.title,
        "tables": list(experiment.tables),
        "variants": [options.variant],
        "folds": [options.fold],
        "seeds": [options.seed],
        "options": {k: v for k, v in dataclasses.asdict(options).items() if k not in withheld},
    }
    head = f"# {experiment.name}: {' '.join(['python', '-m', 'train', *sys.argv[1:]])}\n"
    return head + yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from train.paper.sweep import sweep

    app.command("run")(run)
    app.command("sweep")(sweep)
