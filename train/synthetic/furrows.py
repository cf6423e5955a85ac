"""Painted furrows: what a moving muscle does to the skin and the mesh is too coarse to show.

Each AU has a map of log-brightness in the photo's pixels, drawn once per person from the neutral 68 points: dark
creases with a light ridge beside them, soft bulges and hollows.
Where they sit follows Table I of the paper and the FACS manual's description of each unit.
"""

from __future__ import annotations

import cv2
import numpy as np

from train.synthetic.ict import AU_NUMBERS


class _Pen:
    """Draws into one map; lengths in inter-ocular distances, positions as (x, y) photo pixels."""

    def __init__(self, shape: tuple[int, int], eye: float, rng: np.random.Generator) -> None:
        self.map = np.zeros(shape, np.float32)
        self.eye, self.rng = eye, rng

    def crease(self, curve: np.ndarray, depth: float, width: float = 0.022, ridge: float = 0.45) -> None:
        """A dark line along ``curve`` (k, 2), tapering at its ends, with a light ridge below it."""
        t = np.linspace(0, 1, 40)
        knots = np.linspace(0, 1, len(curve))
        smooth = np.stack([np.interp(t, knots, curve[:, i]) for i in (0, 1)], axis=1)
        smooth += np.cumsum(self.rng.normal(0, 0.0025 * self.eye, smooth.shape), axis=0)
        place = self._window(smooth, (6 * width + 0.06) * self.eye)
        corner = np.array((place[1].start, place[0].start))
        for shift, value, size in ((0.0, -depth, width), (1.4 * width, depth * ridge, 1.3 * width)):
            layer = np.zeros_like(self.map[place])
            if layer.size == 0:
                return
            for i in range(len(t) - 1):
                taper = np.sin(np.pi * (t[i] + 0.0125)) ** 0.6
                a, b = (end + (0, shift * self.eye) - corner for end in smooth[i : i + 2])
                cv2.line(
                    layer,
                    tuple((a * 16).astype(int).tolist()),
                    tuple((b * 16).astype(int).tolist()),
                    float(taper),
                    2,
                    cv2.LINE_AA,
                    4,
                )
            blurred = cv2.GaussianBlur(layer, (0, 0), size * self.eye)
            self.map[place] += value * blurred / max(float(blurred.max()), 1e-6)

    def _window(self, around: np.ndarray, margin: float) -> tuple[slice, slice]:
        """Rows and columns of the map within ``margin`` px of the points ``around`` (k, 2)."""
        h, w = self.map.shape
        (x0, y0), (x1, y1) = around.min(0) - margin, around.max(0) + margin + 1
        return slice(max(0, int(y0)), max(0, min(h, int(y1)))), slice(max(0, int(x0)), max(0, min(w, int(x1))))

    def blob(self, centre: np.ndarray, size: tuple[float, float], value: float, angle: float = 0.0) -> None:
        """A soft spot of standard deviations ``size`` (along, across)."""
        place = self._window(np.asarray(centre)[None], 4.5 * max(size) * self.eye)
        y, x = np.mgrid[place].astype(np.float32)
        c, s = np.cos(angle), np.sin(angle)
        dx, dy = (x - centre[0]) / self.eye, (y - centre[1]) / self.eye
        u, v = c * dx + s * dy, -s * dx + c * dy
        self.map[place] += value * np.exp(-0.5 * ((u / size[0]) ** 2 + (v / size[1]) ** 2))


