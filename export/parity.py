"""How far an exported bundle is from the torch model that it came from: probabilities, decisions, F1 and landmarks.

torch runs the model as trained (float32, eager, nothing folded); the bundle runs in ONNX Runtime on the CPU, with the
optimisations that it always has. ONNX Runtime's CPU rounds a half-precision graph less often than a GPU does, so such a
bundle is judged by a second witness too: the same module run by torch in FP16, every tensor rounded. INT8 for CPUs is
run by OpenVINO too, where that is installed, since it is what makes INT8 fast. The worse of the two counts.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import NEW, Query, StreamEngine
from aunet_sdk.engines.cpu.ort import OrtClip, OrtStreamEngine
from aunet_sdk.geometry import heatmap
from train.evaluation.metrics import f1 as f1_scores
from train.models.model import Model

from .crops import Sample
from .fuse import Clip, has_reference

__all__ = ["F1_GATES", "GATES", "Outputs", "Parity", "compare", "f1_scores", "headline", "judge", "reference", "table"]

GATES = {"fp32": 1e-4, "fp16": 5e-3, "int8": float("inf")}
"""Largest probability difference that is let pass (below it), by precision."""
F1_GATES = {"fp32": 0.0, "fp16": 2e-3, "int8": 1e-2}
"""Largest change of the macro F1 against labels that is let pass, by precision; fp32 has its probability gate alone."""
CONFIDENT = 0.1
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model said of N triplets.

    probabilities (N, n) float64; points (N, 68, 2) float32 in crop px; confidence (N, 68) float32 in [0, 1]
    intensities (N, n) float64 in [0, 1]; (N, 0) of a model without
    references (N, 68, 2) float32: what was given as the person's points at rest, zeros where nothing was; (0, 68, 2)
    where the model does not read them
    """

    probabilities: NDArray[np.float64]
    points: NDArray[np.float32]
    confidence: NDArray[np.float32]
    intensities: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    references: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 68, 2), np.float32))


