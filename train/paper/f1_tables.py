"""Tables of F1 per AU: III, IV, V, VII, VIII, IX, XIII, XIV."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from train.evaluation.metrics import nanmean
from train.evaluation.predictions import Predictions
from train.evaluation.protocol import Summary, summarise
from train.models.variants import VARIANTS
from train.paper import published as paper
from train.paper.table import DASH, Table, percent
from train.paper.table_runs import Runs, find, place

COMMON = f"{paper.AVERAGE}, AUs of both"
"""Name of the row that averages the AUs that the paper and ours have."""


def f1_table(table: paper.F1Table, found: Runs, stand_in: str | None, flip: bool) -> Table:
    """A table of F1 per AU. Args as train.paper.tables.build."""
    train, test = place(table.train, table.test, stand_in, found)
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
        runs = find(found, table.number, method.variant, train, test, method.space)
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
