"""Evaluation of a model on one split: landmarks, AUs per head, context and group, photographs, confidence.

A model of ours has two heads on one FAN; a network of the paper (train.models.variants) is a single one, under its own
name, with landmarks where it has a FAN.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from train.data.sequences import SequenceSet
from train.data.transforms.sequences import centre_crops
from train.evaluation import calibration, metrics
from train.evaluation.references import references_of
from train.models.config import HEADS, ModelConfig
from train.models.fan import FAN
from train.models.model import Model
from train.models.parser import FaceParser
from train.models.variants import Network

LOG = logging.getLogger("train")
CONTEXTS = ("sequence", "full", "none", "rest")
"""sequence: all frames, neighbours where the sequence has them; full: frames with both; none: all frames, alone; rest:
as sequence, and with the person's points at rest, as a runtime would know them
(train.evaluation.references.references)."""


@dataclasses.dataclass(frozen=True)
class SequenceOutputs:
    """What a model says about N sequences of F frames."""

    points: NDArray[np.float32]
    """(N, F, 68, 2) pixels of the crop; NaN: a network without landmarks."""
    truth: NDArray[np.float32]
    """(N, F, 68, 2) pixels of the crop; NaN: no face."""
    confidence: NDArray[np.float32]
    """(N, F) mean over the points; NaN: a network without landmarks."""
    probabilities: dict[tuple[str, str], NDArray[np.float32]]
    """(head, 'sequence' | 'none' | 'rest') -> (N, F, n); NaN: an AU that the head does not have. 'rest' is there where
    the head makes use of the points at rest and the set knows them."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that said something."""
        return tuple(dict.fromkeys(head for head, _ in self.probabilities))


def evenly(sequences: SequenceSet, frames: int) -> SequenceSet:
    """Evenly spaced sequences with about `frames` frames together."""
    count = min(len(sequences), max(1, frames // sequences.info.frames))
    return sequences.subset(np.linspace(0, len(sequences) - 1, count).round().astype(np.int64))


Decide = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], dict[str, torch.Tensor]]
"""For each crop of a batch the rows (B,) of its former and its later frame, and its reference (B, 68, 2) or None ->
logits (B, n) per head; with a reference, of the heads alone that make use of it."""
Said = tuple[torch.Tensor | None, torch.Tensor | None, Decide | None]
"""Of a batch of crops: points (B, 68, 2) px and their peaks (B, 68), both None without landmarks; the decision."""


def predict(model: Model, sequences: SequenceSet, heads: bool = True, batch: int = 16) -> SequenceOutputs:
    """Run the heads of a model over the canonical crops of sequences, float32, `batch` sequences at a time."""

    def look(images: torch.Tensor) -> Said:
        heatmaps, features = model.fan(images)
        found, peak = metrics.decode(heatmaps[-1])
        if not heads:
            return found, peak, None
        static, early, late = model.aunet.split(features)
        described = model.points.describe(features, heatmaps[-1], images)

        def decide(
            former: torch.Tensor, later: torch.Tensor, reference: torch.Tensor | None
        ) -> dict[str, torch.Tensor]:
            logits = {
                "aunet": lambda: model.aunet.combine(static, early[former], early, late, late[later]),
                "points": lambda: model.points.combine(described[former], described, described[later], reference),
            }
            if reference is not None:
                return {"points": logits["points"]()} if "points" in model.config.heads else {}
            return {head: logits[head]() for head in model.config.heads}

        return found, peak, decide

    model.eval()
    config = model.config
    device = next(model.parameters()).device
    said = _over(sequences, config.resolution, device, look, batch, reference=config.reference)
    probabilities = {
        key: _spread(values, config.aus_of(key[0]), config.au_numbers) for key, values in said.probabilities.items()
    }
    return dataclasses.replace(said, probabilities=probabilities)


def _spread(values: NDArray[np.float32], own: tuple[int, ...], wanted: tuple[int, ...]) -> NDArray[np.float32]:
    """(..., n) of the AUs `own` in the order of `wanted`, NaN where they lack one."""
    spread = np.full((*values.shape[:-1], len(wanted)), np.nan, np.float32)
    spread[..., [wanted.index(number) for number in own]] = values
    return spread


def predict_network(network: Network, resolution: int, sequences: SequenceSet, batch: int = 16) -> SequenceOutputs:
    """The same of a network of the paper, whose one head bears the name of the variant."""
    heatmaps: list[torch.Tensor] = []
    fan = cast(FAN | None, getattr(network, "fan", None))
    fan = None if isinstance(fan, FaceParser) else fan  # it finds parts and no points

    def look(images: torch.Tensor) -> Said:
        features = network.features(images)
        found, peak = metrics.decode(heatmaps.pop()) if fan is not None else (None, None)

        def decide(
            former: torch.Tensor, later: torch.Tensor, reference: torch.Tensor | None
        ) -> dict[str, torch.Tensor]:
            return {network.variant: network.decide(features[former], features, features[later])}

        return found, peak, decide

    network.eval()
    hook = fan.register_forward_hook(lambda _, __, said: heatmaps.append(said[0][-1])) if fan is not None else None
    try:
        return _over(sequences, resolution, next(network.parameters()).device, look, batch)
    finally:
        if hook is not None:
            hook.remove()


