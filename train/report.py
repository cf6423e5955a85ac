"""Tables of an evaluation on the terminal."""

from __future__ import annotations

from typing import Any

from train.model import HEADS


def show(report: dict[str, Any]) -> None:
    """Print what `train.evaluate.full_report` returned."""
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
    for head in HEADS:
        for name in ("AUC", "F1", "F1 calibrated", "threshold"):
            table.add_column(f"{head} {name}", justify="right")
    heads = {head: report["heads"][head]["sequence"] for head in HEADS}
    for i, name in enumerate(report["aus"]):
        first = heads[HEADS[0]]
        row = [name, f"{first['positives'][i]:.0f}/{first['known'][i]:.0f}"]
        for head in HEADS:
            values = [heads[head][key][i] for key in ("auc", "f1", "f1_calibrated")]
            row += [f"{value:.3f}" for value in (*values, report["thresholds"][head][i])]
        table.add_row(*row)
    console.print(table)

    table = Table(
        "context", *(f"{head} {name}" for head in HEADS for name in ("AUC", "F1", "F1 calibrated")), title="Means"
    )
    for context in report["heads"][HEADS[0]]:
        means = [
            report["heads"][head][context][f"mean_{key}"] for head in HEADS for key in ("auc", "f1", "f1_calibrated")
        ]
        table.add_row(context, *(f"{value:.3f}" for value in means))
    console.print(table)

    table = Table(
        "group",
        "identities",
        "frames",
        "NME inner",
        *(f"{h} {n}" for h in HEADS for n in ("AUC", "F1")),
        title="Groups",
    )
    for group, row in report["groups"].items():
        scores = [row[head][key] for head in HEADS for key in ("auc", "f1_calibrated")]
        table.add_row(
            group, str(row["identities"]), str(row["frames"]), f"{row['nme_inner']:.4f}", *(f"{v:.3f}" for v in scores)
        )
    console.print(table)
    for title in ("landmarks", "face_check", "photos_au12_auc"):
        console.print(title, " ".join(f"{key} {value:.4f}" for key, value in report[title].items()))
