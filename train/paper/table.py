"""A table as text, and how it is written: to the terminal, as Markdown, as CSV."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from train.paper import published as paper

if TYPE_CHECKING:
    from rich.table import Table as RichTable

DASH = "–"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as text. The first column names the row; column i of the others is (method, whose figure)."""

    number: str
    title: str
    columns: tuple[tuple[str, str], ...]
    """(heading, 'paper' | 'ours' | 'ours, synthetic' | ...) per column after the first."""
    rows: tuple[tuple[str, ...], ...]
    """Name of the row and one cell per column."""
    notes: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        return f"Table {self.number}: {self.title}"


def to_rich(table: Table) -> RichTable:
    """For the terminal."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=Text(table.heading), title_justify="left", caption=Text("\n".join(table.notes)), caption_justify="left"
    )
    shown.add_column("")
    for heading, whose in table.columns:
        own = whose != "paper"
        shown.add_column(f"{heading}\n{whose}", justify="right", style="bold" if own else "", no_wrap=True)
    names = [row[0] for row in table.rows]
    last = names.index(paper.AVERAGE) if paper.AVERAGE in names else -1
    for i, row in enumerate(table.rows):
        shown.add_row(*row, end_section=i in (last - 1, last))
    return shown


def to_markdown(table: Table) -> str:
    """A Markdown table under its heading."""
    head = ["", *(f"{heading} ({whose})" for heading, whose in table.columns)]
    lines = [f"**{table.heading}**", "", _line(head), _line(["---", *["---:"] * len(table.columns)])]
    lines += [_line(row) for row in table.rows]
    return "\n".join([*lines, "", *table.notes]).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_csv(table: Table, folder: Path) -> Path:
    """`folder`/table_III.csv: a heading row, then the cells; an empty cell for a dash."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"table_{table.number}.csv"
    with place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["", *(f"{heading} ({whose})" for heading, whose in table.columns)])
        writer.writerows([["" if cell == DASH else cell for cell in row] for row in table.rows])
    return place


def percent(value: float, spread: float = math.nan, digits: int = 1) -> str:
    """A share as per cent, with its spread where there is one; a dash for NaN."""
    if math.isnan(value):
        return DASH
    return f"{100 * value:.{digits}f}" + ("" if math.isnan(spread) else f"±{100 * spread:.{digits}f}")


def number(value: float, form: str = ".1f") -> str:
    """A number in a format; a dash for NaN."""
    return DASH if math.isnan(value) else format(value, form)
