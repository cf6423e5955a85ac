from __future__ import annotations

import onnxruntime as ort
import pytest

from aunet_sdk.engines import facts, open_engine


def test_of_onnxruntime() -> None:
    with open_engine(None, "onnxruntime", max_faces=1) as engine:  # type: ignore[attr-defined]
        told = facts(engine)
    assert {key: told[key] for key in ("name", "providers", "precision")} == {
        "name": "onnxruntime", "providers": "CPUExecutionProvider", "precision": engine.bundle.arithmetic,
    }  # fmt: skip
    assert f"onnxruntime {ort.__version__}" in told["versions"] and told["versions"].startswith("aunet_sdk ")
    assert "openvino" not in told["versions"]


def test_of_openvino_in_bfloat16() -> None:
    openvino = pytest.importorskip("openvino")
    from aunet_sdk.engines.cpu.openvino import has_bf16

    name = "openvino-bf16" if has_bf16() else "openvino"
    with open_engine(None, name, max_faces=1) as engine:  # type: ignore[attr-defined]
        told = facts(engine)
    assert told["name"] == name and told["precision"] == ("bf16" if has_bf16() else "fp32")
    assert f"openvino {openvino.__version__.split('-')[0]}" in told["versions"]
