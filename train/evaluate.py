"""Evaluation of a model on one split: landmarks, AUs per head, context and group, photographs, confidence."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from train import calibration, metrics
from train.augment import centre_crops
from train.data.sequences import SequenceSet
from train.model import HEADS, Model

CONTEXTS = ("sequence", "full", "none")
"""sequence: all frames, neighbours where the sequence has them; full: frames with both; none: all frames, alone."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model says about N sequences of F frames."""

    points: NDArray[np.float32]
    """(N, F, 68, 2) pixels of the crop."""
    truth: NDArray[np.float32]
    """(N, F, 68, 2) pixels of the crop; NaN: no face."""
    confidence: NDArray[np.float32]
    """(N, F) mean over the points."""
    probabilities: dict[tuple[str, str], NDArray[np.float32]]
    """(head, 'sequence' | 'none') -> (N, F, n)."""


def evenly(sequences: SequenceSet, frames: int) -> SequenceSet:
    """Evenly spaced sequences with about `frames` frames together."""
    count = min(len(sequences), max(1, frames // sequences.info.frames))
    return sequences.subset(np.linspace(0, len(sequences) - 1, count).round().astype(np.int64))


@torch.inference_mode()
def predict(model: Model, sequences: SequenceSet, heads: bool = True, batch: int = 16) -> Predictions:
    """Run a model over the canonical crops of sequences, float32, `batch` sequences at a time."""
    model.eval()
    device = next(model.parameters()).device
    frames = sequences.info.frames
    points, truth, confidence = [], [], []
    probabilities: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
    for start in range(0, len(sequences), batch):
        chosen = range(start, min(start + batch, len(sequences)))
        pairs = [
            centre_crops(sequences.images[i], sequences.points[i], model.config.resolution, sequences.info.margin)
            for i in chosen
        ]
        images = torch.from_numpy(np.concatenate([images for images, _ in pairs])).to(device)
        heatmaps, features = model.fan(to_input(images))
        found, peak = metrics.decode(heatmaps[-1])
        points.append(found.cpu().numpy().reshape(len(pairs), frames, 68, 2))
        confidence.append(peak.mean(1).cpu().numpy().reshape(len(pairs), frames))
        truth += [moved for _, moved in pairs]
        if not heads:
            continue
        static, early, late = model.aunet.split(features)
        described = model.points.describe(features, heatmaps[-1])
        own = torch.arange(len(images), device=device)
        place = own % frames
        for context in ("sequence", "none"):
            former = torch.where(place > 0, own - 1, own) if context == "sequence" else own
            later = torch.where(place < frames - 1, own + 1, own) if context == "sequence" else own
            logits = {
                "aunet": model.aunet.combine(static, early[former], early, late, late[later]),
                "points": model.points.combine(described[former], described, described[later]),
            }
            for head, values in logits.items():
                shaped = values.sigmoid().cpu().numpy().reshape(len(pairs), frames, -1)
                probabilities.setdefault((head, context), []).append(shaped)
    return Predictions(
        np.concatenate(points),
        np.stack(truth),
        np.concatenate(confidence),
        {key: np.concatenate(parts) for key, parts in probabilities.items()},
    )


def to_input(images: torch.Tensor) -> torch.Tensor:
    """(B, R, R, 3) uint8 -> (B, 3, R, R) float32 in [0, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255.0)


def landmark_report(predictions: Predictions) -> dict[str, float]:
    """Errors over the distance of the outer eye corners, and mean confidence with and without a face."""
    points, truth = predictions.points.reshape(-1, 68, 2), predictions.truth.reshape(-1, 68, 2)
    confidence, face = predictions.confidence.reshape(-1), ~np.isnan(truth).any((1, 2))
    report = {
        "nme_inner": metrics.nanmean(metrics.landmark_errors(points[face], truth[face])),
        "nme_all": metrics.nanmean(metrics.landmark_errors(points[face], truth[face], slice(0, 68))),
        "confidence_face": metrics.nanmean(confidence[face]),
    }
    if not face.all():
        report["confidence_none"] = metrics.nanmean(confidence[~face])
    return report


def au_report(
    predictions: Predictions, labels: NDArray[np.float32], thresholds: dict[str, tuple[float, ...]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """head -> context -> per-AU arrays of `metrics.per_au` and their means.

    Args:
        labels: (N, F, n).  thresholds: per head.
    """
    report: dict[str, dict[str, dict[str, Any]]] = {}
    n_aus = labels.shape[-1]
    for head in HEADS:
        report[head] = {}
        for context in CONTEXTS:
            values, wanted = predictions.probabilities[head, "none" if context == "none" else "sequence"], labels
            if context == "full":
                values, wanted = values[:, 1:-1], labels[:, 1:-1]
            table = metrics.per_au(values.reshape(-1, n_aus), wanted.reshape(-1, n_aus), np.array(thresholds[head]))
            means = {f"mean_{name}": metrics.nanmean(table[name]) for name in ("f1", "f1_calibrated", "auc")}
            report[head][context] = {**{name: column.tolist() for name, column in table.items()}, **means}
    return report


def brief(model: Model, sequences: SequenceSet) -> dict[str, float]:
    """The scalars of an evaluation during training: landmarks; mean AUC and macro F1 at 0.5 per head."""
    predictions = predict(model, sequences)
    report = landmark_report(predictions)
    even = {head: (0.5,) * sequences.labels.shape[-1] for head in HEADS}
    for head, contexts in au_report(predictions, sequences.labels, even).items():
        for context in ("sequence", "none"):
            suffix = "" if context == "sequence" else "_none"
            report[f"{head}_auc{suffix}"] = contexts[context]["mean_auc"]
            report[f"{head}_f1{suffix}"] = contexts[context]["mean_f1"]
    return report


def calibrate(model: Model, validation: SequenceSet) -> Model:
    """Scale and shift a model's logits (train.calibration: afterwards .5 decides) and set `min_confidence`, all on the
    validation split.

    `min_confidence` is put halfway between the 99th percentile of frames without and the 1st of frames with a face; it
    stays as it is where the split has no frame without.
    """
    predictions = predict(model, validation)
    n_aus = validation.labels.shape[-1]
    labels = validation.labels.reshape(-1, n_aus)
    targets = calibration.soft_targets(validation).reshape(-1, n_aus)
    thresholds = {}
    for head in HEADS:
        values = np.clip(
            predictions.probabilities[head, "sequence"].reshape(-1, n_aus).astype(np.float64), 1e-7, 1 - 1e-7
        )
        scale, shift = calibration.fit(np.log(values / (1 - values)), targets, labels)
        calibration.fold(getattr(model, head).predictor, scale, shift)
        thresholds[head] = (0.5,) * n_aus
    least = model.config.min_confidence
    face = ~np.isnan(predictions.truth).any((2, 3))
    if not face.all() and face.any():
        confidence = predictions.confidence
        least = float((np.quantile(confidence[~face], 0.99) + np.quantile(confidence[face], 0.01)) / 2)
    model.config = dataclasses.replace(model.config, thresholds=thresholds, min_confidence=round(least, 4))
    return model


def full_report(model: Model, sequences: SequenceSet) -> dict[str, Any]:
    """Everything the model card needs about one split; thresholds are those of the model's configuration."""
    info = sequences.info
    if tuple(info.au_numbers) != model.config.au_numbers:
        raise ValueError(f"data: expected the AUs of the model {model.config.au_numbers}, got {info.au_numbers}")
    predictions = predict(model, sequences)
    thresholds = {head: model.config.thresholds_of(head) for head in HEADS}
    report: dict[str, Any] = {
        "sequences": len(sequences),
        "frames": len(sequences) * info.frames,
        "identities": len(set(sequences.identity.tolist())),
        "aus": [f"AU{n}" for n in info.au_numbers],
        "thresholds": {head: list(values) for head, values in thresholds.items()},
        "landmarks": landmark_report(predictions),
        "heads": au_report(predictions, sequences.labels, thresholds),
        "groups": {},
        "photos_au12_auc": _photos(predictions, sequences),
    }
    least = model.config.min_confidence
    face = ~np.isnan(predictions.truth).any((2, 3))
    report["face_check"] = {
        "min_confidence": least,
        "faces_kept": metrics.nanmean((predictions.confidence[face] >= least).astype(float)),
        "others_kept": metrics.nanmean((predictions.confidence[~face] >= least).astype(float)),
    }
    ethnicity = np.array([str(info.groups.get(name, {}).get("ethnicity", "unknown")) for name in sequences.identity])
    for group in sorted(set(ethnicity)):
        chosen = np.flatnonzero((ethnicity == group) & (sequences.source != "negative"))
        if len(chosen):
            part = _select(predictions, chosen)
            heads = au_report(part, sequences.labels[chosen], thresholds)
            report["groups"][group] = {
                "identities": len(set(sequences.identity[chosen].tolist())),
                "frames": len(chosen) * info.frames,
                "nme_inner": landmark_report(part)["nme_inner"],
                **{head: {k: heads[head]["sequence"][f"mean_{k}"] for k in ("f1_calibrated", "auc")} for head in HEADS},
            }
    return report


def _select(predictions: Predictions, chosen: NDArray[np.int64]) -> Predictions:
    return Predictions(
        predictions.points[chosen],
        predictions.truth[chosen],
        predictions.confidence[chosen],
        {key: values[chosen] for key, values in predictions.probabilities.items()},
    )


def _photos(predictions: Predictions, sequences: SequenceSet) -> dict[str, float]:
    """AUC of AU12 between neutral and smiling photographs, no neighbours; NaN where the split has none."""
    column = list(sequences.info.au_numbers).index(12) if 12 in sequences.info.au_numbers else None
    chosen = np.flatnonzero(sequences.source == "photo")
    if column is None or not len(chosen):
        return {head: float("nan") for head in HEADS}
    labels = sequences.labels[chosen][..., column].reshape(-1)
    return {
        head: metrics.auc(predictions.probabilities[head, "none"][chosen][..., column].reshape(-1), labels)
        for head in HEADS
    }
