"""More AUs for a points head that is trained: a part of its own, which reads what the head keeps of a frame anyway.

Everything that the model said before it says still, to the bit, and a live system keeps nothing more of a frame.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

EYES = ((36, 37, 38, 39, 40, 41), (45, 44, 43, 42, 47, 46))
"""iBUG numbers of the image-left eye from its outer corner, and the same points of the image-right one."""


class EyeAUs(nn.Module):
    """AUs of the lids (AU5, AU45) from the features around the points of the eyes, of the due frame alone.

    Both eyes are read by the same weights, the image-right one mirrored; the logit is the mean of both. There is no
    neighbour in time: a blink is over before one comes. Brows are left out, so that it is the lids that count.

    Args:
        n_aus: AUs, in ascending FACS order.
        channels: of P, as `PointsHead.describe` gives it; the last two are x and y.
        hidden: units per point.
        wide: units of the hidden layer.
    """

    factor: Tensor
    shift: Tensor
    mirror: Tensor
    order: Tensor

    def __init__(self, n_aus: int, channels: int, hidden: int = 24, wide: int = 64, dropout: float = 0.6) -> None:
        super().__init__()
        self.channels = channels
        self.norm = nn.BatchNorm1d(len(EYES[0]) * channels)
        self.point = nn.Linear(channels, hidden)
        self.dropout = nn.Dropout(dropout / 3)
        self.predictor = nn.Sequential(
            nn.Linear(len(EYES[0]) * hidden, wide),
            nn.BatchNorm1d(wide),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(wide, n_aus),
        )
        self.register_buffer("factor", torch.ones(n_aus))
        self.register_buffer("shift", torch.zeros(n_aus))
        mirror = torch.ones(channels)
        mirror[-2] = -1.0
        self.register_buffer("mirror", mirror, persistent=False)
        self.register_buffer("order", torch.tensor(EYES[0] + EYES[1]), persistent=False)

    def forward(self, due: Tensor) -> Tensor:
        """P (B, 68, channels) of the due frame -> logits (B, n_aus)."""
        points = len(EYES[0])
        eyes = due.index_select(1, self.order)  # (B, 12, channels)
        eyes = torch.stack((eyes[:, :points], eyes[:, points:] * self.mirror), 1)  # (B, 2, 6, channels)
        x = self.norm(eyes.reshape(-1, points * self.channels).to(self.norm.weight.dtype))
        x = functional.relu(self.point(self.dropout(x.reshape(-1, points, self.channels))))  # (2 B, 6, 24)
        logits = self.predictor(x.flatten(1))  # (2 B, n)
        return cast(Tensor, logits.reshape(-1, 2, logits.shape[1]).mean(1))

    def strength_of(self, logits: Tensor) -> Tensor:
        """What `forward` gave -> logits of the intensity (B, n_aus): the same, on a scale of its own."""
        return logits * self.factor + self.shift

    @torch.no_grad()
    def rescale(self, scale: Tensor, shift: Tensor) -> None:
        """Put scale and shift (n,) of the logits into the last layer; the intensities stay what they are."""
        last = cast(nn.Linear, self.predictor[-1])
        scale, shift = scale.to(last.weight), shift.to(last.weight)
        last.weight.mul_(scale[:, None])
        last.bias.mul_(scale).add_(shift)
        self.shift.sub_(self.factor * shift / scale)
        self.factor.div_(scale)


class Among(nn.Module):
    """Puts the logits of the extra AUs among the others, in ascending FACS order.

    Args:
        places: columns of the extra AUs in the whole.
        n_aus: AUs of the whole.
    """

    order: Tensor

    def __init__(self, places: tuple[int, ...], n_aus: int) -> None:
        super().__init__()
        self.extra, self.others = list(places), [i for i in range(n_aus) if i not in places]
        order = [(self.others + self.extra).index(i) for i in range(n_aus)]
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, logits: Tensor, extra: Tensor) -> Tensor:
        """(B, n_aus - extra) and (B, extra) -> (B, n_aus)."""
        return torch.cat((logits, extra), 1).index_select(1, self.order)
