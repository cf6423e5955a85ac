"""A model with a part for more AUs, exported: the others come out to the bit as without it, and it as torch says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from export.build import build, describe, save
from tests.export.conftest import randomise
from train.models.config import ModelConfig
from train.models.extended import extended
from train.models.model import Model

MORE = (5, 45)


@pytest.fixture
def models() -> tuple[Model, Model]:
    """Without the part, and with it."""
    torch.manual_seed(0)
    shape = tuple((float(i % 9) - 4, float(i // 9) - 4, float(i % 5)) for i in range(68))
    before = randomise(Model(ModelConfig(width=16, resolution=64, points3d=shape, geometry=8)))
    wider = randomise(extended(before, MORE), seed=1)
    wider.load_state_dict({**wider.state_dict(), **before.state_dict()})
    return before, wider


def inputs_of(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """Two crops, a ring of four rows; queries of a new frame, of a kept one, and of another new one, the first of them
    without a reference."""
    dice = np.random.default_rng(0)
    given: dict[str, np.ndarray] = {}
    for entry in session.get_inputs():
        shape = ({"crop": 2}.get(entry.name, 3), *entry.shape[1:])
        if entry.name == "ring_P":  # the row of the eyes is the last one: both graphs get the same of the others
            given[entry.name] = dice.random((4, 69, entry.shape[2]), np.float32)[:, : entry.shape[1]].copy()
        else:
            given[entry.name] = np.array([-1, 2, -2]) if "int64" in entry.type else dice.random(shape, np.float32)
    given["reference"][0] = 0
    return given


def test_the_others_come_out_to_the_bit(models: tuple[Model, Model], tmp_path: Path) -> None:
    said = []
    for i, model in enumerate(models):
        bundle = describe(model, kind="stream", head="points")
        path = save(build(model, bundle), tmp_path / f"{i}.onnx")
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        given = inputs_of(session)
        said.append(session.run(["logits"], given)[0])
        assert bundle.state[0].shape == (68 + i, 34)
    numbers = bundle.au_numbers
    assert numbers == (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26, 45)
    assert np.array_equal(said[1][:, [n not in MORE for n in numbers]], said[0])
    crop = torch.from_numpy(given["crop"][:1])
    with torch.inference_mode():
        _, logits = models[1](crop, crop, crop)
    np.testing.assert_allclose(said[1][:1], logits["points"].numpy(), atol=1e-4)