@torch.inference_mode()
def _over(
    sequences: SequenceSet,
    resolution: int,
    device: torch.device,
    look: Callable[[torch.Tensor], Said],
    batch: int,
    reference: bool = False,
) -> SequenceOutputs:
    frames = sequences.info.frames
    points, truth, confidence = [], [], []
    probabilities: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
    for start in range(0, len(sequences), batch):
        chosen = range(start, min(start + batch, len(sequences)))
        pairs = [
            centre_crops(sequences.images[i], sequences.points[i], resolution, sequences.info.margin) for i in chosen
        ]
        images = torch.from_numpy(np.concatenate([images for images, _ in pairs])).to(device)
        found, peak, decide = look(to_input(images))
        if found is None or peak is None:
            found, peak = (torch.full((len(images), *shape), torch.nan) for shape in ((68, 2), (68,)))
        points.append(found.cpu().numpy().reshape(len(pairs), frames, 68, 2))
        confidence.append(peak.mean(1).cpu().numpy().reshape(len(pairs), frames))
        truth += [moved for _, moved in pairs]
        if decide is None:
            continue
        own = torch.arange(len(images), device=device)
        place = own % frames
        rest = None
        if reference and sequences.rest is not None:
            rng = np.random.default_rng([1, start])
            at_rest = references_of(
                sequences.rest[list(chosen)], found.cpu().numpy(), np.concatenate(truth[-len(pairs) :]), rng
            )
            rest = torch.from_numpy(at_rest).to(device)
        for context in ("sequence", "none", *(["rest"] if rest is not None else [])):
            former = torch.where(place > 0, own - 1, own) if context != "none" else own
            later = torch.where(place < frames - 1, own + 1, own) if context != "none" else own
            for head, values in decide(former, later, rest if context == "rest" else None).items():
                shaped = values.sigmoid().cpu().numpy().reshape(len(pairs), frames, -1)
                probabilities.setdefault((head, context), []).append(shaped)
    return SequenceOutputs(
        np.concatenate(points),
        np.stack(truth),
        np.concatenate(confidence),
        {key: np.concatenate(parts) for key, parts in probabilities.items()},
    )


def to_input(images: torch.Tensor) -> torch.Tensor:
    """(B, R, R, 3) uint8 -> (B, 3, R, R) float32 in [0, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255.0)


def landmark_report(predictions: SequenceOutputs) -> dict[str, float]:
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
    predictions: SequenceOutputs, labels: NDArray[np.float32], thresholds: dict[str, tuple[float, ...]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """head -> context -> per-AU arrays of `metrics.per_au` and their means.

    Args:
        labels: (N, F, n).  thresholds: per head.
    """
    report: dict[str, dict[str, dict[str, Any]]] = {}
    n_aus = labels.shape[-1]
    for head in predictions.heads:
        report[head] = {}
        for context in CONTEXTS:
            name = "sequence" if context == "full" else context
            if (head, name) not in predictions.probabilities:
                continue
            values, wanted = predictions.probabilities[head, name], labels
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
    even = {head: (0.5,) * sequences.labels.shape[-1] for head in predictions.heads}
    for head, contexts in au_report(predictions, sequences.labels, even).items():
        for context in contexts.keys() - {"full"}:
            suffix = "" if context == "sequence" else f"_{context}"
            report[f"{head}_auc{suffix}"] = contexts[context]["mean_auc"]
            report[f"{head}_f1{suffix}"] = contexts[context]["mean_f1"]
    return report


def calibrate(model: Model, validation: SequenceSet) -> Model:
    """Scale and shift a model's logits (train.evaluation.calibration: afterwards .5 decides) and set `min_confidence`,
    all on the validation split.

    `min_confidence` is put halfway between the 99th percentile of frames without and the 1st of frames with a face; it
    stays as it is where the split has no frame without.
    """
    predictions = predict(model, validation)
    n_aus = validation.labels.shape[-1]
    labels = validation.labels.reshape(-1, n_aus)
    targets = calibration.soft_targets(validation).reshape(-1, n_aus)
    thresholds = {}
    for head in predictions.heads:
        numbers = model.config.aus_of(head)
        own = [model.config.au_numbers.index(number) for number in numbers]
        said = predictions.probabilities[head, "sequence"].reshape(-1, n_aus)[:, own]
        values = np.clip(said.astype(np.float64), 1e-7, 1 - 1e-7)
        scale, shift = calibration.fit(np.log(values / (1 - values)), targets[:, own], labels[:, own])
        calibration.fold(getattr(model, head), scale, shift)
        thresholds[head] = (0.5,) * len(numbers)
    least = model.config.min_confidence
    face = ~np.isnan(predictions.truth).any((2, 3))
    if not face.all() and face.any():
        confidence = predictions.confidence
        least = float((np.quantile(confidence[~face], 0.99) + np.quantile(confidence[face], 0.01)) / 2)
    model.config = dataclasses.replace(model.config, thresholds=thresholds, min_confidence=round(least, 4))
    return model


def report_of(place: str | Path, sequences: SequenceSet) -> dict[str, Any]:
    """The report on a model file or run folder: both heads of a model of ours, or the one network of a run of the
    paper or of import-release.

    Raises:
        FileNotFoundError, ModelFileError: no such file, or something else.
        ValueError: the model and the set have no AU in common.
    """
    from train.models.checkpoint import load_network
    from train.models.config import MODEL

    path = Path(place) / MODEL if Path(place).is_dir() else Path(place)
    network, config = load_network(path)
    if config.crop_scale != sequences.info.crop_scale:
        LOG.warning(
            "%s was made for crops of %.4g times the face box, the set has %.4g", place, config.crop_scale,
            sequences.info.crop_scale,
        )  # fmt: skip
    if _is_model(path) and set(config.heads) == set(HEADS):
        return full_report(Model.load(path), sequences)
    thresholds = {network.variant: config.thresholds.get("aunet", (0.5,) * len(config.au_numbers))}
    return _report(predict_network(network, config.resolution, sequences), sequences, config, thresholds)


def _is_model(path: Path) -> bool:
    """Whether a file is one of train.models.model.Model, and not one that train.models.checkpoint alone reads."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return "config" in (file.metadata() or {})


