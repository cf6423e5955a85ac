"""What a run of `aunet detect` adds up to, and the table at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..profiling import LatencyLog
from ..view.palette import facs_label

if TYPE_CHECKING:
    from rich.console import Console

    from ..results import FrameResult
    from .plan import Plan

STAGES = ("decode", "find", "align", "network", "points", "total")


@dataclass
class Tally:
    """Counts over the results of one run."""

    au_names: tuple[str, ...]
    frames: int = 0
    frames_with_face: int = 0
    faces: int = 0
    ids: set[int] = field(default_factory=set)
    first_s: float = 0.0
    last_s: float = 0.0
    latencies: LatencyLog = field(default_factory=LatencyLog)

    def __post_init__(self) -> None:
        self.active = np.zeros(len(self.au_names), np.int64)
        self.most = np.zeros(len(self.au_names))
        self.most_at: list[str] = [""] * len(self.au_names)

    def add(self, result: FrameResult, where: str | None = None) -> None:
        """Counts one final result. `where`: what the summary calls its place, else the time."""
        self.frames += 1
        self.frames_with_face += bool(result.faces)
        if self.frames == 1:
            self.first_s = result.timestamp_s
        self.last_s = result.timestamp_s
        self.latencies.add(result.latency_ms)
        for face in result.faces:
            self.faces += 1
            self.ids.add(face.id)
            self.active += face.active
            for k in np.flatnonzero(face.probabilities > self.most):
                self.most[k] = face.probabilities[k]
                self.most_at[k] = where or f"{result.timestamp_s:.2f} s"


def show(
    console: Console, plan: Plan, tally: Tally, wall_s: float, outputs: Sequence[str], problems: Sequence[str]
) -> None:
    """Prints the summary: counts, the AUs, speed, where the outputs lie, and what went wrong."""
    from rich.markup import escape as escape_markup
    from rich.table import Table

    def escape(text: str) -> str:  # of a file's name that is not UTF-8, what can be shown
        return escape_markup(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))

    facts = Table.grid(padding=(0, 2))
    unit = "frames" if plan.timed else "images"
    share = f" ({tally.frames_with_face / tally.frames:.0%})" if tally.frames else ""
    facts.add_row(unit, str(tally.frames))
    facts.add_row(f"{unit} with a face", f"{tally.frames_with_face}{share}")
    if plan.timed:
        facts.add_row("face ids", str(len(tally.ids)))
    else:
        facts.add_row("faces", str(tally.faces))
    if tally.frames and wall_s > 0:
        facts.add_row("speed", f"{tally.frames / wall_s:.1f} {unit}/s")
        medians = {name: summary.median_ms for name, summary in tally.latencies.summary().items()}
        parts = [f"{name} {medians[name]:.1f}" for name in STAGES if name in medians]
        facts.add_row("median ms", ", ".join(parts))
    console.print(facts)
    if tally.faces:
        table = Table(show_edge=False, pad_edge=False)
        table.add_column("Action Unit")
        table.add_column("active", justify="right")
        table.add_column("highest", justify="right")
        table.add_column("at")
        for k, name in enumerate(tally.au_names):
            active = f"{tally.active[k] / tally.faces:.1%}"
            table.add_row(facs_label(name), active, f"{tally.most[k]:.2f}", escape(tally.most_at[k]))
        console.print()
        console.print(table)
    console.print()
    for text in outputs:
        console.print(f"[green]written[/green]  {escape(text)}", soft_wrap=True)
    for text in problems:
        console.print(f"[red]broken[/red]   {escape(text)}", soft_wrap=True)
