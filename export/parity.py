"""How far an exported bundle is from the torch model that it came from, in probabilities and landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from aunet_sdk import heatmap
from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import NEW, Query
from aunet_sdk.engines.ort import OrtClip, OrtStreamEngine
from train.model import Model

__all__ = ["GATES", "Parity", "compare", "headline", "table"]

GATES = {"fp32": 1e-3, "fp16": 5e-3}
"""Largest probability difference that is let pass, by precision."""
CONFIDENT = 0.1
_BATCH = 8


@dataclass(frozen=True)
class Parity:
    """Differences between ONNX Runtime (CPU) and torch (float32, eager, unfolded) on the same crops.

    max_difference, mean_difference: of probabilities, per AU
    landmark_mean_px, landmark_max_px: distance of decoded points in crop pixels, over the `landmarks` points whose
    confidence in torch is at least 0.1; NaN where there are none (a model that is not trained)
    """

    file: str
    precision: str
    crops: str
    triplets: int
    au_names: tuple[str, ...]
    max_difference: tuple[float, ...]
    mean_difference: tuple[float, ...]
    landmarks: int
    landmark_mean_px: float
    landmark_max_px: float
    gate: float

    @property
    def passed(self) -> bool:
        return bool(max(self.max_difference) < self.gate)  # False for NaN

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""
        points = {"count": self.landmarks, "mean_px": self.landmark_mean_px, "max_px": self.landmark_max_px}
        return {
            "file": self.file,
            "precision": self.precision,
            "crops": self.crops,
            "triplets": self.triplets,
            "gate": self.gate,
            "passed": self.passed,
            "max_difference": max(self.max_difference),
            "per_au": {
                name: {"max": high, "mean": mean}
                for name, high, mean in zip(self.au_names, self.max_difference, self.mean_difference, strict=True)
            },
            "landmarks": {k: None if np.isnan(v) else v for k, v in points.items()},
        }


def compare(model: Model, path: str | Path, triplets: NDArray[np.float32], crops: str = "") -> Parity:
    """Run the bundle at `path` and `model` on `triplets` (N, 3 frames, 3, R, R) float32; `crops` names them."""
    bundle = Bundle.load(path)
    runner = _clip if bundle.kind == "clip" else _stream
    got_maps, got_logits = runner(bundle, triplets)
    maps, logits = _torch(model, bundle.head, triplets)
    apart = np.abs(_sigmoid(got_logits) - _sigmoid(logits))
    points, confidence = heatmap.decode(maps)
    shift = np.linalg.norm(heatmap.decode(got_maps)[0] - points, axis=2)[confidence >= CONFIDENT]
    return Parity(
        file=Path(path).name,
        precision=bundle.precision,
        crops=crops,
        triplets=len(triplets),
        au_names=bundle.au_names,
        max_difference=tuple(float(v) for v in apart.max(0)),
        mean_difference=tuple(float(v) for v in apart.mean(0)),
        landmarks=int(shift.size),
        landmark_mean_px=float(shift.mean()) if shift.size else float("nan"),
        landmark_max_px=float(shift.max()) if shift.size else float("nan"),
        gate=GATES[bundle.precision],
    )


def headline(parity: Parity) -> str:
    """One line for the terminal."""
    verdict = "passed" if parity.passed else "FAILED"
    return f"{parity.file} against torch, {parity.crops}: {verdict}, gate {parity.gate:g}"


def table(parity: Parity) -> Table:
    """For the terminal."""
    view = Table()
    for column in ("", "max |Δp|", "mean |Δp|"):
        view.add_column(column, justify="left" if not column else "right")
    for name, high, mean in zip(parity.au_names, parity.max_difference, parity.mean_difference, strict=True):
        view.add_row(name, f"{high:.1e}", f"{mean:.1e}")
    view.add_section()
    view.add_row("all", f"{max(parity.max_difference):.1e}", f"{np.mean(parity.mean_difference):.1e}")
    if parity.landmarks:
        view.add_row("points, px", f"{parity.landmark_max_px:.3f}", f"{parity.landmark_mean_px:.4f}")
    return view


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


@torch.inference_mode()
def _torch(model: Model, head: str, triplets: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    model = model.float().eval()
    parts = []
    for start in range(0, len(triplets), _BATCH):
        former, due, later = torch.from_numpy(triplets[start : start + _BATCH]).unbind(1)
        maps, logits = model(former, due, later)
        parts.append((maps.numpy(), logits[head].numpy()))
    return np.concatenate([maps for maps, _ in parts]), np.concatenate([logits for _, logits in parts])


def _clip(bundle: Bundle, triplets: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    run = OrtClip(bundle, threads=1)
    parts = [run(triplets[start : start + _BATCH]) for start in range(0, len(triplets), _BATCH)]
    return np.concatenate([maps for maps, _ in parts]), np.concatenate([logits for _, logits in parts])


def _stream(bundle: Bundle, triplets: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The way a live system runs it: one step per frame, the decision from kept states and the newest crop."""
    maps, logits = [], []
    with OrtStreamEngine(bundle, max_faces=_BATCH, threads=1) as engine:
        for start in range(0, len(triplets), _BATCH):
            part = triplets[start : start + _BATCH]
            n = len(part)
            engine.crops[:n] = part[:, 0]
            former = engine.step(n).slots
            engine.crops[:n] = part[:, 1]
            result = engine.step(n)
            maps.append(result.heatmaps.copy())
            engine.crops[:n] = part[:, 2]
            queries = [Query(f, d, NEW) for f, d in zip(former, result.slots, strict=True)]
            logits.append(engine.step(n, queries).logits)
    return np.concatenate(maps), np.concatenate(logits)
