"""INT8: where the QDQ pairs stand, and that a convolution that cannot bear it is found by measurement and left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.cpu.ort import OrtClip
from export import quantise as module
from export.build import save, stamp
from export.crops import Sample
from export.quantise import Limits, convolutions, quantise, quantise_as

from .test_parity import bundle as describe

R = 8


def graph(spread: float) -> onnx.ModelProto:
    """crops -> fine (3x3) -> scale -> coarse (1x1) -> heatmaps -> logits. What enters `coarse` has one channel `spread`
    times wider than the others and a weight that much smaller: in real numbers nothing changes, in int8 all others
    drown."""
    rng = np.random.default_rng(0)
    scale = np.ones(8, np.float32)
    scale[0] = spread
    fine = rng.normal(0, 0.4, (8, 9, 3, 3)).astype(np.float32)
    coarse = (rng.normal(0, 0.4, (68, 8, 1, 1)) / scale[None, :, None, None]).astype(np.float32)
    constants = {
        "fine_weight": fine,
        "coarse_weight": coarse,
        "scale": scale[None, :, None, None],
        "frames": np.array([-1, 9, R, R]),
        "axes": np.array([2, 3]),
        "start": np.array([0]),
        "end": np.array([3]),
        "channel": np.array([1]),
    }
    nodes = [
        helper.make_node("Reshape", ["crops", "frames"], ["stacked"]),
        helper.make_node("Conv", ["stacked", "fine_weight"], ["a"], name="fine", pads=[1, 1, 1, 1], strides=[4, 4]),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Conv", ["b", "coarse_weight"], ["heatmaps"], name="coarse"),
        helper.make_node("ReduceMean", ["heatmaps", "axes"], ["means"], keepdims=0),
        helper.make_node("Slice", ["means", "start", "end", "channel"], ["logits"]),
    ]
    ports = [
        helper.make_tensor_value_info("crops", TensorProto.FLOAT, ("batch", 3, 3, R, R)),
        helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, ("batch", 68, R // 4, R // 4)),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 3)),
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def bundle() -> Bundle:
    return dataclasses.replace(describe("int8"), resolution=R)


def crops(count: int, seed: int) -> Sample:
    return Sample("noise", np.random.default_rng(seed).integers(0, 256, (count, 3, 3, R, R), dtype=np.uint8))


LIMITS = Limits(mean_difference=0.01, landmark_px=float("inf"))


@pytest.mark.parametrize("arithmetic", ["int8", "int8-symmetric"])
def test_convolutions_alone_and_per_channel(bundle: Bundle, tmp_path: Path, arithmetic: str) -> None:
    bundle = dataclasses.replace(bundle, arithmetic=arithmetic)
    made = quantise(graph(1.0), bundle, crops(16, 1), crops(16, 2), LIMITS)
    assert made.left_out == () and made.convolutions == 2 and len(made.tries) == 2 and not made.costs
    stamp(made.proto, bundle)
    nodes = {node.name: node for node in made.proto.graph.node}
    producer = {name: node for node in made.proto.graph.node for name in node.output}
    constants = {t.name: numpy_helper.to_array(t) for t in made.proto.graph.initializer}
    for name in ("fine", "coarse"):
        for entry in nodes[name].input[:2]:
            assert producer[entry].op_type == "DequantizeLinear"
        weight, scale, zero = (constants[key] for key in producer[nodes[name].input[1]].input)
        assert weight.dtype == np.int8 and scale.shape == (weight.shape[0],) and not zero.any()
    activations = [node for node in made.proto.graph.node if node.op_type == "QuantizeLinear"]
    assert activations
    for node in activations:
        assert constants[node.input[1]].shape == ()
        assert constants[node.input[2]].dtype == (np.uint8 if arithmetic == "int8" else np.int8)
        assert arithmetic == "int8" or constants[node.input[2]] == 0
    assert len(activations) == 2, "what enters the convolutions, and nothing that leaves them"
    path = save(made.proto, tmp_path / "int8.onnx")
    assert Bundle.load(path).precision == "int8"
    maps, logits = OrtClip(path, threads=1)(np.random.default_rng(3).random((2, 3, 3, R, R), np.float32))
    assert maps.shape == (2, 68, 2, 2) and np.isfinite(logits).all()


def test_a_convolution_that_cannot_bear_it_is_left_out(bundle: Bundle) -> None:
    made = quantise(graph(3000.0), bundle, crops(16, 1), crops(16, 2), LIMITS)
    assert made.left_out == ("coarse",)
    assert made.costs["coarse"][0] > 5 * made.costs["fine"][0]
    assert [left for left, *_ in made.tries] == [0, 0, 1]
    assert min(made.tries[0][1], made.tries[1][1]) > LIMITS.mean_difference >= made.tries[2][1]
    data = made.to_dict()
    assert data["left_out"] == ["coarse"] and data["tries"][0]["f1_change"] is None


def test_both_runtimes_must_bear_it(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake OpenVINO that answers wrongly as soon as `fine` is quantised, which ONNX Runtime bears."""
    asked: list[bool] = []

    def fake_openvino(proto: onnx.ModelProto, described: Bundle, sample: Sample) -> tuple[np.ndarray, ...]:
        probabilities, points, confidence = module._run(proto, described, sample)
        entering = next(node for node in proto.graph.node if node.name == "fine").input[0]
        asked.append(entering != "stacked")
        return (1 - probabilities if asked[-1] else probabilities), points, confidence

    monkeypatch.setattr(module, "openvino_runs", lambda described: True)
    monkeypatch.setattr(module, "_run_openvino", fake_openvino)
    made = quantise(graph(1.0), bundle, crops(16, 1), crops(16, 2), LIMITS)
    assert made.left_out == ("fine",) and any(asked) and not all(asked)
    assert [row["ran"] for row in made.to_dict()["tries"]][:2] == ["OpenVINO", "OpenVINO"]
    monkeypatch.setattr(module, "openvino_runs", lambda described: False)
    assert quantise(graph(1.0), bundle, crops(16, 1), crops(16, 2), LIMITS).left_out == ()


