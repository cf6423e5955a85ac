"""What the states of one face take on the engine's device, for the paper's network."""

from __future__ import annotations

import numpy as np
import torch

from aunet_sdk.engines.ring import Ring, initial_rows
from export.build import describe
from train.models.config import ModelConfig
from train.models.model import Model


def test_a_face_takes_less_than_40_mib_at_width_256() -> None:
    """At the paper's 25 frames per second; that no more rows are needed is shown in test_ring.py and test_ort.py."""
    points = tuple((float(i % 9) - 4, float(i // 9) - 4, float(i % 5)) for i in range(68))
    with torch.device("meta"):
        model = Model(ModelConfig(width=256, resolution=256, points3d=points, thresholds={"aunet": (0.5,) * 15}))
    bundle = describe(model, kind="stream", head="aunet", precision="fp16", arithmetic="fp16")
    size = 0
    for state in bundle.state:
        ring = Ring(state, initial_rows(state, bundle.interval_s, 25), 1000)
        assert ring.dtype == np.float16 and ring.tensor.nbytes == ring.rows * ring.row_bytes
        size += ring.tensor.nbytes
    assert 30 * 2**20 < size <= 40 * 2**20