def furrow_maps(shape: tuple[int, int], points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, h, w) float16: natural logarithm of the brightness factor at AU intensity 1; ``points`` (68, 2) in the
    photo's pixels.
    """
    p = points.astype(np.float64)
    left, right = p[36:42].mean(0), p[42:48].mean(0)
    eye = float(np.linalg.norm(right - left))
    middle = (left + right) / 2
    maps = np.zeros((len(AU_NUMBERS), *shape), np.float16)

    def at(x: float, y: float) -> np.ndarray:
        return middle + np.array((x, y)) * eye

    for row, number in enumerate(AU_NUMBERS):
        pen = _Pen(shape, eye, rng)
        if number == 1:
            for y in (-0.62, -0.76, -0.9):
                pen.crease(np.array([at(-0.36, y - 0.02), at(0, y + 0.04), at(0.36, y - 0.02)]), 0.2)
        elif number == 2:
            for side in (-1, 1):
                for y in (-0.62, -0.75):
                    pen.crease(
                        np.array([at(side * 0.3, y + 0.02), at(side * 0.6, y - 0.03), at(side * 0.85, y + 0.06)]), 0.18
                    )
        elif number == 4:
            for side in (-1, 1):
                pen.crease(
                    np.array([at(side * 0.11, -0.42), at(side * 0.10, -0.28), at(side * 0.13, -0.14)]), 0.32, 0.018
                )
                pen.blob(at(side * 0.3, -0.16), (0.22, 0.05), -0.16, side * 0.15)
            pen.blob(at(0, -0.3), (0.05, 0.12), 0.08)
        elif number == 6:
            for side, corner in ((-1, p[36]), (1, p[45])):
                for angle in (-0.45, 0.0, 0.45):
                    tip = corner + np.array((side * np.cos(angle), np.sin(angle))) * 0.34 * eye
                    pen.crease(np.array([corner + (tip - corner) * 0.25, tip]), 0.2, 0.014)
                centre = left if side < 0 else right
                pen.crease(
                    np.array(
                        [
                            centre + (side * -0.22 * eye, 0.22 * eye),
                            centre + (0, 0.29 * eye),
                            centre + (side * 0.3 * eye, 0.2 * eye),
                        ]
                    ),
                    0.16,
                    0.025,
                )
                pen.blob(centre + np.array((side * 0.08, 0.5)) * eye, (0.24, 0.12), 0.1)
        elif number == 7:
            for centre in (left, right):
                pen.crease(
                    np.array(
                        [centre + (-0.2 * eye, 0.13 * eye), centre + (0, 0.17 * eye), centre + (0.2 * eye, 0.13 * eye)]
                    ),
                    0.24,
                    0.016,
                )
                pen.blob(centre + (0, 0.125 * eye), (0.17, 0.025), 0.12)
        elif number == 9:
            for y in (0.06, 0.14, 0.22):
                pen.crease(np.array([at(-0.13, y - 0.04), at(0, y + 0.01), at(0.13, y - 0.04)]), 0.22, 0.016)
            for side, wing in ((-1, p[31]), (1, p[35])):
                pen.crease(
                    np.array(
                        [
                            wing + (side * 0.02 * eye, -0.3 * eye),
                            wing + (side * 0.12 * eye, -0.14 * eye),
                            wing + (side * 0.2 * eye, 0.06 * eye),
                        ]
                    ),
                    0.28,
                )
        elif number == 10:
            for side, wing in ((-1, p[31]), (1, p[35])):
                pen.crease(
                    np.array(
                        [
                            wing + (side * 0.1 * eye, -0.1 * eye),
                            wing + (side * 0.2 * eye, 0.04 * eye),
                            wing + (side * 0.26 * eye, 0.2 * eye),
                        ]
                    ),
                    0.3,
                    0.03,
                )
        elif number == 12:
            for side, wing, corner in ((-1, p[31], p[48]), (1, p[35], p[54])):
                outer = corner + np.array((side * 0.16, 0.02)) * eye
                pen.crease(
                    np.array([wing + (side * 0.1 * eye, 0), (wing + outer) / 2 + (side * 0.08 * eye, 0), outer]),
                    0.26,
                    0.03,
                )
                pen.blob(corner + np.array((side * 0.28, -0.28)) * eye, (0.18, 0.15), 0.1)
        elif number == 14:
            for side, corner in ((-1, p[48]), (1, p[54])):
                spot = corner + np.array((side * 0.08, 0)) * eye
                pen.crease(
                    np.array([spot + (0, -0.1 * eye), spot + (side * 0.03 * eye, 0), spot + (0, 0.1 * eye)]),
                    0.42,
                    0.022,
                )
                pen.blob(spot + (side * 0.08 * eye, 0), (0.06, 0.1), 0.12)
        elif number == 15:
            for side, corner in ((-1, p[48]), (1, p[54])):
                pen.crease(
                    np.array(
                        [
                            corner + (side * 0.02 * eye, 0.02 * eye),
                            corner + (side * 0.1 * eye, 0.14 * eye),
                            corner + (side * 0.12 * eye, 0.28 * eye),
                        ]
                    ),
                    0.3,
                )
        elif number == 17:
            chin = p[57] * 0.45 + p[8] * 0.55
            pen.crease(
                np.array([chin + (-0.2 * eye, -0.1 * eye), chin + (0, -0.17 * eye), chin + (0.2 * eye, -0.1 * eye)]),
                0.24,
                0.03,
            )
            for _ in range(16):
                pen.blob(chin + rng.normal(0, (0.12, 0.08)) * eye, (0.018, 0.018), float(rng.choice((-0.22, 0.1))))
        elif number == 20:  # the cheeks are drawn out beside the mouth
            for side, corner in ((-1, p[48]), (1, p[54])):
                for x in (0.08, 0.16, 0.25):
                    spot = corner + np.array((side * x, -0.02)) * eye
                    bow = side * 0.03 * eye
                    pen.crease(np.array([spot + (-bow, -0.16 * eye), spot + (bow, 0), spot + (-bow, 0.16 * eye)]), 0.2)
        elif number == 45:  # the lashes of a lid that comes down
            for lid in (p[36:40], p[42:46]):
                pen.crease(lid, 0.45, 0.016, 0.0)
        elif number == 23:
            for x in np.linspace(-0.22, 0.22, 7):
                for lip in (p[51] * 0.6 + p[62] * 0.4, p[57] * 0.6 + p[66] * 0.4):
                    spot = np.array((p[51][0] + x * eye, lip[1]))
                    pen.crease(np.array([spot + (0, -0.06 * eye), spot + (0, 0.06 * eye)]), 0.2, 0.01, 0.2)
            pen.blob((p[48] + p[54]) / 2 + (0, 0.2 * eye), (0.2, 0.03), -0.12)
        elif number == 24:
            pen.crease(np.array([p[48], (p[62] + p[66]) / 2, p[54]]), 0.4, 0.02, 0.1)
            for y in (p[51][1] - 0.07 * eye, p[57][1] + 0.07 * eye):
                pen.blob(np.array((p[51][0], y)), (0.2, 0.03), 0.14)
        maps[row] = pen.map
    return maps
