"""Pictures of eyes, as the part for more AUs sees them: cut out of a set once, and varied at every step."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from train.configs.options import ExtraOptions
from train.data.sequences import SequenceSet
from train.data.transforms.sequences import NO_AUGMENTATION, Augmenter
from train.engine.loop import pick_device
from train.evaluation.sequences import to_input
from train.models.extra_head import HEIGHT, WIDTH, EyePictures
from train.models.model import Model
from train.synthetic.lids import course, intensity_of, shut

AROUND = (8, 12)
"""Pixels more on either side, above and below, and left and right: what a picture may be moved by."""
SHUT_SHARE = 0.6
"""Of the photographs with open eyes so many get lids that come down."""
CROPS = dataclasses.replace(
    NO_AUGMENTATION, flip=0.5, rotation_deg=6.0, scale=0.1, shift=0.03, jitter_rotation_deg=1.5, jitter_scale=0.02,
    jitter_shift=0.015,
)  # fmt: skip
"""How crops lie that FAN looks at: its points around the eyes tremble as they do in a live system."""


@dataclasses.dataclass(frozen=True)
class Eyes:
    """Of `passes` copies of N sequences of F frames: `pictures` (passes, N, F, 2, 3, HEIGHT + 16, WIDTH + 24) uint8,
    `intensity` and `labels` (passes, N, F, n) float32, NaN where not known, and `moved` (passes, N) bool, where lids
    of a photograph came down."""

    pictures: Tensor
    intensity: NDArray[np.float32]
    labels: NDArray[np.float32]
    moved: NDArray[np.bool_]


@torch.no_grad()
def cut(model: Model, sequences: SequenceSet, options: ExtraOptions) -> Eyes:
    """What the frozen model's points show of the eyes, in differently laid crops of every pass."""
    config, info, frames, count = model.config, sequences.info, sequences.info.frames, len(sequences)
    augmenter = Augmenter(config.resolution, info.size, info.margin, CROPS)
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    model = model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    height, width = HEIGHT + 2 * AROUND[0], WIDTH + 2 * AROUND[1]
    cutter = EyePictures(height, width).to(device)
    pictures = torch.empty((options.passes, count, frames, 2, 3, height, width), dtype=torch.uint8)
    intensity, labels = (np.repeat(table[None], options.passes, 0) for table in (sequences.intensity, sequences.labels))
    moved = np.zeros((options.passes, count), bool)
    blink = info.au_numbers.index(45) if 45 in info.au_numbers else None
    crops = np.empty((8, frames, config.resolution, config.resolution, 3), np.uint8)
    starts = [(p, start) for p in range(options.passes) for start in range(0, count, len(crops))]
    for number, start in track(starts, description="eyes"):
        chosen = range(start, min(count, start + len(crops)))
        for row, i in enumerate(chosen):
            rng = np.random.default_rng([options.seed, number, i])
            images, points = sequences.images[i], sequences.points[i]
            open_eyes = blink is not None and bool((sequences.labels[i, :, blink] == 0).all())
            if open_eyes and sequences.source[i] == "photo" and rng.random() < SHUT_SHARE:
                closed = course(frames, rng)
                images = np.stack(
                    [shut(*one, rng) for one in zip(images, points * info.size - 0.5, closed, strict=True)]
                )
                told = intensity_of(closed)
                intensity[number, i, :, blink] = told
                labels[number, i, :, blink] = np.where(told >= 0.3, 1, np.where(told <= 0.15, 0, np.nan))
                moved[number, i] = True
            augmenter(rng, images, points, crops[row])
        shown = to_input(torch.from_numpy(crops[: len(chosen)]).flatten(0, 1).to(device))
        heatmaps, _ = model.fan(shown)
        seen = model.points.eyes(heatmaps[-1], shown, cutter)
        pictures[number, chosen.start : chosen.stop] = (
            (seen * 255).round().clamp(0, 255).byte().cpu().unflatten(0, (-1, frames))
        )
    return Eyes(pictures, intensity, labels, moved)


def varied(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures of B sequences (B, F, 2, 3, HEIGHT + 16, WIDTH + 24) uint8 -> (B * F, 2, 3, HEIGHT, WIDTH) float32.

    They are moved, scaled and turned, a sequence as a whole and a little more from frame to frame; a sequence gets
    another gamma, light that falls unevenly, panes of glasses that mirror, blur, noise, and grey.
    """
    count, frames = pictures.shape[:2]
    dice = torch.Generator().manual_seed(int(rng.integers(2**62)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=dice)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=dice)

    def each(values: Tensor) -> Tensor:
        """(B, 1 or 2, ...) of a sequence -> (B * F * 2, ...) of a picture."""
        return values.expand(-1, 2, *values.shape[2:]).repeat_interleave(frames, 0).flatten(0, 1)

    def plane(values: Tensor) -> Tensor:
        return each(values)[:, None, None, None]

    def field(rows: int, columns: int) -> Tensor:
        coarse = each(normal(count, 2, rows, columns))[:, None]
        return functional.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bicubic")

    total = count * frames * 2
    scale = torch.exp(each(0.12 * normal(count, 1)) + 0.03 * normal(total))
    angle = each(0.06 * normal(count, 2)) + 0.03 * normal(total)
    across, down = (each(1.2 * normal(count, 2)) + 0.8 * normal(total) for _ in range(2))
    wider = torch.exp(each(0.08 * normal(count, 1)))
    v, u = torch.meshgrid(torch.arange(HEIGHT) - (HEIGHT - 1) / 2, torch.arange(WIDTH) - (WIDTH - 1) / 2, indexing="ij")
    cos, sin = ((scale * f(angle))[:, None, None] for f in (torch.cos, torch.sin))
    u = u * wider[:, None, None]
    at_u, at_v = cos * u - sin * v + across[:, None, None], sin * u + cos * v + down[:, None, None]
    grid = torch.stack((at_u / (WIDTH / 2 + AROUND[1]), at_v / (HEIGHT / 2 + AROUND[0])), 3)
    x = pictures.flatten(0, 2).float() / 255
    x = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)

    x = x.clamp(1e-3, 1) ** plane(torch.exp(0.35 * normal(count, 1)))
    uneven = plane((uniform(count, 1) < 0.5) * 0.375 * uniform(count, 1))
    x = x * (1 + uneven * field(3, 4))
    mirror = plane((uniform(count, 1) < 0.25) * 0.4 * uniform(count, 1))
    x = x + mirror * field(4, 6).clamp(min=0)
    blurred = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    x = torch.where(plane(uniform(count, 1)) < 0.35, blurred, x)
    x = x + plane((uniform(count, 1) < 0.5) * 0.04 * uniform(count, 1)) * normal(*x.shape)
    x = torch.where(plane(uniform(count, 1)) < 0.2, x.mean(1, keepdim=True), x)
    return x.unflatten(0, (-1, 2))


__all__ = ["AROUND", "Eyes", "cut", "varied"]
