"""AUNet (paper section IV) in one file that reads from top to bottom: blocks, FAN, the heads, the model file.

Layer names are those of the authors' release, so that their checkpoints fit at width 256. Every channel count scales
with `width`; `resolution` R is the side of the square crop. Trailing comments give shapes for width 256 and R 256.

    crop (B, 3, R, R) RGB float in [0, 1] -> FAN -> heatmaps 2 x (B, 68, R/4, R/4), features F (B, 3 * width, R/4, R/4)
    F of the former, the due and the later frame -> AUNetHead or PointsHead -> logits (B, n)

Both heads split into a part per frame (`split`, `describe`) and a part per decision (`combine`), so that a live system
runs FAN and the projections once per frame and keeps only what the motion path needs.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

POINTS = 68
AU_NUMBERS = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26)
TEMPLATE = ((0.3583, 0.4066), (0.6417, 0.4066), (0.5000, 0.5471), (0.3895, 0.7090), (0.6105, 0.7090))
HEADS = ("aunet", "points")


class ModelFileError(ValueError):
    """A checkpoint that does not hold the model it is read as."""


# ---------------------------------------------------------------------------------------------------------------------
# Blocks
# ---------------------------------------------------------------------------------------------------------------------


def _pool(kind: str) -> nn.Module:
    if kind == "max":
        return nn.MaxPool2d(2, 2)
    if kind == "avg":
        return nn.AvgPool2d(2, 2)
    raise ValueError(f"pooling: expected 'max' (the authors' release) or 'avg' (2DFAN-4), got {kind!r}")


def _conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)


class ConvBlock(nn.Module):
    """Multi-scale residual block (figure 5): three pre-activated 3x3 convolutions whose outputs are concatenated.

    (B, inputs, h, w) -> (B, outputs, h, w); `outputs` must be a multiple of 4.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = _conv3x3(inputs, outputs // 2)
        self.bn2 = nn.BatchNorm2d(outputs // 2)
        self.conv2 = _conv3x3(outputs // 2, outputs // 4)
        self.bn3 = nn.BatchNorm2d(outputs // 4)
        self.conv3 = _conv3x3(outputs // 4, outputs // 4)
        self.downsample: nn.Module | None = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        half = self.conv1(functional.relu(self.bn1(x)))
        quarter = self.conv2(functional.relu(self.bn2(half)))
        last = self.conv3(functional.relu(self.bn3(quarter)))
        residual = x if self.downsample is None else self.downsample(x)
        return torch.cat((half, quarter, last), 1) + residual


class HourGlass(nn.Module):
    """Hourglass of depth 4: pool, recurse, upsample (nearest), add. (B, width, h, w) -> the same; h, w >= 2**depth."""

    def __init__(self, width: int, depth: int, pooling: str) -> None:
        super().__init__()
        self.depth = depth
        self.pool = _pool(pooling)
        for level in range(depth, 0, -1):
            self.add_module(f"b1_{level}", ConvBlock(width, width))
            self.add_module(f"b2_{level}", ConvBlock(width, width))
            if level == 1:
                self.add_module("b2_plus_1", ConvBlock(width, width))
            self.add_module(f"b3_{level}", ConvBlock(width, width))

    def _level(self, level: int, x: Tensor) -> Tensor:
        up = self.get_submodule(f"b1_{level}")(x)
        low = self.get_submodule(f"b2_{level}")(self.pool(x))
        low = self._level(level - 1, low) if level > 1 else self.get_submodule("b2_plus_1")(low)
        low = self.get_submodule(f"b3_{level}")(low)
        return up + functional.interpolate(low, scale_factor=2.0, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        return self._level(self.depth, x)


# ---------------------------------------------------------------------------------------------------------------------
# FAN: crop -> heatmaps and features (section IV-A)
# ---------------------------------------------------------------------------------------------------------------------


class FAN(nn.Module):
    """Face alignment network with `stacks` hourglasses.

    Args:
        width: channels of an hourglass, a multiple of 8; 256 is the paper's.
        stacks: hourglasses; the features below are defined for 2.
        points: landmarks.
        pooling: 'max' (the authors' release) or 'avg'.
    """

    def __init__(self, width: int = 256, stacks: int = 2, points: int = POINTS, pooling: str = "max") -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"width: expected a positive multiple of 8, got {width}")
        self.width, self.stacks = width, stacks
        self.pool = _pool(pooling)
        self.conv1 = nn.Conv2d(3, width // 4, kernel_size=7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(width // 4)
        self.conv2 = ConvBlock(width // 4, width // 2)
        self.conv3 = ConvBlock(width // 2, width // 2)
        self.conv4 = ConvBlock(width // 2, width)
        for i in range(stacks):
            self.add_module(f"m{i}", HourGlass(width, 4, pooling))
            self.add_module(f"top_m_{i}", ConvBlock(width, width))
            self.add_module(f"conv_last{i}", nn.Conv2d(width, width, kernel_size=1))
            self.add_module(f"bn_end{i}", nn.BatchNorm2d(width))
            self.add_module(f"l{i}", nn.Conv2d(width, points, kernel_size=1))
            if i < stacks - 1:
                self.add_module(f"bl{i}", nn.Conv2d(width, width, kernel_size=1))
                self.add_module(f"al{i}", nn.Conv2d(points, width, kernel_size=1))

    def forward(self, crop: Tensor) -> tuple[list[Tensor], Tensor]:
        """Heatmaps of every stack and the AU features (section IV-A, figure 4).

        Args:
            crop: (B, 3, R, R) RGB float in [0, 1]; R a multiple of 64.

        Returns:
            heatmaps, one (B, 68, R/4, R/4) per stack, raw; features F (B, 3 * width, R/4, R/4): the tensor before the
            first hourglass and, both times the attention plane, the last features of each stack.
        """
        heatmaps, (low, *tops) = self.layers(crop)
        attention = heatmaps[-1].sum(1, keepdim=True)  # (B, 1, 64, 64)
        return heatmaps, torch.cat([low, *(top * attention for top in tops)], 1)  # (B, 768, 64, 64)

    def layers(self, crop: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Heatmaps of every stack, and what the features are made of, before the attention."""
        layer = self.get_submodule
        x = functional.relu(self.bn1(self.conv1(crop)))  # (B, 64, 128, 128)
        x = self.pool(self.conv2(x))  # (B, 128, 64, 64)
        x = self.conv4(self.conv3(x))  # (B, 256, 64, 64)
        heatmaps, features = [], [x]
        for i in range(self.stacks):
            top = layer(f"top_m_{i}")(layer(f"m{i}")(x))  # (B, 256, 64, 64)
            top = functional.relu(layer(f"bn_end{i}")(layer(f"conv_last{i}")(top)))
            heatmaps.append(layer(f"l{i}")(top))  # (B, 68, 64, 64)
            if i < self.stacks - 1:
                top = layer(f"bl{i}")(top)
                x = x + top + layer(f"al{i}")(heatmaps[-1])
            features.append(top)
        return heatmaps, features


# ---------------------------------------------------------------------------------------------------------------------
# Heads: features -> AU logits
# ---------------------------------------------------------------------------------------------------------------------


def _pooled_blocks(width: int, count: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(count):
        layers += [ConvBlock(width, width), nn.MaxPool2d(2, 2)]
    return nn.Sequential(*layers)


def _predictor(width: int, n_aus: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width // 2), nn.BatchNorm1d(width // 2), nn.ReLU(inplace=True), nn.Linear(width // 2, n_aus)
    )


class AUFANHead(nn.Module):
    """AU-FAN: one frame, no motion (section IV-A). F (B, 3 * width, h, h) -> logits (B, n_aus)."""

    def __init__(self, n_aus: int, width: int = 256) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(3 * width, width, kernel_size=1)
        self.ConvNet = _pooled_blocks(width, 4)
        self.predictor = _predictor(width, n_aus)

    def forward(self, features: Tensor) -> Tensor:
        y = self.ConvNet(self.conv1x1(features))  # (B, 256, 4, 4)
        return cast(Tensor, self.predictor(y.mean((2, 3))))  # (B, n)


class AUNetHead(nn.Module):
    """AUNet: the due frame plus the motion path (section IV-C, figure 4b).

    Args:
        n_aus: AUs, in ascending FACS order.
        width: channels, that of FAN.
        alpha, beta: weights of the static and the motion features; 0.9 and 0.1 in the released checkpoints.
    """

    def __init__(self, n_aus: int, width: int = 256, alpha: float = 0.9, beta: float = 0.1) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.conv1x1 = nn.Conv2d(3 * width, width, kernel_size=1)
        self.conv1x1_diff = nn.Conv2d(6 * width, width, kernel_size=1)
        self.ConvNet_1 = _pooled_blocks(width, 1)
        self.ConvNet_diff = _pooled_blocks(width, 1)
        self.ConvNet_2 = _pooled_blocks(width, 3)
        self.predictor = _predictor(width, n_aus)

    def forward(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        """The plain form, as released. Features (B, 3 * width, h, h) of three frames -> logits (B, n_aus)."""
        motion = functional.avg_pool2d(torch.cat((due - former, later - due), 1), 2)  # (B, 1536, 32, 32)
        return self._decide(self.conv1x1(due), self.conv1x1_diff(motion))

    def split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The part per frame: S (B, width, h, h), E and L (B, width, h/2, h/2); exact, since all of it is linear."""
        pooled = functional.avg_pool2d(features, 2)  # (B, 768, 32, 32)
        early, late = self.conv1x1_diff.weight.chunk(2, 1)
        return self.conv1x1(features), functional.conv2d(pooled, early), functional.conv2d(pooled, late)

    def combine(self, s_due: Tensor, e_former: Tensor, e_due: Tensor, l_due: Tensor, l_later: Tensor) -> Tensor:
        """The part per decision, from `split` of three frames: logits (B, n_aus), equal to `forward`."""
        bias = cast(Tensor, self.conv1x1_diff.bias)[:, None, None]
        return self._decide(s_due, e_due - e_former + l_later - l_due + bias)

    def _decide(self, static: Tensor, motion: Tensor) -> Tensor:
        y = self.alpha * static + self.beta * _upsample(motion)  # (B, 256, 64, 64)
        y = self.alpha * self.ConvNet_1(y) + self.beta * _upsample(self.ConvNet_diff(motion))  # (B, 256, 32, 32)
        y = self.ConvNet_2(y)  # (B, 256, 4, 4)
        return cast(Tensor, self.predictor(y.mean((2, 3))))  # (B, n)


def _upsample(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class PointsHead(nn.Module):
    """AU head for small networks: features pooled at the 68 landmarks, landmark coordinates, and their changes in time.

    Not in the paper. Where a small width leaves the paper's head little to work with, landmark positions and what lies
    around each of them carry most of the signal.

    Args:
        n_aus: AUs, in ascending FACS order.
        width: that of FAN.
        d: feature channels kept per landmark.
    """

    unit = 10.0  # eye distance after normalisation: coordinates are tenths of it

    def __init__(self, n_aus: int, width: int = 256, d: int = 32, hidden: int = 32, dropout: float = 0.3) -> None:
        super().__init__()
        self.channels = d + 2
        self.reduce = nn.Conv2d(3 * width, d, kernel_size=1)
        self.norm = nn.BatchNorm1d(POINTS * 3 * self.channels)
        self.point = nn.Linear(3 * self.channels, hidden)
        self.predictor = nn.Sequential(
            nn.Linear(POINTS * hidden, 256),
            nn.BatchNorm1d(256),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(256, n_aus),
        )

    def describe(self, features: Tensor, heatmaps: Tensor) -> Tensor:
        """The part per frame.

        Args:
            features: F (B, 3 * width, h, h) of FAN.
            heatmaps: (B, 68, h, h) of the last stack.

        Returns:
            P (B, 68, d + 2) float32: d feature channels pooled around each landmark; x and y in tenths of the eye
            distance after the similarity that brings the eye centres (means of 36-41 and 42-47) to (-5, 0) and (5, 0).
        """
        mask, x, y = self._attention(heatmaps)
        reduced = self.reduce(features).flatten(2).transpose(1, 2)  # (B, h * w, d)
        pooled = torch.matmul(mask.to(reduced.dtype), reduced)  # (B, 68, d)
        return torch.cat((pooled.float(), self._normalise(x, y)), 2)

    def pool(self, features: Tensor, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """`describe` up to its first weight, to be kept for many passes: features around each landmark (B, 68, 3 *
        width) and coordinates (B, 68, 2), both float32."""
        mask, x, y = self._attention(heatmaps)
        return torch.matmul(mask, features.float().flatten(2).transpose(1, 2)), self._normalise(x, y)

    def describe_pooled(self, pooled: Tensor, coordinates: Tensor) -> Tensor:
        """P (B, 68, d + 2) from what `pool` gave: equal to `describe`: pooling and the 1x1 convolution commute."""
        reduced = functional.linear(pooled, self.reduce.weight.flatten(1), self.reduce.bias)
        return torch.cat((reduced.float(), coordinates), 2)

    def _attention(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, w = heatmaps.shape[2:]
        heat = heatmaps.float()
        peak = heat.amax((2, 3), keepdim=True).clamp(min=0.0)
        mask = functional.relu(heat - 0.25 * peak) ** 2  # nothing but the surroundings of the peak is left
        mask = mask / (mask.sum((2, 3), keepdim=True) + 1e-6)  # (B, 68, h, w)
        x = (mask.sum(2) * torch.arange(w, dtype=torch.float32, device=mask.device)).sum(2)  # (B, 68)
        y = (mask.sum(3) * torch.arange(h, dtype=torch.float32, device=mask.device)).sum(2)
        return mask.flatten(2), x, y

    def _normalise(self, x: Tensor, y: Tensor) -> Tensor:
        right_x, right_y = x[:, 36:42].mean(1, keepdim=True), y[:, 36:42].mean(1, keepdim=True)
        left_x, left_y = x[:, 42:48].mean(1, keepdim=True), y[:, 42:48].mean(1, keepdim=True)
        eye_x, eye_y = left_x - right_x, left_y - right_y
        dx, dy = x - 0.5 * (right_x + left_x), y - 0.5 * (right_y + left_y)
        scale = self.unit / (eye_x * eye_x + eye_y * eye_y).clamp(min=1.0)  # below one cell apart there is no face
        u, v = (dx * eye_x + dy * eye_y) * scale, (dy * eye_x - dx * eye_y) * scale  # complex division
        return torch.stack((u, v), 2).clamp(-100.0, 100.0)  # (B, 68, 2)

    def combine(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        """The part per decision: P (B, 68, d + 2) of three frames -> logits (B, n_aus)."""
        x = torch.cat((due, due - former, later - due), 2)  # (B, 68, 3 * (d + 2))
        x = self.norm(x.flatten(1).to(self.norm.weight.dtype))
        x = functional.relu(self.point(x.reshape(-1, POINTS, 3 * self.channels)))  # (B, 68, 32)
        return cast(Tensor, self.predictor(x.flatten(1)))  # (B, n)


# ---------------------------------------------------------------------------------------------------------------------
# The model and its file
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything about a model that its weights do not say; stored beside them as JSON."""

    width: int = 256
    """Channels of an hourglass, a multiple of 8."""
    resolution: int = 256
    """Side of the crop in pixels, a multiple of 64."""
    au_numbers: tuple[int, ...] = AU_NUMBERS
    """FACS numbers of the outputs, ascending."""
    pooling: str = "max"
    """'max' or 'avg', in FAN."""
    template: tuple[tuple[float, float], ...] = TEMPLATE
    """Five points of the canonical crop, normalised to its side."""
    crop_scale: float = 1.3736
    """Side of the crop over the mean side of a face box."""
    points3d: tuple[tuple[float, float, float], ...] = ()
    """Mean 3D shape of the 68 points for head pose, y up, z towards the camera, any unit; empty: not known."""
    thresholds: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    """Decision thresholds per head ('aunet', 'points'), one per AU; a head that is absent stands at 0.5."""
    interval_s: float = 0.4
    """Time between the former, the due and the later frame, in seconds."""
    alpha: float = 0.9
    """Weight of the static features in the head 'aunet'."""
    beta: float = 0.1
    """Weight of the motion features in the head 'aunet'."""
    heads: tuple[str, ...] = HEADS
    """Heads whose weights the file holds; another head of the model is as it was made."""
    min_confidence: float = 0.3
    """Mean heatmap peak below which there is no face in the crop."""
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Data, command, seed, revision and results of the training, for the model card."""

    def __post_init__(self) -> None:
        def frozen(rows: Sequence[Sequence[float]]) -> tuple[Any, ...]:
            return tuple(tuple(float(v) for v in row) for row in rows)

        object.__setattr__(self, "au_numbers", tuple(int(n) for n in self.au_numbers))
        object.__setattr__(self, "template", frozen(self.template))
        object.__setattr__(self, "points3d", frozen(self.points3d))
        thresholds = {head: tuple(float(v) for v in values) for head, values in self.thresholds.items()}
        object.__setattr__(self, "thresholds", thresholds)
        object.__setattr__(self, "heads", tuple(str(head) for head in self.heads))
        if not set(self.heads) <= set(HEADS) or len(set(self.heads)) != len(self.heads):
            raise ValueError(f"heads: expected some of {HEADS}, each once, got {self.heads}")
        if self.resolution < 64 or self.resolution % 64:
            raise ValueError(f"resolution: expected a positive multiple of 64, got {self.resolution}")
        if not self.au_numbers or list(self.au_numbers) != sorted(set(self.au_numbers)):
            raise ValueError(f"au_numbers: expected ascending FACS numbers without repetition, got {self.au_numbers}")
        if len(self.template) != 5 or any(len(p) != 2 for p in self.template):
            raise ValueError(f"template: expected 5 points (x, y), got {self.template}")
        if self.points3d and (len(self.points3d) != POINTS or any(len(p) != 3 for p in self.points3d)):
            raise ValueError(f"points3d: expected no or {POINTS} points (x, y, z), got {len(self.points3d)}")
        for head, values in self.thresholds.items():
            if head not in HEADS or len(values) != len(self.au_numbers) or not all(0.0 < v < 1.0 for v in values):
                raise ValueError(
                    f"thresholds: expected {len(self.au_numbers)} numbers in (0, 1) for 'aunet' or 'points', "
                    f"got {head!r}: {values}"
                )

    def thresholds_of(self, head: str) -> tuple[float, ...]:
        """One threshold per AU of a head, 0.5 where none was calibrated; ValueError for a head that is not there."""
        if head not in self.heads:
            raise ValueError(f"head: expected one that the model has weights for, {self.heads}, got {head!r}")
        return self.thresholds.get(head, (0.5,) * len(self.au_numbers))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Raises ModelFileError where the text is not a configuration of this version."""
        try:
            values = json.loads(text)
            return cls(**values)
        except (TypeError, ValueError) as error:
            message = f"config: expected the JSON of a ModelConfig, got one that does not fit: {error}"
            raise ModelFileError(message) from error


class Model(nn.Module):
    """FAN with both heads: `fan`, `aunet` (the paper's) and `points`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        n_aus = len(config.au_numbers)
        self.fan = FAN(config.width, pooling=config.pooling)
        self.aunet = AUNetHead(n_aus, config.width, config.alpha, config.beta)
        self.points = PointsHead(n_aus, config.width)

    def forward(self, former: Tensor, due: Tensor, later: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Three crops (B, 3, R, R) -> heatmaps of the due frame (B, 68, R/4, R/4), logits (B, n) per head."""
        heatmaps, features = zip(*(self._look(crop) for crop in (former, due, later)), strict=True)
        logits = {}
        if "aunet" in self.config.heads:
            logits["aunet"] = self.aunet(*features)
        if "points" in self.config.heads:
            described = [self.points.describe(f, h) for f, h in zip(features, heatmaps, strict=True)]
            logits["points"] = self.points.combine(*described)
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
        biases stay float32, since a running variance can leave the FP16 range.
        """
        if dtype not in (torch.float32, torch.float16):
            raise ValueError(f"dtype: expected torch.float32 or torch.float16, got {dtype}")
        tensors = {}
        for name, tensor in self._stored().items():
            stored = dtype if tensor.is_floating_point() and tensor.ndim > 1 else tensor.dtype
            tensors[name] = tensor.detach().to("cpu", stored).contiguous().clone()
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        save_file(tensors, partial, metadata={"config": self.config.to_json(), "format": "pt"})
        partial.replace(path)

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


class AUNet(Model):
    """The paper's network: FAN with the head 'aunet' alone. Its file is read by `Model.load` too."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(dataclasses.replace(config, heads=("aunet",)))

    def logits(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        """Three crops (B, 3, R, R) RGB float in [0, 1] -> logits (B, n)."""
        return cast(Tensor, self(former, due, later)[1]["aunet"])


def complexity(module: nn.Module, *shapes: tuple[int, ...]) -> tuple[int, int]:
    """Parameters, and multiply-adds of the convolutions and linear layers in one forward pass on inputs of `shapes`.

    The paper's "FLOPs" are these multiply-adds. Runs the module once on zeros in evaluation mode.
    """
    total = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features

    handles = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    training = module.training
    try:
        with torch.inference_mode():
            module.eval()(*(torch.zeros(shape) for shape in shapes))
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    return sum(p.numel() for p in module.parameters()), total
