"""Crops and augmentation on the device: the same geometry as on the CPU, content of the same distributions."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.train.data.lab import Prepared
from tests.train.shards import face_points
from train.data.transforms.device import pack, unpack
from train.data.transforms.jpeg import compressed
from train.data.transforms.triplets import AUGMENTATIONS, TripletAugment
from train.data.triplets import TripletSet

SIDE = 128
ONLY_GEOMETRY = TripletAugment(blur=0, jpeg=0, dropout=0)
NOTHING = {"flip": 0.0, "rotation_deg": 0.0, "shift": 0.0, "scale": 0.0, "blur": 0.0, "jpeg": 0.0, "dropout": 0.0}


def triplets(prepared: Prepared, augment: TripletAugment, resolution: int = 64) -> TripletSet:
    return TripletSet.from_corpus(prepared.corpus, prepared.out, "train", 1, resolution=resolution, augment=augment)


def generators(count: int, seed: int = 5) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, i]) for i in range(count)]


@pytest.mark.parametrize("neighbours", [True, False])
@pytest.mark.parametrize("augmented", [True, False])
def test_the_geometry_is_that_of_the_cpu(prepared: dict[str, Prepared], augmented: bool, neighbours: bool) -> None:
    data = triplets(prepared["bp4d"], ONLY_GEOMETRY)
    rows = list(range(0, len(data), 4))
    draws = generators(len(rows)) if augmented else None
    got = unpack(pack(data, rows, neighbours, draws), 64).numpy().astype(int)
    fresh = generators(len(rows))
    wanted = np.stack([data.crops(i, fresh[k] if augmented else None, neighbours) for k, i in enumerate(rows)])
    assert got.shape == wanted.shape and got.std() > 10
    off = np.abs(got - wanted)
    assert off.max() <= 2 and (off > 0).mean() < 0.02, "a rounded half here and there, and no more"


class OnePicture:
    """A set whose every crop is one picture: what is done to its content shows alone."""

    def __init__(self, augment: TripletAugment) -> None:
        rng = np.random.default_rng(0)
        picture = cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8), (0, 0), 2.0)
        picture = cv2.normalize(picture, picture, 40, 215, cv2.NORM_MINMAX)
        points = (face_points(np.zeros(15, np.float32)) * SIDE).astype(np.int32)
        cv2.fillPoly(picture, [points[48:60]], (40, 40, 170))
        self.picture: np.ndarray[Any, np.dtype[np.uint8]] = np.asarray(picture, np.uint8)
        self.points = np.tile(np.array([[[40, 50], [88, 50], [64, 70], [50, 90], [78, 90]]], np.float32), (3, 1, 1))
        labels, names = np.ones((1, 1), np.float32), np.array(["x"])
        self.set = TripletSet(
            self, np.array([[0, 1, 2]]), labels, (1,), corpus=names, video=names, subject=names,
            frame=np.zeros(1, np.int64), resolution=SIDE, augment=augment,
        )  # fmt: skip

    def read(self, row: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return self.picture

    def matrix(self, row: int, resolution: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.eye(2, 3)


def both_ways(augment: TripletAugment, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(count, SIDE, SIDE, 3) each, augmented on the CPU and on the device; all three frames of a sample are alike."""
    data = OnePicture(augment).set
    cpu = np.stack([data.crops(0, rng) for rng in generators(count, 1)])
    device = unpack(pack(data, [0] * count, True, generators(count, 2)), SIDE).numpy()
    for crops in (cpu, device):
        assert (crops[:, 0] == crops[:, 1]).all() and (crops[:, 2] == crops[:, 1]).all()
    return cpu[:, 1].astype(np.float64), device[:, 1].astype(np.float64)


def changes(crops: np.ndarray[Any, Any], plain: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Mean absolute change of each crop, in grey levels."""
    return np.abs(crops - plain).mean((1, 2, 3))


@pytest.mark.parametrize("what", ["blur", "box blur", "jpeg", "colour", "dropout"])
def test_the_content_has_the_same_distribution(what: str) -> None:
    """Of 160 draws each: how often something changes, and mean and spread of how much, are those of the CPU."""
    given: dict[str, Any] = {**NOTHING, **({"colour": 0.3} if what == "colour" else {what.removeprefix("box "): 0.5})}
    augment = TripletAugment(**given, box_blur=what == "box blur")
    cpu, device = both_ways(augment, 160)
    plain = OnePicture(augment).picture[..., ::-1].astype(np.float64)
    first, second = changes(cpu, plain), changes(device, plain)
    assert (first > 0.05).mean() == pytest.approx((second > 0.05).mean(), abs=0.12)
    first, second = first[first > 0.05], second[second > 0.05]
    assert second.mean() == pytest.approx(first.mean(), rel=0.15)
    assert second.std() == pytest.approx(first.std(), rel=0.3, abs=0.2)


@pytest.mark.parametrize("quality", [30, 60, 90, 100])
def test_jpeg_is_that_of_the_library(quality: int) -> None:
    picture = OnePicture(ONLY_GEOMETRY).picture
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    wanted = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float64)
    crop = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1])).permute(2, 0, 1).float()
    got = compressed(crop[None, None], torch.tensor([quality]))[0, 0].permute(1, 2, 0).numpy()
    lost = np.abs(wanted - picture[..., ::-1]).mean()
    assert np.abs(got - wanted).mean() < 0.25 * lost + 0.2, "far nearer to the library's picture than that to its own"
    with pytest.raises(ValueError, match="a multiple of 16"):
        compressed(crop[None, None, :, :40, :40], torch.tensor([quality]))


@pytest.mark.parametrize("name", ["paper", "release"])
def test_the_same_draws_give_the_same_crops(prepared: dict[str, Prepared], name: str) -> None:
    data = triplets(prepared["bp4d"], AUGMENTATIONS[name])
    first, again, other = (unpack(pack(data, [0, 5, 9], True, generators(3, seed)), 64) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
