"""Time of one classified frame at the paper's size, against a plain transcription of the released path.

    python benchmarks/released_path.py [--model CHECKPOINT [--widen 4] [--int8-as REPORT]] [--threads 1] [--turns 9]

released: PyTorch, eager, float32: FAN on the former, the due and the later crop, then the head; what the authors' code
does for every frame. Against it the `stream` bundle of the same weights, one new crop and one decision per frame, as it
runs live: ONNX Runtime FP32, and OpenVINO FP32, bf16 and INT8. All take turns; ratios are medians over the turns.

ratio_ort_fp32: released over ONNX Runtime FP32. ratio_best: released over the fastest of those whose answers hold:
FP32 within 1e-3 of PyTorch, bf16 within the FP16 gate (5e-3). INT8: with --model and labels in --crops the F1 of its
decisions may change by .01, the gate of export; random weights (without --model) decide nothing, and its probabilities
may differ by .005 in the mean, the limit that export chooses by. --widen copies the channels of a narrow model
(Net2Net, arXiv 1511.05641): a network of the paper's width that decides as the narrow one does, as long as nobody has
weights of that width. --int8-as leaves those convolutions out of INT8 that an export of --model did (its .parity.json);
without it all are quantised.

load: of the machine at start and end, over one minute. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import numpy as np
import torch
from common import load

import train.models.fan
from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import NEW, Query, StreamEngine
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from export import build, quantise
from export.crops import Sample, load_sample
from export.parity import F1_GATES, GATES, f1_scores
from train.models.blocks import HourGlass
from train.models.config import ModelConfig
from train.models.model import Model

EQUAL = 1e-3
"""largest difference of probabilities of the FP32 engines from the released path"""
CALIBRATION = 64
"""triplets that give the ranges of INT8 with --int8-as"""
MEAN_FACE = tuple((float(i % 9) - 4, float(i // 9) - 4, float(i % 5)) for i in range(68))  # what a bundle must have


def random_model(width: int, resolution: int, crops: np.ndarray | None = None) -> Model:
    """Random weights, batch-norm statistics of the crops (N, 3, 3, R, R) uint8: activations neither vanish nor explode.

    Heatmaps are scaled to what trained ones look like: a peak near 1.
    """
    torch.manual_seed(0)
    model = Model(ModelConfig(width=width, resolution=resolution, points3d=MEAN_FACE)).train()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean of what is seen
    if crops is None:
        crops = load_sample(None, resolution, 2).crops
    frames = torch.from_numpy(crops.astype(np.float32) / np.float32(255)).transpose(0, 1)
    with torch.inference_mode():
        heatmaps, _ = model.fan(frames[1])
        to_maps = model.fan.get_submodule(f"l{model.fan.stacks - 1}")
        scale = 1.0 / heatmaps[-1].abs().max()
        to_maps.weight.mul_(scale)  # type: ignore[operator]
        to_maps.bias.mul_(scale)  # type: ignore[operator]
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                layer.reset_running_stats()
        model(*frames)
        _, logits = model.eval()(*frames)
        for name, head in (("aunet", model.aunet), ("points", model.points)):  # probabilities from .12 to .88
            head.predictor[-1].weight.mul_(2.0 / logits[name].abs().max())
            head.predictor[-1].bias.mul_(2.0 / logits[name].abs().max())
    return model.eval()


def widened(model: Model, factor: int) -> Model:
    """`model` with every channel `factor` times, and the same answers (Net2WiderNet).

    The weights of the copies of an input channel add up to the former weight and differ by a factor of up to 3.
    """
    wide = Model(dataclasses.replace(model.config, width=factor * model.config.width))
    generator = torch.Generator().manual_seed(0)
    former = model.state_dict()
    for name, tensor in wide.state_dict().items():
        new = former[name].clone()
        for dim in range(tensor.ndim):
            if tensor.shape[dim] != former[name].shape[dim]:
                new = new.repeat_interleave(factor, dim)
                if dim == 1:
                    rows, columns, *kernel = new.shape
                    share = 0.5 + torch.rand(rows, columns // factor, factor, *kernel, generator=generator)
                    new = new * (share / share.sum(2, keepdim=True)).flatten(1, 2)
        tensor.copy_(new)
    return wide.eval()


def shallow(width: int, _: int, pooling: str) -> HourGlass:
    """For --quick: exported in seconds."""
    return HourGlass(width, 1, pooling)


@torch.inference_mode()
def released(model: Model, head: str, former: torch.Tensor, due: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
    """The released path, plainly: logits (B, n) of crops (B, 3, R, R); nothing is kept from frame to frame."""
    looked = []
    for crop in (former, due, later):
        heatmaps, features = model.fan(crop)
        looked.append((heatmaps[-1], features))
    if head == "aunet":
        return model.aunet(looked[0][1], looked[1][1], looked[2][1])
    return model.points.combine(*(model.points.describe(features, heatmaps) for heatmaps, features in looked))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -700, 700)))


def bundles(
    model: Model, head: str, int8: bool, folder: Path, calibration: Sample, left_out: tuple[list[str], str]
) -> dict[str, Bundle]:
    """precision -> `stream` bundle, written to `folder`; `left_out`: see quantise.quantise_as."""
    described = build.describe(model, kind="stream", head=head)
    proto = build.build(model, described)
    made = {"fp32": Bundle.load(build.save(proto, folder / "fp32.onnx"))}
    if int8:
        described = build.describe(model, kind="stream", head=head, precision="int8", arithmetic="int8")
        proto = quantise.quantise_as(proto, described, calibration, *left_out)
        build.stamp(proto, described)
        made["int8"] = Bundle.load(build.save(proto, folder / "int8.onnx"))
    return made


def answers(engine: StreamEngine, crops: np.ndarray) -> np.ndarray:
    """Probabilities of triplets (N, 3, 3, R, R), each in three live steps."""
    rows = []
    for triplet in crops.astype(np.float32) / np.float32(255):
        slots = []
        for k, crop in enumerate(triplet):
            engine.crops[0] = crop
            asked = [Query(slots[0], slots[1], NEW)] if k == 2 else []
            result = engine.step(1, asked)
            slots.append(result.slots[0])
        rows.append(result.logits[0])
    return sigmoid(np.array(rows))


def stepper(engine: StreamEngine) -> Callable[[], None]:
    """One frame of live use: a new crop, a decision about a kept frame."""
    kept = [engine.step(1).slots[0] for _ in range(2)]

    def step() -> None:
        result = engine.step(1, [Query(kept[0], kept[1], NEW)])
        kept.append(result.slots[0])
        kept.pop(0)

    return step


def engines(
    model: Model,
    head: str,
    names: list[str],
    threads: int,
    folder: Path,
    calibration: Sample,
    left_out: tuple[list[str], str],
) -> dict[str, StreamEngine]:
    """ONNX Runtime FP32 and what of OpenVINO is asked for and there."""
    there = importlib.util.find_spec("openvino") is not None
    made = bundles(model, head, there and "int8" in names, folder, calibration, left_out)
    opened: dict[str, StreamEngine] = {"ort_fp32": OrtStreamEngine(made["fp32"], max_faces=1, threads=threads)}
    if not there:
        print("OpenVINO is not installed (aunet_sdk[openvino]): left out", file=sys.stderr)
        return opened
    from aunet_sdk.engines.cpu.openvino import OpenVinoStreamEngine, has_bf16

    def openvino(bundle: Bundle, precision: str = "fp32") -> StreamEngine:
        return OpenVinoStreamEngine(bundle, max_faces=1, threads=threads, precision=precision, cache=folder)

    opened["openvino_fp32"] = openvino(made["fp32"])
    if "bf16" in names and has_bf16():
        opened["openvino_bf16"] = openvino(made["fp32"], "bf16")
    if "int8" in made:
        opened["openvino_int8"] = openvino(made["int8"])
    return opened


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All turns, and what comes of them."""
    busy = [load()]
    torch.set_num_threads(arguments.threads)
    loaded = Model.load(arguments.model) if arguments.model else None
    if loaded and arguments.widen > 1:
        loaded = widened(loaded, arguments.widen)
    resolution = loaded.config.resolution if loaded else arguments.resolution
    sample = load_sample(
        arguments.crops,
        resolution,
        arguments.limit,
        "test" if is_set(arguments.crops) else None,
        loaded.config.au_numbers if loaded else None,
    )
    model = loaded or random_model(arguments.width, resolution, sample.crops)
    head = arguments.head
    triplets = [torch.from_numpy(part.astype(np.float32) / np.float32(255))[:, None] for part in sample.crops]
    expected = sigmoid(np.concatenate([released(model, head, *triplet).numpy() for triplet in triplets]))
    turns: dict[str, list[float]] = {"released": []}
    calibration, left_out = int8_choices(arguments, resolution, sample)
    precisions = arguments.precisions.split(",")
    with tempfile.TemporaryDirectory() as folder:
        opened = engines(model, head, precisions, arguments.threads, Path(folder), calibration, left_out)
        got = {name: answers(engine, sample.crops) for name, engine in opened.items()}
        apart = {name: np.abs(answer - expected) for name, answer in got.items()}
        changes = {
            name: f1_change(answer, expected, sample) if loaded else float("nan") for name, answer in got.items()
        }
        runs: dict[str, Callable[[], object]] = {"released": lambda: released(model, head, *triplets[0])}
        runs |= {name: stepper(engine) for name, engine in opened.items()}
        for turn in range(arguments.turns + 1):
            for name, run in runs.items():
                repeats = 1 if name == "released" else 3
                start_s = time.perf_counter()
                for _ in range(repeats):
                    run()
                if turn:  # the first one warms up
                    turns.setdefault(name, []).append(1e3 * (time.perf_counter() - start_s) / repeats)
        for engine in opened.values():
            engine.close()
    ratios = {
        name: statistics.median(a / b for a, b in zip(turns["released"], turns[name], strict=True)) for name in opened
    }
    held = {name: holds(name, apart[name], changes[name], trained=loaded is not None) for name in opened}
    return {
        "benchmark": "released_path",
        "width": model.config.width,
        "resolution": resolution,
        "head": head,
        "weights": weights_of(arguments),
        "crops": sample.name,
        "cores": os.cpu_count(),
        "load": [*busy, load()],
        "threads": arguments.threads,
        "turns": arguments.turns,
        "released_ms": round(statistics.median(turns["released"]), 2),
        "ms": {name: round(statistics.median(turns[name]), 2) for name in opened},
        "shortest_ms": {name: round(min(turns[name]), 2) for name in turns},
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
        "max_difference": {name: float(f"{value.max():.2e}") for name, value in apart.items()},
        "mean_difference": {name: float(f"{value.mean():.2e}") for name, value in apart.items()},
        "probabilities": [round(float(expected.min()), 4), round(float(expected.max()), 4)],
        "f1_change": {name: None if np.isnan(value) else round(value, 4) for name, value in changes.items()},
        "held": held,
        "equal": bool(held["ort_fp32"] and held.get("openvino_fp32", True)),
        "ratio_ort_fp32": round(ratios["ort_fp32"], 2),
        "ratio_int8": round(ratios["openvino_int8"], 2) if "openvino_int8" in ratios else None,
        "ratio_bf16": round(ratios["openvino_bf16"], 2) if "openvino_bf16" in ratios else None,
        "best": max((name for name in opened if held[name]), key=ratios.__getitem__, default=None),
        "ratio_best": round(max((ratios[name] for name in opened if held[name]), default=0.0), 2),
    }


