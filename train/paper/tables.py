"""Tables III-XIV with the paper's figures beside ours: from the predictions of runs to text.

A dash stands where no run has the figure. Runs on another data set than the table's (the synthetic set) can stand in:
then the heading says so, the paper's columns stay, and the two are not comparable.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from train.evaluation import dependency, protocol
from train.evaluation.metrics import nanmean
from train.evaluation.predictions import Predictions, merge
from train.evaluation.protocol import Group, Summary, summarise
from train.models.variants import VARIANTS
from train.paper import published as paper
from train.paper.table import DASH, Table

COMMON = f"{paper.AVERAGE}, AUs of both"
"""Name of the row that averages the AUs that the paper and ours have."""
PAPER_SETS = ("bp4d", "disfa", "affwild2")
Runs = dict[Group, list[Predictions]]


def build(
    number: str,
    runs: Sequence[Predictions],
    data_set: str | None = None,
    flip: bool = False,
    reading: str = "decisions",
    preset: str | None = None,
) -> Table:
    """One table.

    Args:
        number: of paper.NUMBERS.
        data_set: the data set whose runs stand in for the table's own; None: the only one that the runs were tested
            on, where the paper does not have it.
        flip: flip averaging in all columns of ours (Table XIII and XIV have it in one of their own anyway).
        reading: of the adjacency matrices in Table X (train.evaluation.dependency.READINGS).
        preset: runs of this one count; None: of the only one that there is.

    Raises:
        ValueError: no such table; runs that nothing distinguishes; `flip` with runs that lack it.
    """
    name = number.upper()
    if name not in paper.NUMBERS:
        raise ValueError(f"table: expected one of {', '.join(paper.NUMBERS)}, got {number!r}")
    if any(run.extra.get("part") == "held-out" for run in runs):
        raise ValueError(
            "table: expected runs on a test part, got some on people held out of the training part (hold_out); they "
            "are there to choose options by"
        )
    found = _of_preset(protocol.groups(runs), preset)
    stand_in = data_set or _only_other(found)
    builder: dict[str, Callable[[], Table]] = {
        "VI": _variants,
        "X": lambda: _dependency(found, stand_in, flip, reading),
        "XI": lambda: _motion(found, stand_in, flip),
        "XII": lambda: _t_tests(found, stand_in, flip),
    }
    table = builder[name]() if name in builder else _f1(paper.F1_TABLES[name], found, stand_in, flip)
    notes = [text for text, said in (
        ("Ours: preset release.", any(group.preset == "release" for group in found)),
        ("Ours: of runs with kept epochs the one that is best on the test part, as the release prints it.",
         any(group.epoch == "best" for group in found)),
    ) if said]  # fmt: skip
    return dataclasses.replace(table, notes=(*table.notes, *notes))


def _of_preset(found: Runs, preset: str | None) -> Runs:
    """Runs of one preset; ValueError where there are several and none is named."""
    there = sorted({group.preset or "paper" for group in found})
    if preset is None and len(there) > 1:
        raise ValueError(f"table: expected runs of one preset, got {' and '.join(there)}; choose one (--preset)")
    wanted = preset or (there[0] if there else "paper")
    return {group: members for group, members in found.items() if (group.preset or "paper") == wanted}


def _only_other(found: Runs) -> str | None:
    tested = {group.test for group in found}
    return next(iter(tested)) if len(tested) == 1 and not tested & set(PAPER_SETS) else None


def _find(found: Runs, number: str, variant: str | None, train: str, test: str, space: str = "") -> list[Predictions]:
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


def _place(train: str, test: str, stand_in: str | None, found: Runs) -> tuple[str, str]:
    """Which (training, test) sets to look for."""
    if stand_in is None or stand_in in (test, train):
        return train, test
    if train in ("mixture", test):
        trained = {group.train for group in found if group.test == stand_in}
        return (stand_in if stand_in in trained or not trained else min(trained)), stand_in
    trained = {group.train for group in found if group.test == stand_in and group.train != stand_in}
    return (min(trained) if trained else train), stand_in  # a cross-data-set table wants two different sets


def percent(value: float, spread: float = math.nan, digits: int = 1) -> str:
    """A share as per cent, with its spread where there is one; a dash for NaN."""
    if math.isnan(value):
        return DASH
    return f"{100 * value:.{digits}f}" + ("" if math.isnan(spread) else f"±{100 * spread:.{digits}f}")


def _number(value: float, form: str = ".1f") -> str:
    return DASH if math.isnan(value) else format(value, form)


# ---------------------------------------------------------------------------------------------------------------------
# F1 per AU: III, IV, V, VII, VIII, IX, XIII, XIV
# ---------------------------------------------------------------------------------------------------------------------


def _f1(table: paper.F1Table, found: Runs, stand_in: str | None, flip: bool) -> Table:
    train, test = _place(table.train, table.test, stand_in, found)
    methods = [*table.methods, *([paper.IN_TEXT[table.number]] if table.number in paper.IN_TEXT else [])]
    whose = "ours" if (train, test) == (table.train, table.test) else f"ours, {test}"
    columns: list[tuple[str, str]] = []
    values: list[paper.Method | Summary | None] = []
    measured: list[tuple[list[Predictions], bool]] = []
    for method in methods:
        columns.append((method.name, "paper"))
        values.append(method)
        measured.append(([], flip))
        if method.variant is None:
            continue
        runs = _find(found, table.number, method.variant, train, test, method.space)
        if not runs and method.variant not in VARIANTS:  # predictions of others, where somebody imported them
            continue
        columns.append((method.name, whose))
        values.append(summarise(runs, flip) if runs else None)
        measured.append((runs, flip))
        if table.number in ("XIII", "XIV") and not flip and runs and all(r.flipped is not None for r in runs):
            columns.append((method.name, f"{whose}, flip"))
            values.append(summarise(runs, True))
            measured.append((runs, True))
    ours = [value for value in values if isinstance(value, Summary)]
    aus = sorted({*table.au_numbers, *(au for value in ours for au in value.au_numbers)})
    rows = [(f"AU{au}", *(_f1_cell(value, au, table) for value in values)) for au in aus]
    rows.append((paper.AVERAGE, *(_beside(value, "average") for value in values)))
    notes = []
    shared = _shared(ours, table)
    if ours and shared and any(_with_f1(value) != set(table.au_numbers) for value in ours):
        cells = [
            _paper_average(value, shared, table) if isinstance(value, paper.Method) else _average(runs, shared, flipped)
            for value, (runs, flipped) in zip(values, measured, strict=True)
        ]
        rows.append((COMMON, *cells))
        listed = ", ".join(f"AU{au}" for au in shared)
        notes.append(
            f"{COMMON}: over {listed}, which the paper and all of ours have; the paper's from its figures per AU."
        )
    if ours:
        names = {
            "f1_pooled": "F1, folds pooled",
            "auc": "AUC, mean of AUs",
            "f1_micro": "F1-micro",
            "f1_calibrated": "F1, calibrated",
            "fold_spread": "± over folds",
            "repeats": "folds x seeds",
        }
        beside = [(title, *(_beside(value, name) for value in values)) for name, title in names.items()]
        rows += [row for row in beside if any(cell != DASH for cell in row[1:])]
    if any(set(value.au_numbers) != set(table.au_numbers) for value in ours):
        notes.append("Averages of ours are over the AUs that have a figure in their own column.")
    if any(len(value.seeds) > 1 for value in ours):
        notes.append("± in a cell: standard deviation over seeds.")
    title = f"{table.title}. F1 in per cent at .5"
    return Table(table.number, title + _instead(train, test, table), tuple(columns), tuple(rows), tuple(notes))


def _with_f1(value: Summary) -> set[int]:
    return {au for au, f1 in zip(value.au_numbers, value.f1.tolist(), strict=True) if not math.isnan(f1)}


def _shared(ours: Sequence[Summary], table: paper.F1Table) -> tuple[int, ...]:
    """AUs of the table for which all of ours have an F1."""
    return tuple(au for au in table.au_numbers if all(au in _with_f1(value) for value in ours))


def _paper_average(method: paper.Method, aus: Sequence[int], table: paper.F1Table) -> str:
    """Mean of the printed figures of these AUs; a dash where the paper gives the average alone."""
    if not method.f1:
        return DASH
    return f"{sum(method.f1[table.au_numbers.index(au)] for au in aus) / len(aus):.1f}"


def _average(runs: Sequence[Predictions], aus: tuple[int, ...], flip: bool) -> str:
    if not runs:
        return DASH
    summary = summarise([run.only(aus) for run in runs], flip)
    return percent(summary.average, summary.seed_spread)


def _instead(train: str, test: str, table: paper.F1Table) -> str:
    if (train, test) == (table.train, table.test):
        return ""
    return f" [ours: trained on {train}, tested on {test}: not comparable with the paper's columns]"


def _f1_cell(value: paper.Method | Summary | None, au: int, table: paper.F1Table) -> str:
    if isinstance(value, paper.Method):
        place = table.au_numbers.index(au) if au in table.au_numbers and value.f1 else None
        return DASH if place is None else f"{value.f1[place]:.1f}"
    if value is None or au not in value.au_numbers:
        return DASH
    i = value.au_numbers.index(au)
    return percent(float(value.f1[i]), float(value.f1_seed_spread[i]))


def _beside(value: paper.Method | Summary | None, name: str) -> str:
    if isinstance(value, paper.Method):
        return f"{value.average:.1f}" if name == "average" else DASH
    if value is None:
        return DASH
    if name == "repeats":
        return f"{len(value.folds)} x {len(value.seeds)}"
    if name == "average":
        return percent(value.average, value.seed_spread)
    return percent(nanmean(np.atleast_1d(np.asarray(getattr(value, name), np.float64))))


# ---------------------------------------------------------------------------------------------------------------------
# VI, X, XI, XII
# ---------------------------------------------------------------------------------------------------------------------


def _variants() -> Table:
    built = {name: _parts(ours) for name, (ours, *_) in paper.VARIANTS.items()}
    parts = ("FAN feature", "VAE", "TDN")
    rows = []
    for name, (_, *marks) in paper.VARIANTS.items():
        own = built[name]
        cells = [_mark(cell) for i in range(3) for cell in (marks[i], None if own is None else own[i])]
        rows.append((name, *cells))
    columns = tuple((part, whose) for part in parts for whose in ("paper", "ours"))
    return Table("VI", "Description of four variants", columns, tuple(rows))


def _mark(value: bool | None) -> str:
    return DASH if value is None else "✓" if value else "✗"


def _network(variant: str, width: int = 256, resolution: int = 256) -> Any:
    """A variant of train.models.variants, or None where this checkout has none."""
    try:
        from train.models.variants import build as build_variant
    except ImportError:
        return None
    return build_variant(variant, 12, width=width, resolution=resolution)


def _parts(variant: str) -> tuple[bool, bool, bool] | None:
    """What our network is made of, asked of the network itself: FAN, VAE, TDN."""
    network = _network(variant, width=8, resolution=64)
    if network is None:
        return None
    from train.models.fan import FAN
    from train.models.variants import uses_vae

    has_fan = any(isinstance(module, FAN) for module in network.modules())
    return has_fan, uses_vae(variant), bool(network.contexts)


def _dependency(found: Runs, stand_in: str | None, flip: bool, reading: str) -> Table:
    sets = [*paper.DEPENDENCY, *([stand_in] if stand_in and stand_in not in paper.DEPENDENCY else [])]
    columns: list[tuple[str, str]] = []
    cells: list[list[str]] = []
    for name in sets:
        printed = paper.DEPENDENCY.get(name)
        if printed is not None:
            columns.append((paper.NAMES[name], "paper"))
            cells.append([f"{printed[0]:.1f}", f"{printed[1]:.1f}", *[DASH] * 4])
        columns.append((paper.NAMES.get(name, name), "ours"))
        train, test = ("mixture", name) if printed is not None else _place("mixture", "bp4d", stand_in, found)
        scores = [_dependency_of(_find(found, "X", v, train, test), flip, reading) for v in ("au-fan", "au-vae")]
        (fan_l2, fan_f1), (vae_l2, vae_f1) = scores
        closer = (fan_l2 - vae_l2) / fan_l2 if fan_l2 > 0 else math.nan
        cells.append(
            [
                percent(closer),
                percent(vae_f1 - fan_f1),
                *(_number(v, ".3f") for v in (fan_l2, vae_l2)),
                percent(fan_f1),
                percent(vae_f1),
            ]
        )
    names = (
        "L2 distance, AU-VAE less than AU-FAN by (%)",
        "Dependency F1, AU-VAE more than AU-FAN by (points)",
        "L2 distance, AU-FAN",
        "L2 distance, AU-VAE",
        "Dependency F1, AU-FAN",
        "Dependency F1, AU-VAE",
    )
    rows = tuple((name, *(column[i] for column in cells)) for i, name in enumerate(names))
    what = {
        "decisions": "correlation matrices of decisions at .5 and labels (figure 8)",
        "conditional": "matrices of conditional probabilities of decisions at .5 and labels (as [50] has them)",
        "probabilities": "correlation matrices of probabilities and labels",
    }
    note = (
        f"L2: between the {what[reading]}; the paper does not say which, nor whether its 2.2 % is of the distance, as "
        "ours, or points. Positive: AU-VAE is better."
    )
    title = "Dependencies that AU-VAE keeps better than AU-FAN"
    return Table("X", title, tuple(columns), rows, (note,))


def _dependency_of(runs: Sequence[Predictions], flip: bool, reading: str) -> tuple[float, float]:
    """(L2 distance, dependency F1), mean over runs; NaN without runs."""
    measured = np.array([dependency.both(run, flip, reading) for run in runs]).reshape(-1, 2)
    return nanmean(measured[:, 0]), nanmean(measured[:, 1])


def _labelled(run: Predictions) -> Predictions:
    known = ~np.isnan(run.labels).all(0)
    return run.only(tuple(np.array(run.au_numbers)[known].tolist()))


def _motion(found: Runs, stand_in: str | None, flip: bool) -> Table:
    train, test = _place("mixture", "bp4d", stand_in, found)
    rows = []
    for name, (variant, size, f1) in paper.MOTION.items():
        runs = _find(found, "XI", variant, train, test)
        network = _network(variant)
        own_size = math.nan if network is None else sum(p.numel() for p in network.trainable()) / 1e6
        summary = summarise(runs, flip) if runs else None
        own_f1 = DASH if summary is None else percent(summary.average, summary.seed_spread)
        rows.append((name, f"{size:.2f}", _number(own_size, ".2f"), f"{f1:.1f}", own_f1))
    columns = tuple((what, whose) for what in ("Model size (M)", "F1 (%)") for whose in ("paper", "ours"))
    note = (
        "Model size of ours: trainable parameters at width 256 with 12 AUs. The flow of ours is computed, "
        "not learnt, and has no parameters."
    )
    where = _where(train, test)
    return Table("XI", f"Motion input beside AU-FAN, on BP4D{where}", columns, tuple(rows), (note,))


def _t_tests(found: Runs, stand_in: str | None, flip: bool) -> Table:
    train, test = _place("mixture", "bp4d", stand_in, found)
    baseline = _find(found, "XII", "au-fan", train, test)
    rows, notes = [], []
    for name, (variant, t, p) in paper.T_TESTS.items():
        row = [f"{t:.2f}", f"{p:.2e}"]
        pair = _same_seed(baseline, _find(found, "XII", variant, train, test))
        if pair is None:
            row += [DASH] * 5
        else:
            first, second, seed = pair
            of_cells = dependency.paired_t_test(first, second, "predictions", flip)
            of_subjects = dependency.paired_t_test(first, second, "subjects", flip)
            row += [
                _number(of_cells.t, ".2f"),
                _number(of_cells.p, ".2e"),
                str(of_cells.pairs),
                _number(of_subjects.t, ".2f"),
                ("< 0.001" if of_subjects.p < 0.0005 else _number(of_subjects.p, ".3f")) + f" ({of_subjects.pairs})",
            ]
            folds = sorted({run.fold for run in baseline if run.seed == seed} - {0})
            of = f", folds {', '.join(map(str, folds))} together" if folds else ""
            notes.append(f"{name}: seed {seed}{of}.")
        rows.append((name, *row))
    columns = (
        ("t", "paper"),
        ("p", "paper"),
        ("t", "ours"),
        ("p", "ours"),
        ("pairs", "ours"),
        ("t, F1 of subjects", "ours"),
        ("p, F1 of subjects (n)", "ours"),
    )
    notes.append("The paper's t and p fit about 1.7 million pairs: all frames of BP4D's three folds times 12 AUs.")
    notes.append(
        "Cells (frame x AU) are not independent of each other, and the test of predictions does not ask who is right: "
        "read the F1 of subjects."
    )
    where = _where(train, test)
    return Table("XII", f"Paired t-tests against AU-FAN on BP4D{where}", columns, tuple(rows), tuple(notes))


def _where(train: str, test: str) -> str:
    return "" if (train, test) == ("mixture", "bp4d") else f" [ours: trained on {train}, tested on {test}]"


def _same_seed(
    baseline: Sequence[Predictions], variant: Sequence[Predictions]
) -> tuple[Predictions, Predictions, int] | None:
    """Both, all folds together, of the lowest seed for which both have the same folds; None without such a seed."""
    for seed in sorted({run.seed for run in baseline} & {run.seed for run in variant}):
        first = sorted((run for run in baseline if run.seed == seed), key=lambda run: run.fold)
        second = sorted((run for run in variant if run.seed == seed), key=lambda run: run.fold)
        if [run.fold for run in first] == [run.fold for run in second]:
            return _labelled(merge(first)), _labelled(merge(second)), seed
    return None
