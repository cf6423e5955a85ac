"""The scripts of benchmarks/: they run, and their last line can be read."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from .aunet_sdk.painted import paint, painted_detector


def run(repository: Path, script: str, *arguments: object) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output and the object in the last line."""
    command = [sys.executable, str(repository / "benchmarks" / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    figures = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return done.returncode, done.stdout + done.stderr, figures


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (320, 240))
    for i in range(20):
        writer.write(paint((110 + i, 120, 90), background=i))
    writer.release()
    return path


@pytest.fixture
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """benchmarks/ on the path, where the scripts find each other."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return repository / "benchmarks"


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_pipeline_prints_its_figures(repository: Path, clip: Path, tmp_path: Path) -> None:
    code, output, figures = run(
        repository, "pipeline.py", clip, "--no-mediapipe", "--repeats", 1, "--threads", 1, "--json", tmp_path / "a.json"
    )
    assert code == 0, output
    assert figures["frames"] == 20 and figures["fps"] > 0 and figures["mediapipe_fps"] is None
    stages = figures["stages_ms"]
    assert stages["wall"] == pytest.approx(sum(value for name, value in stages.items() if name != "wall"), abs=0.01)
    assert figures["overhead_ms"] == pytest.approx(stages["wall"] - stages["network"], abs=0.01)
    assert json.loads((tmp_path / "a.json").read_text()) == figures


def test_pipeline_names_a_clip_that_is_missing(repository: Path, tmp_path: Path) -> None:
    code, output, _ = run(repository, "pipeline.py", tmp_path / "missing.mp4", "--no-mediapipe")
    assert code == 2 and "missing.mp4" in output and "Traceback" not in output


def test_startup_prints_its_figures(repository: Path) -> None:
    code, output, figures = run(repository, "startup.py", "--rounds", 1, "--threads", 1, "--engine", "onnxruntime")
    assert code == 0, output
    assert 0 < figures["import_s"] < figures["ready_s"] and figures["first_picture_s"] > 0


def test_a_benchmark_says_which_model_is_missing(repository: Path, tmp_path: Path) -> None:
    code, output, _ = run(repository, "pipeline.py", "--no-mediapipe", "--model", tmp_path / "missing.onnx")
    assert code == 2 and "missing.onnx" in output and "Traceback" not in output


def test_medians_take_turns(scripts: Path) -> None:
    calls: list[str] = []
    spent = load("common").medians([lambda: calls.append("a"), lambda: calls.append("b")], 10)
    assert calls == ["a", "b"] * 10 and len(spent) == 2 and all(0 < s < 1 for s in spent)


def test_pipeline_follows_eight_faces(scripts: Path) -> None:
    pipeline = load("pipeline")
    tiles = [paint((80, 80, 70), background=i, size=(160, 160)) for i in range(20)]
    with painted_detector() as detector:
        assert pipeline.crowd_ms(detector, tiles, 1)[1] == 1
        assert pipeline.crowd_ms(detector, tiles, 8)[1] == 8


def test_agreement_wants_the_task_file(repository: Path, clip: Path, tmp_path: Path) -> None:
    code, output, _ = run(repository, "agreement.py", clip, "--task", tmp_path / "missing.task")
    assert code == 2 and "Traceback" not in output


def test_agreement_measures_points_and_counts_frames(scripts: Path, clip: Path) -> None:
    agreement = load("agreement")
    points = np.zeros((20, 478, 2), np.float32)
    present = np.ones(20, bool)
    with painted_detector() as detector:
        results = list(detector.detect_video(clip))
        for result in results:
            points[result.index, agreement.IBUG_68] = result.faces[0].landmarks + np.array([3, 4])
        present[:4] = False
        reading = agreement.Reading(present, points, (), np.zeros((20, 0), np.float32))
        looked = agreement.look(detector, clip, reading)
    eyes = np.mean([np.linalg.norm(r.faces[0].landmarks[45] - r.faces[0].landmarks[36]) for r in results])
    figures = agreement.figures_of([looked, looked])
    assert figures["nme_inner"] == pytest.approx(5 / eyes, rel=0.02)
    assert figures["nme_all"] == pytest.approx(5 / eyes, rel=0.02)
    assert (figures["frames"], figures["frames_compared"], figures["frames_skipped"]) == (40, 32, 8)
    assert (figures["face_share"], figures["mediapipe_face_share"], figures["ids"]) == (1.0, 0.8, 2)


def test_agreement_channels(scripts: Path) -> None:
    agreement = load("agreement")
    names = sorted({name for shapes in agreement.CHANNELS.values() for name in shapes})
    shapes = np.zeros((3, len(names)), np.float32)
    shapes[:, names.index("mouthSmileLeft")] = (0.2, 0.4, 0.6)
    points = np.zeros((3, 478, 2), np.float32)
    points[:, 263] = (100, 0)
    points[:, 14] = (0, 10)
    reading = agreement.Reading(np.ones(3, bool), points, tuple(names), shapes)
    channels = agreement.channels_of(reading)
    assert set(channels) == set(agreement.ROWS)
    np.testing.assert_allclose(channels["AU12"], (0.1, 0.2, 0.3), atol=1e-6)
    np.testing.assert_allclose(channels["AU25"], 0.1)


def test_agreement_correlation(scripts: Path) -> None:
    pearson = load("agreement").pearson
    t = np.linspace(0, 1, 50)
    assert pearson(t, 3 * t + 1) == pytest.approx(1)
    assert pearson(t, -t) == pytest.approx(-1)
    assert pearson(t, np.full(50, 0.3)) is None
    assert pearson(t[:5], t[:5]) is None
    gaps = np.where(np.arange(50) < 5, np.nan, t)
    assert pearson(gaps, t) == pytest.approx(1)


def test_calm_stretches_and_what_is_active_in_them(scripts: Path) -> None:
    calm = load("calm")
    t = np.arange(100) / 25
    smile = np.where((t >= 1) & (t < 2), 0.8, 0.05)
    gap = np.where(t >= 3.9, 0.2, 0.01)
    resting = calm.calm_frames({"AU12": smile, "AU25": gap, "AU4": np.full(100, 0.4)})
    np.testing.assert_array_equal(resting, (smile < 0.5) & (gap < 0.1))
    assert [(run.start, run.stop) for run in calm.stretches(resting, t)] == [(0, 25), (50, 98)]
    assert not calm.calm_frames({"AU12": np.full(100, 0.5)}).any()  # smiles throughout
    assert not calm.calm_frames({"AU12": smile, "AU25": np.full(100, np.nan)}).any()
    active = np.zeros((100, 2), bool)
    active[20:30, 0] = True  # 5 of its frames are calm
    active[60:65, 1] = active[70:71, 1] = True
    found = calm.false_activations(active, ("AU1", "AU2"), resting, t)
    assert found["onsets"] == {"AU1": 1, "AU2": 2}
    assert found["calm_s"] == pytest.approx(73 / 25)
    assert found["active_s"] == pytest.approx({"AU1": 0.2, "AU2": 0.24})


def test_the_map_has_68_distinct_mesh_points(scripts: Path) -> None:
    points = load("landmarker").IBUG_68
    assert len(set(points.tolist())) == 68 and points.max() < 478


def test_training_prints_its_ratios(repository: Path, tmp_path: Path) -> None:
    arguments = ("--cases", "8:64", "--batch", 2, "--rounds", 1, "--steps", 1, "--device", "cpu", "--threads", 1)
    code, output, figures = run(repository, "training.py", *arguments, "--json", tmp_path / "t.json")
    assert code == 0, output
    row = figures["cases"][0]
    assert row["ratio_ours_kept"] == pytest.approx(row["ours_kept_images_per_s"] / row["recipe_images_per_s"], abs=0.02)
    assert figures["ratio"] == row["ratio_ours_kept"] and json.loads((tmp_path / "t.json").read_text()) == figures
    assert run(repository, "training.py", "--cases", "256")[0] == 2


def test_training_compares_the_same_step(scripts: Path) -> None:
    """The transcription and the loop's step decide alike: what is timed is the same work."""
    import torch

    training = load("training")
    torch.manual_seed(0)
    fan = training.FAN(8).eval()
    head = training.AUNetHead(15, 8)
    crops = torch.randint(0, 256, (4, 3, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(0, 2, (4, 15)).float()
    device = torch.device("cpu")
    ours = training.Ours(fan, device, torch.float32)
    ours.network.head.load_state_dict(head.state_dict())
    recipe = training.Recipe(fan, head, device)
    for step in (ours, recipe):
        step(crops, labels)
    pairs = zip(ours.network.head.parameters(), recipe.head.parameters(), strict=True)
    gradients = [(a.grad, b.grad) for a, b in pairs]
    assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-3) for a, b in gradients)
