"""A face parser: the network of FAN with a plane for each part of the face in place of one for each landmark.

Its features are what AU-FP has (section V-D): the same network, trained to tell eyes from skin instead of to find 68
points. File: one safetensors file, its configuration in the metadata.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from train.models.config import MODEL, ModelConfig, ModelFileError
from train.models.fan import FAN
from train.models.tensor_file import load_exactly, write_tensors

PARTS = (
    "background", "skin", "right brow", "left brow", "right eye", "left eye", "nose", "upper lip", "mouth", "lower lip",
)  # fmt: skip
"""Right is the person's own; mouth is what opens between the lips. Hair and neck count as background."""
KEY = "face_parser"


class FaceParser(FAN):
    """FAN for PARTS: `forward` gives logits of the parts, and features of the shape of FAN's.

    Args:
        width: channels of an hourglass, a multiple of 8.
        pooling: 'max' or 'avg'.
        config: what its file says beside the weights.
    """

    def __init__(self, width: int = 64, pooling: str = "max", config: ModelConfig | None = None) -> None:
        super().__init__(width, points=len(PARTS), pooling=pooling)
        self.config = config or ModelConfig(width=width, pooling=pooling)

    def forward(self, crop: Tensor) -> tuple[list[Tensor], Tensor]:
        """Crops (B, 3, R, R) RGB float in [0, 1] -> logits (B, 10, R/4, R/4) of every stack; features (B, 3 * width,
        R/4, R/4), the last ones of each stack times the probability that a cell is face."""
        logits, (low, *tops) = self.layers(crop)
        face = 1 - logits[-1].float().softmax(1)[:, :1]
        return logits, torch.cat([low, *(top * face.to(top.dtype) for top in tops)], 1)

    def save(self, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write it, floating tensors as `dtype`. OSError where it cannot be written."""
        tensors = {
            name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous().clone()
            for name, tensor in self.state_dict().items()
        }
        write_tensors(tensors, path, {KEY: json.dumps(dataclasses.asdict(self.config))})

    @classmethod
    def load(cls, place: str | Path) -> FaceParser:
        """A parser of `save`, or of a run folder, in evaluation mode. Raises FileNotFoundError, ModelFileError."""
        path = Path(place) / MODEL if Path(place).is_dir() else Path(place)
        if not path.is_file():
            raise FileNotFoundError(
                f"parser: expected a file or run folder of `python -m train parser` at {place}, found none"
            )
        try:
            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get(KEY)
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise ModelFileError(f"parser: expected a safetensors file, got {path}: {error}") from error
        if text is None:
            raise ModelFileError(
                f"parser: expected metadata {KEY!r} in {path}, got none; it is no file of `python -m train parser`"
            )
        config = ModelConfig.from_json(text)
        parser = cls(config.width, config.pooling, config)
        load_exactly(
            parser, {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}, str(path)
        )
        return parser.eval()