def int8_choices(
    arguments: argparse.Namespace, resolution: int, sample: Sample
) -> tuple[Sample, tuple[list[str], str]]:
    """What gives the ranges of INT8: other people than those of the answers where --crops is a set; what it leaves out,
    and how ranges are taken."""
    count = CALIBRATION if arguments.int8_as else 8
    if is_set(arguments.crops):
        calibration = load_sample(arguments.crops, resolution, count, "train")
    elif arguments.int8_as:
        calibration = load_sample(arguments.crops, resolution, count)
    else:
        calibration = Sample(sample.name, sample.crops[:count])
    if not arguments.int8_as:
        return calibration, ([], "widest")
    report = json.loads(arguments.int8_as.read_text(encoding="utf-8"))
    return calibration, (report["left_out"], report["ranges"])


def is_set(crops: Path | None) -> bool:
    return crops is not None and (crops / "dataset.json").is_file()


def weights_of(arguments: argparse.Namespace) -> str:
    if not arguments.model:
        return "random"
    return arguments.model.name + (f", widened {arguments.widen} times" if arguments.widen > 1 else "")


def f1_change(got: np.ndarray, expected: np.ndarray, sample: Sample) -> float:
    """Of the macro F1 against labels; NaN without."""
    if sample.labels is None:
        return float("nan")
    scores = np.array([f1_scores(part >= 0.5, sample.labels) for part in (got, expected)])
    known = ~np.isnan(scores).any(0)
    return float((scores[0] - scores[1])[known].mean()) if known.any() else float("nan")


