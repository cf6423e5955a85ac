"""The fusion of the appearance and the geometry path: what either may say, and what stays as it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.networks import randomised
from train.models.config import ModelConfig
from train.models.model import Model, grown
from train.recipes import fusion
from train.recipes.evidence import Evidence, both
from train.recipes.looks import Looks
from train.recipes.two_paths import with_intensity, with_path_of, without_intensity, without_path
from train.synthetic.ict import AU_NUMBERS


def evidence(name: str, seed: int, appearance: float, geometry: float, shows: bool = True) -> Evidence:
    """One AU; both paths see it as strongly as said, with noise of 1."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((600, 1)) < 0.2 * shows).astype(float)
    seen = [strength * (2 * labels - 1) + rng.normal(0, 1, labels.shape) for strength in (appearance, geometry)]
    return Evidence(name, *seen, labels, labels)


def test_the_path_that_knows_counts() -> None:
    first = fusion.fit([evidence("renders", 0, 1.5, 0.0)], (4,))
    second = fusion.fit([evidence("renders", 0, 0.0, 1.5)], (4,))
    assert first.appearance[0] > 4 * first.geometry[0] and second.geometry[0] > 4 * second.appearance[0]


def test_either_path_can_carry_a_decision() -> None:
    """On renders furrows tell everything; on smooth skin they are missing, and the points have to do."""
    renders, pictures = evidence("renders", 0, 4.0, 1.5), evidence("pictures", 1, 0.0, 3.0)
    weights = fusion.fit([renders, pictures], (1,))
    on = pictures.labels[:, 0] == 1
    decided = weights.logits(pictures)[:, 0] > 0
    assert decided[on].mean() > 0.9 and decided[~on].mean() < 0.06
    alone = fusion.fit([renders], (1,), fusion.FusionOptions(dropout=0.0))
    assert weights.geometry[0] > alone.geometry[0]


def test_a_domain_without_the_au_still_keeps_it_calm() -> None:
    renders = evidence("renders", 0, 1.5, 1.0)
    calm = evidence("pictures", 1, 0.0, 0.0, shows=False)
    loud = dataclasses.replace(calm, appearance=calm.appearance + 1.5)
    weights = fusion.fit([renders, loud], (9,))
    assert (weights.logits(loud) > 0).mean() <= 0.051
    assert (fusion.fit([renders], (9,)).logits(loud) > 0).mean() > 0.2


def test_an_au_that_nothing_shows_keeps_the_appearance_path() -> None:
    weights = fusion.fit([evidence("pictures", 0, 0.0, 0.0, shows=False)], (9,))
    assert (weights.appearance[0], weights.geometry[0], weights.shift[0]) == (1, 0, 0)


def looks(count: int) -> Looks:
    rng = np.random.default_rng(0)
    pooled = rng.normal(0, 1, (count, 68, 48)).astype(np.float16)
    coordinates = rng.normal(0, 2, (count, 68, 2)).astype(np.float32)
    return Looks(pooled, coordinates, coordinates.astype(float), np.ones(count), np.empty((count, 0), np.float32))


def test_paths_of_a_model_without_geometry_are_refused() -> None:
    nothing, labels = np.zeros((1, 68, 2), np.float32), np.zeros((1, 15))
    with pytest.raises(ValueError, match="train geometry"):
        both("none", Model(ModelConfig(width=16, resolution=64)), looks(1), nothing, labels, labels)


def test_evidence_of_both_states_is_what_the_head_adds_up() -> None:
    """With weights of 1 the gate is the sum of both paths; rows without a reference are in the first table alone."""
    torch.manual_seed(0)
    model = randomised(Model(ModelConfig(width=16, resolution=64, geometry=24, intensity=True))).eval()
    seen, labels = looks(6), np.zeros((6, 15))
    reference = np.random.default_rng(1).normal(0, 2, (6, 68, 2)).astype(np.float32)
    reference[[1, 4]] = 0
    order = np.array([0, 0, 1, 2, 3, 4]), np.array([1, 2, 3, 4, 5, 5])
    unknown, known = both("some", model, seen, reference, labels, labels, order, labels)
    assert len(unknown.labels) == 6 and len(known.labels) == 4 and known.intensity is not None
    pooled = torch.from_numpy(seen.pooled).float()
    with torch.no_grad():
        described = model.points.describe_pooled(pooled, torch.from_numpy(seen.coordinates))
        frames = described[order[0]], described, described[order[1]]
        for one, rest in ((unknown, None), (known, torch.from_numpy(reference))):
            said = model.points.combine(*frames, rest).numpy()
            rows = slice(None) if rest is None else [0, 2, 3, 5]
            np.testing.assert_allclose(one.appearance + one.geometry, said[rows], atol=1e-4)


def test_the_path_of_another_model_of_the_same_fan() -> None:
    torch.manual_seed(0)
    plain = randomised(Model(ModelConfig(width=16, resolution=64, intensity=True))).eval()
    other = grown(plain, geometry=24)
    assert other.points.geometry is not None
    for layer in other.points.geometry.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.1)
    frames, reference = torch.randn(3, 2, 68, 34), torch.randn(2, 68, 2)
    taken = with_path_of(plain, other)
    with torch.no_grad():
        moved = other.points.geometry(frames[1, ..., -2:], reference)
        expected = plain.points.appearance(*frames) + moved
        torch.testing.assert_close(taken.points.combine(*frames, reference), expected)
    with pytest.raises(ValueError, match="without it"):
        with_path_of(other, plain)
    with pytest.raises(ValueError, match="the same FAN"):
        with_path_of(Model(ModelConfig(width=16, resolution=64, intensity=True)), other)


