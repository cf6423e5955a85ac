"""Validity on a real clip with the real detector: mouths that are covered, and a hand that was filmed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from aunet_sdk import Detector, DetectorOptions


@pytest.mark.parametrize("kind", ["none", "black", "skin", "hand"])
def test_a_covered_mouth_is_not_taken_for_a_calm_one(
    corpus: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    validity = importlib.import_module("validity")
    path = corpus / "clips" / "single_face.mp4"
    with Detector(DetectorOptions(threads=1, look_ahead="none")) as detector:
        clear = list(validity.watch(detector, path, 24, None, {}))
        points = {index: face.landmarks for index, face, _ in clear}
        cover = validity.cover_of(kind, path.stem)
        seen = clear if kind == "none" else list(validity.watch(detector, path, 24, cover, points))
    aus = [found for _, face, found in seen if face is not None]
    assert len(aus) >= 23
    au1, au12 = (sum(found[au] for found in aus) / len(aus) for au in ("AU1", "AU12"))
    assert au1 >= 0.95
    assert au12 >= 0.98 if kind == "none" else au12 <= 0.05


def test_a_filmed_hand_before_the_mouth(corpus: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A woman weeps, covers her mouth (frames 100 to 132, as seen by eye) and smiles (from 232 on)."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    validity = importlib.import_module("validity")
    path = corpus / "clips" / "WolfgangLanger_Pexels.mp4"
    with Detector(DetectorOptions(threads=1, look_ahead="none")) as detector:
        seen = {index: found for index, _, found in validity.watch(detector, path, 260, None, {})}
    behind = [seen[index]["AU12"] for index in range(102, 131)]
    clear = [seen[index]["AU12"] for index in (*range(50), *range(234, 260))]
    assert sum(behind) / len(behind) <= 0.05
    assert sum(clear) / len(clear) >= 0.98