@dataclass(frozen=True)
class Parity:
    """Differences between a bundle and torch on the same crops.

    max_difference, mean_difference: of probabilities, per AU; flipped: decisions that differ, per AU
    f1_torch, f1: per AU against labels, NaN without a positive or without labels
    agreement: F1 of the bundle's decisions with torch's for the truth, over all AUs together; NaN without a positive
    landmark_mean_px, landmark_p99_px, landmark_max_px: distance of decoded points in crop pixels, over the `landmarks`
    points whose confidence in torch is at least 0.1; NaN where no point has that (a model that is not trained)
    gate, f1_gate: what is let pass; ran: what computed the bundle's side
    """

    file: str
    precision: str
    arithmetic: str
    crops: str
    triplets: int
    labelled: bool
    ran: str
    au_names: tuple[str, ...]
    max_difference: tuple[float, ...]
    mean_difference: tuple[float, ...]
    flipped: tuple[int, ...]
    f1_torch: tuple[float, ...]
    f1: tuple[float, ...]
    agreement: float
    landmarks: int
    landmark_mean_px: float
    landmark_p99_px: float
    landmark_max_px: float
    gate: float
    f1_gate: float

    @property
    def f1_change(self) -> float:
        """Macro F1 of the bundle less that of torch; NaN where no AU has both labels and positives."""
        pairs = np.array((self.f1, self.f1_torch))
        pairs = pairs[:, ~np.isnan(pairs).any(0)]
        return float((pairs[0] - pairs[1]).mean()) if pairs.size else float("nan")

    @property
    def f1_judged(self) -> bool:
        """Whether the macro F1 against labels is part of the verdict."""
        return self.labelled and self.precision != "fp32"

    @property
    def f1_unjudged_because(self) -> str | None:
        """Why the F1 gate is no part of the verdict; None where it is."""
        if self.f1_judged:
            return None
        return "fp32 has no F1 gate" if self.precision == "fp32" else "the crops have no labels with a positive"

    @property
    def passed(self) -> bool:
        """Within every gate. What cannot be measured (NaN) has not passed, but for F1 where nothing is labelled."""
        near = max(self.max_difference) < self.gate or (np.isinf(self.gate) and max(self.max_difference) <= 1)
        if not self.f1_judged:
            return bool(near) and all(np.isfinite(self.mean_difference))
        return bool(near and abs(self.f1_change) <= self.f1_gate) and all(np.isfinite(self.mean_difference))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN and infinity become None."""
        rows = zip(
            self.au_names, self.max_difference, self.mean_difference, self.flipped, self.f1_torch, self.f1, strict=True
        )
        return {
            "file": self.file,
            "precision": self.precision,
            "arithmetic": self.arithmetic,
            "ran": self.ran,
            "crops": self.crops,
            "triplets": self.triplets,
            "gate": _number(self.gate),
            "f1_gate": self.f1_gate if self.f1_judged else None,
            "f1_judged": self.f1_judged,
            "f1_unjudged_because": self.f1_unjudged_because,
            "passed": self.passed,
            "max_difference": _number(max(self.max_difference)),
            "mean_difference": _number(float(np.mean(self.mean_difference))),
            "flipped": sum(self.flipped),
            "decisions": self.triplets * len(self.au_names),
            "f1_change": _number(self.f1_change),
            "agreement_f1": _number(self.agreement),
            "per_au": {
                name: {
                    "max": _number(high),
                    "mean": _number(mean),
                    "flipped": flipped,
                    "f1_torch": _number(before),
                    "f1": _number(after),
                }
                for name, high, mean, flipped, before, after in rows
            },
            "landmarks": {
                "count": self.landmarks,
                "mean_px": _number(self.landmark_mean_px),
                "p99_px": _number(self.landmark_p99_px),
                "max_px": _number(self.landmark_max_px),
            },
        }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def compare(
    model: Model,
    path: str | Path,
    triplets: NDArray[Any] | Sample,
    crops: str = "",
    *,
    expected: Outputs | None = None,
) -> Parity:
    """Run the bundle at `path` and `model` on a Sample, or on triplets (N, 3 frames, 3, R, R) float32 named by `crops`.

    expected: what `reference` gave for the same sample and head, so that torch need not run again.
    """
    sample = triplets if isinstance(triplets, Sample) else Sample(crops, triplets)
    bundle = Bundle.load(path)
    if expected is None:
        expected = reference(model, bundle.head, sample)
    runner = _clip if bundle.kind == "clip" else _stream
    given = expected.references
    parts = [judge(bundle, sample, expected, runner(bundle, sample.crops, given), "ONNX Runtime, CPU")]
    if bundle.arithmetic == "fp16":
        half = _torch_half(model, bundle.head, sample.crops, given)
        parts.append(judge(bundle, sample, expected, half, "torch, CPU, FP16"))
    if openvino_runs(bundle):
        parts.append(judge(bundle, sample, expected, by_openvino(bundle, sample.crops, given), "OpenVINO, CPU"))
    return max(parts, key=lambda part: (not part.passed, max(part.max_difference)))


def judge(bundle: Bundle, sample: Sample, expected: Outputs, got: Outputs, ran: str) -> Parity:
    """The report on `got` beside `expected`."""
    apart = np.abs(got.probabilities - expected.probabilities)
    if expected.intensities.size:
        apart = np.maximum(apart, np.abs(got.intensities - expected.intensities))
    limits = np.array(bundle.thresholds)
    before, after = expected.probabilities >= limits, got.probabilities >= limits
    shift = np.linalg.norm(got.points - expected.points, axis=2)[expected.confidence >= CONFIDENT]
    n = len(bundle.au_names)
    nothing = np.full((len(sample), n), np.nan, np.float32)
    labels = nothing if sample.labels is None else sample.labels
    together = f1_scores(after.reshape(-1, 1), before.reshape(-1, 1).astype(np.float32))
    f1_torch, f1 = f1_scores(before, labels), f1_scores(after, labels)
    return Parity(
        file=bundle.path.name if bundle.path else bundle.name,
        precision=bundle.precision,
        arithmetic=bundle.arithmetic,
        crops=sample.name,
        triplets=len(sample),
        labelled=bool(np.isfinite(f1_torch).any()),
        ran=ran,
        au_names=bundle.au_names,
        max_difference=tuple(float(v) for v in apart.max(0)),
        mean_difference=tuple(float(v) for v in apart.mean(0)),
        flipped=tuple(int(v) for v in (before != after).sum(0)),
        f1_torch=tuple(float(v) for v in f1_torch),
        f1=tuple(float(v) for v in f1),
        agreement=float(together[0]),
        landmarks=int(shift.size),
        landmark_mean_px=float(shift.mean()) if shift.size else float("nan"),
        landmark_p99_px=float(np.percentile(shift, 99)) if shift.size else float("nan"),
        landmark_max_px=float(shift.max()) if shift.size else float("nan"),
        gate=GATES[bundle.precision],
        f1_gate=F1_GATES[bundle.precision],
    )


def headline(parity: Parity) -> str:
    """One line for the terminal."""
    verdict = "passed" if parity.passed else "FAILED"
    gates = [] if np.isinf(parity.gate) else [f"gate {parity.gate:g}"]
    if parity.precision != "fp32":
        gates.append(f"F1 gate {parity.f1_gate:g}{'' if parity.f1_judged else ' not judged'}")
    return f"{parity.file} against torch, {parity.crops}: {verdict}, {', '.join(gates)}"


def table(parity: Parity) -> Table:
    """For the terminal; below it, for other precisions than fp32, why the F1 gate was not judged, where it was not."""
    because = None if parity.precision == "fp32" else parity.f1_unjudged_because
    view = Table(caption=because and f"F1 gate not judged: {because}", caption_justify="left")
    for column in ("", "max |Δp|", "mean |Δp|", "flipped", "F1 torch", "F1"):
        view.add_column(column, justify="left" if not column else "right")
    rows = zip(
        parity.au_names,
        parity.max_difference,
        parity.mean_difference,
        parity.flipped,
        parity.f1_torch,
        parity.f1,
        strict=True,
    )
    for name, high, mean, flipped, before, after in rows:
        scores = ("", "") if np.isnan(before) else (f"{before:.4f}", f"{after:.4f}")
        view.add_row(name, f"{high:.1e}", f"{mean:.1e}", str(flipped), *scores)
    view.add_section()
    change = "" if np.isnan(parity.f1_change) else f"{parity.f1_change:+.4f}"
    view.add_row(
        "all",
        f"{max(parity.max_difference):.1e}",
        f"{np.mean(parity.mean_difference):.1e}",
        f"{sum(parity.flipped)} of {parity.triplets * len(parity.au_names)}",
        "change" if change else "",
        change,
    )
    if parity.landmarks:
        view.add_row("points, px", f"{parity.landmark_max_px:.3f}", f"{parity.landmark_mean_px:.4f}")
    return view


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


def _float(crops: NDArray[Any]) -> NDArray[np.float32]:
    return crops.astype(np.float32) / np.float32(255) if crops.dtype == np.uint8 else crops


def _gather(
    parts: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], count: int, references: NDArray[np.float32]
) -> Outputs:
    """Batches of (heatmaps, logits and behind them intensities of `count` AUs) -> Outputs."""
    points, confidence = zip(*(heatmap.decode(np.ascontiguousarray(maps)) for maps, _ in parts), strict=True)
    answers = np.concatenate([answers for _, answers in parts])
    return Outputs(
        _sigmoid(answers[:, :count]),
        np.concatenate(points),
        np.concatenate(confidence),
        answers[:, count:].astype(np.float64),
        references,
    )


def _at(references: NDArray[np.float32], start: int) -> NDArray[np.float32] | None:
    """Those of the batch that begins there; None where the model does not read them."""
    return references[start : start + _BATCH] if len(references) else None


@torch.inference_mode()
def reference(model: Model, head: str, sample: Sample) -> Outputs:
    """What torch says in float32, eager, unfolded. A model that reads the person's points at rest is given those of the
    former frame for every other triplet, and none for the rest."""
    model = model.float().eval()
    parts, references = [], []
    for start in range(0, len(sample), _BATCH):
        crops = torch.from_numpy(_float(sample.crops[start : start + _BATCH])).unbind(1)
        if head == "points":
            looks = [model.fan(crop) for crop in crops]
            seen = zip(looks, crops, strict=True)
            frames = [model.points.describe(features, heatmaps[-1], crop) for (heatmaps, features), crop in seen]
            given = frames[0][:, :68, -2:].clone()
            given[start % 2 :: 2] = 0
            former, due, later = frames
            rest = given if has_reference(model, head) else None
            logits, intensity = model.points.decide(former, due, later, rest)
            answers = logits if intensity is None else torch.cat((logits, intensity), 1)
            parts.append((looks[1][0][-1].numpy(), answers.numpy()))
            references.append(given.numpy())
        else:
            maps, said = model(*crops)
            parts.append((maps.numpy(), said[head].numpy()))
    known = np.concatenate(references) if has_reference(model, head) else np.empty((0, 68, 2), np.float32)
    return _gather(parts, len(model.config.aus_of(head)), known)


@torch.inference_mode()
def _torch_half(model: Model, head: str, crops: NDArray[Any], references: NDArray[np.float32]) -> Outputs:
    half = Clip(model, head, "float16").eval()
    parts = []
    for start in range(0, len(crops), _BATCH):
        given = _at(references, start)
        inputs = (_float(crops[start : start + _BATCH]), *(() if given is None else (given,)))
        maps, logits = half(*map(torch.from_numpy, inputs))
        parts.append((maps.numpy(), logits.numpy()))
    return _gather(parts, len(model.config.aus_of(head)), references)


def _clip(bundle: Bundle, crops: NDArray[Any], references: NDArray[np.float32]) -> Outputs:
    run = OrtClip(bundle, threads=1)
    starts = range(0, len(crops), _BATCH)
    parts = [run(_float(crops[start : start + _BATCH]), _at(references, start)) for start in starts]
    return _gather(parts, len(bundle.au_numbers), references)


def _stream(bundle: Bundle, crops: NDArray[Any], references: NDArray[np.float32]) -> Outputs:
    return _drive(OrtStreamEngine(bundle, max_faces=_BATCH, threads=1), crops, references)


def openvino_runs(bundle: Bundle) -> bool:
    """Whether OpenVINO is what makes this bundle fast, and is installed."""
    fitting = bundle.arithmetic == "int8" and bundle.kind == "stream"
    return fitting and importlib.util.find_spec("openvino") is not None


def by_openvino(bundle: Bundle, crops: NDArray[Any], references: NDArray[np.float32]) -> Outputs:
    """What OpenVINO answers on triplets (N, 3 frames, 3, R, R), given the references of `reference`."""
    from aunet_sdk.engines.cpu.openvino import OpenVinoStreamEngine

    with tempfile.TemporaryDirectory() as folder:
        return _drive(OpenVinoStreamEngine(bundle, max_faces=_BATCH, threads=1, cache=folder), crops, references)


def _drive(engine: StreamEngine, crops: NDArray[Any], references: NDArray[np.float32]) -> Outputs:
    """The way a live system runs it: one step per frame, the decision from kept states and the newest crop."""
    parts = []
    try:
        for start in range(0, len(crops), _BATCH):
            part = _float(crops[start : start + _BATCH])
            n = len(part)
            engine.crops[:n] = part[:, 0]
            former = engine.step(n).slots
            engine.crops[:n] = part[:, 1]
            result = engine.step(n)
            maps = result.heatmaps.copy()
            engine.crops[:n] = part[:, 2]
            given = _at(references, start)
            known = [None] * n if given is None else list(given)
            queries = [Query(f, d, NEW, r) for f, d, r in zip(former, result.slots, known, strict=True)]
            parts.append((maps, engine.step(n, queries).logits))
    finally:
        engine.close()
    return _gather(parts, len(engine.bundle.au_numbers), references)
