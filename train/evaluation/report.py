"""Tables of an evaluation on the terminal."""

from __future__ import annotations

import math
from typing import Any


def show(report: dict[str, Any]) -> None:
    """Print what `train.evaluation.sequences.report_of` returned; what the model does not have is left out."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(
        f"{report['split']}: {report['frames']} frames, {report['sequences']} sequences, "
        f"{report['identities']} identities"
    )
    table = Table(title="AUs (all frames, neighbours where the sequence has them)")
    table.add_column("AU")
    table.add_column("positive", justify="right")
    heads = {head: contexts["sequence"] for head, contexts in report["heads"].items()}
    first = next(iter(heads.values()))
    for head in heads:
        for name in ("AUC", "F1", "F1 calibrated", "threshold"):
            table.add_column(f"{head} {name}", justify="right")
    for i, name in enumerate(report["aus"]):
        row = [name, f"{first['positives'][i]:.0f}/{first['known'][i]:.0f}"]
        for head in heads:
            values = [heads[head][key][i] for key in ("auc", "f1", "f1_calibrated")]
            row += [f"{value:.3f}" for value in (*values, report["thresholds"][head][i])]
        table.add_row(*row)
    console.print(table)

    table = Table(
        "context", *(f"{head} {name}" for head in heads for name in ("AUC", "F1", "F1 calibrated")), title="Means"
    )
    for context in next(iter(report["heads"].values())):
        means = [
            report["heads"][head][context][f"mean_{key}"] for head in heads for key in ("auc", "f1", "f1_calibrated")
        ]
        table.add_row(context, *(f"{value:.3f}" for value in means))
    console.print(table)

    table = Table(
        "group",
        "identities",
        "frames",
        "NME inner",
        *(f"{h} {n}" for h in heads for n in ("AUC", "F1")),
        title="Groups",
    )
    for group, row in report["groups"].items():
        nme = "-" if math.isnan(row["nme_inner"]) else f"{row['nme_inner']:.4f}"
        scores = [row[head][key] for head in heads for key in ("auc", "f1_calibrated")]
        table.add_row(group, str(row["identities"]), str(row["frames"]), nme, *(f"{v:.3f}" for v in scores))
    console.print(table)
    for title in (name for name in ("landmarks", "face_check", "photos_au12_auc") if name in report):
        console.print(title, " ".join(f"{key} {value:.4f}" for key, value in report[title].items()))
