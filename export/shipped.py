"""`python -m export.shipped --crops SET [--model NAME]`: the parity page of a shipped model, docs/parity/NAME.md, that
of the default model docs/parity/README.md.

`python -m export` writes every precision from the model's checkpoint and compares it on the set; here the bundle that
the package ships is compared as it lies there, all of them on clips, too, and the reports become one page.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aunet_sdk.bundle import Bundle, sha256_of, shipped_path

from .crops import load_clip, load_sample
from .parity import compare, reference
from .report import markdown

if TYPE_CHECKING:
    from train.models.model import Model

    from .crops import Sample
    from .parity import Outputs

__all__ = ["VARIANTS", "page"]

VARIANTS = (
    ("stream", "fp32"),
    ("stream", "fp16", "--storage"),
    ("stream", "fp16"),
    ("clip", "fp32"),
    ("clip", "fp16", "--storage"),
    ("clip", "fp16"),
    ("stream", "int8"),
    ("stream", "int8", "--symmetric"),
)
"""What follows --kind and --precision, one file each. INT8 needs labels."""
ROOT = Path(__file__).resolve().parents[1]
HEAD = "points"


def page(name: str, reports: Sequence[dict[str, Any]], checkpoint: Path, shipped: Path, command: str) -> str:
    """The page as Markdown: what was compared and how, then the tables of `report.markdown`."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("torch", "onnxruntime", "openvino")
        if importlib.util.find_spec(name) is not None
    )
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    lines = [
        f"# Parity of the model `{name}`",
        f"`{checkpoint.name}` (SHA-256 {sha256_of(checkpoint)[:12]}...) as both graphs in every precision, and "
        f"`{shipped.name}` as the package ships it (SHA-256 {sha256_of(shipped)[:12]}...), against PyTorch in FP32 on "
        "the same crops: rendered ones with labels, and the first face of real clips, which nobody labelled. What is "
        "compared, and the gates: [export.md](../export.md).",
        "",
        f"Made on {today} with {versions} by",
        "",
        f"    {command}",
        "",
        f"to be run again when the model is another (`make parity MODEL={name} SET=... CLIPS=... RANGES=...`). "
        "It ends with exit code 1 where something is outside its gate; the page says what.",
        "",
    ]
    return "\n".join(lines) + "\n" + markdown(list(reports))


def _exported(
    name: str,
    checkpoint: Path,
    variant: Sequence[str],
    crops: Path | None,
    calibrate: Sequence[Path],
    limit: int,
    work: Path,
) -> Path:
    """The report that `python -m export` wrote; SystemExit where it could not."""
    kind, *precision = variant
    what = ["--kind", kind, "--head", HEAD, "--name", name, "--precision", *precision, "--out", str(work)]
    given = [] if crops is None else ["--crops", str(crops)]
    given += [word for path in calibrate if "int8" in precision for word in ("--calibrate", str(path))]
    report = work / f"{name}-{kind}-{'-'.join(word.lstrip('-') for word in precision)}.parity.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "export", str(checkpoint), *what, *given, "--limit", str(limit)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if not report.is_file():
        raise SystemExit(done.returncode or 2)
    return report


def _with_clips(report: dict[str, Any], model: Model, path: Path, clips: Sequence[tuple[Sample, Outputs]]) -> None:
    """Add the comparisons on clips to the report on `path`; a bundle outside a gate was not written and has none."""
    if not path.is_file():
        return
    for sample, expected in clips:
        part = compare(model, path, sample, expected=expected)
        report["parts"].append({**part.to_dict(), "file": report["file"]})
        report["passed"] = report["passed"] and part.passed


def main(
    crops: Annotated[
        Path | None, typer.Option(help="Synthetic set with labels [default: the example, and no INT8].")
    ] = None,
    clip: Annotated[list[Path] | None, typer.Option(help="Video whose first face is compared on, too.")] = None,
    calibrate: Annotated[
        list[Path] | None, typer.Option(help="What gives the ranges of INT8, as of `python -m export`; repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Triplets of crops of the set at most.", min=1)] = 1000,
    clip_limit: Annotated[int, typer.Option(help="Triplets of crops of each clip at most.", min=1)] = 100,
    name: Annotated[str, typer.Option("--model", help="Which of the models that the package ships.")] = "default",
    checkpoint: Annotated[Path | None, typer.Option(help="[default: train/checkpoints/MODEL.safetensors]")] = None,
    bundle: Annotated[Path | None, typer.Option(help="[default: aunet_sdk/models/MODEL.onnx]")] = None,
    work: Annotated[Path, typer.Option(help="Folder for bundles and reports.")] = ROOT / "runs" / "parity",
    target: Annotated[Path | None, typer.Option("--page", help="Page to write [default: in docs/parity].")] = None,
) -> None:
    """Export both graphs in every precision, compare each of them and the shipped bundle with torch, write the page."""
    from train.models.model import Model

    checkpoint = checkpoint or ROOT / "train" / "checkpoints" / f"{name}.safetensors"
    bundle = bundle or shipped_path(name)
    target = target or ROOT / "docs" / "parity" / ("README.md" if name == "default" else f"{name}.md")
    model, shipped = Model.load(checkpoint), Bundle.load(bundle)
    clips = []
    for path in clip or ():
        sample = load_clip(path, shipped.resolution, shipped.template, shipped.interval_s, clip_limit)
        clips.append((sample, reference(model, HEAD, sample)))
    split = "test" if crops is not None and (crops / "dataset.json").is_file() else None
    part = compare(model, bundle, load_sample(crops, shipped.resolution, limit, split, shipped.au_numbers)).to_dict()
    reports = [{**part, "parts": [part]}]
    _with_clips(reports[0], model, bundle, clips)
    for variant in VARIANTS:
        if crops is None and "int8" in variant:
            continue
        file = _exported(name, checkpoint, variant, crops, calibrate or (), limit, work)
        report = json.loads(file.read_text(encoding="utf-8"))
        _with_clips(report, model, work / report["file"], clips)
        reports.append(report)
    words = ["python -m export.shipped", *(["--model", name] if name != "default" else [])]
    words += [*(["--crops", crops.name] if crops is not None else [])]
    words += [word for path in clip or () for word in ("--clip", path.name)]
    words += [word for path in calibrate or () for word in ("--calibrate", path.name)]
    words += ["--limit", str(limit), *(["--clip-limit", str(clip_limit)] if clip else [])]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(name, reports, checkpoint, bundle, " ".join(words)), encoding="utf-8")
    passed = sum(bool(report["passed"]) for report in reports)
    typer.echo(f"{target}: {passed} of {len(reports)} bundles within their gates")
    if passed < len(reports):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
