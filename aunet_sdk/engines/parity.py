"""Whether an engine answers on this device as the bundle's graph did where it was exported.

A bundle may carry three crops and what ONNX Runtime's CPU provider answers to them (its metadata `parity`). An engine
that was compiled for a device, by a library of some version, is asked the same before it is used: TensorRT 10.3 runs a
graph right that 10.13 runs wrong, and only the answers show it.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..errors import BundleMismatch, EngineMismatch
from .base import NEW, Query, StreamEngine

__all__ = ["GATES", "ParityVector", "answers", "check_parity", "difference"]

GATES = {"fp32": 1e-3, "tf32": 1e-2, "fp16": 1e-2, "bf16": 1e-1, "int8": 5e-2, "int8-symmetric": 5e-2}
"""Largest difference of a probability or an intensity that is let pass, by what the engine computes in."""
FRAMES = 3


@dataclass(frozen=True, eq=False)
class ParityVector:
    """crops (3 frames, 3, R, R) uint8 RGB: former, due, later; reference (68, 2) float32, None of a bundle that
    makes no use of it; expected (2 or 3 decisions, 1 or 2, n) float64: what `answers` gave of one face."""

    crops: np.ndarray
    reference: np.ndarray | None
    expected: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """For `Bundle.parity`."""
        packed = zlib.compress(np.ascontiguousarray(self.crops, np.uint8).tobytes(), 9)
        return {
            "crops": base64.b64encode(packed).decode("ascii"),
            "reference": None if self.reference is None else self.reference.round(4).tolist(),
            "expected": self.expected.round(6).tolist(),
        }

    @classmethod
    def of(cls, bundle: Bundle) -> ParityVector | None:
        """That of a bundle; None where it has none. Raises BundleMismatch where it is damaged."""
        if bundle.parity is None:
            return None
        try:
            return cls._parsed(bundle, bundle.parity)
        except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
            raise BundleMismatch(
                f"expected crops and answers in the metadata 'parity' of {bundle.name}, got {error!r}; export it again"
            ) from error

    @classmethod
    def _parsed(cls, bundle: Bundle, data: Mapping[str, Any]) -> ParityVector:
        side, n = bundle.resolution, len(bundle.au_numbers)
        size = FRAMES * 3 * side * side
        unpacker = zlib.decompressobj()
        crops = np.frombuffer(unpacker.decompress(base64.b64decode(data["crops"], validate=True), size), np.uint8)
        reference = None if data["reference"] is None else np.array(data["reference"], np.float32)
        expected = np.array(data["expected"], np.float64)
        shape = (2 + bundle.reference, 1 + bundle.intensity, n)
        if crops.size != size or expected.shape != shape or not np.isfinite(expected).all():
            raise ValueError(f"{crops.size} bytes of crops for {size}, answers {expected.shape} for {shape}")
        if bundle.reference != (reference is not None) or (reference is not None and reference.shape != (68, 2)):
            raise ValueError("a reference that does not fit")
        return cls(crops.reshape(FRAMES, 3, side, side), reference, expected)


def answers(engine: StreamEngine, crops: np.ndarray, reference: np.ndarray | None, faces: int = 1) -> np.ndarray:
    """Probabilities and intensities, (faces, 2 or 3 decisions, 1 or 2, n) float64, of the same face `faces` times over.

    The decisions: that about the due frame, the causal one about the later frame and, with a reference, that about the
    due frame from kept states alone. They go through every input and output of the graph, and through states of their
    own. `engine.crops` is overwritten.
    """
    states = engine.open_states()
    try:
        slots = []
        for frame in range(FRAMES):
            engine.crops[:faces] = crops[frame].astype(np.float32) / np.float32(255)
            if frame < FRAMES - 1:
                slots.append(engine.step(faces, states=states).slots)
        former, due = slots
        asked = [Query(f, d, NEW) for f, d in zip(former, due, strict=True)]
        last = engine.step(faces, asked, due, states)
        assert last.logits_causal is not None
        found = [last.logits, last.logits_causal]
        if reference is not None:
            frames = zip(former, due, last.slots, strict=True)
            found.append(engine.query([Query(*each, reference) for each in frames], states))
        n = len(engine.bundle.au_numbers)
        decisions = []
        for answered in found:
            parts = answered[:, :n].astype(np.float64), answered[:, n:].astype(np.float64)
            probabilities = 1 / (1 + np.exp(-parts[0]))
            decisions.append([probabilities, parts[1]] if engine.bundle.intensity else [probabilities])
        return np.array(decisions).transpose(2, 0, 1, 3)
    finally:
        states.close()


def difference(engine: StreamEngine) -> float | None:
    """The largest difference between what the engine answers and what its bundle says, for one face and for a batch;
    NaN counts as infinite. None: the bundle says nothing."""
    vector = ParityVector.of(engine.bundle)
    if vector is None:
        return None
    worst = 0.0
    for faces in sorted({1, min(engine.max_faces, 4)}):
        got = answers(engine, vector.crops, vector.reference, faces)
        apart = np.abs(got - vector.expected).max()
        worst = max(worst, float(apart) if np.isfinite(apart) else float("inf"))
    return worst


def check_parity(engine: StreamEngine, *, tf32: bool = False) -> float | None:
    """`difference`, where it is within the gate. Raises EngineMismatch where it is not."""
    apart = difference(engine)
    arithmetic = str(getattr(engine, "precision", engine.bundle.arithmetic))
    gate = GATES["tf32" if tf32 and arithmetic == "fp32" else arithmetic]
    if apart is not None and not apart <= gate:
        raise EngineMismatch(
            f"expected {engine.name} ({', '.join(engine.providers)}) to answer as {engine.bundle.name} says "
            f"(probabilities within {gate:g}), got {apart:.2g} apart; take another version of the library, or another "
            "engine (docs/engines/choosing.md)"
        )
    return apart
