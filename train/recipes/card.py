"""The tables of a model card, in Markdown, from what `evaluate`, the agreement benchmark and the export wrote."""

from __future__ import annotations

import json
import math
import textwrap
from pathlib import Path
from typing import Any

from train.models.config import HEADS
from train.models.model import Model

EVALUATED = "python -m train evaluate --model train/checkpoints/{checkpoint} --data SET --json report.json"
AGREED = "python benchmarks/agreement.py {clips} --task face_landmarker.task{model} --json agreement.json"
COMMANDS = {
    "recipe": "all of it, from the sources to the files that are shipped",
    "calibration": "calibration of the logits, so that .5 decides, and of the face check, on the val identities",
    "fusion": "fusion of the appearance and the geometry path, so that .5 decides, on the val identities and pictures",
}
OPEN, CLOSE = "<!-- tables: begin -->", "<!-- tables: end -->"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)] + [""]


def _runs(model: Model) -> list[str]:
    lines = ["## How it was made", ""]
    for name, entry in model.config.provenance.items():
        if name in COMMANDS:
            lines += [COMMANDS[name], "", f"    {entry['command']}", ""]
        elif isinstance(entry, dict) and "command" in entry:
            seed, revision = entry["options"]["seed"], entry["revision"][:10]
            lines += [f"{name}: {entry['samples']} samples, seed {seed}, revision {revision}", ""]
            lines += [f"    {entry['command']}", ""]
    return lines


def tables(model: Model, report: dict[str, Any], agreement: dict[str, Any] | None, checkpoint: str) -> str:
    """Markdown: commands, AUs per head, contexts, groups, landmarks, agreement on real clips. checkpoint: file name."""
    lines = _runs(model)
    lines += [f"## Measured on the {report['split']} identities", ""]
    lines += [
        f"{report['frames']} frames, {report['identities']} identities that no training saw. Labels: on from "
        "intensity .3, off up to .15, between them not counted. F1 at the bundle's thresholds, "
        + ("all .5" if all(t == 0.5 for head in HEADS for t in report["thresholds"][head]) else "below")
        + "; the val identities chose how logits are scaled and shifted for that.",
        "",
        f"    {EVALUATED.format(checkpoint=checkpoint)}",
        "",
    ]
    heads = {head: report["heads"][head]["sequence"] for head in HEADS}
    columns = ["AU", "positive"] + [f"{head} {name}" for head in HEADS for name in ("AUC", "F1", "threshold")]
    rows = []
    for i, name in enumerate(report["aus"]):
        row = [name, f"{heads[HEADS[0]]['positives'][i]:.0f} of {heads[HEADS[0]]['known'][i]:.0f}"]
        for head in HEADS:
            values = [heads[head][key][i] for key in ("auc", "f1_calibrated")]
            row += ["-" if math.isnan(value) else f"{value:.3f}" for value in values]
            row += ["-" if math.isnan(values[0]) else f"{report['thresholds'][head][i]:.2f}"]  # a head without the AU
        rows.append(row)
    means: list[str] = ["mean", ""]
    for head in HEADS:
        means += [f"{heads[head][f'mean_{key}']:.3f}" for key in ("auc", "f1_calibrated")] + [""]
    lines += _table(columns, [*rows, means])
    lines += [
        "By context (mean AUC and F1 at the thresholds; full: both neighbours, none: no neighbour, rest: with the "
        "person's points at rest):",
        "",
    ]
    contexts = dict.fromkeys(context for head in HEADS for context in report["heads"][head])
    lines += _table(
        ["context", *(f"{head} {name}" for head in HEADS for name in ("AUC", "F1"))],
        [[c, *(_mean(report["heads"][h], c, k) for h in HEADS for k in ("auc", "f1_calibrated"))] for c in contexts],
    )
    if paths := report.get("paths"):
        lines += ["F1 of the points head's paths on renders, without the points at rest where it says so:", ""]
        ways = list(next(iter(paths.values())))
        rows = [[name, *(f"{of[way]['f1']:.3f}" for way in ways)] for name, of in paths.items()]
        lines += _table(["AU", *ways], rows)
    lines += ["By the ethnicity that the London set's table states (the Canadian set: white):", ""]
    lines += _table(
        ["group", "identities", "frames", "NME", *(f"{h} {n}" for h in HEADS for n in ("AUC", "F1"))],
        [
            [group, str(row["identities"]), str(row["frames"]), f"{row['nme_inner']:.4f}"]
            + [f"{row[h][k]:.3f}" for h in HEADS for k in ("auc", "f1_calibrated")]
            for group, row in report["groups"].items()
        ],
    )
    photos = report["photos_au12_auc"]
    lines += [
        f"- 68 points on held-out renders: inner-point NME {report['landmarks']['nme_inner']:.4f}, all points "
        f"{report['landmarks']['nme_all']:.4f} of the outer eye corners' distance.",
        "- Neutral against smiling photos of held-out identities, AUC of AU12: "
        + ", ".join(f"{head} {photos[head]:.3f}" for head in HEADS)
        + ".",
        f"- Face check (mean heatmap peak at least {report['face_check']['min_confidence']:.3f}): keeps "
        f"{100 * report['face_check']['faces_kept']:.1f} % of the faces and "
        f"{100 * report['face_check']['others_kept']:.1f} % of the crops without one.",
        "",
    ]
    if agreement:
        lines += ["## Agreement with MediaPipe on real clips", ""]
        which = "" if agreement["model"] == "default" else f" --model {agreement['model']}"
        lines += [
            "Pearson's r between our probability and MediaPipe's blendshape (AU25: its inner lip gap), inner-point NME "
            "against its points. Agreement with a tool, not accuracy: no FACS-coded real face was to be had.",
            "",
            f"    {AGREED.format(clips=' '.join(agreement['clips']), model=which)}",
            "",
        ]
        names = [name for name in agreement["pooled"]["r"] if name != "AU25_shapes"]
        table = []
        for clip, row in [*agreement["clips"].items(), ("pooled", agreement["pooled"])]:
            shown = ["-" if row["r"][name] is None else f"{row['r'][name]:.2f}" for name in names]
            nme = "-" if row["nme_inner"] is None else f"{row['nme_inner']:.4f}"
            table.append([clip, str(row["frames"]), f"{100 * row['face_share']:.0f} %", str(row["ids"]), nme, *shown])
        lines += _table(["clip", "frames", "with a face", "ids", "NME", *names], table)
        lines += _at_rest(agreement["pooled"])
    return "\n".join(_wrapped(lines))