def test_choices_are_taken_over(bundle: Bundle) -> None:
    made = quantise(graph(3000.0), bundle, crops(16, 1), crops(16, 2), LIMITS)
    again = quantise_as(graph(3000.0), bundle, crops(16, 1), made.left_out, made.ranges)
    assert [node.op_type for node in again.graph.node] == [node.op_type for node in made.proto.graph.node]
    for left_out, ranges in (("finest",), "usual"), ((), "narrow"):
        with pytest.raises(ValueError, match="of a network with the same layers"):
            quantise_as(graph(1.0), bundle, crops(16, 1), left_out, ranges)


def test_labels_count_where_there_are_any(bundle: Bundle) -> None:
    """Thresholds in the midst of the probabilities: a mean difference that is let pass still flips decisions."""
    sample = crops(64, 2)
    loose = Limits(mean_difference=1.0, f1_change=0.05, landmark_px=float("inf"))
    from export.quantise import _run

    probabilities = _run(graph(3000.0), bundle, sample)[0]
    middle = dataclasses.replace(bundle, thresholds=tuple(float(v) for v in np.median(probabilities, 0)))
    labels = (probabilities >= np.array(middle.thresholds)).astype(np.float32)
    labelled = Sample("noise", sample.crops, labels)
    assert quantise(graph(3000.0), middle, crops(16, 1), sample, loose).left_out == ()
    assert quantise(graph(3000.0), middle, crops(16, 1), labelled, loose).left_out == ("coarse",)


def test_ranges_are_chosen_by_measurement(bundle: Bundle) -> None:
    """One crop of the calibration is a flash: the widest range drowns the others, the usual one does not."""
    sample = crops(40, 1)
    dim = (sample.crops // 64).astype(np.uint8)
    dim[20] = 255
    made = quantise(graph(1.0), bundle, Sample("flash", dim), Sample("dim", crops(16, 2).crops // 64), LIMITS)
    assert made.ranges == "usual"
    made = quantise(graph(1.0), bundle, Sample("flash", dim[:21]), Sample("bright", crops(16, 2).crops), LIMITS)
    assert made.ranges == "widest"


def test_nothing_within_the_limits(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="export with --precision fp16"):
        quantise(graph(1.0), bundle, crops(4, 1), crops(4, 2), Limits(mean_difference=0.0))
    assert convolutions(graph(1.0)) == ("fine", "coarse")
