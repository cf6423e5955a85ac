"""Images per second of the training loop beside a plain transcription of the released recipe, in one run.

    PYTHONPATH=. python benchmarks/training.py [--device auto|cpu|cuda] [--precision auto|fp32|bf16|fp16]
        [--batch 16] [--rounds 3] [--steps 4] [--cases 256:256,64:128] [--threads N] [--folder DIR] [--json FILE]

The work: one training step of the AUNet head on triplets of crops that lie in memory; FAN is frozen and has random
weights (the time does not depend on them). A sample is three images. The recipe as released: FP32, FAN three times per
sample under no_grad, differences of whole features, AdamW; no features are kept. Ours, three times, each with the step
of train.engine.loop (train.engine.step.Stepper): features computed anew (as with augmentation: three frames in one
batch, --precision), the same in FP32, and features read from the disk (train.engine.features_cache; an epoch after the
first, or with a few augmentations that come again). All take turns, so that a busy machine slows each of them; a ratio
is that of the medians. Decoding and augmentation are left out on both sides.

Prints a table, what it says about the target (3x the recipe), and, as the last line, one JSON object; `ratio` is that
of kept features at the first case, `ratio_fresh` that of features computed anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import checkout  # noqa: F401
import torch
from torch import Tensor
from torch.nn import functional

from train.configs.options import RunOptions
from train.engine.features_cache import FeatureCache, Layout
from train.engine.loop import pick_device
from train.engine.step import PRECISIONS, Stepper, pick_dtype
from train.evaluation.inference import features_of, logits_of
from train.losses.au import au_loss
from train.models.aunet_head import AUNetHead
from train.models.fan import FAN
from train.models.variants import build

N_AUS = 15
TARGET = 3.0
"""Images per second over those of the recipe."""


class Recipe:
    """A step as the released code has it, in plain words."""

    def __init__(self, fan: FAN, head: AUNetHead, device: torch.device) -> None:
        self.fan, self.head, self.device = fan.to(device).eval(), head.to(device).train(), device
        self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-4, weight_decay=0.0)

    def __call__(self, crops: Tensor, labels: Tensor) -> None:
        former, due, later = (crops[:, k].to(self.device).float().div(255) for k in range(3))
        labels = labels.to(self.device)
        with torch.no_grad():
            f_former, f_due, f_later = (self.fan(frame)[1] for frame in (former, due, later))
        head = self.head
        difference = torch.cat((f_due - f_former, f_later - f_due), 1)
        motion = head.conv1x1_diff(functional.avg_pool2d(difference, 2))
        y = head.alpha * head.conv1x1(f_due) + head.beta * functional.interpolate(motion, scale_factor=2.0)
        motion = head.ConvNet_diff(motion)
        y = head.alpha * head.ConvNet_1(y) + head.beta * functional.interpolate(motion, scale_factor=2.0)
        logits = head.predictor(functional.adaptive_avg_pool2d(head.ConvNet_2(y), 1).flatten(1))
        loss = functional.binary_cross_entropy_with_logits(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class Ours:
    """The loop's own step with the loss of a run of AU-TDN; `cache`: with features from there."""

    def __init__(self, fan: FAN, device: torch.device, dtype: torch.dtype, cache: FeatureCache | None = None) -> None:
        self.network = build("au-tdn", N_AUS, fan=fan).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.train()
        self.device, self.cache, self.done = device, cache, 0
        groups = [{"params": list(self.network.trainable()), "lr_scale": 1.0, "weight_decay": 0.0}]
        options = RunOptions(lr=1e-4, clip=0.0, ema=0.0)
        self.step = Stepper(self.network, groups, options, device, dtype)
        self.weights = torch.ones(N_AUS, device=device)

    def features(self, crops: Tensor) -> Tensor:
        return features_of(self.network, _pictures(crops).to(self.device))

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return au_loss(logits_of(self.network, batch), batch["labels"], self.weights), {}

    def __call__(self, crops: Tensor, labels: Tensor) -> None:
        seen = {"crops": _pictures(crops)} if self.cache is None else self.cache.read(range(len(crops)))
        self.step(self.done, [{"labels": labels, **seen}], self.loss)
        self.done += 1


def _pictures(crops: Tensor) -> Tensor:
    """(B, 3, 3, R, R) -> (B, 3, R, R, 3), as the loop's batches have them."""
    return crops.permute(0, 1, 3, 4, 2).contiguous()


