"""What a model file says beside its weights, and the constants that model and configuration share."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

POINTS = 68
AU_NUMBERS = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26)
TEMPLATE = ((0.3583, 0.4066), (0.6417, 0.4066), (0.5000, 0.5471), (0.3895, 0.7090), (0.6105, 0.7090))
HEADS = ("aunet", "points")
STRIDE = 4
"""Pixels of the crop per heatmap cell; cell (i, j) has its centre at pixel (4 j + 1.5, 4 i + 1.5)."""
MODEL = "model.safetensors"
"""Name of the model in a run folder."""


class ModelFileError(ValueError):
    """A checkpoint that does not hold the model it is read as."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything about a model that its weights do not say; stored beside them as JSON."""

    width: int = 256
    """Channels of an hourglass, a multiple of 8."""
    resolution: int = 256
    """Side of the crop in pixels, a multiple of 64."""
    au_numbers: tuple[int, ...] = AU_NUMBERS
    """FACS numbers of the outputs, ascending."""
    head_aus: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """FACS numbers of the heads that have fewer of them than `au_numbers`."""
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
    geometry: int = 0
    """Hidden units of the geometry path of the head 'points'; 0: it has none."""
    intensity: bool = False
    """Whether the head 'points' gives the strength of each AU, too."""
    extra: tuple[int, ...] = ()
    """FACS numbers that the head 'points' decides by a part of its own (train/models/extra_head.py), ascending."""
    min_confidence: float = 0.3
    """Mean heatmap peak below which there is no face in the crop."""
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Data, command, seed, revision and results of the training, for the model card."""

    def __post_init__(self) -> None:
        def frozen(rows: Sequence[Sequence[float]]) -> tuple[Any, ...]:
            return tuple(tuple(float(v) for v in row) for row in rows)

        object.__setattr__(self, "au_numbers", tuple(int(n) for n in self.au_numbers))
        head_aus = {str(head): tuple(int(n) for n in numbers) for head, numbers in self.head_aus.items()}
        object.__setattr__(self, "head_aus", head_aus)
        object.__setattr__(self, "extra", tuple(int(n) for n in self.extra))
        object.__setattr__(self, "template", frozen(self.template))
        object.__setattr__(self, "points3d", frozen(self.points3d))
        thresholds = {head: tuple(float(v) for v in values) for head, values in self.thresholds.items()}
        object.__setattr__(self, "thresholds", thresholds)
        object.__setattr__(self, "heads", tuple(str(head) for head in self.heads))
        if not set(self.heads) <= set(HEADS) or len(set(self.heads)) != len(self.heads):
            raise ValueError(f"heads: expected some of {HEADS}, each once, got {self.heads}")
        if self.geometry < 0:
            raise ValueError(f"geometry: expected 0 (no such path) or its hidden units, got {self.geometry}")
        if self.resolution < 64 or self.resolution % 64:
            raise ValueError(f"resolution: expected a positive multiple of 64, got {self.resolution}")
        if not self.au_numbers or list(self.au_numbers) != sorted(set(self.au_numbers)):
            raise ValueError(f"au_numbers: expected ascending FACS numbers without repetition, got {self.au_numbers}")
        for head, numbers in self.head_aus.items():
            if head not in HEADS or not numbers or list(numbers) != [n for n in self.au_numbers if n in numbers]:
                raise ValueError(
                    f"head_aus: expected some of {self.au_numbers}, ascending, for 'aunet' or 'points', "
                    f"got {head!r}: {numbers}"
                )
        points = self.aus_of("points")
        if list(self.extra) != [n for n in points if n in self.extra] or self.extra == points:
            raise ValueError(f"extra: expected some of {points}, ascending, not all of them, got {self.extra}")
        if len(self.template) != 5 or any(len(p) != 2 for p in self.template):
            raise ValueError(f"template: expected 5 points (x, y), got {self.template}")
        if self.points3d and (len(self.points3d) != POINTS or any(len(p) != 3 for p in self.points3d)):
            raise ValueError(f"points3d: expected no or {POINTS} points (x, y, z), got {len(self.points3d)}")
        for head, values in self.thresholds.items():
            if head not in HEADS or len(values) != len(self.aus_of(head)) or not all(0.0 < v < 1.0 for v in values):
                raise ValueError(
                    f"thresholds: expected {len(self.aus_of(head))} numbers in (0, 1) for 'aunet' or 'points', "
                    f"got {head!r}: {values}"
                )

    @property
    def reference(self) -> bool:
        """Whether the head 'points' makes use of the person's points at rest."""
        return self.geometry > 0

    def aus_of(self, head: str) -> tuple[int, ...]:
        """FACS numbers of the outputs of a head, ascending."""
        return self.head_aus.get(head, self.au_numbers)

    def thresholds_of(self, head: str) -> tuple[float, ...]:
        """One threshold per AU of a head, 0.5 where none was calibrated; ValueError for a head that is not there."""
        if head not in self.heads:
            raise ValueError(f"head: expected one that the model has weights for, {self.heads}, got {head!r}")
        return self.thresholds.get(head, (0.5,) * len(self.aus_of(head)))

    def to_json(self) -> str:
        values = dataclasses.asdict(self)
        if not self.extra:  # a file without them is the one that it was before there were any
            del values["extra"]
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Raises ModelFileError where the text is not a configuration of this version."""
        try:
            values = json.loads(text)
            return cls(**values)
        except (TypeError, ValueError) as error:
            message = f"config: expected the JSON of a ModelConfig, got one that does not fit: {error}"
            raise ModelFileError(message) from error
