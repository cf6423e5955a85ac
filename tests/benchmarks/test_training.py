"""The benchmarks of the training: a step beside the released recipe, and the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.scripts import load


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


def test_training_memory_draws_a_line(here: Callable[..., Any], scripts: Path) -> None:
    code, output, figures = here("training_memory.py", "--case", "16:128", "--batches", "2,16", "--at", 30)
    assert code == 0, output
    (small, large), slope = figures["peaks_mb"], figures["mb_per_triplet"]
    assert large > small > 50 and slope == pytest.approx((large - small) / 14, abs=0.1)
    assert figures["mb_at"] == pytest.approx(large + 14 * slope, abs=2)
    assert load("training_memory").line([1, 2, 3], [3.0, 5.0, 7.0], 10) == {
        "mb_per_triplet": 2.0, "mb_without": 1.0, "largest_miss_mb": 0.0, "mb_at": 21.0
    }  # fmt: skip
    assert here("training_memory.py", "--batches", "2")[0] == 2


def test_training_data_projects_an_epoch(here: Callable[..., Any], tmp_path: Path) -> None:
    small = ["--steps", 2, "--batch", 4, "--resolution", 64, "--workers", 1, "--frames", 12, "--rounds", 1]
    code, output, figures = here(
        "training_data.py", *small, "--step-ms", 400, "--device", "cpu", "--folder", tmp_path, "--json", tmp_path / "f"
    )
    assert code == 0, output
    assert [case["case"] for case in figures["cases"]] == [
        f"1 {kind}, cut by {where}" for kind in ("threads", "processes") for where in ("cpu", "device")
    ]
    for case in figures["cases"]:
        assert case["epoch_s"] == pytest.approx(98_000 / case["triplets_per_s"]) and 0 <= case["waits"]["400"] < 0.5
    assert min(figures["core_ms"].values()) > 0
    assert figures["cut_ms"] > 0 and 20 < figures["crop_kb"] < 120
    assert here("training_data.py", "--frames", 8, "--batch", 8)[0] == 2
