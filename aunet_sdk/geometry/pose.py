"""Head pose from the 68 points: the turn of a mean face that fits them best.

The camera is scaled orthographic: a point of the model lands at s * (x, y) of the turned model, plus a shift. The best
2 x 3 matrix without conditions is a weighted linear least squares; the nearest one with orthogonal rows of one length
is the start, and a few Gauss-Newton steps over turn and scale end at the least-squares turn.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from ..errors import InvalidInput
from ..results import HeadPose

__all__ = ["head_pose", "head_pose_reference", "rotation_to_pose"]

_kernel = _native.load("geometry")

# The jaw line is where a contour point slides along the skin as the head turns, and where FAN is least sure; brows,
# lips and the jaw move with the AUs.
_WEIGHTS = np.ones(68)
_WEIGHTS[0:17] = 0.1
_WEIGHTS[17:27] = 0.5
_WEIGHTS[48:68] = 0.5

_STEPS = 10
_DONE_RAD = 1e-4


def head_pose(landmarks: ArrayLike, points3d: ArrayLike) -> HeadPose:
    """Orientation of the head against the camera.

    Args:
        landmarks: (68, 2) px in the frame, y down, iBUG order.
        points3d: (68, 3), the mean face, any unit, y up, z towards the camera, its image left at negative x.

    Returns:
        Degrees: yaw > 0: the face turns to the image's right; pitch > 0: up; roll > 0: clockwise in the image. Yaw and
        pitch are the direction in which the face looks, roll the turn about that direction; the mean face has 0, 0, 0.

    Raises:
        InvalidInput: wrong shapes, NaN or infinity, points that coincide or a flat model.
    """
    if _kernel is not None:
        given, shape = np.ascontiguousarray(landmarks, np.float64), np.ascontiguousarray(points3d, np.float64)
        if given.shape == (68, 2) and shape.shape == (68, 3):
            angles = _kernel.head_pose(given, shape, _WEIGHTS)
            if angles is not None:
                return HeadPose(*angles)
    return head_pose_reference(landmarks, points3d)


def head_pose_reference(landmarks: ArrayLike, points3d: ArrayLike) -> HeadPose:
    """`head_pose` in NumPy: what the kernel (csrc/geometry.pyx) is held to."""
    image = _checked(landmarks, (68, 2), "landmarks")
    model = _checked(points3d, (68, 3), "points3d")
    weights = _WEIGHTS / _WEIGHTS.sum()
    target = image * (1.0, -1.0)
    target = target - weights @ target
    model = model - weights @ model
    return rotation_to_pose(_fit(target, model, weights[:, None]))


def rotation_to_pose(rotation: NDArray[np.float64]) -> HeadPose:
    """The angles of a rotation (3, 3) in the model's axes: x right, y up, z towards the camera."""
    forward, across = rotation[:, 2], rotation[:, 0]
    yaw = math.atan2(forward[0], forward[2])
    pitch = math.atan2(forward[1], math.hypot(forward[0], forward[2]))
    # What yaw and pitch alone make of the model's x axis; the rest of the turn is roll about the line of sight.
    level = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
    upright = np.cross(forward, level)
    roll = -math.atan2(float(across @ upright), float(across @ level))
    return HeadPose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll))


def _checked(values: ArrayLike, shape: tuple[int, int], name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise InvalidInput(
            f"{name}: expected finite numbers of the shape {shape}, got the shape {array.shape}"
            f"{'' if array.shape != shape else ' with NaN or infinity'}; skip this face"
        )
    return array


def _fit(target: NDArray[np.float64], model: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation (3, 3) of the model whose first two rows, scaled, bring it closest to the target; both centred."""
    spread = model.T @ (weights * model)
    if np.linalg.det(spread) <= 1e-9 * (np.trace(spread) / 3) ** 3:
        raise InvalidInput("points3d: expected a face with depth, got points in a plane; check the bundle")
    if (weights * target * target).sum() <= 1e-12:
        raise InvalidInput("landmarks: expected points that span a face, got points that coincide; skip this face")
    free = np.linalg.solve(spread, model.T @ (weights * target)).T  # (2, 3), without conditions
    root = np.linalg.cholesky(spread)
    left, lengths, right = np.linalg.svd(free, full_matrices=False)
    scale = float(lengths.mean())
    rotation = _with_third_row(left @ right)
    cost = math.inf
    best = rotation
    jacobian = np.zeros((4, 6))  # rows: wx, wy, wz, scale
    for _ in range(_STEPS):
        residual = ((scale * rotation[:2] - free) @ root).ravel()
        now = float(residual @ residual)
        if now > cost:
            break
        cost, best = now, rotation
        # A small turn w takes the rows x, y, z to x - wz y + wy z and y + wz x - wx z.
        x, y, z = rotation @ root
        jacobian[0, 3:] = -scale * z
        jacobian[1, :3] = scale * z
        jacobian[2, :3], jacobian[2, 3:] = -scale * y, scale * x
        jacobian[3, :3], jacobian[3, 3:] = x, y
        step = np.linalg.solve(jacobian @ jacobian.T, jacobian @ -residual)
        rotation = _turn(step[:3]) @ rotation
        scale += float(step[3])
        if np.abs(step[:3]).max() < _DONE_RAD:
            return rotation
    return best


def _with_third_row(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.vstack([rows, np.cross(rows[0], rows[1])])


def _turn(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) of a rotation vector, radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
