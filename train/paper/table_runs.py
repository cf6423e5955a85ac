"""Which runs a figure of a table comes from."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from train.evaluation.predictions import Predictions, merge
from train.evaluation.protocol import RunKey

PAPER_SETS = ("bp4d", "disfa", "affwild2")
Runs = dict[RunKey, list[Predictions]]


def of_preset(found: Runs, preset: str | None) -> Runs:
    """Runs of one preset; ValueError where there are several and none is named."""
    there = sorted({group.preset or "paper" for group in found})
    if preset is None and len(there) > 1:
        raise ValueError(f"table: expected runs of one preset, got {' and '.join(there)}; choose one (--preset)")
    wanted = preset or (there[0] if there else "paper")
    return {group: members for group, members in found.items() if (group.preset or "paper") == wanted}


def only_other(found: Runs) -> str | None:
    """The one data set that all runs were tested on, where the paper does not have it; None otherwise."""
    tested = {group.test for group in found}
    return next(iter(tested)) if len(tested) == 1 and not tested & set(PAPER_SETS) else None


def find(found: Runs, number: str, variant: str | None, train: str, test: str, space: str = "") -> list[Predictions]:
    """Runs of a variant for a table: with the usual lambda and the plain motion input where there are several; of all
    experiments, or, where these hold the same seed and fold twice, of those that are for this table.

    Raises:
        ValueError: two runs of one seed and fold, and no experiment to prefer.
    """
    fit = [g for g in found if (g.variant, g.train, g.test, g.space) == (variant, train, test, space)]
    if not fit:
        return []
    usual = min((group.vae_lambda, group.motion) for group in fit)
    fit = [group for group in fit if (group.vae_lambda, group.motion) == usual]
    runs = [run for group in fit for run in found[group]]
    if len({(run.seed, run.fold) for run in runs}) < len(runs) and len(fit) > 1:
        meant = [group for group in fit if number in _tables_of(group.experiment)]
        if not meant:
            names = ", ".join(sorted(group.experiment for group in fit))
            raise ValueError(
                f"table {number}: {variant} trained on {train} is in several experiments with the same seed and fold "
                f"({names}); give the runs of one of them"
            )
        runs = [run for group in meant for run in found[group]]
    return runs


@functools.cache
def _tables_of(experiment: str) -> tuple[str, ...]:
    """The tables that an experiment of train/configs/experiments/ is for; none where there is no such experiment."""
    from train.configs.experiment import available, read_experiment

    return read_experiment(experiment).tables if experiment in available() else ()


def place(train: str, test: str, stand_in: str | None, found: Runs) -> tuple[str, str]:
    """Which (training, test) sets to look for."""
    if stand_in is None or stand_in in (test, train):
        return train, test
    if train in ("mixture", test):
        trained = {group.train for group in found if group.test == stand_in}
        return (stand_in if stand_in in trained or not trained else min(trained)), stand_in
    trained = {group.train for group in found if group.test == stand_in and group.train != stand_in}
    return (min(trained) if trained else train), stand_in  # a cross-data-set table wants two different sets


def labelled(run: Predictions) -> Predictions:
    """The AUs of a run that have a label."""
    known = ~np.isnan(run.labels).all(0)
    return run.only(tuple(np.array(run.au_numbers)[known].tolist()))


def same_seed(
    baseline: Sequence[Predictions], variant: Sequence[Predictions]
) -> tuple[Predictions, Predictions, int] | None:
    """Both, all folds together, of the lowest seed for which both have the same folds; None without such a seed."""
    for seed in sorted({run.seed for run in baseline} & {run.seed for run in variant}):
        first = sorted((run for run in baseline if run.seed == seed), key=lambda run: run.fold)
        second = sorted((run for run in variant if run.seed == seed), key=lambda run: run.fold)
        if [run.fold for run in first] == [run.fold for run in second]:
            return labelled(merge(first)), labelled(merge(second)), seed
    return None
