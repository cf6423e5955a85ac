"""benchmarks/released_path.py on a small network: it runs, and its answers are compared."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from export.crops import Sample
from train.models.model import Model


def test_quick(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    threads = torch.get_num_threads()
    script = importlib.import_module("released_path")
    monkeypatch.setattr(sys, "argv", ["released_path.py", "--quick"])
    monkeypatch.setattr("train.models.fan.HourGlass", script.shallow)  # the script sets it: back afterwards
    try:
        assert script.main() == 0
    finally:
        torch.set_num_threads(threads)
    output = capsys.readouterr().out
    figures = json.loads(output.splitlines()[-1])
    assert figures["equal"] is True and figures["max_difference"]["ort_fp32"] < 1e-3
    assert figures["ratio_ort_fp32"] > 0 and figures["ratio_best"] >= figures["ratio_ort_fp32"]
    low, high = figures["probabilities"]
    assert 0.01 < low < high < 0.99 and high - low > 0.02, "answers that say nothing would always be equal"
    assert "released" in output and "ort_fp32" in output


def test_the_transcription_is_the_model(repository: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    script = importlib.import_module("released_path")
    crops = torch.rand(3, 1, 3, 64, 64)
    with torch.inference_mode():
        for head in ("aunet", "points"):
            torch.testing.assert_close(script.released(model, head, *crops), model(*crops)[1][head])


def test_int8_needs_labels(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    script = importlib.import_module("released_path")
    labels = np.array([[1.0], [0.0]], np.float32)
    sample = Sample("two", np.zeros((2, 3, 3, 4, 4), np.uint8), labels)
    right = np.array([[0.9], [0.1]])
    apart = np.array([[0.3], [0.0]])

    def held(answer: np.ndarray, judged: Sample, trained: bool = True) -> bool:
        return script.holds("openvino_int8", apart, script.f1_change(answer, right, judged), trained)

    assert held(right, sample) and not held(1 - right, sample)
    assert not held(right, Sample("none", sample.crops)), "trained weights are judged by labels"
    assert not held(right, sample, trained=False), "random ones by the mean difference"
    assert script.holds("openvino_int8", apart / 100, float("nan"), trained=False)
    assert script.holds("openvino_bf16", apart / 100, float("nan"), True)
    assert not script.holds("openvino_fp32", apart / 100, float("nan"), True)


def test_a_widened_model_decides_as_the_narrow_one(
    repository: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    wide = importlib.import_module("released_path").widened(model, 2)
    assert wide.config.width == 2 * model.config.width
    weight = wide.fan.conv4.conv1.weight
    assert not torch.allclose(weight[:, ::2], weight[:, 1::2]), "copies that differ"
    crops = torch.rand(3, 1, 3, 64, 64)
    with torch.inference_mode():
        (heatmaps, logits), (expected_heatmaps, expected) = wide(*crops), model(*crops)
    torch.testing.assert_close(heatmaps, expected_heatmaps, atol=1e-5, rtol=1e-4)
    for head, value in expected.items():
        torch.testing.assert_close(logits[head], value, atol=1e-5, rtol=1e-4)


def test_int8_is_calibrated_on_other_people_than_it_is_judged_on(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    script = importlib.import_module("released_path")
    (tmp_path / "shards").mkdir()
    images = np.zeros((4, 4, 80, 80, 3), np.uint8)
    images[1::2] = 200
    np.savez(tmp_path / "shards" / "a.npz", images=images, identity=np.array(list("abab")))
    (tmp_path / "dataset.json").write_text(json.dumps({"margin": 1.25, "splits": {"train": ["a"], "test": ["b"]}}))
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"left_out": ["conv"], "ranges": "usual"}))
    judged = Sample("test", np.full((2, 3, 3, 64, 64), 200, np.uint8))
    for int8_as, choices in ((None, ([], "widest")), (report, (["conv"], "usual"))):
        arguments = argparse.Namespace(crops=tmp_path, int8_as=int8_as)
        calibration, found = script.int8_choices(arguments, 64, judged)
        assert found == choices and calibration.name.endswith("split train")
        assert len(calibration) == 2 and not calibration.crops.any()
    quick, _ = script.int8_choices(argparse.Namespace(crops=None, int8_as=None), 64, judged)
    assert quick.crops.all(), "without a set there are no other people"
