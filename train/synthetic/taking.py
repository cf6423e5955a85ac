"""How a frame was taken and sent: light, colour, focus, movement, noise, compression, alike over one sequence."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from train.synthetic.makeup import smooth


@dataclass(frozen=True)
class Taking:
    """``smooth``: strength of a beauty filter, 0 none. ``light``: what is left of it; ``gains`` (3,) BGR of the white
    balance; ``saturation``; ``blur`` px; ``shake`` px along ``angle`` radians; ``noise``: standard deviation, of 255;
    ``shrunk``: size that the picture had on the way; ``quality`` of JPEG, 0 none; ``seed`` of the noise.
    """

    smooth: float = 0.0
    light: float = 1.0
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    saturation: float = 1.0
    blur: float = 0.0
    shake: float = 0.0
    angle: float = 0.0
    noise: float = 0.0
    shrunk: float = 1.0
    quality: int = 0
    seed: int = 0


def draw_taking(rng: np.random.Generator) -> Taking:
    """A beauty filter in one sequence of six; one or several faults in three of ten, more than the augmentation of the
    training adds."""
    polished = float(rng.uniform(0.2, 1)) if rng.random() < 0.17 else 0.0
    seed = int(rng.integers(2**31))
    if rng.random() > 0.3:
        return Taking(smooth=polished, seed=seed)
    dim, cast, soft, shaken, small, packed = rng.random(6) < 0.4
    light = float(rng.uniform(0.12, 0.5)) if dim else 1.0
    blue, green, red = np.exp(rng.normal(0, 0.18, 3) if cast else np.zeros(3)).tolist()
    return Taking(
        smooth=polished,
        light=light,
        gains=(blue, green, red),
        saturation=float(rng.uniform(0.2, 1.5)) if cast else 1.0,
        blur=float(rng.uniform(0.6, 1.8)) if soft else 0.0,
        shake=float(rng.uniform(2, 7)) if shaken else 0.0,
        angle=float(rng.uniform(0, np.pi)),
        noise=float(rng.uniform(3, 14)) if dim else 0.0,
        shrunk=float(rng.uniform(0.45, 0.75)) if small else 1.0,
        quality=int(rng.integers(14, 40)) if packed else 0,
        seed=seed,
    )


def taken(image: np.ndarray, how: Taking, frame: int) -> np.ndarray:
    """The frame (h, w, 3) uint8 BGR as it arrives."""
    if how.smooth:
        image = smooth(image, how.smooth)
    h, w = image.shape[:2]
    picture = image.astype(np.float32) * (np.array(how.gains, np.float32) * np.float32(how.light))
    if how.saturation != 1:
        grey = picture @ np.array((0.114, 0.587, 0.299), np.float32)
        picture = grey[..., None] + np.float32(how.saturation) * (picture - grey[..., None])
    if how.shake:
        reach = int(np.ceil(how.shake))
        kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
        way = (0.5 * how.shake * np.cos(how.angle), 0.5 * how.shake * np.sin(how.angle))
        ends = [tuple(round(16 * (reach + s * v)) for v in way) for s in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 4)
        picture = cv2.filter2D(picture, -1, kernel / kernel.sum())
    if how.blur:
        picture = cv2.GaussianBlur(picture, (0, 0), how.blur)
    if how.noise:
        rng = np.random.default_rng((how.seed, frame))
        picture = picture + rng.normal(0, how.noise * np.sqrt(how.light), picture.shape).astype(np.float32)
        picture = picture / np.float32(max(how.light, 0.35))  # the camera turns up its gain, as far as it goes
    image = np.clip(picture, 0, 255).astype(np.uint8)
    if how.shrunk < 1:
        small = cv2.resize(image, None, fx=how.shrunk, fy=how.shrunk, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)
    if how.quality:
        _, code = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, how.quality))
        decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
        assert decoded is not None  # it was written a line before
        image = decoded
    return image


__all__ = ["Taking", "draw_taking", "taken"]