def _wrapped(lines: list[str]) -> list[str]:
    """Prose in lines of at most 119 characters; tables and commands stay."""
    found = []
    for line in lines:
        prose = not line.startswith(("|", "    "))
        indent = "  " if line.startswith("- ") else ""
        found += textwrap.wrap(line, 119, subsequent_indent=indent) or [""] if prose else [line]
    return found


def _at_rest(pooled: dict[str, Any]) -> list[str]:
    """False activations while the faces of the clips are calm."""
    if not pooled.get("calm_s"):
        return []
    rates = {name: rate for name, rate in pooled["false_per_minute"].items() if rate}
    said = ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items()) or "none"
    return [
        f"False activations per minute on the calm stretches of these clips ({pooled['calm_s']:.1f} s in all; at rest "
        f"in MediaPipe's eyes, by the same script): {said}; every other AU 0.",
        "",
    ]


def _mean(contexts: dict[str, Any], context: str, key: str) -> str:
    """A dash where a head makes no use of a context."""
    return f"{contexts[context][f'mean_{key}']:.3f}" if context in contexts else "-"


def write_card(card: Path, checkpoint: Path, report: Path, agreement: Path | None) -> None:
    """Put the tables between the two marks of `card`; the words around them stay.

    Raises:
        ValueError: `card` has no marks.
    """
    text = card.read_text(encoding="utf-8")
    if OPEN not in text or CLOSE not in text:
        raise ValueError(f"{card}: expected the marks {OPEN} and {CLOSE}, found none")
    before, rest = text.split(OPEN, 1)
    after = rest.split(CLOSE, 1)[1]
    real = json.loads(agreement.read_text(encoding="utf-8")) if agreement else None
    body = tables(Model.load(checkpoint), json.loads(report.read_text(encoding="utf-8")), real, checkpoint.name)
    card.write_text(f"{before}{OPEN}\n{body}\n{CLOSE}{after}", encoding="utf-8")
