"""Our builder code in NVIDIA's own builder: TensorRT-RTX, which builds without a GPU. No plan is run here.

It shows that graphs parse, type-check, take our profiles and compile for several GPUs. It does not show that full
TensorRT builds them, nor what they compute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.tensorrt import api as trt_api
from aunet_sdk.engines.tensorrt.build import BuildOptions, build_plan
from aunet_sdk.engines.tensorrt.profiles import Shapes, profile_of
from aunet_sdk.errors import AUNetError, EngineMismatch, InvalidInput, ModelError

from ..cpu.test_ort import describe, write

rtx: Any = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (extra trt-check)")
GPUS = ("8.0", "8.6", "8.9", "12.0", "12.1")


def conv(path: Path, kernel: type[np.generic], batch: int | str = "batch") -> Path:
    """A convolution of an FP32 picture with a kernel of this type; with float16 the types are mixed."""
    weights = numpy_helper.from_array(np.ones((4, 3, 3, 3), kernel), "kernel")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["crop", "kernel"], ["out"])],
        "g",
        [helper.make_tensor_value_info("crop", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 4, 6, 6])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rtx") / "tell-tale.onnx", describe())


PROFILE = {"crop": Shapes((1, 3, 8, 8), (1, 3, 8, 8), (8, 3, 8, 8))}


def test_the_stream_contract_builds(path: Path) -> None:
    """Queries and ring rows as inputs of their own, gathers by int64, Where; batches of 1 to 8."""
    told: list[tuple[str, float]] = []
    built = build_plan(
        rtx,
        path,
        profile_of(describe(), 8),
        compute_capabilities=GPUS[2:3],
        progress=lambda phase, share: told.append((phase, share)),
    )
    assert len(built.plan) > 1000 and built.seconds > 0
    assert built.layers["GATHER", "FLOAT"] == 10 and built.layers["SELECT", "FLOAT"] == 5
    assert len(told) > 10 and all(0 <= share <= 1 for _, share in told) and told[0][1] == 0.0


@pytest.mark.parametrize("gpu", GPUS)
def test_the_default_bundle_builds(gpu: str) -> None:
    bundle = Bundle.load()
    assert bundle.path is not None
    built = build_plan(rtx, bundle.path, profile_of(bundle, 8), compute_capabilities=[gpu])
    dtype = "HALF" if bundle.arithmetic == "fp16" else "FLOAT"
    kinds = {dtype for kind, dtype in built.layers if kind == "CONVOLUTION"}
    assert kinds == {dtype} and len(built.plan) > 1 << 20


@pytest.mark.parametrize("gpu", GPUS)
def test_one_gpu_after_the_other(path: Path, gpu: str) -> None:
    assert build_plan(rtx, path, profile_of(describe(), 8), compute_capabilities=[gpu]).plan


def test_several_gpus_in_one_plan(path: Path) -> None:
    assert build_plan(rtx, path, profile_of(describe(), 2), compute_capabilities=GPUS).plan


def test_mixed_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"got mixed.onnx in tensorrt-rtx"):
        build_plan(rtx, conv(tmp_path / "mixed.onnx", np.float16), PROFILE, compute_capabilities=["8.9"])


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        ({}, "expected shapes for the input crop"),
        ({"crop": Shapes((1, 3, 8, 8), (1, 3, 8, 8), (8, 3, 9, 8))}, r"expected crop \(-1, 3, 8, 8\)"),
        ({"crop": Shapes((1, 3, 8), (1, 3, 8), (8, 3, 8))}, r"expected crop \(-1, 3, 8, 8\)"),
        ({"crop": Shapes((4, 3, 8, 8), (2, 3, 8, 8), (8, 3, 8, 8))}, "profile: expected"),
        ({"crop": Shapes((1, 3, 8, 8), (9, 3, 8, 8), (8, 3, 8, 8))}, "profile: expected"),
        ({"crop": Shapes((-1, 3, 8, 8), (1, 3, 8, 8), (8, 3, 8, 8))}, "profile: expected"),
    ],
)
def test_a_bad_profile_is_refused(tmp_path: Path, profile: dict[str, Shapes], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        build_plan(rtx, conv(tmp_path / "a.onnx", np.float32), profile, compute_capabilities=["8.9"])


def test_a_profile_for_a_graph_with_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected crop \(1, 3, 8, 8\)"):
        build_plan(rtx, conv(tmp_path / "a.onnx", np.float32, batch=1), PROFILE, compute_capabilities=["8.9"])


@pytest.mark.parametrize(("content", "text"), [(b"", "at least one output"), (b"no graph", "can be parsed, got a")])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=text):
        build_plan(rtx, tmp_path / "a.onnx", PROFILE)


def test_an_operator_that_is_unknown_is_named(tmp_path: Path) -> None:
    model = onnx.load(conv(tmp_path / "a.onnx", np.float32))
    model.graph.node[0].op_type = "NoSuchOp"
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="NoSuchOp"):
        build_plan(rtx, tmp_path / "a.onnx", PROFILE)


def test_a_gpu_that_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(EngineMismatch, match=r"\(.*8\.9.*\), got 9\.0"):
        build_plan(rtx, conv(tmp_path / "a.onnx", np.float32), PROFILE, compute_capabilities=["9.0"])


def test_a_build_can_be_stopped(path: Path) -> None:
    with pytest.raises(AUNetError, match="was stopped"):
        build_plan(rtx, path, profile_of(describe(), 8), compute_capabilities=["8.9"], progress=lambda *_: False)


def test_a_progress_that_fails_stops_the_build(path: Path) -> None:
    def broken(phase: str, share: float) -> None:
        raise RuntimeError("the caller's own")

    with pytest.raises(AUNetError, match="was stopped"):
        build_plan(rtx, path, profile_of(describe(), 8), compute_capabilities=["8.9"], progress=broken)


def test_options_reach_the_builder(tmp_path: Path) -> None:
    graph = conv(tmp_path / "a.onnx", np.float32)
    for options in (BuildOptions(tf32=True), BuildOptions(workspace_mb=16)):
        assert build_plan(rtx, graph, PROFILE, options, compute_capabilities=["8.9"]).plan


def test_the_module() -> None:
    assert trt_api.load("tensorrt-rtx").__version__ == rtx.__version__
    assert trt_api.missing(rtx) == [] and trt_api.library_name(rtx).startswith("tensorrt-rtx 1.")
    with pytest.raises(InvalidInput, match="library: expected one of tensorrt, tensorrt-rtx"):
        trt_api.load("tensorflow")
