"""The training of the part for more AUs: it alone learns, and it is calibrated alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.train.networks import randomised
from train.configs.options import ExtraOptions
from train.data.sequences import load_split
from train.engine.loop import train
from train.models.config import AU_NUMBERS, ModelConfig
from train.models.model import Model
from train.recipes.extra_task import ExtraTask, calibrate_extra

FEWER = tuple(number for number in AU_NUMBERS if number not in (7, 25))


@pytest.fixture
def before(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(width=8, resolution=64, au_numbers=FEWER, thresholds={"points": (0.4,) * len(FEWER)})
    randomised(Model(config)).save(tmp_path / "before.safetensors")
    return tmp_path / "before.safetensors"


def test_the_part_alone_learns_and_is_calibrated(data: Path, before: Path, tmp_path: Path) -> None:
    options = ExtraOptions(
        data=str(data), run=str(tmp_path / "run"), init=str(before), aus="25,7", passes=1, samples=64, batch=8,
        threads=1, eval_frames=24, ema=0.0,
    )  # fmt: skip
    train(ExtraTask(options), options)
    made, old = Model.load(tmp_path / "run" / "model.safetensors"), Model.load(before)
    assert made.config.extra == (7, 25) and made.config.aus_of("points") == AU_NUMBERS
    assert made.config.provenance["extra"]["options"]["aus"] == "25,7"
    first = ExtraTask(options).model.state_dict()
    trained, kept = made.state_dict(), old.state_dict()
    assert all(torch.equal(trained[name], tensor) for name, tensor in kept.items())
    assert not torch.equal(trained["points.extra.reduce.weight"], first["points.extra.reduce.weight"])
    frames = torch.randn(3, 4, 69, 34, generator=torch.Generator().manual_seed(0))
    after = calibrate_extra(Model.load(tmp_path / "run" / "model.safetensors"), load_split(data, "val"))
    assert after.config.thresholds["points"] == tuple(0.5 if n in (7, 25) else 0.4 for n in AU_NUMBERS)
    with torch.no_grad():
        said, uncalibrated = after.points.combine(*frames), made.points.combine(*frames)
    others = [AU_NUMBERS.index(number) for number in FEWER]
    assert torch.equal(said[:, others], uncalibrated[:, others])
    assert not torch.equal(said[:, AU_NUMBERS.index(25)], uncalibrated[:, AU_NUMBERS.index(25)])


def test_what_does_not_fit_is_refused(data: Path, before: Path, tmp_path: Path) -> None:
    given = {"data": str(data), "run": str(tmp_path / "run"), "init": str(before)}
    for aus in ("", "7,,25", "7,7", "AU7"):
        with pytest.raises(ValueError, match="aus: expected different FACS numbers with commas"):
            ExtraOptions(**given, aus=aus).check()
    with pytest.raises(ValueError, match=r"aus: expected some of those of the set .* got \[45\] beside"):
        ExtraTask(ExtraOptions(**given, aus="7,45"))
    with pytest.raises(ValueError, match="init, passes: expected a trained model"):
        ExtraTask(ExtraOptions(data=str(data), run=str(tmp_path / "run"), aus="7"))
    with pytest.raises(ValueError, match="extra: expected a model with a part"):
        calibrate_extra(Model.load(before), load_split(data, "val"))
