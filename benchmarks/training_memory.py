"""What memory a training step of AUNet takes, by its batch: peak of the process on the CPU, a line through it, and what
the line says about a larger batch.

    PYTHONPATH=. python benchmarks/training_memory.py [--batches 2,4,6] [--at 64] [--case 256:256] [--steps 2]
        [--json FILE]

Every batch has a process of its own, which takes steps of train.engine.loop on triplets that lie in memory: a frozen
FAN with random weights over three frames a triplet in FP32, and the head's forward and backward pass with AdamW. Peak:
the largest resident set. On a GPU the same tensors live in its memory, but its libraries take other working memory,
and FAN's parts of it other time to give it back: the figure is an estimate, no measurement of a GPU.

Prints a table and, as the last line, one JSON object. Linux and macOS.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import common
import numpy as np
import torch
from training import N_AUS, Ours

from aunet_sdk.profiling.device import peak_memory_mb
from train.models.fan import FAN


def peak_mb(batch: int, width: int, resolution: int, steps: int) -> float:
    """Largest resident set of this process after `steps` steps, MB."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    ours = Ours(FAN(width), torch.device("cpu"), torch.float32)
    crops = torch.randint(0, 256, (batch, 3, 3, resolution, resolution), dtype=torch.uint8)
    labels = torch.randint(0, 2, (batch, N_AUS)).float()
    for _ in range(steps):
        ours(crops, labels)
    largest = peak_memory_mb()  # ru_maxrss would also count what the process was before it became this program
    assert largest is not None  # of Linux and macOS
    return largest * 2**20 / 1e6


def in_own_process(batch: int, case: str, steps: int) -> float:
    """`peak_mb` of a process that does nothing else."""
    command = [sys.executable, __file__, "--one", str(batch), "--case", case, "--steps", str(steps)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def line(batches: list[int], peaks: list[float], at: int) -> dict[str, float]:
    """The straight line through the peaks, MB, how far it misses them at most, and its value at batch `at`."""
    slope, start = np.polyfit(batches, peaks, 1)
    missed = max(abs(start + slope * batch - peak) for batch, peak in zip(batches, peaks, strict=True))
    return {
        "mb_per_triplet": round(float(slope), 1),
        "mb_without": round(float(start), 1),
        "largest_miss_mb": round(float(missed), 1),
        "mb_at": round(float(start + slope * at), 1),
    }


def main() -> int:
    parser: argparse.ArgumentParser = common.parser_of(__doc__)
    parser.add_argument("--batches", default="2,4,6", help="triplets of a step, with commas (default: 2,4,6)")
    parser.add_argument("--at", type=int, default=64, help="batch that the line is asked about (default: 64)")
    parser.add_argument("--case", default="256:256", help="width:resolution (default: 256:256)")
    parser.add_argument("--steps", type=int, default=2, help="of every process (default: 2)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    width, resolution = (int(part) for part in arguments.case.split(":"))
    if arguments.one:
        print(peak_mb(arguments.one, width, resolution, arguments.steps))
        return 0
    batches = [int(part) for part in arguments.batches.split(",")]
    if len(set(batches)) < 2 or min(batches) < 2:
        parser.error("--batches: expected at least two different ones of 2 and more")
    peaks = [in_own_process(batch, arguments.case, arguments.steps) for batch in batches]
    found = line(batches, peaks, arguments.at)
    for batch, peak in zip(batches, peaks, strict=True):
        print(f"batch {batch:4d}  {peak / 1e3:7.2f} GB")
    slope, there = found["mb_per_triplet"], found["mb_at"] / 1e3
    print(f"batch {arguments.at:4d}  {there:7.2f} GB by the line, {slope:.0f} MB a triplet")
    figures: dict[str, Any] = {
        "width": width, "resolution": resolution, "at": arguments.at, "batches": batches,
        "peaks_mb": [round(peak, 1) for peak in peaks], **found, **common.machine(),
    }  # fmt: skip
    return common.finish(figures, Path(arguments.json) if arguments.json else None)


if __name__ == "__main__":
    sys.exit(main())
