"""The part of the points head for more AUs: added, taken out, taken over; what was said before is said still."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.networks import randomised
from train.evaluation import calibration
from train.models.config import AU_NUMBERS, ModelConfig
from train.models.extended import extended, with_extra_of, without_extra
from train.models.extra_head import EyePictures, Lids
from train.models.model import Model, grown

MORE = (5, 20, 45)


def small(geometry: int = 0, **more: object) -> Model:
    torch.manual_seed(0)
    config = ModelConfig(width=8, resolution=64, geometry=geometry, thresholds={"points": (0.4,) * 15}, **more)  # type: ignore[arg-type]
    return randomised(Model(config)).eval()


def frames() -> list[torch.Tensor]:
    return list(torch.randn(3, 4, 69, 34, generator=torch.Generator().manual_seed(0)))


def kept() -> list[torch.Tensor]:
    """Of `frames`, the row of the part for more AUs."""
    return [frame[:, 68] for frame in frames()]


@pytest.mark.parametrize("geometry", [0, 16])
def test_the_others_stay_to_the_bit_and_the_order_is_that_of_facs(geometry: int, tmp_path: Path) -> None:
    before = small(geometry, intensity=geometry > 0)
    wider = extended(before, MORE)
    numbers = wider.config.aus_of("points")
    assert numbers == (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 45)
    assert wider.config.aus_of("aunet") == AU_NUMBERS and before.config.au_numbers == AU_NUMBERS
    assert wider.config.thresholds["points"] == tuple(0.5 if n in MORE else 0.4 for n in numbers)
    rest = torch.randn(4, 68, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for reference in (None, rest):
            said, expected = wider.points.combine(*frames(), reference), before.points.combine(*frames(), reference)
            assert torch.equal(said[:, [n not in MORE for n in numbers]], expected)
        part = wider.points.extra
        assert part is not None and torch.equal(said[:, [n in MORE for n in numbers]], part(*kept()))
    wider.save(tmp_path / "wider.safetensors")
    again = Model.load(tmp_path / "wider.safetensors")
    assert again.config == wider.config
    with torch.no_grad():
        assert torch.equal(again.points.combine(*frames(), rest), said)


def test_taken_out_it_is_the_file_from_before(tmp_path: Path) -> None:
    before = small()
    before.save(tmp_path / "before.safetensors")
    without_extra(extended(before, MORE)).save(tmp_path / "after.safetensors")
    assert (tmp_path / "after.safetensors").read_bytes() == (tmp_path / "before.safetensors").read_bytes()
    assert without_extra(before) is before


def test_taken_over_by_a_model_of_the_same_features() -> None:
    before = small(16)
    other = randomised(extended(before, (45,)))
    other.load_state_dict({**other.state_dict(), **before.state_dict()})
    other.config.provenance["extra"] = {"command": "python -m train extra"}
    made = with_extra_of(before, other)
    assert made.config.extra == (45,) and made.config.provenance["extra"] == other.config.provenance["extra"]
    with torch.no_grad():
        assert torch.equal(made.points.combine(*frames()), other.points.combine(*frames()))
    strange = small(16)
    with torch.no_grad():
        strange.points.reduce.weight.add_(1)
    with pytest.raises(ValueError, match="extra: expected a model of the same FAN"):
        with_extra_of(strange, other)
    with pytest.raises(ValueError, match="extra: expected a model with a part for more AUs"):
        with_extra_of(before, before)


def test_calibration_reaches_either_part_and_leaves_intensities_alone() -> None:
    wider = randomised(extended(small(16, intensity=True), (5, 45)))
    assert wider.points.extra is not None
    wider.points.extra.factor.copy_(torch.tensor([0.5, 2.0]))
    scale, shift = np.linspace(0.5, 2, 17), np.linspace(-1, 1, 17)
    with torch.no_grad():
        before, strength = wider.points.decide(*frames())
        assert strength is not None and strength.shape == (4, 17)
        part = wider.points.extra
        assert torch.equal(strength[:, [3, 16]], part.strength_of(part(*kept())).sigmoid())
        calibration.fold(wider.points, scale, shift)
        after, again = wider.points.decide(*frames())
        assert torch.allclose(
            after, before * torch.from_numpy(scale).float() + torch.from_numpy(shift).float(), atol=1e-5
        )
        assert again is not None and torch.allclose(again, strength, atol=1e-5)


def test_eyes_are_cut_upright_at_one_scale_and_mirrored() -> None:
    """A crop whose colours are its coordinates tells where each pixel of an eye comes from."""
    side = 128
    v, u = torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij")
    crop = torch.stack((u, v, torch.zeros_like(u)))[None]
    x, y = torch.full((1, 68), 5.0), torch.full((1, 68), 9.0)
    x[0, [36, 39, 42, 45]], y[0, [36, 39, 42, 45]] = torch.tensor([8.0, 12, 18, 22]), torch.tensor([13.0, 13, 13, 13])
    left, right = EyePictures()(crop, x, y)[0] * side - 0.5
    assert left.shape == (3, 24, 40)
    middle = (x[0, [36, 42]] + 2) * 4 + 1.5  # between the corners, in pixels of the crop
    step = (middle[1] - middle[0]) * 0.72 / 40
    across = middle[0] + step * (torch.arange(40) - 19.5)
    torch.testing.assert_close(left[0, 5], across, atol=1e-3, rtol=0)
    torch.testing.assert_close(right[0, 5], middle.sum() - across, atol=1e-3, rtol=0)
    torch.testing.assert_close(left[1, :, 7], 13 * 4 + 1.5 + step * (torch.arange(24) - 11.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(right[1], left[1], atol=1e-3, rtol=0)
    y[0, [42, 45]] += 3.0  # the head leans: the picture leans with it
    leaning = EyePictures()(crop, x, y)[0, 0] * side - 0.5
    slope = (leaning[1, 5, 39] - leaning[1, 5, 0]) / (leaning[0, 5, 39] - leaning[0, 5, 0])
    assert float(slope) == pytest.approx(0.3, abs=1e-3)


def test_a_mirrored_face_reads_the_same() -> None:
    torch.manual_seed(0)
    part, crops = randomised(Lids(2, 35)), torch.rand(3, 2, 3, 64, 64)
    x, y = torch.rand(2, 68) * 4 + 6, torch.rand(2, 68) * 4 + 6
    x[:, 42:48] += 4
    other_x, other_y = 15 - x, y.clone()
    other_x[:, [36, 39, 42, 45]], other_y[:, [36, 39, 42, 45]] = 15 - x[:, [45, 42, 39, 36]], y[:, [45, 42, 39, 36]]
    with torch.no_grad():
        said = part(*(part.look(EyePictures()(crop, x, y)) for crop in crops))
        mirrored = part(*(part.look(EyePictures()(crop.flip(3), other_x, other_y)) for crop in crops))
        assert part.look(EyePictures()(crops[0], x, y)).shape == (2, 35)
        assert torch.allclose(mirrored, said, atol=1e-5)
        assert not torch.allclose(part(*(part.look(EyePictures()(crop, x, y)) for crop in crops.flip(0))), said)


def test_light_and_contrast_of_an_eye_do_not_count() -> None:
    torch.manual_seed(0)
    part, pictures = randomised(Lids(1, 34)), torch.rand(2, 2, 3, 24, 40)
    tint = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(part.look(0.5 * pictures + tint), part.look(pictures), atol=0.02, rtol=0)
        assert part.look(torch.zeros(1, 2, 3, 24, 40)).isfinite().all()


def test_without_crops_there_is_nothing_to_read() -> None:
    wider = extended(small(), (45,))
    with pytest.raises(ValueError, match="crop: expected the crops that the features come from"):
        wider.points.describe(torch.rand(1, 24, 16, 16), torch.rand(1, 68, 16, 16))


def test_what_does_not_fit_is_refused() -> None:
    before = small()
    with pytest.raises(ValueError, match=r"au_numbers: expected some beside \(1, 2.*, got \(12, 45\)"):
        extended(before, (12, 45))
    with pytest.raises(ValueError, match="without a part for more AUs"):
        extended(extended(before, (45,)), (5,))
    with pytest.raises(ValueError, match="take it out first"):
        grown(extended(before, (45,)), geometry=8)
    config = extended(before, (45,)).config
    for wrong, said in (
        ({"extra": (46,)}, "extra: expected some of"),
        ({"extra": config.au_numbers}, "not all of them"),
    ):
        with pytest.raises(ValueError, match=said):
            dataclasses.replace(config, **wrong)  # type: ignore[arg-type]