def moved(model: Model) -> Model:
    """A model whose geometry path says something."""
    assert model.points.geometry is not None
    for layer in model.points.geometry.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.1)
    randomised(model.points.geometry)
    return model.eval()


def test_of_a_path_for_more_aus_those_of_the_model_are_taken() -> None:
    torch.manual_seed(0)
    plain = Model(ModelConfig(width=16, resolution=64)).eval()
    other = moved(grown(plain, AU_NUMBERS, geometry=24, intensity=True))
    assert other.points.geometry is not None
    taken = with_path_of(plain, other)
    assert taken.config.aus_of("points") == plain.config.aus_of("points") and not taken.config.intensity
    coordinates, reference = torch.randn(2, 3, 68, 2)
    rows = [AU_NUMBERS.index(number) for number in plain.config.aus_of("points")]
    with torch.no_grad():
        assert taken.points.geometry is not None
        expected = other.points.geometry(coordinates, reference)[:, rows]
        torch.testing.assert_close(taken.points.geometry(coordinates, reference), expected)
    fewer = grown(Model(ModelConfig(width=16, resolution=64, au_numbers=(1, 2))), geometry=24)
    with pytest.raises(ValueError, match=r"for \(1, 2\)"):
        with_path_of(plain, fewer)


@pytest.mark.parametrize("known", [False, True])
def test_fused_where_known_all_else_is_the_appearance_path_to_the_bit(known: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    thresholds = tuple(0.5 if number in (1, 2, 12, 26) else 0.4 for number in ModelConfig().au_numbers)
    plain = Model(ModelConfig(width=16, resolution=64, thresholds={"points": thresholds})).eval()
    randomised(plain.points).eval()
    plain.save(tmp_path / "plain.safetensors", torch.float16)
    plain = Model.load(tmp_path / "plain.safetensors")  # as a checkpoint stores it
    fused, numbers = moved(grown(plain, geometry=24)), plain.config.aus_of("points")
    tables = [np.repeat(part, 15, 1) for part in dataclasses.astuple(evidence("renders", 0, 0.5, 1.5))[1:5]]
    weights = fusion.fit_where_known([Evidence("renders", *tables)], numbers)
    fusion.apply(fused, weights, only=fusion.WHERE_KNOWN.only).save(tmp_path / "fused.safetensors", torch.float16)
    after = Model.load(tmp_path / "fused.safetensors").eval()
    frames = torch.randn(3, 40, 68, 34)
    reference = torch.randn(40, 68, 2) if known else None
    if not known:
        first, again = tmp_path / "first.safetensors", tmp_path / "again.safetensors"
        plain.save(first)
        without_path(after).save(again)
        assert first.read_bytes() == again.read_bytes()
        with pytest.raises(ValueError, match="counts only where the points at rest are known"):
            without_path(moved(grown(plain, geometry=24)))
    with torch.no_grad():
        same = (after.points.combine(*frames, reference) == plain.points.combine(*frames)).all(0)
    assert [number for number, one in zip(numbers, same.tolist(), strict=True) if not one] == (
        [1, 2, 12, 26] if known else []
    )


def test_intensities_are_added_and_nothing_else_changes(tmp_path: Path) -> None:
    """Of the appearance path they are first its logit of presence, so that they rise with it; without them the model
    is the former one to the bit."""
    torch.manual_seed(2)
    plain = Model(ModelConfig(width=16, resolution=64)).eval()
    randomised(plain.points).eval()
    plain.save(tmp_path / "plain.safetensors", torch.float16)
    plain = Model.load(tmp_path / "plain.safetensors")
    wider = with_intensity(plain)
    frames = torch.randn(3, 5, 68, 34)
    with torch.no_grad():
        before, (logits, strength) = plain.points.appearance(*frames), wider.points.appearance_of(*frames)
        said = wider.points.decide(*frames)[1]
    assert torch.equal(logits, before) and strength is not None and said is not None
    assert torch.equal(strength, logits) and torch.equal(said, logits.sigmoid())
    assert with_intensity(wider) is wider
    without_intensity(wider).save(tmp_path / "again.safetensors", torch.float16)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


def test_weights_are_those_of_the_state(tmp_path: Path) -> None:
    model = Model(ModelConfig(width=16, resolution=64, geometry=24, intensity=True, thresholds={"points": (0.2,) * 15}))
    row = np.arange(15.0)
    weights = fusion.Weights(row, row + 1, row + 2), fusion.Weights(row + 3, row + 4, row + 5)
    gate = fusion.apply(model, weights, weights).points.gate
    assert gate is not None and model.config.thresholds_of("points") == (0.5,) * 15
    with torch.no_grad():
        said = gate(torch.ones(2, 15), torch.full((2, 15), 10.0), torch.tensor([[0.0], [1.0]])).numpy()
    np.testing.assert_allclose(said, np.stack((row + 10 * (row + 1) + row + 2, row + 3 + 10 * (row + 4) + row + 5)))
