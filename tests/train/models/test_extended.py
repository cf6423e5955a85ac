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
from train.models.extra_head import EYES, EyeAUs
from train.models.model import Model, grown

MORE = (5, 20, 45)


def small(geometry: int = 0, **more: object) -> Model:
    torch.manual_seed(0)
    config = ModelConfig(width=8, resolution=64, geometry=geometry, thresholds={"points": (0.4,) * 15}, **more)  # type: ignore[arg-type]
    return randomised(Model(config)).eval()


def frames() -> list[torch.Tensor]:
    return list(torch.randn(3, 4, 68, 34, generator=torch.Generator().manual_seed(0)))


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
        assert part is not None and torch.equal(said[:, [n in MORE for n in numbers]], part(frames()[1]))
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
        assert torch.equal(strength[:, [3, 16]], part.strength_of(part(frames()[1])).sigmoid())
        calibration.fold(wider.points, scale, shift)
        after, again = wider.points.decide(*frames())
        assert torch.allclose(
            after, before * torch.from_numpy(scale).float() + torch.from_numpy(shift).float(), atol=1e-5
        )
        assert again is not None and torch.allclose(again, strength, atol=1e-5)


def test_a_mirrored_face_reads_the_same() -> None:
    torch.manual_seed(0)
    part, (_, due, _) = randomised(EyeAUs(2, 34)), frames()
    mirrored, turned = due.clone(), torch.ones(34)
    turned[32] = -1
    for one, other in (EYES, EYES[::-1]):
        mirrored[:, one] = due[:, other] * turned
    with torch.no_grad():
        assert torch.allclose(part(mirrored), part(due), atol=1e-6) and not torch.allclose(
            part(due * turned), part(due)
        )


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
