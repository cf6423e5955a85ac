"""The metadata `parity` of a stream bundle: three crops of the example's rendered head, and the answers to them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.parity import FRAMES, ParityVector, answers
from aunet_sdk.post.neutral import normalised

from .crops import EXAMPLES, GAP

__all__ = ["parity_vector"]


def parity_vector(path: str | Path) -> dict[str, Any]:
    """For `Bundle.parity` of the stream bundle at `path`, as ONNX Runtime's CPU provider answers."""
    bundle = Bundle.load(path)
    crops, landmarks = _crops(bundle)
    reference = normalised(landmarks).round(4) if bundle.reference else None
    with OrtStreamEngine(bundle, max_faces=1, threads=1) as engine:
        return ParityVector(crops, reference, answers(engine, crops, reference)[0]).to_json()


def _crops(bundle: Bundle) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """uint8 (3 frames, 3, R, R) RGB, in the bundle's geometry, and the landmarks (68, 2) px of the first of them."""
    from aunet_sdk.geometry import crop as alignment

    side = bundle.resolution
    template_px = np.asarray(bundle.template, np.float64) * side - 0.5
    crops = np.empty((FRAMES, 3, side, side), np.uint8)
    whole = np.empty((3, side, side), np.float32)
    for i, (image, landmarks) in enumerate(_faces()):
        alignment.warp_crop(image, alignment.canonical_matrix(landmarks, template_px), whole)
        crops[i] = np.rint(255 * whole)
    return crops, _faces()[0][1]


@functools.cache
def _faces() -> tuple[tuple[NDArray[np.uint8], NDArray[np.float64]], ...]:
    """Pictures uint8 (H, W, 3) BGR of the example, and the landmarks that the default model sees there."""
    from aunet_sdk import Detector, DetectorOptions
    from aunet_sdk.sources import VideoFile

    found, options = [], DetectorOptions(engine="onnxruntime", threads=1)
    with Detector(options) as detector, VideoFile(EXAMPLES / "sample.mp4") as video:
        for frame in video:
            if frame.index % GAP == 0:
                faces = detector.detect(frame.image).faces
                found += [(frame.image, faces[0].landmarks.astype(np.float64))] if faces else []
            if len(found) == FRAMES:
                break
    if len(found) < FRAMES:
        raise ValueError(f"parity: expected a face in {EXAMPLES / 'sample.mp4'}, got none; check the default model")
    return tuple(found)