def holds(name: str, apart: np.ndarray, change: float, trained: bool) -> bool:
    """Whether the answers are those of the released path, by the gate of the precision."""
    if name.endswith("int8"):
        return bool(abs(change) <= F1_GATES["int8"] if trained else apart.mean() <= quantise.Limits().mean_difference)
    return bool(apart.max() < (GATES["fp16"] if name.endswith("bf16") else EQUAL))


def show(figures: dict[str, Any]) -> None:
    """The table."""
    print(
        f"width {figures['width']}, {figures['resolution']} px, head {figures['head']}, weights {figures['weights']}, "
        f"{figures['threads']} of {figures['cores']} cores, medians of {figures['turns']} turns\n"
    )
    print(f"{'':16} {'ms/frame':>9} {'shortest':>9} {'ratio':>6}  {'max |dp|':>8} {'mean':>8}  answers")
    print(f"{'released':16} {figures['released_ms']:9.1f} {figures['shortest_ms']['released']:9.1f}")
    for name, ms in figures["ms"].items():
        verdict = "hold" if figures["held"][name] else "do not hold"
        print(
            f"{name:16} {ms:9.1f} {figures['shortest_ms'][name]:9.1f} {figures['ratios'][name]:6.2f}  "
            f"{figures['max_difference'][name]:8.1e} "
            f"{figures['mean_difference'][name]:8.1e}  {verdict}"
        )
    start, end = ("not told" if value is None else f"{value:.2f}" for value in figures["load"])
    print(f"\nload of the machine: {start} at the start, {end} at the end")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="checkpoint (.safetensors); default: random weights")
    parser.add_argument("--widen", type=int, default=1, metavar="N", help="copy every channel of --model N times")
    parser.add_argument("--int8-as", type=Path, metavar="REPORT", help=".parity.json of an INT8 export of --model")
    parser.add_argument("--head", choices=("aunet", "points"), default="aunet")
    parser.add_argument("--width", type=int, default=256, help="of the random model")
    parser.add_argument("--resolution", type=int, default=256, help="of the random model, px")
    parser.add_argument("--crops", type=Path, help="set, images or video to compare answers on")
    parser.add_argument("--limit", type=int, default=4, help="triplets to compare answers on, 2 or more")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--precisions", default="bf16,int8", help="what of OpenVINO to run beside FP32")
    parser.add_argument("--quick", action="store_true", help="a small, shallow network, one turn: does it run?")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    arguments = parser.parse_args()
    if min(arguments.turns, arguments.threads, arguments.limit - 1, arguments.widen) < 1:
        parser.error("expected --turns, --threads and --widen of 1 or more, --limit of 2 or more")
    if arguments.quick:
        arguments.width, arguments.resolution, arguments.turns, arguments.limit = 16, 64, 1, 2
        train.models.fan.HourGlass = shallow  # type: ignore[misc,assignment]
    figures = measure(arguments)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))
    return 0 if figures["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
