"""The scripts of benchmarks/: they run, and their last line can be read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.aunet_sdk.painted import paint, painted_detector
from tests.benchmarks.scripts import load, run

PROFILED = ["decode", "find", "align", "copy_in", "network", "copy_out", "points", "buffer", "sinks", "other"]


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


def test_rigs_asks_for_the_rigs_before_it_draws(
    here: Callable[..., tuple[int, str, dict[str, Any]]], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    code, output, _ = here("rigs.py", tmp_path / "none.safetensors", "--source", tmp_path, "--data", tmp_path)
    assert code == 2 and "rigs: expected the rigs in" in output
    code, output, _ = here("rigs.py", "m", "--source", tmp_path, "--data", tmp_path, "--sequences", 0)
    assert code == 2 and "--sequences: expected 1 or more, got 0" in output


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
