"""A small bundle of schema 2 in the real contract, whose logits and intensities tell which reference was really given.

State P is the crop's mean, three numbers of it. Logit 0 is that of the due frame plus the sum of the reference, logit 1
the former frame's, logit 2 the later frame's; the intensity is sigmoid(sum of the reference), the same for every AU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from aunet_sdk.bundle import KEY, Bundle, StateSpec, default_path

R = 64
ROLES = ("former", "due", "later")


def describe(**changes: Any) -> Bundle:
    shipped = Bundle.load(default_path())
    values: dict[str, Any] = dict(
        kind="stream",
        name="tells-references",
        au_numbers=(1, 4, 12),
        thresholds=(0.5,) * 3,
        interval_s=0.4,
        width=8,
        resolution=R,
        precision="fp32",
        head="points",
        crop_scale=shipped.crop_scale,
        template=shipped.template,
        points3d=shipped.points3d,
        min_confidence=0.3,
        state=(StateSpec("P", (3,), "float32", ROLES),),
        checkpoint_sha256="c" * 64,
        reference=True,
        intensity=True,
    )
    return Bundle(**(values | changes))


def write(path: Path, bundle: Bundle) -> Path:
    def tensor(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    constants: dict[str, Any] = {
        "zero": np.int64(0), "minus1": np.int64(-1), "axes": np.array([1, 2, 3]), "points": np.array([1, 2]),
        "column": np.array([-1, 1]), "row": np.array([-1, 1]), "three": np.ones((1, 3), np.float32),
        "ones": np.ones((1, 68, R // 4, R // 4), np.float32), "one": np.float32(1),
    }  # fmt: skip
    nodes = [
        helper.make_node("ReduceMean", ["crop", "axes"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "ones"], ["heatmaps"]),
        helper.make_node("Reshape", ["mean", "row"], ["flat"]),
        helper.make_node("Mul", ["flat", "three"], ["P"]),
        helper.make_node("ReduceSum", ["reference", "points"], ["summed"], keepdims=0),
        helper.make_node("Reshape", ["summed", "column"], ["rest"]),
    ]
    for role in ROLES:
        index = f"P_{role}"
        nodes += [
            helper.make_node("Less", [index, "zero"], [f"{index}_flag"]),
            helper.make_node("Reshape", [f"{index}_flag", "column"], [f"{index}_new"]),
            helper.make_node("Max", [index, "zero"], [f"{index}_kept"]),
            helper.make_node("Sub", ["minus1", index], [f"{index}_crop"]),
            helper.make_node("Max", [f"{index}_crop", "zero"], [f"{index}_crops"]),
            helper.make_node("Gather", ["ring_P", f"{index}_kept"], [f"{index}_a"]),
            helper.make_node("Gather", ["P", f"{index}_crops"], [f"{index}_b"]),
            helper.make_node("Where", [f"{index}_new", f"{index}_b", f"{index}_a"], [f"{index}_c"]),
            helper.make_node("ReduceMean", [f"{index}_c", "last"], [f"{index}_value"], keepdims=1),
        ]
    constants["last"] = np.array([1])
    nodes += [
        helper.make_node("Add", ["P_due_value", "rest"], ["first"]),
        helper.make_node("Concat", ["first", "P_former_value", "P_later_value"], ["said"], axis=1),
        helper.make_node("Sigmoid", ["rest"], ["strength"]),
        helper.make_node("Mul", ["strength", "three"], ["shown"]),
        helper.make_node("Concat", ["said", "shown"], ["logits"], axis=1),
    ]
    inputs = [
        tensor("crop", TensorProto.FLOAT, "batch", 3, R, R),
        *(tensor(f"P_{role}", TensorProto.INT64, "queries") for role in ROLES),
        tensor("ring_P", TensorProto.FLOAT, "rows_P", 3),
        tensor("reference", TensorProto.FLOAT, "queries", 68, 2),
    ]
    outputs = [
        tensor("heatmaps", TensorProto.FLOAT, "batch", 68, R // 4, R // 4),
        tensor("P", TensorProto.FLOAT, "batch", 3),
        tensor("logits", TensorProto.FLOAT, "queries", 6),
    ]
    used = {name for node in nodes for name in node.input}
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items() if k in used]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {KEY: bundle.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path
