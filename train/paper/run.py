"""One training of the paper (section V-C): a variant on triplets, its VAEs, its predictions.

The steps of an epoch go through a permutation of the training part; what is left over at its end waits for the next
epoch's (train/paper/batches.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.configs.options import PaperOptions
from train.data.row_keys import rows_key
from train.data.sequences import set_key
from train.data.transforms.device import unpack
from train.data.triplets import TripletSet
from train.engine.distributed import Group
from train.engine.features_cache import FeatureCache
from train.engine.loop import Plan
from train.engine.meter import AddScalar
from train.engine.run_folder import RunError, replacing
from train.evaluation import metrics
from train.evaluation.inference import logits_of, predict
from train.evaluation.predictions import FILE, Predictions
from train.losses.alignment import Alignment, alignment_by_rows
from train.losses.au import au_loss, au_weights
from train.models.checkpoint import save_network, warm_start
from train.models.config import ModelConfig
from train.models.fan import FAN
from train.models.label_vae import LabelVAE
from train.models.model import Model
from train.models.parser import FaceParser
from train.models.raft import raft_small
from train.models.variants import FanNetwork, Network, build, uses_vae
from train.paper.batches import TripletBatches
from train.paper.epochs import epochs_folder, keep_head, kept_heads
from train.paper.kept_features import keep_features
from train.paper.label_vaes import fit_vae, vae_file
from train.paper.parts import Parts, load_parts
from train.paper.run_inputs import fan_file, inputs_of

LOG = logging.getLogger("train")


class PaperTask:
    """A variant of the paper for `train.engine.loop.train`.

    Raises:
        ValueError, FileNotFoundError: options, data or weights that do not fit; the message says which.
    """

    name = "paper"

    def __init__(self, options: PaperOptions) -> None:
        options.check()
        self.options = options
        looks = None if options.variant.startswith("resnet18") else _fan(options)
        resolution = looks[1].resolution if looks else options.resolution
        self.parts: Parts = load_parts(options, resolution)
        self.au_numbers = tuple(self.parts.train.au_numbers)
        learned = options.variant == "au-flow" and options.flow == "raft"
        flow = raft_small(options.flow_weights) if learned else None
        torch.manual_seed(options.seed)
        self.model: Network = build(
            options.variant,
            len(self.au_numbers),
            width=looks[1].width if looks else options.width,
            resolution=resolution,
            fan=looks[0] if looks else None,
            weights=options.weights or None,
            alpha=options.alpha,
            beta=options.beta,
            flow=flow,
        )
        self.config = self._config(looks[1] if looks else None, resolution)
        if options.init:
            anew = warm_start(self.model, self.au_numbers, options.init)
            LOG.info("init: %s; outputs that start anew: %s", options.init, ", ".join(anew) or "none")
        self.frames_per_sample = 3 if self.model.contexts else 1
        self.corpora = tuple(dict.fromkeys(self.parts.train.corpus.tolist()))
        self.vaes: dict[str, LabelVAE] = {}
        self.alignment = Alignment(options.alignment, options.alignment_reduction, options.alignment_spread)
        self.keeps_epochs = options.keep_epochs and self.model.frozen
        """Of a ResNet, whose weights change as a whole, the last epoch alone is kept."""
        self._kept = 0
        """The epoch whose head was kept last."""
        self.device, self.group = torch.device("cpu"), Group()
        self.batches = TripletBatches(options, self.parts.train, self.model.contexts)
        self.weights = au_weights(torch.from_numpy(self.parts.train.labels).nanmean(0), floor=0.0)

    # -- what the loop asks for ------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        options, per_epoch = self.options, self.batches.steps_per_epoch
        return Plan(
            steps=options.epochs * per_epoch,
            batch=self.batches.batch,
            rate=lambda step: options.decay ** (step // per_epoch // options.decay_every),
            evaluates=lambda done: done % (per_epoch * options.eval_every) == 0,
        )

    def data_key(self) -> str:
        """Number of the training rows, and hash of what they are: keys, neighbours, five points, labels."""
        return rows_key(self.parts.train)

    def inputs(self) -> dict[str, str]:
        """Digests of the files that the run is made of, and of its test part."""
        return {**inputs_of(self.options), "test part": rows_key(self.parts.test)}

    def start(
        self,
        device: torch.device,
        group: Group,
        folder: Path,
        stop: threading.Event,
        add_scalar: AddScalar = lambda name, value, at: None,
    ) -> None:
        """Train or read the VAEs; compute the features that are kept."""
        self.device, self.group = device, group
        parts = group.size * self.options.accumulate
        if self.batches.batch < 2 * parts:
            raise RunError(f"batch: expected at least two samples for each of {parts} parts, got {self.batches.batch}")
        if uses_vae(self.options.variant) and self.options.gamma > 0:
            self.vaes = self._label_vaes(folder, stop, add_scalar)
        if self._keeps_features():
            self.batches.cache = self._kept_features(folder, stop)

    def parameter_groups(self) -> list[dict[str, Any]]:
        parameters = list(self.model.trainable())
        return [{"params": parameters, "lr_scale": 1.0, "weight_decay": self.options.weight_decay}]

    def train_mode(self) -> None:
        self.model.train()

    def compile(self, backend: str = "inductor") -> None:
        """Have torch compile FAN and head (of a ResNet its parts); weights and their names stay as they are."""
        for module in self.model.children():
            module.compile(backend=backend)

    def make_batch(self, step: int) -> dict[str, Tensor]:
        return self.make_part(step, 0, 1)

    def make_part(self, step: int, part: int, parts: int) -> dict[str, Tensor]:
        return self.batches.part(step, part, parts)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """This part's share of equation 4."""
        options, labels = self.options, batch["labels"]
        if "pixels" in batch:
            batch = {**batch, "crops": unpack(batch, self.config.resolution)}
        logits = logits_of(self.model, batch)
        classes = au_loss(logits, labels, self.weights.to(labels.device)) * batch["known_share"]
        if not self.vaes:
            return classes, {"classes": classes}
        rows = {key.removeprefix("rows/"): value for key, value in batch.items() if key.startswith("rows/")}
        with torch.autocast(labels.device.type, enabled=False):
            aligned = alignment_by_rows(
                self.vaes, self.au_numbers, rows, logits.float().sigmoid(), labels, self.alignment
            )
        aligned = aligned * batch["row_share"]
        return classes + options.gamma * aligned, {"classes": classes, "alignment": aligned}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Mean F1 at .5 and AUC on the validation part; where a run has none, on some of the training part, and then
        under names that say so: nobody is to stop a run, or choose an option, by the test part."""
        data = self.parts.train if self.parts.validation is None else self.parts.validation
        rows = np.linspace(0, len(data) - 1, min(len(data), self.options.eval_frames)).round().astype(np.int64)
        probabilities = self._predict([model], data, rows)[0][0]
        table = metrics.per_au(probabilities, data.labels[rows], np.full(len(self.au_numbers), 0.5))
        start = "seen/" if self.parts.validation is None else ""
        return {f"{start}f1": metrics.nanmean(table["f1"]), f"{start}auc": metrics.nanmean(table["auc"])}

    def score(self, results: dict[str, float]) -> float:
        """AUC on the validation part; without one no weights are better than later ones: the last are the best, as in
        the paper."""
        return math.inf if self.parts.validation is None else results["auc"]

    def save_model(self, model: nn.Module, path: Path, entry: dict[str, Any]) -> None:
        """Write the model file, and with `keep_epochs` the head of this epoch, once."""
        if self.keeps_epochs:
            epoch = entry["steps"] // self.batches.steps_per_epoch
            if epoch != self._kept:
                keep_head(cast(FanNetwork, model).head, path.parent, epoch)
                self._kept = epoch
        provenance = {**self.config.provenance, self.name: entry}
        save_network(model, dataclasses.replace(self.config, provenance=provenance), path)  # type: ignore[arg-type]

    def finish(self, model: nn.Module, folder: Path, stop: threading.Event) -> None:
        """Write predictions.npz of the test part with these, the last weights, and with `keep_epochs` those of every
        epoch beside it. The features are computed once."""
        data, options = self.parts.test, self.options
        self.group.barrier()  # the first process has written the last head
        epochs = dict(kept_heads(cast(FanNetwork, model), folder, self.device)) if self.keeps_epochs else {}
        found = self._predict([model, *epochs.values()], data, np.arange(len(data)), options.flip, stop)
        if not self.group.leads:
            return
        for k, epoch in enumerate(epochs, 1):
            with replacing(epochs_folder(folder) / f"predictions-{epoch:03d}.npz") as partial:
                self._predictions(found[k], {"epoch": str(epoch)}).save(partial)
        with replacing(folder / FILE) as partial:
            self._predictions(found[0]).save(partial)
        LOG.info("%s: %d frames", folder / FILE, len(data))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _predictions(self, both: list[NDArray[np.float32]], more: Mapping[str, str] | None = None) -> Predictions:
        """Of the whole test part; `both`: of the crops, and of the mirrored ones where they were predicted."""
        data, options = self.parts.test, self.options
        extra = {"train_corpus": self.corpora[0] if len(self.corpora) == 1 else "mixture", "preset": options.preset}
        extra |= {"flip_average": options.flip_average, **(more or {})}
        if self.parts.held_out:
            extra["part"] = "held-out"
        if options.variant == "au-flow":
            extra["flow"] = options.flow
        if uses_vae(options.variant):
            extra |= {"alignment_space": options.alignment, "vae_lambda": str(options.vae_lambda)}
        return Predictions(
            probabilities=both[0],
            labels=data.labels,
            video=data.video,
            frame=data.frame,
            subject=data.subject,
            au_numbers=self.au_numbers,
            corpus=data.corpus,
            variant=options.variant,
            fold=options.fold,
            seed=options.seed,
            flipped=both[1] if len(both) > 1 else None,
            extra=extra,
        )

    def _config(self, looks: ModelConfig | None, resolution: int) -> ModelConfig:
        """Of the network's file. The crop is the data's: the paper's square, or the synthetic set's own."""
        from train.models.pretrained import PAPER_CROP_SCALE, PAPER_TEMPLATE, mean_face

        info = self.parts.info
        return ModelConfig(
            width=looks.width if looks else self.options.width,
            resolution=resolution,
            au_numbers=self.au_numbers,
            pooling=looks.pooling if looks else "max",
            template=info.template if info else PAPER_TEMPLATE,
            crop_scale=info.crop_scale if info else PAPER_CROP_SCALE,
            points3d=(looks.points3d if looks else ()) or mean_face(),
            interval_s=self.parts.interval_s,
            min_confidence=looks.min_confidence if looks else 0.3,
            alpha=self.options.alpha,
            beta=self.options.beta,
            provenance=dict(looks.provenance) if looks else {},
        )

    def _label_vaes(
        self, folder: Path, stop: threading.Event, add_scalar: AddScalar = lambda name, value, at: None
    ) -> dict[str, LabelVAE]:
        """One per data set; the first process makes them."""
        data = self.parts.train
        if self.group.leads:
            for name in self.corpora:
                labels = data.labels[data.corpus == name]
                fit_vae(name, labels, self.au_numbers, self.options, folder, stop, add_scalar)
        self.group.barrier()
        return {name: LabelVAE.load(vae_file(folder, name)).to(self.device) for name in self.corpora}

    def _keeps_features(self) -> bool:
        options = self.options
        possible = self.model.frozen and options.variant != "au-flow"  # its features hold pixels, not to be averaged
        if options.cache == "always" and not possible:
            raise RunError(f"cache: {options.variant} has no features that can be kept; take --cache auto")
        return possible and (options.cache == "always" or (options.cache == "auto" and not options.augment))

    def _kept_features(self, folder: Path, stop: threading.Event) -> FeatureCache:
        options, data = self.options, self.parts.train
        return keep_features(
            cast(FanNetwork, self.model),
            data,
            options,
            Path(options.cache_folder) if options.cache_folder else folder / "features",
            self.config,
            set_digest=set_key(options.data) if self.parts.info else None,
            crops=self.batches.crops,
            device=self.device,
            group=self.group,
            stop=stop,
        )

    def _predict(
        self,
        models: Sequence[nn.Module],
        data: TripletSet,
        rows: NDArray[np.int64],
        flip: bool = False,
        stop: threading.Event | None = None,
    ) -> list[list[NDArray[np.float32]]]:
        """Per model, probabilities of rows of a set, and with `flip` those of the mirrored crops, in float32."""
        networks = [cast(Network, model) for model in models]
        return predict(
            networks,
            data,
            rows,
            flip=flip,
            device=self.device,
            workers=self.options.workers,
            group=self.group,
            stop=stop,
        )


def _fan(options: PaperOptions) -> tuple[FAN, ModelConfig]:
    """FAN of the options' file, of au-fp the face parser, and the configuration that it came with."""
    from train.models.checkpoint import load_model

    if options.variant == "au-fp":
        if not options.parser:
            raise ValueError(
                "parser: expected a trained face parser for au-fp (--parser FILE; `python -m train parser` "
                "makes one), got none"
            )
        file = fan_file(options)
        parser = FaceParser.load(file)
        LOG.info("parser: %s, SHA-256 %s", file, hashlib.sha256(file.read_bytes()).hexdigest())
        return parser, parser.config
    if not options.fan:
        raise ValueError(
            f"fan: expected a trained FAN for {options.variant} (--fan FILE; `python -m train import` or "
            "`python -m train fan` makes one), got none"
        )
    file = fan_file(options)
    model: Model = load_model(str(file))
    LOG.info("fan: %s, SHA-256 %s", file, hashlib.sha256(file.read_bytes()).hexdigest())
    return model.fan, model.config


def run_paper(options: PaperOptions, resume: bool = False, train: Callable[..., Any] | None = None) -> dict[str, float]:
    """Train one network as the options say, and write its predictions; see train.engine.loop.train for what is
    raised."""
    from train.engine.loop import train as run

    return dict((train or run)(PaperTask(options), options, resume))
