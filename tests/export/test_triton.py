"""The model repository for Triton. tests/aunet_sdk/engines/triton/test_server.py has a server read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aunet_sdk.bundle import Bundle
from aunet_sdk.errors import InvalidInput
from export.triton import write_clip, write_stream

from ..aunet_sdk.engines.cpu.test_ort import describe


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.onnx"
    path.write_bytes(b"graph")
    return path


def test_the_stream_model_is_whole(file: Path, tmp_path: Path) -> None:
    bundle = replace(describe(head="points", reference=True, intensity=True, schema=2), path=file)
    folder = write_stream(tmp_path / "repository", bundle, max_faces=3, idle_s=5)
    assert (folder / "1" / "bundle.onnx").read_bytes() == b"graph" and (folder / "1" / "model.py").is_file()
    config = (folder / "config.pbtxt").read_text(encoding="utf-8")
    assert '"REFERENCES", data_type: TYPE_FP32, dims: [ -1, 68, 2 ], optional: true' in config
    assert '"LOGITS", data_type: TYPE_FP32, dims: [ -1, 10 ]' in config and "dims: [ -1, 3, 8, 8 ]" in config
    assert "max_sequence_idle_microseconds: 5000000" in config and '"max_faces" value: { string_value: "3" }' in config
    labels = (folder / "labels.txt").read_text(encoding="utf-8").split()
    assert labels[:2] == ["AU1", "AU2"] and labels[5:7] == ["AU1_intensity", "AU2_intensity"] and len(labels) == 10


def test_the_clip_model_has_a_configuration_for_a_plan_too(file: Path, tmp_path: Path) -> None:
    bundle = replace(describe(kind="clip", state=(), head="points", reference=True, schema=2), path=file)
    folder = write_clip(tmp_path / "repository", bundle)
    config = (folder / "config.pbtxt").read_text(encoding="utf-8")
    plan = (folder / "configs" / "tensorrt.pbtxt").read_text(encoding="utf-8")
    for text in (config, plan):
        assert 'name: "crops", data_type: TYPE_FP32, dims: [ 3, 3, 8, 8 ]' in text
        assert 'name: "reference", data_type: TYPE_FP32, dims: [ 68, 2 ]' in text
        assert "dynamic_batching" in text and "zero_data: true" in text
    assert 'backend: "onnxruntime"' in config and 'platform: "tensorrt_plan"' in plan
    assert (folder / "1" / "model.onnx").is_file()


def test_a_model_of_ours_is_replaced_and_nothing_else(file: Path, tmp_path: Path) -> None:
    stream: Bundle = replace(describe(), path=file)
    folder = write_stream(tmp_path, stream)
    (folder / "1" / "old").touch()
    assert not (write_stream(tmp_path, stream) / "1" / "old").exists()
    (folder / "config.pbtxt").write_text('name: "aunet_stream"', encoding="utf-8")
    with pytest.raises(InvalidInput, match="another repository"):
        write_stream(tmp_path, stream)
    with pytest.raises(InvalidInput, match="clip bundle"):
        write_clip(tmp_path, stream)
