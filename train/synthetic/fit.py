"""Fit the head to the 68 points of a portrait: weak-perspective pose, identity and a small expression in turns, then
the rest as a smooth displacement of the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from train.synthetic.ict import Head

# Shapes that part the lips: a resting portrait has them closed, and the points alone cannot tell thick lips from
# parted ones.
_NOT_AT_REST = (
    "eyeLook",
    "Pupil",
    "jawOpen",
    "mouthLowerDown",
    "mouthUpperUp",
    "mouthFunnel",
    "mouthClose",
    "mouthShrug",
    "mouthRoll",
    "noseSneer",
    "mouthPress",
)
_WEIGHTS = np.ones(68)
_WEIGHTS[:17] = 0.25  # the jaw points of the portraits are approximate
_WEIGHTS[60:] = 0.7


@dataclass(frozen=True)
class Fit:
    """``vertices`` (n, 3) float32 cm, the person's neutral shape; photo pixel of a vertex = scale * (rotation @
    v)[:2] * (1, -1) + shift.
    """

    vertices: np.ndarray
    rotation: np.ndarray
    scale: float
    shift: np.ndarray
    error: float  # mean distance of the inner points before the displacement, in inter-ocular distances

    def project(self, vertices: np.ndarray) -> np.ndarray:
        """(n, 3) cm -> (n, 3): photo pixels x, y and depth (larger = nearer)."""
        turned = vertices @ self.rotation.T.astype(np.float32)
        out = np.empty_like(turned)
        out[:, 0] = self.scale * turned[:, 0] + self.shift[0]
        out[:, 1] = -self.scale * turned[:, 1] + self.shift[1]
        out[:, 2] = self.scale * turned[:, 2]
        return out


def _pose(points: np.ndarray, shape: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Weighted scaled-orthographic pose by Gauss-Newton on the rotation; points (68, 2) y up."""
    w = _WEIGHTS / _WEIGHTS.sum()
    scale, shift = 1.0, np.zeros(2)
    for _ in range(6):
        turned = shape @ rotation.T
        flat = turned[:, :2] - w @ turned[:, :2]
        target = points - w @ points
        scale = float((w[:, None] * target * flat).sum() / (w[:, None] * flat**2).sum())
        residual = target - scale * flat
        centred = turned - w @ turned
        jacobian = np.stack([scale * np.cross(axis, centred)[:, :2] for axis in np.eye(3)], axis=2)  # (68, 2, 3)
        a = (jacobian * np.sqrt(w)[:, None, None]).reshape(-1, 3)
        step = np.linalg.solve(a.T @ a + 1e-6 * scale**2 * np.eye(3), a.T @ (residual * np.sqrt(w)[:, None]).ravel())
        rotation = cv2.Rodrigues(step)[0] @ rotation
    turned = shape @ rotation.T
    shift = w @ points - scale * (w @ turned[:, :2])
    return rotation, scale, shift


def fit_head(head: Head, points: np.ndarray, rounds: int = 12) -> Fit:
    """Fit to ``points`` (68, 2) photo pixels."""
    target = points.astype(np.float64) * (1, -1)
    marks = head.landmarks
    free = [i for i, name in enumerate(head.shape_names) if not name.startswith(_NOT_AT_REST)]
    basis = np.concatenate([head.identity[:, marks], head.shapes[free][:, marks]]).astype(np.float64)  # (k, 68, 3)
    modes = len(head.identity)
    weights = np.zeros(len(basis))
    rotation = np.eye(3)
    root = np.sqrt(_WEIGHTS)
    for _ in range(rounds):
        shape = head.neutral[marks] + np.tensordot(weights, basis, 1)
        rotation, scale, shift = _pose(target, shape, rotation)
        a = ((basis @ rotation.T)[:, :, :2] * scale * root[None, :, None]).reshape(len(basis), -1).T
        y = ((target - scale * (head.neutral[marks] @ rotation.T)[:, :2] - shift) * root[:, None]).ravel()
        ridge = np.r_[np.full(modes, 20 * (0.12 * scale) ** 2), np.full(len(free), 6 * (0.5 * scale) ** 2)]
        weights = np.linalg.solve(a.T @ a + np.diag(ridge), a.T @ y)
        weights[modes:] = np.clip(weights[modes:], 0, 0.6)
    vertices = head.neutral + np.tensordot(weights[:modes].astype(np.float32), head.identity, 1)
    vertices += np.tensordot(weights[modes:].astype(np.float32), head.shapes[free], 1)
    flat = scale * (vertices[marks] @ rotation.T)[:, :2] + shift
    rest = target - flat
    eye = np.linalg.norm(target[36:42].mean(0) - target[42:48].mean(0))
    error = float(np.linalg.norm(rest[17:], axis=1).mean() / eye)
    rest[:17] *= 0.3
    near = vertices[marks].astype(np.float64)
    kernel = np.exp(-((np.linalg.norm(near[:, None] - near[None], axis=2) / 3.0) ** 2))
    coefficients = np.linalg.solve(kernel + 0.05 * np.eye(68), rest / scale)
    distance = np.linalg.norm(vertices[:, None].astype(np.float32) - near[None].astype(np.float32), axis=2)
    displaced = np.exp(-((distance / 3.0) ** 2)) @ coefficients.astype(np.float32)  # (n, 2), cm in the picture plane
    vertices = vertices + np.c_[displaced, np.zeros(len(displaced), np.float32)] @ rotation.astype(np.float32)
    return Fit(vertices.astype(np.float32), rotation, scale, shift * (1, -1), error)
