"""More AUs for a points head that is trained: a part of its own, which looks at the pixels of both eyes.

What FAN's features keep of the lids at 128 px is too little to tell a blink, so the eyes are cut out of the crop that
the network gets anyway. Everything that the model said before it says still, to the bit; a live system keeps one more
row of a frame.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.config import STRIDE

HEIGHT, WIDTH = 24, 40
"""Of the picture of an eye."""
PER_EYE_DISTANCE = WIDTH / 0.72
"""Pixels of that picture in the distance of the eyes; an eye is about .45 of it wide."""
EYES = ((36, 39), (42, 45))
"""iBUG numbers of the corners of the image-left and of the image-right eye."""


def _corners() -> Tensor:
    """(136, 4): x and y of 68 points -> x and y between the corners of either eye."""
    of = torch.zeros(2, 68, 2, 2)
    for eye, corners in enumerate(EYES):
        for axis in range(2):
            of[axis, list(corners), eye, axis] = 0.5
    return of.reshape(136, 4)


def _places(height: int, width: int) -> Tensor:
    """(4, 2 * height * width * 2): what `_corners` gives -> x and y of every pixel of both pictures, one below the
    other. They are linear in those four numbers: the line of the eyes gives scale and direction."""
    across = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    down = (torch.arange(height, dtype=torch.float64) - (height - 1) / 2)[:, None]
    at = torch.zeros(2, 2, 2, height, width, 2, dtype=torch.float64)  # [eye given, its axis, picture, ..., axis]
    for picture, direction in enumerate((1, -1)):
        along = (direction * across / PER_EYE_DISTANCE).expand(height, width)
        below = (down / PER_EYE_DISTANCE).expand(height, width)
        for given, sign in ((0, -1), (1, 1)):
            at[given, 0, picture, :, :, 0] = sign * along
            at[given, 1, picture, :, :, 0] = -sign * below
            at[given, 1, picture, :, :, 1] = sign * along
            at[given, 0, picture, :, :, 1] = sign * below
        for axis in range(2):
            at[picture, axis, picture, :, :, axis] += 1
    return at.reshape(4, -1).float()


class EyePictures(nn.Module):
    """Both eyes, upright and at one scale: each centred between its corners, the line of the eyes level, the
    image-right one mirrored, so that outer corners lie left.

    Args:
        height, width: of the picture; a larger one shows more around the eye, at the same scale.
    """

    corners: Tensor
    places: Tensor

    def __init__(self, height: int = HEIGHT, width: int = WIDTH) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.register_buffer("corners", _corners(), persistent=False)
        self.register_buffer("places", _places(height, width), persistent=False)

    def forward(self, crop: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Crops (B, 3, R, R) in [0, 1] and points x, y (B, 68) in cells of the heatmaps, four pixels of the crop ->
        (B, 2, 3, height, width); beyond the crop's border its last pixels go on."""
        middles = torch.cat((x, y), 1) @ self.corners
        scale = 2 * STRIDE / crop.shape[3]
        grid = (middles * scale + (scale / 2 - 1)) @ self.places  # a cell's centre lies half a cell from its border
        grid = grid.reshape(-1, 2 * self.height, self.width, 2)
        seen = functional.grid_sample(crop, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return seen.unflatten(2, (2, self.height)).transpose(1, 2)


class Lids(nn.Module):
    """AUs of the lids (AU5, AU45) from the pixels of both eyes.

    Both eyes are read by the same weights; how much either counts, the part decides by what it sees of it. The
    neighbours in time show the same eyes some tenths of a second before and after: a blink is over by then, narrow eyes
    and glasses are not. Brows are left out, so that it is the lids that count.

    Args:
        n_aus: AUs, in ascending FACS order.
        channels: of P, as `PointsHead.describe` gives it: half of them are kept of either eye.
        hidden: units of the decision.
    """

    factor: Tensor
    shift: Tensor

    def __init__(self, n_aus: int, channels: int, hidden: int = 32, dropout: float = 0.3) -> None:
        super().__init__()
        self.n_aus = n_aus
        self.kept, self.rest = channels // 2, channels % 2
        self.pictures = EyePictures()
        planes = ((3, 16, 5, 2), (16, 24, 3, 2), (24, 24, 3, 1), (24, 32, 3, 2))
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in planes:
            layers += [
                nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.reduce = nn.Linear(planes[-1][1] * (HEIGHT // 8) * (WIDTH // 8), self.kept)
        self.predictor = nn.Sequential(
            nn.Linear(3 * self.kept, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, n_aus)
        )
        self.weigh = nn.Linear(3 * self.kept, 1)
        self.register_buffer("factor", torch.ones(n_aus))
        self.register_buffer("shift", torch.zeros(n_aus))

    def look(self, pictures: Tensor) -> Tensor:
        """Of `EyePictures` (B, 2, 3, HEIGHT, WIDTH) -> what is kept of a frame, (B, channels). Brightness, tint and
        contrast of either eye are taken off first."""
        x = pictures.flatten(0, 1)
        x = x - x.mean((2, 3), keepdim=True)
        x = x / (x.square().mean((1, 2, 3), keepdim=True) + 1e-3).sqrt()
        kept = self.reduce(self.dropout(self.layers(x).flatten(1)))  # (2 B, kept)
        kept = kept.reshape(-1, 2 * self.kept)
        return functional.pad(kept, (0, self.rest)) if self.rest else kept

    def forward(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        """What `look` gave of three frames, (B, channels) each -> logits (B, n_aus)."""
        first, now, then = (f[:, : 2 * self.kept].reshape(-1, self.kept) for f in (former, due, later))
        x = torch.cat((now, now - first, then - now), 1)  # (2 B, 3 kept)
        share = self.weigh(x).reshape(-1, 2).softmax(1)  # (B, 2)
        logits = self.predictor(x).reshape(-1, 2, self.n_aus)
        return torch.matmul(share[:, None], logits)[:, 0]

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
