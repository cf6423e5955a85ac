"""The head 'points' of the embedded models: FAN's features at the 68 points, and where the points are -> AU logits.

As the paper's head it splits into a part per frame (`describe`) and a part per decision (`combine`), so that a live
system keeps of a frame what decisions need and no more.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.config import POINTS
from train.models.extra_head import Among, EyePictures, Lids


def known_reference(reference: Tensor) -> Tensor:
    """(B, 1) float32: 1 where a reference (B, 68, 2) is given, 0 where it is all zeros: not known."""
    return (reference.abs().amax((1, 2)) > 0).float()[:, None]


def _without_eyes(described: Tensor) -> Tensor:
    """P (B, 68 or 69, d + 2) -> (B, 68, d + 2): without the row of a part for more AUs."""
    return described if described.shape[1] == POINTS else described[:, :POINTS]


class GeometryPath(nn.Module):
    """AUs from landmark coordinates alone, blind to the picture: it knows movement and no furrows.

    The change against the person's points at rest is what tells a raised brow from high brows. Where they are not known
    the path decides by the coordinates of the one frame. It is trained on projected landmarks by the million
    (train/recipes/geometry_task.py), where no rendered picture has to follow.

    Args:
        n_aus: AUs, in ascending FACS order.
        hidden: units of either hidden layer.
        intensity: whether there is a second output for the strength of the movement.
    """

    limit = 8.0  # spreads beyond which a coordinate is no face's: a lost point cannot decide everything

    def __init__(self, n_aus: int, hidden: int = 256, dropout: float = 0.1, intensity: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4 * POINTS)
        self.predictor = nn.Sequential(
            nn.Linear(4 * POINTS + 1, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, n_aus),
        )
        self.intensity = nn.Linear(hidden, n_aus) if intensity else None

    def forward(self, coordinates: Tensor, reference: Tensor | None = None) -> Tensor:
        """Coordinates (B, 68, 2) as `PointsHead.describe` normalises them, those of the same person at rest (B, 68, 2),
        all zeros where not known -> logits (B, n_aus)."""
        return self.decide(coordinates, reference)[0]

    def decide(self, coordinates: Tensor, reference: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """`forward` and, where the path has it, the logit of the intensity (B, n_aus)."""
        reference = torch.zeros_like(coordinates) if reference is None else reference
        known = known_reference(reference).to(coordinates.dtype)
        change = (coordinates - reference).flatten(1) * known
        x = self.norm(torch.cat((coordinates.flatten(1), change), 1).to(self.norm.weight.dtype))
        seen, moved = x.clamp(-self.limit, self.limit).chunk(2, 1)
        hidden = self.predictor[:-1](torch.cat((seen, moved * known, known), 1))
        return self.predictor[-1](hidden), None if self.intensity is None else self.intensity(hidden)


class Gate(nn.Module):
    """How much either path of the points head counts: a * appearance + b * geometry + c per AU.

    The numbers are others where the person's points at rest are known. They are fitted by train/recipes/fusion.py; as
    made, both paths count in full.
    """

    def __init__(self, n_aus: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2, n_aus))
        """[known][appearance, geometry]"""
        self.shift = nn.Parameter(torch.zeros(2, n_aus))

    def forward(self, appearance: Tensor, geometry: Tensor, known: Tensor) -> Tensor:
        """Logits (B, n_aus) of both paths and `known_reference` (B, 1) -> logits (B, n_aus)."""
        without, given = (
            appearance * self.weight[i, 0] + geometry * self.weight[i, 1] + self.shift[i] for i in range(2)
        )
        return known * given + (1 - known) * without


class PointsHead(nn.Module):
    """AU head for small networks: features pooled at the 68 landmarks, landmark coordinates, and their changes in time.

    Not in the paper. Where a small width leaves the paper's head little to work with, landmark positions and what lies
    around each of them carry most of the signal.

    Args:
        n_aus: AUs, in ascending FACS order.
        width: that of FAN.
        d: feature channels kept per landmark.
        geometry: hidden units of a second path that sees the due frame's coordinates and the person's points at rest
            (`GeometryPath`), weighed against the first by a `Gate`; 0: none.
        intensity: whether there is a second output for the strength of each AU.
        extra: columns of the AUs that a part of its own decides (`Lids`); both paths have the others alone.
    """

    unit = 10.0  # eye distance after normalisation: coordinates are tenths of it

    def __init__(
        self,
        n_aus: int,
        width: int = 256,
        d: int = 32,
        hidden: int = 32,
        dropout: float = 0.3,
        geometry: int = 0,
        intensity: bool = False,
        extra: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.channels = d + 2
        self.extra = Lids(len(extra), self.channels) if extra else None
        self.among = Among(extra, n_aus) if extra else None
        n_aus -= len(extra)
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
        self.intensity = nn.Linear(256, n_aus) if intensity else None
        self.geometry = GeometryPath(n_aus, geometry, intensity=intensity) if geometry else None
        self.gate = Gate(n_aus) if geometry else None
        self.intensity_gate = Gate(n_aus) if geometry and intensity else None

    @property
    def rows(self) -> int:
        """Of P: 68, and one more where there is a part for more AUs."""
        return POINTS if self.extra is None else POINTS + 1

    def describe(self, features: Tensor, heatmaps: Tensor, crop: Tensor | None = None) -> Tensor:
        """The part per frame.

        Args:
            features: F (B, 3 * width, h, h) of FAN.
            heatmaps: (B, 68, h, h) of the last stack.
            crop: (B, 3, R, R) in [0, 1], what they come from; a head without a part for more AUs needs none.

        Returns:
            P (B, 68, d + 2) float32: d feature channels pooled around each landmark; x and y in tenths of the eye
            distance after the similarity that brings the eye centres (means of 36-41 and 42-47) to (-5, 0) and (5, 0).
            With a part for more AUs (B, 69, d + 2): the last row is what it keeps of the eyes.
        """
        mask, x, y = self._attention(heatmaps)
        reduced = self.reduce(features).flatten(2).transpose(1, 2)  # (B, h * w, d)
        pooled = torch.matmul(mask.to(reduced.dtype), reduced)  # (B, 68, d)
        return self.with_eyes(torch.cat((pooled.float(), self._normalise(x, y)), 2), crop, x, y)

    def with_eyes(self, described: Tensor, crop: Tensor | None, x: Tensor, y: Tensor) -> Tensor:
        """P (B, 68, d + 2), crops and points (B, 68) in cells of the heatmaps -> P with the row of the part for more
        AUs, where there is one."""
        if self.extra is None:
            return described
        if crop is None:
            raise ValueError(
                "crop: expected the crops that the features come from, got None; more AUs are read in them"
            )
        return torch.cat((described, self.extra.look(self.extra.pictures(crop.float(), x, y))[:, None]), 1)

    def eyes(self, heatmaps: Tensor, crop: Tensor, pictures: EyePictures) -> Tensor:
        """`pictures` around the points of the heatmaps (B, 68, h, h)."""
        _, x, y = self._attention(heatmaps)
        return cast(Tensor, pictures(crop.float(), x, y))

    def pool(self, features: Tensor, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """`describe` up to its first weight, to be kept for many passes: features around each landmark (B, 68, 3 *
        width) and coordinates (B, 68, 2), both float32."""
        mask, x, y = self._attention(heatmaps)
        return torch.matmul(mask, features.float().flatten(2).transpose(1, 2)), self._normalise(x, y)

    def describe_pooled(self, pooled: Tensor, coordinates: Tensor, eyes: Tensor | None = None) -> Tensor:
        """P from what `pool` gave: equal to `describe`: pooling and the 1x1 convolution commute. eyes: (B, d + 2), the
        row of the part for more AUs; None: P is without it, for the paths alone."""
        reduced = functional.linear(pooled, self.reduce.weight.flatten(1), self.reduce.bias)
        described = torch.cat((reduced.float(), coordinates), 2)
        return described if eyes is None else torch.cat((described, eyes[:, None]), 1)

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

    def combine(self, former: Tensor, due: Tensor, later: Tensor, reference: Tensor | None = None) -> Tensor:
        """The part per decision: P of three frames -> logits (B, n_aus); reference as in `decide`."""
        return self.decide(former, due, later, reference)[0]

    def decide(
        self, former: Tensor, due: Tensor, later: Tensor, reference: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """`combine` and the intensities.

        Args:
            former, due, later: P of three frames, as `describe` gives it.
            reference: (B, 68, 2), the person's coordinates at rest, in the unit of P's; all zeros, or None: not known.
                A head without a geometry path takes no notice of it.

        Returns:
            logits (B, n_aus); intensity (B, n_aus) in [0, 1], None of a head without.
        """
        frames = (former, due, later)
        logits, intensity = self.appearance_of(former, due, later)
        if self.geometry is not None:
            coordinates = _without_eyes(due)[..., -2:]
            reference = torch.zeros_like(coordinates) if reference is None else reference
            known = known_reference(reference)
            moved, strength = self.geometry.decide(coordinates, reference)
            logits = cast(Gate, self.gate)(logits, moved, known)
            if intensity is not None:
                intensity = cast(Gate, self.intensity_gate)(intensity, strength, known)
        if self.extra is not None:
            among, more = cast(Among, self.among), self.extra(*(frame[:, POINTS] for frame in frames))
            logits = among(logits, more)
            intensity = None if intensity is None else among(intensity, self.extra.strength_of(more))
        return logits, None if intensity is None else intensity.sigmoid()

    def appearance(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        """Logits of the path that sees the picture, the geometry path and the extra AUs left out."""
        return self.appearance_of(former, due, later)[0]

    def appearance_of(self, former: Tensor, due: Tensor, later: Tensor) -> tuple[Tensor, Tensor | None]:
        """`appearance` and, where the head has it, the logit of the intensity (B, n_aus)."""
        former, due, later = (_without_eyes(frame) for frame in (former, due, later))
        x = torch.cat((due, due - former, later - due), 2)  # (B, 68, 3 * (d + 2))
        x = self.norm(x.flatten(1).to(self.norm.weight.dtype))
        x = functional.relu(self.point(x.reshape(-1, POINTS, 3 * self.channels)))  # (B, 68, 32)
        hidden = self.predictor[:-1](x.flatten(1))
        return self.predictor[-1](hidden), None if self.intensity is None else self.intensity(hidden)