def full_report(model: Model, sequences: SequenceSet) -> dict[str, Any]:
    """Everything the model card needs about one split, of the heads that the model has; thresholds are those of the
    model's configuration. ValueError where the model and the set have no AU in common."""
    config = model.config
    thresholds = {
        head: tuple(
            dict(zip(config.aus_of(head), config.thresholds_of(head), strict=True)).get(number, 0.5)
            for number in config.au_numbers
        )
        for head in config.heads
    }
    return _report(predict(model, sequences), sequences, config, thresholds)


def _report(
    predictions: SequenceOutputs, sequences: SequenceSet, config: ModelConfig, thresholds: dict[str, tuple[float, ...]]
) -> dict[str, Any]:
    """`thresholds`: per head, one per AU of `config`."""
    info = sequences.info
    numbers = tuple(number for number in info.au_numbers if number in config.au_numbers)
    if not numbers:
        raise ValueError(f"data: expected some of the AUs of the model {config.au_numbers}, got {info.au_numbers}")
    own, wanted = ([list(aus).index(number) for number in numbers] for aus in (config.au_numbers, info.au_numbers))
    predictions = dataclasses.replace(
        predictions, probabilities={key: values[..., own] for key, values in predictions.probabilities.items()}
    )
    labels = sequences.labels[..., wanted]
    thresholds = {head: tuple(values[i] for i in own) for head, values in thresholds.items()}
    report: dict[str, Any] = {
        "sequences": len(sequences),
        "frames": len(sequences) * info.frames,
        "identities": len(set(sequences.identity.tolist())),
        "aus": [f"AU{n}" for n in numbers],
        "thresholds": {head: list(values) for head, values in thresholds.items()},
        "heads": au_report(predictions, labels, thresholds),
        "groups": {},
        "photos_au12_auc": _photos(predictions, sequences, labels, numbers),
    }
    if not np.isnan(predictions.confidence).all():
        least, face = config.min_confidence, ~np.isnan(predictions.truth).any((2, 3))
        report["landmarks"] = landmark_report(predictions)
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
            heads = au_report(part, labels[chosen], thresholds)
            report["groups"][group] = {
                "identities": len(set(sequences.identity[chosen].tolist())),
                "frames": len(chosen) * info.frames,
                "nme_inner": landmark_report(part)["nme_inner"],
                **{
                    head: {k: contexts["sequence"][f"mean_{k}"] for k in ("f1_calibrated", "auc")}
                    for head, contexts in heads.items()
                },
            }
    return report


def _select(predictions: SequenceOutputs, chosen: NDArray[np.int64]) -> SequenceOutputs:
    return SequenceOutputs(
        predictions.points[chosen],
        predictions.truth[chosen],
        predictions.confidence[chosen],
        {key: values[chosen] for key, values in predictions.probabilities.items()},
    )


def _photos(
    predictions: SequenceOutputs, sequences: SequenceSet, labels: NDArray[np.float32], numbers: Sequence[int]
) -> dict[str, float]:
    """AUC of AU12 between neutral and smiling photographs, no neighbours; NaN where the split has none."""
    chosen = np.flatnonzero(sequences.source == "photo")
    if 12 not in numbers or not len(chosen):
        return {head: float("nan") for head in predictions.heads}
    column = list(numbers).index(12)
    wanted = labels[chosen][..., column].reshape(-1)
    return {
        head: metrics.auc(predictions.probabilities[head, "none"][chosen][..., column].reshape(-1), wanted)
        for head in predictions.heads
    }
