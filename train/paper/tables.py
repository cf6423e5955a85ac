"""Tables III-XIV with the paper's figures beside ours: from the predictions of runs to text.

A dash stands where no run has the figure. Runs on another data set than the table's (the synthetic set) can stand in:
then the heading says so, the paper's columns stay, and the two are not comparable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from train.evaluation import protocol
from train.evaluation.predictions import Predictions
from train.paper import published as paper
from train.paper.comparisons import dependency_table, motion_table, t_test_table, variants_table
from train.paper.f1_tables import f1_table
from train.paper.table import Table
from train.paper.table_runs import of_preset, only_other


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
    found = of_preset(protocol.groups(runs), preset)
    stand_in = data_set or only_other(found)
    builder: dict[str, Callable[[], Table]] = {
        "VI": variants_table,
        "X": lambda: dependency_table(found, stand_in, flip, reading),
        "XI": lambda: motion_table(found, stand_in, flip),
        "XII": lambda: t_test_table(found, stand_in, flip),
    }
    table = builder[name]() if name in builder else f1_table(paper.F1_TABLES[name], found, stand_in, flip)
    notes = [text for text, said in (
        ("Ours: preset release.", any(group.preset == "release" for group in found)),
        ("Ours: of runs with kept epochs the one that is best on the test part, as the release prints it.",
         any(group.epoch == "best" for group in found)),
    ) if said]  # fmt: skip
    return dataclasses.replace(table, notes=(*table.notes, *notes))
