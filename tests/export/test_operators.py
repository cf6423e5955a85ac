"""benchmarks/operators.py on a small network: what it counts, and that its profilers see what it names."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch


def test_operators(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    threads = torch.get_num_threads()
    script = importlib.import_module("operators")
    monkeypatch.setattr(sys, "argv", ["operators.py", "--width", "16", "--resolution", "64", "--runs", "1"])
    try:
        assert script.main() == 0
    finally:
        torch.set_num_threads(threads)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 2 < figures["work"] < 3, "FAN once instead of three times, the head as often"
    for side in ("released", "ours"):
        assert {"Conv 7x7", "Conv 3x3", "Conv 1x1"} <= set(figures["ms"][side]) and figures["gflops"][side] > 0


def test_operations_of_a_convolution(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    script = importlib.import_module("operators")
    layer, image = torch.nn.Conv2d(8, 4, 3, padding=1, bias=False), torch.rand(1, 8, 10, 10)
    assert script.gflop(lambda: layer(image)) == pytest.approx(2e-9 * 4 * 8 * 9 * 100)
