"""The half-precision graph: types as meant, islands, the gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from export.build import describe
from export.crops import load_sample
from export.fold import fold, halve
from export.fuse import Clip, Stream, _look
from export.parity import compare
from train.models.model import Model


def test_types_are_as_meant(half: Callable[[str, str], Path]) -> None:
    """Every convolution in FP16, the classifier in FP32, and Cast only where an island begins or ends: a strongly typed
    builder takes the types from here."""
    proto = onnx.shape_inference.infer_shapes(onnx.load(half("stream", "aunet")), strict_mode=True, data_prop=True)
    types = {v.name: v.type.tensor_type.elem_type for v in (*proto.graph.value_info, *proto.graph.output)}
    by_op: dict[str, set[int]] = {}
    for node in proto.graph.node:
        by_op.setdefault(node.op_type, set()).add(types[node.output[0]])
    assert by_op["Conv"] == by_op["BatchNormalization"] == {TensorProto.FLOAT16}
    assert by_op["Gemm"] == {TensorProto.FLOAT}
    assert Counter(n.op_type for n in proto.graph.node)["Cast"] <= 10
    weights = {t.data_type for t in proto.graph.initializer if len(t.dims) == 4}
    assert weights == {TensorProto.FLOAT16}
    ports = {v.name: v.type.tensor_type.elem_type for v in (*proto.graph.input, *proto.graph.output)}
    assert ports["crop"] == ports["heatmaps"] == ports["logits"] == TensorProto.FLOAT
    bundle = Bundle.load(half("stream", "aunet"))
    assert (bundle.precision, bundle.arithmetic) == ("fp16", "fp16")
    for state in bundle.state:
        assert state.dtype == "float16" and ports[state.name] == ports[f"ring_{state.name}"] == TensorProto.FLOAT16


def test_within_the_gate_and_not_the_fp32_graph(model: Model, half: Callable[[str, str], Path]) -> None:
    path = half("stream", "aunet")
    report = compare(model, path, load_sample(None, 64, 4))
    assert report.passed and 0 < max(report.max_difference) < 5e-3
    OrtStreamEngine(path, threads=1).close()


def test_points_head_keeps_coordinates_in_fp32(model: Model) -> None:
    sample = load_sample(None, 64, 4)
    crops = torch.from_numpy(sample.crops.astype(np.float32) / 255)
    clip = Clip(model, "points", "float16").eval()
    assert clip.model.points.predictor[0].weight.dtype == clip.model.points.norm.weight.dtype == torch.float32
    with torch.inference_mode():
        got = torch.sigmoid(clip(crops)[1][:, :15])
        expected = torch.sigmoid(model(*crops.unbind(1))[1]["points"])
    assert 0 < float((got - expected).abs().max()) < 5e-3


def test_a_wild_attention_plane_stays_in_range(model: Model) -> None:
    """68 heatmaps are summed in FP32: the sum of large ones would leave FP16 long before their product with a small
    feature does."""
    wild = deepcopy(model)
    with torch.no_grad():
        wild.fan.get_submodule("l1").bias.fill_(2000.0)  # type: ignore[union-attr]
    folded = halve(fold(wild, "aunet"))
    with torch.inference_mode():
        look = _look(folded, torch.rand(1, 3, 64, 64))
    assert look.heatmaps.dtype == look.attention.dtype == torch.float32
    assert float(look.attention.min()) > torch.finfo(torch.float16).max > float(look.heatmaps.max())


def test_a_weight_beyond_the_range_is_refused(model: Model) -> None:
    folded = fold(model, "aunet")
    with torch.no_grad():
        folded.fan.conv1.weight[0, 0, 0, 0] = 1e5
    with pytest.raises(ValueError, match="65504"):
        halve(folded)


def test_wrong_words(model: Model) -> None:
    with pytest.raises(ValueError, match="compute: expected float32 or float16"):
        Clip(model, "aunet", "bfloat16")
    with pytest.raises(ValueError, match="precision, arithmetic: expected one of"):
        describe(model, kind="clip", head="aunet", precision="fp32", arithmetic="fp16")


def test_states_of_either_type_in_either_arithmetic(model: Model) -> None:
    crop = torch.rand(2, 3, 64, 64)
    logits = {}
    for compute in ("float32", "float16"):
        for state in ("float32", "float16"):
            stream = Stream(model, "aunet", state, compute).eval()
            rings = [torch.zeros((3, *s.shape), dtype=getattr(torch, state)) for s in stream.specs]
            with torch.inference_mode():
                outputs = stream(crop, [torch.tensor([-1])] * 5, rings)
            assert outputs[1].dtype == getattr(torch, state) and outputs[-1].dtype == torch.float32
            logits[compute, state] = outputs[-1].numpy()
    np.testing.assert_allclose(logits["float16", "float16"], logits["float32", "float32"], atol=0.02)
    assert np.abs(logits["float16", "float16"] - logits["float32", "float32"]).max() > 0
