"""Every run of an experiment, one after the other; what is finished is passed over."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from train.configs.experiment import Experiment
from train.configs.options import PaperOptions

LOG = logging.getLogger("train")


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
    """The one run as an experiment of its own, which `python -m train run` takes: what was run, flags included."""
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
