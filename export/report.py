"""`python -m export.report FILE.parity.json ...`: the reports as Markdown tables, for docs/parity/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def markdown(reports: list[dict[str, Any]]) -> str:
    """One summary table over all reports and their samples, then one table per AU of the first sample of each."""
    lines = [
        "| bundle | crops | gate | max Δp | mean Δp | flipped | F1 change | agreement | landmarks mean, p99 px | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        for part in report["parts"]:
            gates = [f"Δp < {part['gate']:g}"] if part["gate"] is not None else []
            if part["f1_gate"] is not None:
                gates.append(f"F1 ≤ {part['f1_gate']:g}")
            elif part["precision"] != "fp32":
                gates.append("F1 not judged (no labels)")
            points = part["landmarks"]
            lines.append(
                f"| {part['file']} | {part['crops']} | {', '.join(gates) or 'none'} | {_text(part['max_difference'])} "
                f"| {_text(part['mean_difference'])} | {part['flipped']} of {part['decisions']} "
                f"| {_signed(part['f1_change'])} | {_fixed(part['agreement_f1'])} "
                f"| {_fixed(points['mean_px'], 3)}, {_fixed(points['p99_px'], 3)} "
                f"| {'passed' if part['passed'] else 'FAILED'} |"
            )
    for report in reports:
        first = report["parts"][0]
        lines += ["", f"## {report['file']}", f"{first['crops']}; ran in: {first['ran']}."]
        if "convolutions" in report:
            kept = f"{report['convolutions'] - len(report['left_out'])} of {report['convolutions']}"
            lines += [
                f"INT8 in {kept} convolutions, ranges: {report['ranges']}; calibrated on {report['calibration']}, "
                f"chosen on {report['selection']}."
            ]
        lines += ["", "| AU | max Δp | mean Δp | flipped | F1 torch | F1 |", "|---|---|---|---|---|---|"]
        for name, row in first["per_au"].items():
            lines.append(
                f"| {name} | {_text(row['max'])} | {_text(row['mean'])} | {row['flipped']} "
                f"| {_fixed(row['f1_torch'])} | {_fixed(row['f1'])} |"
            )
    return "\n".join(lines) + "\n"


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _fixed(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


def main(files: Annotated[list[Path], typer.Argument(help="Reports that `python -m export` wrote.")]) -> None:
    """Print Markdown."""
    typer.echo(markdown([json.loads(file.read_text(encoding="utf-8")) for file in files]), nl=False)


if __name__ == "__main__":
    typer.run(main)
