"""AUNet (paper section IV) and the embedded model: FAN with its heads, and the file of both.

Layer names are those of the authors' release, so that their checkpoints fit at width 256. Every channel count scales
with `width`; `resolution` R is the side of the square crop. Trailing comments give shapes for width 256 and R 256.

    crop (B, 3, R, R) RGB float in [0, 1] -> FAN -> heatmaps 2 x (B, 68, R/4, R/4), features F (B, 3 * width, R/4, R/4)
    F of the former, the due and the later frame -> AUNetHead or PointsHead -> logits (B, n)
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from train.models.aunet_head import AUNetHead
from train.models.config import HEADS, ModelConfig, ModelFileError
from train.models.fan import FAN
from train.models.points_head import PointsHead
from train.models.tensor_file import write_tensors

__all__ = ["AUNet", "Model", "grown", "without_geometry"]


class Model(nn.Module):
    """FAN with both heads: `fan`, `aunet` (the paper's) and `points`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.fan = FAN(config.width, pooling=config.pooling)
        self.aunet = AUNetHead(len(config.aus_of("aunet")), config.width, config.alpha, config.beta)
        numbers = config.aus_of("points")
        self.points = PointsHead(
            len(numbers), config.width, geometry=config.geometry, intensity=config.intensity,
            extra=tuple(numbers.index(number) for number in config.extra),
        )  # fmt: skip

    def forward(
        self, former: Tensor, due: Tensor, later: Tensor, reference: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Three crops (B, 3, R, R), and the reference of `PointsHead.decide` -> heatmaps of the due frame (B, 68, R/4,
        R/4), logits (B, n) per head."""
        heatmaps, features = zip(*(self._look(crop) for crop in (former, due, later)), strict=True)
        logits = {}
        if "aunet" in self.config.heads:
            logits["aunet"] = self.aunet(*features)
        if "points" in self.config.heads:
            seen = zip(features, heatmaps, (former, due, later), strict=True)
            first, second, third = (self.points.describe(*one) for one in seen)
            logits["points"] = self.points.combine(first, second, third, reference)
        return heatmaps[1], logits

    def _look(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        heatmaps, features = self.fan(crop)
        return heatmaps[-1], features

    def _stored(self) -> dict[str, Tensor]:
        """The tensors of the file: FAN's and those of the heads that the configuration names."""
        absent = tuple(f"{head}." for head in HEADS if head not in self.config.heads)
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(absent)}

    def save(self, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write one safetensors file with the configuration in its metadata.

        `dtype` float16 halves the file: it holds for weights of two and more dimensions; batch-norm statistics and
        biases stay float32, since a running variance can leave the FP16 range. OSError where it cannot be written.
        """
        if dtype not in (torch.float32, torch.float16):
            raise ValueError(f"dtype: expected torch.float32 or torch.float16, got {dtype}")
        tensors = {}
        for name, tensor in self._stored().items():
            stored = dtype if tensor.is_floating_point() and tensor.ndim > 1 else tensor.dtype
            tensors[name] = tensor.detach().to("cpu", stored).contiguous().clone()
        write_tensors(tensors, path, {"config": self.config.to_json()})

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Read a file of `save`; float32, evaluation mode.

        Raises:
            FileNotFoundError: no such file.
            ModelFileError: not a safetensors file, no configuration, a tensor missing, unknown or of another shape.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"model: expected a .safetensors file at {path}, found none; check the path")
        try:
            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get("config")
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise ModelFileError(f"model: expected a safetensors file, got {path}: {error}") from error
        if text is None:
            raise ModelFileError(f"model: expected metadata 'config' in {path}, got none; it is no file of Model.save")
        model = cls(ModelConfig.from_json(text))
        model.load_tensors(tensors, str(path))
        return model.eval()

    def load_tensors(self, tensors: dict[str, Tensor], origin: str) -> None:
        """Copy tensors in by name; none may be missing, left over or of another shape (ModelFileError)."""
        own = self._stored()
        missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
        wrong = [
            f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own.keys() & tensors.keys()
            if tensors[name].shape != own[name].shape
        ]
        problems = [
            f"{len(names)} {kind} ({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''})"
            for kind, names in (("missing", missing), ("unknown", extra), ("of another shape", wrong))
            if names
        ]
        if problems:
            raise ModelFileError(
                f"model: expected the {len(own)} tensors of width {self.config.width} "
                f"with {len(self.config.au_numbers)} AUs, got from {origin}: {'; '.join(problems)}; "
                f"use the configuration that the file was saved with"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])


def grown(model: Model, au_numbers: tuple[int, ...] | None = None, geometry: int = 0, intensity: bool = False) -> Model:
    """A copy of `model` whose head 'points' has more outputs; what it said before it says still.

    Args:
        model: with the head 'points'.
        au_numbers: its AUs from now on, among them all that it had; new ones stand at a probability of .05 until they
            are trained. The head 'aunet' keeps its own. None: as they were.
        geometry: hidden units of a geometry path that says 0 to everything until it is trained; 0: as it was.
        intensity: add the output for the intensities; False: as it was.
    """
    config = model.config
    if "points" not in config.heads:
        raise ValueError(f"heads: expected a model with the head 'points', got {config.heads}")
    numbers, before = au_numbers or config.au_numbers, config.aus_of("points")
    if config.extra:
        raise ValueError(
            f"model: expected one without a part for more AUs, got one for {config.extra}; "
            "take it out first (train.models.extended.without_extra)"
        )
    if not set(config.au_numbers) <= set(numbers):
        raise ValueError(f"au_numbers: expected those of the model {config.au_numbers} and others, got {numbers}")
    if geometry < 0 or (geometry and config.geometry):
        raise ValueError(
            f"geometry: expected a model without that path and a positive number of hidden units, got a path of "
            f"{config.geometry} and {geometry}"
        )
    aunet = config.aus_of("aunet")
    rows = [numbers.index(number) for number in before]
    thresholds = dict(config.thresholds)
    if "points" in thresholds:
        kept = dict(zip(before, thresholds["points"], strict=True))
        thresholds["points"] = tuple(kept.get(number, 0.5) for number in numbers)
    wider = Model(
        dataclasses.replace(
            config,
            au_numbers=numbers,
            head_aus={} if aunet == numbers else {"aunet": aunet},
            geometry=geometry or config.geometry,
            intensity=intensity or config.intensity,
            thresholds=thresholds,
        )
    )
    with torch.no_grad():
        for part in (wider.points.predictor, *([wider.points.geometry.predictor] if wider.points.geometry else [])):
            last = cast(nn.Linear, part[-1])
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        cast(nn.Linear, wider.points.predictor[-1]).bias.fill_(math.log(0.05 / 0.95))
        own = wider.state_dict()
        for name, tensor in model.state_dict().items():
            if own[name].shape == tensor.shape:
                own[name].copy_(tensor)
            else:  # the AUs are the last axis of a gate and the first of a layer
                place = own[name].movedim(-1, 0) if "gate" in name else own[name]
                place[rows] = tensor.movedim(-1, 0) if "gate" in name else tensor
    return wider.eval()


def without_geometry(model: Model) -> Model:
    """A copy of `model` whose head 'points' has the appearance path alone, as it was, and nothing of what was written
    down about the other one."""
    gone = ("geometry", "fusion", "recipe")
    made = {name: entry for name, entry in model.config.provenance.items() if name not in gone}
    plain = Model(dataclasses.replace(model.config, geometry=0, provenance=made))
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    return plain.eval()


class AUNet(Model):
    """The paper's network: FAN with the head 'aunet' alone. Its file is read by `Model.load` too."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(dataclasses.replace(config, heads=("aunet",)))

    def logits(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        """Three crops (B, 3, R, R) RGB float in [0, 1] -> logits (B, n)."""
        return cast(Tensor, self(former, due, later)[1]["aunet"])
