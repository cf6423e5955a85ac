"""What export writes goes through NVIDIA's own parser and builder (TensorRT-RTX, which needs no GPU to build).

The code that builds is the engine's (aunet_sdk/engines/tensorrt/build.py). No plan is run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.tensorrt.build import Built, build_plan
from aunet_sdk.engines.tensorrt.profiles import profile_of
from aunet_sdk.errors import ModelError
from export import build
from export.crops import load_sample
from export.fp16 import store_fp16
from export.quantise import Limits, quantise

rtx: Any = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (extra trt-check)")
Exported = Callable[[str, str], Path]
Graph = Callable[[str, str, str], Path]
GRAPHS = [(kind, head) for kind in ("stream", "clip") for head in ("aunet", "points")]
OTHER_GPUS = ("8.0", "8.6", "12.0", "12.1")  # beside 8.9, which everything is built for
TURING = "7.5"


def built(path: Path, *gpus: str) -> Built:
    """For 1 to 8 faces, by default on 8.9."""
    return build_plan(rtx, path, profile_of(Bundle.load(path), 8), compute_capabilities=gpus or ["8.9"])


def types_of(result: Built, kind: str) -> set[str]:
    return {dtype for name, dtype in result.layers if name == kind}


@pytest.fixture(scope="module")
def graph(exported: Exported, half: Exported, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """(kind, head, "fp32", "fp16" or "fp16-storage") -> the bundle; each is exported once."""
    folder = tmp_path_factory.mktemp("storage")

    def get(kind: str, head: str, precision: str) -> Path:
        if precision == "fp32":
            return exported(kind, head)
        if precision == "fp16":
            return half(kind, head)
        path = folder / f"{kind}-{head}.onnx"
        if not path.exists():
            proto = onnx.load(exported(kind, head))
            assert store_fp16(proto) > 10
            build.save(proto, path)
        return path

    return get


@pytest.mark.parametrize(("kind", "head"), GRAPHS)
def test_fp32_builds(exported: Exported, kind: str, head: str) -> None:
    result = built(exported(kind, head))
    assert types_of(result, "CONVOLUTION") == types_of(result, "MATRIX_MULTIPLY") == {"FLOAT"}
    assert len(result.plan) > 100_000


@pytest.mark.parametrize(("kind", "head"), GRAPHS)
def test_fp16_storage_builds_as_fp32(graph: Graph, kind: str, head: str) -> None:
    """Weights are stored in half and computed with in single precision, here as in ONNX Runtime."""
    result = built(graph(kind, head, "fp16-storage"))
    assert types_of(result, "CONVOLUTION") == {"FLOAT"} and result.layers["CONSTANT", "HALF"] > 10


@pytest.mark.parametrize(("kind", "head"), [("stream", "aunet"), ("stream", "points"), ("clip", "aunet")])
def test_half_builds_as_half_with_its_islands(half: Callable[[str, str], Path], kind: str, head: str) -> None:
    result = built(half(kind, head))
    assert types_of(result, "CONVOLUTION") == types_of(result, "SCALE") == types_of(result, "POOLING") == {"HALF"}
    assert types_of(result, "MATRIX_MULTIPLY") == {"FLOAT"}, "the classifier is an FP32 island"
    casts = sum(
        count for (name, dtype), count in result.layers.items() if name == "CAST" and dtype in ("FLOAT", "HALF")
    )
    assert casts <= 12, "the islands have few shores"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("head", ["aunet", "points"])
def test_stream_builds_for_other_gpus(graph: Graph, head: str, precision: str) -> None:
    """One plan for all of them, which is refused where one of them cannot have it: see the next test."""
    assert built(graph("stream", head, precision), *OTHER_GPUS).plan


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("kind", "head"), [("stream", "aunet"), ("stream", "points"), ("clip", "aunet")])
def test_no_graph_builds_for_turing(graph: Graph, kind: str, head: str, precision: str) -> None:
    """TensorRT-RTX's own limit: each of our graphs has a matrix product in FP32."""
    with pytest.raises(ModelError, match="FP32 GEMM is not supported"):
        built(graph(kind, head, precision), *OTHER_GPUS, TURING)


def test_a_weight_of_another_type_is_refused(half: Callable[[str, str], Path], tmp_path: Path) -> None:
    """Strong typing: nothing is cast behind our back."""
    proto = onnx.load(half("stream", "aunet"))
    conv = next(node for node in proto.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == conv.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float32), weight.name))
    (tmp_path / "mixed.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"mixed\.onnx in tensorrt-rtx"):
        built(tmp_path / "mixed.onnx")


@pytest.fixture(scope="module")
def quantised(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """arithmetic -> the INT8 stream bundle, no convolution left out."""
    folder = tmp_path_factory.mktemp("int8")

    def get(arithmetic: str) -> Path:
        plain = exported("stream", "points")
        bundle = dataclasses.replace(Bundle.load(plain), precision="int8", arithmetic=arithmetic)
        crops = load_sample(None, bundle.resolution, 2)
        proto = onnx.load(plain)
        del proto.metadata_props[:]
        made = quantise(proto, bundle, crops, crops, Limits(*[float("inf")] * 3))
        build.stamp(made.proto, bundle)
        return build.save(made.proto, folder / f"{arithmetic}.onnx")

    return get


def test_signed_int8_builds_as_int8(quantised: Callable[[str], Path]) -> None:
    """What enters a convolution and its weight are dequantised in front of it, which the builder fuses to INT8."""
    result = built(quantised("int8-symmetric"))
    convolutions = result.layers["CONVOLUTION", "FLOAT"]
    assert result.layers["QUANTIZE", "INT8"] > 0.8 * convolutions > 10, "some share an input"
    assert result.layers["DEQUANTIZE", "FLOAT"] > 1.8 * convolutions


def test_unsigned_int8_is_refused(quantised: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match=r"int8\.onnx in tensorrt-rtx .*DequantizeLinear"):
        built(quantised("int8"))
