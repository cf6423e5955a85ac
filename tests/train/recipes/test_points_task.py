"""The training of the points head on features that are computed once."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.train.networks import randomised
from train.configs.options import PointsOptions
from train.engine.loop import train
from train.models.config import AU_NUMBERS, ModelConfig
from train.models.model import Model
from train.recipes.points_task import PointsTask


def test_new_outputs_leave_the_others_to_the_bit(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    fewer = tuple(number for number in AU_NUMBERS if number not in (7, 25))
    before = randomised(Model(ModelConfig(width=8, resolution=64, au_numbers=fewer))).eval()
    before.save(tmp_path / "before.safetensors")
    options = PointsOptions(
        data=str(data), run=str(tmp_path / "run"), init=str(tmp_path / "before.safetensors"), outputs=True, passes=1,
        samples=64, batch=8, threads=1, eval_frames=24, ema=0.0,
    )  # fmt: skip
    train(PointsTask(options), options)
    after = Model.load(tmp_path / "run" / "model.safetensors")
    assert (
        after.config.aus_of("points") == AU_NUMBERS and after.config.aus_of("aunet") == fewer and after.config.intensity
    )
    kept = [AU_NUMBERS.index(number) for number in fewer]
    frames = torch.randn(3, 4, 68, 34, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, (said, intensity) = before.points.combine(*frames), after.points.decide(*frames)
    assert torch.equal(said[:, kept], expected)
    new = said[:, [AU_NUMBERS.index(7), AU_NUMBERS.index(25)]]
    assert intensity is not None and new.std(0).min() > 1e-4, "they began with the same value on every face"