def rates(
    calls: dict[str, Callable[[Tensor, Tensor], None]], crops: Tensor, labels: Tensor, rounds: int, steps: int
) -> dict[str, float]:
    """Images per second of each, medians of `rounds` turns of `steps` steps after one that is not counted."""

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            wait()
            start = time.perf_counter()
            for _ in range(steps if turn else 1):
                call(crops, labels)
            wait()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: 3 * len(crops) * steps / statistics.median(spent) for name, spent in times.items()}


def case(
    width: int,
    resolution: int,
    batch: int,
    rounds: int,
    steps: int,
    device: torch.device,
    dtype: torch.dtype,
    folder: Path,
) -> dict[str, float | int]:
    """One size of network and crop."""
    torch.manual_seed(0)
    fan = FAN(width)
    crops = torch.randint(0, 256, (batch, 3, 3, resolution, resolution), dtype=torch.uint8)
    labels = torch.randint(0, 2, (batch, N_AUS)).float()
    cache = FeatureCache(folder, f"{width}-{resolution}", Layout(batch, 3 * width, resolution // 4, True))

    def copy() -> FAN:
        own = FAN(width)
        own.load_state_dict(fan.state_dict())
        return own

    kept = Ours(copy(), device, dtype, cache)
    with torch.no_grad():
        features = kept.features(crops)
        cache.write(range(batch), features[:, 1], features[:, ::2])
    calls: dict[str, Callable[[Tensor, Tensor], None]] = {
        "recipe": Recipe(copy(), AUNetHead(N_AUS, width), device),
        "ours_fp32": Ours(copy(), device, torch.float32),
        "ours": Ours(copy(), device, dtype),
        "ours_kept": kept,
    }
    found = rates(calls, crops, labels, rounds, steps)
    return {
        "width": width,
        "resolution": resolution,
        **{f"{name}_images_per_s": round(rate, 2) for name, rate in found.items()},
        **{f"ratio_{name}": round(found[name] / found["recipe"], 2) for name in ("ours_fp32", "ours", "ours_kept")},
        "kept_mb_per_triplet": round(cache.layout.size / batch / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", *PRECISIONS))
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default: 3)")
    parser.add_argument("--steps", type=int, default=4, help="steps of a turn (default: 4)")
    parser.add_argument("--batch", type=int, default=16, help="triplets of a step (default: 16; the paper: 64)")
    parser.add_argument("--cases", default="256:256,64:128", help="width:resolution, with commas")
    parser.add_argument("--threads", type=int, default=0, help="threads of the computation (default: torch's)")
    parser.add_argument("--folder", type=Path, help="for the kept features (default: the temporary folder)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    arguments = parser.parse_args()
    try:
        sizes = [tuple(int(part) for part in text.split(":")) for text in arguments.cases.split(",")]
        if any(len(size) != 2 for size in sizes):
            raise ValueError
    except ValueError:
        parser.error(f"--cases: expected WIDTH:RESOLUTION with commas, got {arguments.cases}")
    if min(arguments.rounds, arguments.steps) < 1 or arguments.batch < 2:
        parser.error("--rounds, --steps: expected 1 or more, --batch 2 or more")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    dtype = pick_dtype(arguments.precision, device)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        cases = [
            case(width, side, arguments.batch, arguments.rounds, arguments.steps, device, dtype, Path(folder))
            for width, side in sizes
        ]
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(f"{name}, {str(dtype).removeprefix('torch.')}; images/s")
    print(f"{'width':>6} {'crop':>5} {'recipe':>9} {'ours FP32':>16} {'ours':>16} {'ours, kept':>16}  MB/triplet")
    for row in cases:
        cells = "".join(
            f" {row[f'{part}_images_per_s']:>8} ({row[f'ratio_{part}']:>4}x)"
            for part in ("ours_fp32", "ours", "ours_kept")
        )
        start = f"{row['width']:>6} {row['resolution']:>5} {row['recipe_images_per_s']:>9}"
        print(f"{start}{cells}  {row['kept_mb_per_triplet']}")
    first = cases[0]
    print(
        f"target {TARGET:g}x, at the first size: {first['ratio_ours_kept']}x with kept features; the paper's recipe "
        f"augments anew in every epoch, where nothing can be kept: {first['ratio_ours']}x"
    )
    figures = {
        "benchmark": "training",
        "device": name,
        "precision": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        "steps": arguments.steps,
        "ratio": cases[0]["ratio_ours_kept"],
        "ratio_fresh": cases[0]["ratio_ours"],
        "cases": cases,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
