"""benchmarks/gpu.py without a GPU: it refuses, and its dry run on the CPU goes through."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def gpu(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", "--no-tests"],
        cwd=repository,
        env={"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "gpu: expected a CUDA device" in done.stderr and not done.stdout


def test_dry_run(gpu: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    arguments = argparse.Namespace(
        cpu=True, no_tests=True, model=None, width=16, resolution=64, head="points", faces=2, precision="fp32",
        engines="", turns=2, steps=2,
    )  # fmt: skip
    figures = gpu.measure(arguments)
    gpu.show(figures)
    assert figures["dry_run"] is True and figures["device"].startswith("cpu")
    assert figures["best"] == "onnxruntime-cpu" and figures["max_difference"]["onnxruntime-cpu"] < 1e-3
    assert figures["latency_ms"] > 0 and figures["ratio_eager"] > 0 and figures["ratio_8_faces"] > 0
    assert {"released", "torch_graph", "onnxruntime-cpu"} == set(figures["ms"])
    assert "2 faces" in capsys.readouterr().out
