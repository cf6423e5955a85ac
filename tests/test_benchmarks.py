"""The scripts of benchmarks/: they run, and their last line can be read."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from .aunet_sdk.painted import paint, painted_detector

PROFILED = ["decode", "find", "align", "copy_in", "network", "copy_out", "points", "buffer", "sinks", "other"]


def run(repository: Path, script: str, *arguments: object) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output and the object in the last line."""
    command = [sys.executable, str(repository / "benchmarks" / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, figures_in(done.stdout)


def figures_in(text: str) -> dict[str, Any]:
    """The object in the last line; none where there is none."""
    lines = text.splitlines()
    figures: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return figures


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


@pytest.fixture
def here(
    scripts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, dict[str, Any]]]:
    """`run` in this process, for scripts whose imports take longer than what they do here."""

    def call(script: str, *arguments: object) -> tuple[int, str, dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        try:
            code = load(script.removesuffix(".py")).main()
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return int(code or 0), out + err, figures_in(out)

    return call


def test_archive_tells_the_work_from_the_start(repository: Path, clip: Path) -> None:
    few = ("--copies", 1, "--rounds", 1, "--workers", 1)
    code, output, figures = run(repository, "archive.py", clip, "--frames", 20, *few, "--hours", 100, "--price", 0.5)
    assert code == 0, output
    assert set(figures["fps"]) == set(figures["start_s"]) == {"loop", "1 worker"} and figures["frames"] == 20
    assert figures["cost"] == pytest.approx(0.5 * 100 * 25 / figures["fps"]["1 worker"])
    assert figures["core_hours"] == pytest.approx(2.5 * figures["cpu_ms_per_frame"]["1 worker"])
    code, output, _ = run(repository, "archive.py", clip, "--frames", 3)
    assert code == 2 and "--frames" in output


def test_served_says_that_no_server_is_there(here: Callable[..., tuple[int, str, dict[str, Any]]]) -> None:
    code, output, _ = here("served.py", "127.0.0.1:1")
    assert code == 2 and output.startswith("served: ") and ("start the server" in output or "tritonclient" in output)


def test_pipeline_prints_its_figures(repository: Path, clip: Path, tmp_path: Path) -> None:
    code, output, figures = run(
        repository, "pipeline.py", clip, "--no-mediapipe", "--repeats", 1, "--threads", 1, "--json", tmp_path / "a.json"
    )
    assert code == 0, output
    assert figures["frames"] == 20 and figures["fps"] > 0 and figures["mediapipe_fps"] is None
    assert list(figures["stages"]) == PROFILED, "the stages are those of profiling.profile"
    assert {"p50_ms", "p95_ms", "share"} <= set(figures["stages"]["network"])
    stages = figures["stages_ms"]
    assert list(stages) == [*PROFILED[:-1], "rest", "wall"]
    assert stages["find"] == pytest.approx(figures["stages"]["find"]["mean_ms"], abs=0.001)
    assert figures["peak_memory_mb"] is None or figures["peak_memory_mb"] > 50
    assert stages["wall"] == pytest.approx(sum(value for name, value in stages.items() if name != "wall"), abs=0.01)
    assert figures["overhead_ms"] == pytest.approx(stages["wall"] - stages["network"], abs=0.01)
    assert json.loads((tmp_path / "a.json").read_text()) == figures


def test_pipeline_measures_by_the_profiling_api(
    scripts: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = load("pipeline")
    real, calls = pipeline.profile, []

    def watched(*arguments: Any, **options: Any) -> Any:
        calls.append(real(*arguments, **options))
        return calls[-1]

    monkeypatch.setattr(pipeline, "profile", watched)
    with painted_detector() as detector:
        turn = pipeline.run_ours(detector, clip, tmp_path / "table.csv")
    assert calls == [turn.profile] and turn.profile.frames == 20 and turn.profile.warm_up == 0
    assert turn.face_share == 1.0
    rows = (tmp_path / "table.csv").read_text().splitlines()
    assert len(rows) == 21, "also the frames that waited for a later one"
    assert turn.wall_ms * 20 >= 1e3 * turn.profile.wall_s, "opening and closing are counted"
    stages = turn.stages_ms()
    assert stages["rest"] >= turn.profile.stages["other"].mean_ms - 1e-6


def test_alignment_prints_its_ratio(here: Callable[..., Any]) -> None:
    code, output, figures = here("alignment.py", "--rounds", 10)
    assert code == 0, output
    assert len(figures["cases"]) == 4 and figures["ratio"] == min(row["ratio"] for row in figures["cases"])
    assert all(row["kernel_us"] > 0 and row["difference_levels"] < 2 for row in figures["cases"])
    assert here("alignment.py", "--rounds", 9)[0] == 2


def test_events_are_those_of_the_sample_and_of_a_clip(here: Callable[..., Any], clip: Path) -> None:
    code, output, figures = here("events.py", clip, "--threads", 1)
    assert code == 0, output
    assert figures["movements"] == 13 and figures["found"] >= 12
    assert figures["in_pieces"] <= 1 and figures["besides"] <= 4
    assert abs(figures["onset_s"][1]) <= 0.1 and 0 <= figures["offset_s"][1] <= 0.3
    assert figures["clips"]["clip.avi"] == {"over_threshold": 0, "events": 0}


def test_a_live_run_has_the_numbers_of_a_file(repository: Path, here: Callable[..., Any], tmp_path: Path) -> None:
    sample = repository / "examples" / "sample.mp4"
    code, output, figures = here("offline_live.py", sample, "--frames", 30, "--threads", 1)
    assert code == 0, output
    assert figures["clips"]["sample.mp4"] | {"worst": 0, "worst_px": 0} == {
        "frames": 30,
        "faces": 30,
        "alike": True,
        "worst": 0,
        "worst_px": 0,
    }
    assert figures["worst"] < 1e-5 and figures["differ"] == []
    assert here("offline_live.py", tmp_path)[0] == 2


def test_validity_of_a_rendered_face_with_a_covered_mouth(repository: Path, here: Callable[..., Any]) -> None:
    sample = repository / "examples" / "sample.mp4"
    code, output, figures = here("validity.py", sample, "--frames", 10, "--threads", 1)
    assert code == 0, output
    for kind in ("black", "skin", "hand"):
        assert figures[kind]["frames"] + figures[kind]["no_face"] == 10
        assert figures[kind]["au1_valid"] >= 95 and figures[kind]["au12_valid"] <= 5, kind
    assert figures["none"]["au1_valid"] >= 98 and figures["none"]["au12_valid"] >= 98


def test_memory_prints_state_and_allocations(repository: Path) -> None:
    arguments = ("--frames", 5, "--faces", 1, "--threads", 1, "--engine", "onnxruntime")
    code, output, figures = run(repository, "memory.py", *arguments)
    assert code == 0, output
    assert figures["state_mib_25fps"] == pytest.approx((11 * 2 + 21 * 0.5 + 11 * 0.5) * 1.0)  # S, E, L: MiB a row
    assert figures["state_mib_30fps"] == pytest.approx((13 * 2 + 25 * 0.5 + 13 * 0.5) * 1.0)
    assert (figures["target_state_mib"], figures["target_alloc_kib"]) == (40, 0)
    assert 0 < figures["state_model_mib_25fps"] < figures["state_model_mib_30fps"] < 40
    assert figures["faces"] == 1 and 0 < figures["alloc_kib_per_frame"] < 16 and figures["arrays"] is False
    assert "40.00" in output


def test_memory_sees_an_array(scripts: Path) -> None:
    memory = load("memory")
    kept: list[np.ndarray] = []
    top, growth = memory.allocations(lambda: kept.append(np.empty(memory.SMALLEST_ARRAY, np.uint8)), 4)
    assert top >= memory.SMALLEST_ARRAY and growth >= 4 * memory.SMALLEST_ARRAY


def test_pipeline_names_a_clip_that_is_missing(here: Callable[..., Any], tmp_path: Path) -> None:
    code, output, _ = here("pipeline.py", tmp_path / "missing.mp4", "--no-mediapipe")
    assert code == 2 and "missing.mp4" in output and "Traceback" not in output


def test_startup_prints_its_figures(repository: Path) -> None:
    code, output, figures = run(repository, "startup.py", "--rounds", 1, "--threads", 1, "--engine", "onnxruntime")
    assert code == 0, output
    assert 0 < figures["import_s"] < figures["ready_s"] and figures["first_picture_s"] > 0


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


def test_a_benchmark_says_which_model_is_missing(here: Callable[..., Any], tmp_path: Path) -> None:
    code, output, _ = here("pipeline.py", "--no-mediapipe", "--model", tmp_path / "missing.onnx")
    assert code == 2 and "missing.onnx" in output and "Traceback" not in output


def test_medians_take_turns(scripts: Path) -> None:
    calls: list[str] = []
    spent = load("common").medians([lambda: calls.append("a"), lambda: calls.append("b")], 10)
    assert calls == ["a", "b"] * 10 and len(spent) == 2 and all(0 < s < 1 for s in spent)


def test_pipeline_follows_eight_faces(scripts: Path) -> None:
    pipeline = load("pipeline")
    tiles = [paint((80, 80, 70), background=i, size=(160, 160)) for i in range(12)]
    with painted_detector() as detector:
        assert pipeline.crowd_ms(detector, tiles, 1)[1] == 1
        assert pipeline.crowd_ms(detector, tiles, 8)[1] == 8


def test_agreement_wants_the_task_file(here: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    code, output, _ = here("agreement.py", clip, "--task", tmp_path / "missing.task")
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


def test_clear_frames_that_are_found_and_that_stay_calm(scripts: Path) -> None:
    """r of a model that follows brows below its threshold is high; none of its frames is found."""
    clear = load("clear")
    names = ("AU1", "AU4", "AU12")
    active = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1], [1, 1, 1]], bool)
    channels = {"AU1": np.array([0.9, 0.8, 0.0, 0.05, np.nan]), "AU12": np.zeros(5), "AU26": np.ones(5)}
    counts = clear.clear_counts(active, names, channels)
    assert counts == {
        "AU1": {"on": 2, "found": 1, "off": 2, "calm": 1},
        "AU12": {"on": 0, "found": 0, "off": 5, "calm": 2},
    }, "AU4 is not asked for, AU26 not in the model"
    both = clear.summed([counts, counts])
    assert both["AU1"] == {"on": 4, "found": 0.5, "off": 4, "calm": 0.5} and both["AU12"]["found"] is None


def test_ramps_tell_the_order_and_the_size(scripts: Path) -> None:
    """Of two people: one whose intensity rises with every step, one of whom two steps are the wrong way round."""
    pytest.importorskip("torch")
    ramps = load("ramps")
    found = ramps.figures(np.array([[0.0, 0.1, 0.3, 0.8], [0.0, 0.3, 0.1, 0.6]]))
    assert found == {"rho": 0.9, "least": 0.8, "rest": 0.0, "half": 0.2, "full": 0.7}
    assert ramps.spearman(np.array([3.0, 2.0, 1.0])) == pytest.approx(-1)


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


def test_training_prints_its_ratios(here: Callable[..., Any], tmp_path: Path) -> None:
    arguments = ("--cases", "8:64", "--batch", 2, "--rounds", 1, "--steps", 1, "--device", "cpu", "--threads", 1)
    code, output, figures = here("training.py", *arguments, "--json", tmp_path / "t.json")
    assert code == 0, output
    row = figures["cases"][0]
    kept, recipe = row["ours_kept_images_per_s"], row["recipe_images_per_s"]
    rounded = 0.005 + kept / recipe * (0.005 / kept + 0.005 / recipe)  # all three have two places
    assert row["ratio_ours_kept"] == pytest.approx(kept / recipe, abs=1.01 * rounded)
    assert figures["ratio"] == row["ratio_ours_kept"] and json.loads((tmp_path / "t.json").read_text()) == figures
    assert here("training.py", "--cases", "256")[0] == 2


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
    # Sums in another order (channels_last) round by the size of what is summed, which may cancel to far less.
    largest = max(b.abs().max().item() for _, b in gradients)
    assert all(torch.allclose(a, b, atol=1e-5 * largest, rtol=1e-3) for a, b in gradients)
    assert not all(torch.allclose(a, 1.01 * b, atol=1e-5 * largest, rtol=1e-3) for a, b in gradients)


def test_random_faults_leave_right_results_and_nothing_behind(repository: Path, here: Callable[..., Any]) -> None:
    """The fewest rounds, and short ones; `--minutes 60` is the real thing."""
    code, output, figures = run(repository, "faults.py", "--minutes", 0.01, "--frames", 24)
    assert code == 0, output
    assert figures["rounds"] >= 28 and figures["faults"] > 0 and figures["wrong_rounds"] == 0
    assert figures["threads_grown"] <= 0 and figures["files_grown"] <= 0
    assert here("faults.py", "--minutes", 0)[0] == 2


def test_small_faces_wants_portraits(here: Callable[..., Any], tmp_path: Path) -> None:
    assert here("small_faces.py", tmp_path)[0] == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_sinks_prints_a_ratio_for_every_case(repository: Path, here: Callable[..., Any]) -> None:
    code, output, figures = run(repository, "sinks.py", "--seconds", 1, "--case", "full_disk")
    assert code in (0, 1), output  # a ratio of one second on a busy machine is no finding
    assert set(figures["cases"]) == {"none", "full_disk"} and figures["ratio"] > 0
    row = figures["cases"]["full_disk"]
    assert row["dropped"] > 0 and row["file_complete"] and "No space left" in row["said"]
    assert here("sinks.py", "--case", "nonsense")[0] == 2
