"""benchmarks/gpu.py: its figures are kept, and what fails ends with an error."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.scripts import load


def fine() -> None:
    """A step that works."""


def test_gpu_keeps_the_figures_of_the_others(scripts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = load("gpu")
    right = np.array([[0.2, 0.8]])
    steps = 0

    def breaks() -> None:
        nonlocal steps
        steps += 1
        if steps > 8:
            raise RuntimeError("cudaErrorX\nin line 2")

    def no_answer() -> Any:
        raise ValueError("no such layout")

    failures = gpu.Failures(fine)
    makers = {
        "good": lambda: (right + 1e-4, (fine, fine)),
        "mute": no_answer,
        "apart": lambda: (right + 0.3, (fine, fine)),
        "breaks": lambda: (right, (breaks, breaks)),
    }
    apart, runs = gpu.prepared(makers, right, failures)
    assert list(runs) == ["good", "apart", "breaks"] and failures.errors == {"mute": "ValueError: no such layout"}
    one, many = gpu.take_turns({"released": (fine, None), **runs}, 3, 2, failures)
    assert set(one) == {"released", "good", "apart"} and set(many) == {"good", "apart"}
    assert {name: len(spent) for name, spent in one.items()} == {"released": 6, "good": 6, "apart": 6}
    assert failures.errors["breaks"] == "RuntimeError: cudaErrorX in line 2" and not failures.device_lost
    figures = gpu.verdict(one, many, apart, 1e-3)
    assert figures["held"] == {"good": True, "apart": False, "breaks": True}
    assert figures["engine"] == figures["best"] == "good"
    assert "breaks: failed" in capsys.readouterr().err


def test_gpu_keeps_what_came_before_a_lost_device(scripts: Path) -> None:
    gpu = load("gpu")
    lost = False

    def eager() -> None:
        if lost:
            raise RuntimeError("an illegal memory access was encountered")

    def loses() -> None:
        nonlocal lost
        lost = lost or turns[0] > 12
        turns[0] += 1
        eager()

    turns = [0]
    failures = gpu.Failures(eager)
    runs = {"released": (eager, None), "loses": (loses, loses), "later": (eager, eager)}
    one, many = gpu.take_turns(runs, 4, 1, failures)
    assert failures.device_lost and set(failures.errors) == {"loses"}
    assert set(one) == {"released", "later"} and set(many) == {"later"} and one["later"]
    with pytest.raises(gpu.BackendUnavailable, match="first"):
        gpu.prepared({"first": lambda: loses(), "second": lambda: None}, np.zeros((1, 1)), gpu.Failures(eager))


def test_gpu_takes_the_graph_of_pytorch_where_it_is_the_fastest_that_agrees(scripts: Path) -> None:
    gpu = load("gpu")
    one = {"released": [8.0, 9.0, 10.0], "torch_graph": [2.0, 2.0, 2.0], "tensorrt": [1.0] * 3, "ort": [3.0] * 3}
    many = {name: [4 * ms for ms in spent] for name, spent in one.items()}
    apart = {"torch_graph": 1e-3, "tensorrt": 0.2, "ort": 1e-3}
    figures = gpu.verdict(one, many, apart, 5e-3)
    assert (figures["engine"], figures["best"]) == ("torch_graph", "ort")
    assert (figures["latency_ms"], figures["ratio_eager"], figures["ratio_8_faces"]) == (2.0, 4.5, 4.0)
    figures = gpu.verdict(one, many, {**apart, "tensorrt": 1e-4}, 5e-3)
    assert figures["engine"] == figures["best"] == "tensorrt" and figures["latency_ms"] == 1.0
    figures = gpu.verdict(one, many, dict.fromkeys(apart, float("nan")), 5e-3)
    assert figures["engine"] is None and figures["latency_ms"] is None and figures["ratio_eager"] is None
    json.loads(json.dumps(figures, allow_nan=False))


@pytest.mark.parametrize("head", ["aunet", "points"])
def test_the_graph_of_pytorch_answers_as_the_released_path(scripts: Path, head: str) -> None:
    """Three live steps of it, for one face and for several at once, also where the last ones are not full."""
    import torch

    gpu = load("gpu")
    crops = np.random.default_rng(0).integers(0, 256, (3, 3, 3, 64, 64), np.uint8)
    model = gpu.random_model(16, 64, crops)
    triplets = [torch.from_numpy(part.astype(np.float32) / np.float32(255)) for part in crops.swapaxes(0, 1)]
    expected = gpu.sigmoid(gpu.released(model, head, *triplets).numpy())
    found, steps = gpu.graph_runs(model, head, "fp32", 2, "cpu", crops)
    assert found.shape == (2, *expected.shape) and np.abs(found - expected).max() < 1e-3
    assert np.abs(found - expected[::-1]).max() > 5e-3, "another face would show"
    heatmaps, logits = steps[1]()
    assert heatmaps.shape == (2, 68, 16, 16) and logits.shape == (2, expected.shape[1])


def test_gpu_ends_with_an_error_after_failed_tests(
    scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = load("gpu")
    tests: dict[str, int] | None = None
    monkeypatch.setattr(gpu, "measure", lambda _: {"device": "none", "tests": tests})
    monkeypatch.setattr(gpu, "show", lambda _: None)
    path = tmp_path / "g.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--cpu", "--json", str(path)])
    for tests, code in (
        (None, 0),
        ({"passed": 3, "skipped": 1}, 0),
        ({"passed": 3, "failed": 1}, 1),
        ({"error": 2}, 1),
    ):
        path.unlink(missing_ok=True)
        assert gpu.main() == code and json.loads(path.read_text())["tests"] == tests
