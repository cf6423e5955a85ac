"""Tables that compare the variants: VI (what they are made of), X (dependencies), XI (motion inputs), XII (t-tests)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from train.evaluation import dependency
from train.evaluation.metrics import nanmean
from train.evaluation.predictions import Predictions
from train.evaluation.protocol import summarise
from train.paper import published as paper
from train.paper.table import DASH, Table, number, percent
from train.paper.table_runs import Runs, find, place, same_seed


def variants_table() -> Table:
    """Table VI: what each variant is made of, ours as its network says."""
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


def dependency_table(found: Runs, stand_in: str | None, flip: bool, reading: str) -> Table:
    """Table X. Args as train.paper.tables.build."""
    sets = [*paper.DEPENDENCY, *([stand_in] if stand_in and stand_in not in paper.DEPENDENCY else [])]
    columns: list[tuple[str, str]] = []
    cells: list[list[str]] = []
    for name in sets:
        printed = paper.DEPENDENCY.get(name)
        if printed is not None:
            columns.append((paper.NAMES[name], "paper"))
            cells.append([f"{printed[0]:.1f}", f"{printed[1]:.1f}", *[DASH] * 4])
        columns.append((paper.NAMES.get(name, name), "ours"))
        train, test = ("mixture", name) if printed is not None else place("mixture", "bp4d", stand_in, found)
        scores = [_dependency_of(find(found, "X", v, train, test), flip, reading) for v in ("au-fan", "au-vae")]
        (fan_l2, fan_f1), (vae_l2, vae_f1) = scores
        closer = (fan_l2 - vae_l2) / fan_l2 if fan_l2 > 0 else math.nan
        cells.append(
            [
                percent(closer),
                percent(vae_f1 - fan_f1),
                *(number(v, ".3f") for v in (fan_l2, vae_l2)),
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


def motion_table(found: Runs, stand_in: str | None, flip: bool) -> Table:
    """Table XI. Args as train.paper.tables.build."""
    train, test = place("mixture", "bp4d", stand_in, found)
    rows = []
    for name, (variant, size, f1) in paper.MOTION.items():
        runs = find(found, "XI", variant, train, test)
        network = _network(variant)
        own_size = math.nan if network is None else sum(p.numel() for p in network.trainable()) / 1e6
        summary = summarise(runs, flip) if runs else None
        own_f1 = DASH if summary is None else percent(summary.average, summary.seed_spread)
        rows.append((name, f"{size:.2f}", number(own_size, ".2f"), f"{f1:.1f}", own_f1))
    columns = tuple((what, whose) for what in ("Model size (M)", "F1 (%)") for whose in ("paper", "ours"))
    flows = {run.extra.get("flow", "dis") for run in find(found, "XI", "au-flow", train, test)}
    ours = {
        "dis": "computed, not learnt, and has no parameters",
        "raft": "RAFT small's, frozen, whose .99 M parameters are not counted",
    }
    what = "; of some runs ".join(ours[flow] for flow in sorted(flows or {"dis"}))
    note = f"Model size of ours: trainable parameters at width 256 with 12 AUs. The flow of ours is {what}."
    where = _where(train, test)
    return Table("XI", f"Motion input beside AU-FAN, on BP4D{where}", columns, tuple(rows), (note,))


def t_test_table(found: Runs, stand_in: str | None, flip: bool) -> Table:
    """Table XII. Args as train.paper.tables.build."""
    train, test = place("mixture", "bp4d", stand_in, found)
    baseline = find(found, "XII", "au-fan", train, test)
    rows, notes = [], []
    for name, (variant, t, p) in paper.T_TESTS.items():
        row = [f"{t:.2f}", f"{p:.2e}"]
        pair = same_seed(baseline, find(found, "XII", variant, train, test))
        if pair is None:
            row += [DASH] * 5
        else:
            first, second, seed = pair
            of_cells = dependency.paired_t_test(first, second, "predictions", flip)
            of_subjects = dependency.paired_t_test(first, second, "subjects", flip)
            row += [
                number(of_cells.t, ".2f"),
                number(of_cells.p, ".2e"),
                str(of_cells.pairs),
                number(of_subjects.t, ".2f"),
                ("< 0.001" if of_subjects.p < 0.0005 else number(of_subjects.p, ".3f")) + f" ({of_subjects.pairs})",
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
