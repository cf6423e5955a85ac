"""Pictures of eyes: cut out of a set by the points of a model, and varied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.networks import randomised
from train.configs.options import ExtraOptions
from train.data.sequences import load_split
from train.models.config import ModelConfig
from train.models.model import Model
from train.recipes.eye_pictures import cut, varied


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return randomised(Model(ModelConfig(width=8, resolution=64)))  # type: ignore[return-value]


def test_the_same_seed_cuts_the_same_eyes(data: Path, model: Model) -> None:
    sequences = load_split(data, "val")
    first, again, other = (
        cut(model, sequences, ExtraOptions(seed=seed, passes=2, threads=1, device="cpu")) for seed in (1, 1, 2)
    )
    frames = sequences.info.frames
    assert first.pictures.shape == (2, len(sequences), frames, 2, 3, 40, 64) and first.pictures.dtype == torch.uint8
    assert torch.equal(first.pictures, again.pictures) and np.array_equal(first.moved, again.moved)
    assert not torch.equal(first.pictures, other.pictures)
    assert not torch.equal(first.pictures[0], first.pictures[1])


def test_only_photographs_with_open_eyes_get_lids_that_move(data: Path, model: Model) -> None:
    sequences = load_split(data, "train")
    numbers = (*sequences.info.au_numbers[:-1], 45) if 45 not in sequences.info.au_numbers else None
    labelled = sequences.of(numbers) if numbers else sequences
    column = labelled.info.au_numbers.index(45)
    photos = labelled.source == "photo"
    labelled.labels[photos, :, column] = 0
    eyes = cut(model, labelled, ExtraOptions(seed=1, passes=3, threads=1, device="cpu"))
    assert not eyes.moved[:, ~photos].any() and eyes.moved[:, photos].any()
    told = eyes.labels[..., column][eyes.moved]
    assert (told == 1).any() and ((told == 1) | (told == 0) | np.isnan(told)).all()
    assert (eyes.intensity[..., column][eyes.moved][told == 1] >= 0.3).all()
    still = ~eyes.moved
    assert np.array_equal(eyes.labels[still], np.repeat(labelled.labels[None], 3, 0)[still], equal_nan=True)


def test_variations_keep_the_eye_in_the_picture_and_hang_on_the_dice() -> None:
    pictures = torch.zeros(32, 4, 2, 3, 40, 64, dtype=torch.uint8)
    pictures[..., 17:23, 26:38] = 255
    seen, again = (varied(pictures, np.random.default_rng(0)) for _ in range(2))
    assert seen.shape == (128, 2, 3, 24, 40) and torch.equal(seen, again) and seen.isfinite().all()
    assert not torch.equal(seen, varied(pictures, np.random.default_rng(1)))
    middle = seen[..., 9:15, 14:26].mean((2, 3, 4))
    beside = seen[..., :, :3].mean((2, 3, 4))
    assert (middle > beside + 0.2).float().mean() > 0.95
