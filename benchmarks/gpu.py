"""Everything that a CUDA machine can tell in one go: the tests marked `gpu`, then latencies against eager PyTorch.

    pip install -e ".[test,trt,pycuda]"
    pip uninstall -y onnxruntime && pip install --force-reinstall --no-deps onnxruntime-gpu
    python benchmarks/gpu.py [--model CHECKPOINT] [--engines tensorrt,onnxruntime-cuda] [--faces 8] [--turns 15]

The second line: onnxruntime and onnxruntime-gpu overwrite each other's files, and the engines refuse to start with
both. PyTorch must be one for CUDA. Without TensorRT leave out `trt`; pycuda is for the tests alone.

released: PyTorch, eager, FP32, without TF32: FAN three times per frame, then the head; what the authors' code does.
Against it one live step of the `stream` graph of the same weights in half precision (--precision fp32 for the other):
crops from the host, one decision per face, heatmaps and logits back on the host. torch_graph: the same graph in PyTorch
as one CUDA graph (torch_graph.py), no engine of aunet_sdk. All take turns. Every figure is named after the library that
ran; an engine that cannot run here is left out with the reason, and one that fails on the way stands in `failed`.

latency_ms: median step with one face of the fastest whose probabilities are within the gate of PyTorch's (`gate`; wide
for random weights in half precision, so name a trained --model for a figure that counts); `engine` says which that is,
`best` which is the fastest of aunet_sdk's own. ratio_eager: released over it. ratio_8_faces: its step with --faces
faces over that with one. The last line is one JSON object, which also goes to benchmarks/results/. The exit code is 1
where a test failed, after all that. --cpu runs all of it on the CPU, to see whether the script runs: not a result.

ONNX Runtime's own CUDA graphs (`enable_cuda_graph`) are not tried: they want every input and output at one address of
the device, and our engine binds crops on the host and new rows of the rings in every step.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import numpy as np
import torch
from common import finish, parser_of, run
from released_path import answers, random_model, released, sigmoid
from torch_graph import TorchGraph

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import NEW, Query, StreamEngine
from aunet_sdk.engines.registry import GPU_ENGINES, open_gpu_engine
from aunet_sdk.errors import AUNetError, BackendUnavailable
from export import build
from train.models.model import Model

ROOT = Path(__file__).parents[1]
GATES = {"fp32": 1e-3, "fp16": 5e-3}
"""largest difference of probabilities from eager PyTorch"""
RANDOM_GATE = 5e-2
"""the same for FP16 with random weights, whose answers amplify rounding: shows wrong rows and layouts alone"""
GRAPH = "torch_graph"
Call = Callable[[], object]
PACKAGES = (
    "torch", "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13-libs", "onnxruntime", "onnxruntime-gpu",
    "cuda-bindings", "pycuda", "numpy",
)  # fmt: skip


def stepper(engine: StreamEngine, faces: int) -> Call:
    """One frame of live use with so many faces: new crops, a decision about a kept frame of each."""
    engine.crops[:] = np.random.default_rng(0).random(engine.crops.shape[1:], np.float32)
    kept = [engine.step(faces).slots for _ in range(2)]

    def step() -> None:
        result = engine.step(faces, [Query(kept[0][i], kept[1][i], NEW) for i in range(faces)])
        kept.append(result.slots)
        kept.pop(0)

    return step


def open_engines(names: Sequence[str], bundle: Bundle, faces: int, cpu: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Those that run here, and why the others do not."""
    engines: dict[str, Any] = {}
    passed_over = {}
    if cpu:
        from aunet_sdk.engines.cuda.ort import OrtGpuStreamEngine

        return {"onnxruntime-cpu": OrtGpuStreamEngine(bundle, provider="cpu", max_faces=faces)}, {}
    for name in names:
        try:
            engines[name] = open_gpu_engine(bundle, name, max_faces=faces)
            print(f"{name}: {', '.join(engines[name].providers)}", file=sys.stderr)
        except Exception as error:  # of whatever library: the others are to be measured
            passed_over[name] = short(error)
            print(f"{name}: left out: {error}", file=sys.stderr)
    return engines, passed_over


def short(error: Exception) -> str:
    """In one line; with its name where it is none of ours."""
    text = " ".join(str(error).split())[:400]
    return text if isinstance(error, AUNetError) else f"{type(error).__name__}: {text}"


class Failures:
    """What failed on the way, name -> error. `probe`: the eager reference, which fails where the device is lost."""

    def __init__(self, probe: Call) -> None:
        self.errors: dict[str, str] = {}
        self.device_lost = False
        self._probe = probe

    def add(self, name: str, error: Exception) -> None:
        """Note it, and look whether the device still answers: after some errors no CUDA call does."""
        self.errors[name] = short(error)
        print(f"{name}: failed: {self.errors[name]}", file=sys.stderr)
        try:
            self._probe()
        except Exception as lost:
            self.device_lost = True
            print(f"the device does not answer any more: {short(lost)}", file=sys.stderr)


def graph_runs(
    model: Model, head: str, precision: str, faces: int, device: str, crops: np.ndarray
) -> tuple[np.ndarray, tuple[Call, Call]]:
    """Probabilities (2, N, n) of triplets by the graphs for one face and for many, and a step of each."""
    one, many = (TorchGraph(model, head, precision, count, device) for count in (1, faces))
    return sigmoid(np.stack([one.logits(crops), many.logits(crops)])), (one, many)


def prepared(
    makers: dict[str, Callable[[], tuple[np.ndarray, tuple[Call, Call]]]], expected: np.ndarray, failures: Failures
) -> tuple[dict[str, float], dict[str, tuple[Call, Call | None]]]:
    """Largest difference of probabilities from `expected`, and the steps with one face and with many, of all that can
    do it. Raises BackendUnavailable where the device is lost."""
    apart: dict[str, float] = {}
    runs: dict[str, tuple[Call, Call | None]] = {}
    for name, make in makers.items():
        try:
            got, steps = make()
            apart[name] = float(np.abs(got - expected).max())
            runs[name] = steps
        except Exception as error:  # of whatever library: the others are to be measured
            failures.add(name, error)
        if failures.device_lost:
            raise BackendUnavailable(
                f"expected a device that goes on after {name}, got {failures.errors[name]}; leave it out (--engines)"
            )
    return apart, runs


def figures_of(spent_ms: Sequence[float]) -> dict[str, float]:
    """Percentiles."""
    p50, p90, p99 = np.percentile(np.asarray(spent_ms), (50, 90, 99))
    return {"p50": round(float(p50), 4), "p90": round(float(p90), 4), "p99": round(float(p99), 4)}


def run_tests() -> dict[str, int]:
    """Counts of `pytest -m gpu`."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/gpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    print(done.stdout[-4000:], file=sys.stderr)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    return counts or {"error": done.returncode}


def device_of(cpu: bool) -> dict[str, Any]:
    """The GPU and its driver. Raises BackendUnavailable without one."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    where: dict[str, Any] = {"machine": platform.machine(), "python": platform.python_version(), "versions": versions}
    if cpu:
        return {"device": "cpu (dry run, no result)", **where}
    if not torch.cuda.is_available():
        raise BackendUnavailable(
            f"expected a CUDA device that PyTorch {torch.__version__} can use, got none; --cpu tries the script alone"
        )
    properties = torch.cuda.get_device_properties(0)
    capability = f"{properties.major}.{properties.minor}"
    return {"device": properties.name, "compute_capability": capability, "cuda": torch.version.cuda, **where}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tests, answers, all turns, and what comes of them."""
    figures: dict[str, Any] = {"benchmark": "gpu", "dry_run": arguments.cpu, **device_of(arguments.cpu)}
    figures["tests"] = None if arguments.no_tests else run_tests()
    device = "cpu" if arguments.cpu else "cuda"
    if arguments.cpu:
        torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = Model.load(arguments.model) if arguments.model else random_model(arguments.width, arguments.resolution)
    head, faces, precision = arguments.head, arguments.faces, arguments.precision
    described = build.describe(model, kind="stream", head=head, precision=precision, arithmetic=precision)
    side = model.config.resolution
    crops = np.random.default_rng(1).integers(0, 256, (4, 3, 3, side, side), np.uint8)
    model.to(device)
    triplets = [torch.from_numpy(part.astype(np.float32) / np.float32(255))[:, None].to(device) for part in crops]
    expected = sigmoid(np.concatenate([released(model, head, *triplet).cpu().numpy() for triplet in triplets]))

    def eager() -> None:
        released(model, head, *triplets[0]).cpu()

    failures = Failures(eager)
    with tempfile.TemporaryDirectory() as folder:
        cpu_model = model.cpu() if device == "cpu" else Model(model.config).eval()
        if device != "cpu":
            cpu_model.load_state_dict({k: v.cpu() for k, v in model.state_dict().items()})
        path = build.save(build.build(cpu_model, described), Path(folder) / "stream.onnx")
        makers = {GRAPH: lambda: graph_runs(cpu_model, head, precision, faces, device, crops)}
        apart, runs = prepared(makers, expected, failures)  # before the engines: their threads may disturb a capture
        engines, passed_over = open_engines(arguments.engines.split(","), Bundle.load(path), faces, arguments.cpu)
        makers = {name: partial(engine_runs, engine, crops, faces) for name, engine in engines.items()}
        more_apart, more_runs = prepared(makers, expected, failures)
        apart |= more_apart
        one, many = take_turns(
            {"released": (eager, None), **runs, **more_runs}, arguments.turns, arguments.steps, failures
        )
        for name, engine in engines.items():
            try:
                engine.close()
            except Exception as error:
                print(f"{name}: closing: {short(error)}", file=sys.stderr)
    gate = RANDOM_GATE if precision == "fp16" and arguments.model is None else GATES[precision]
    figures |= {
        "width": model.config.width,
        "resolution": side,
        "head": head,
        "precision": precision,
        "weights": arguments.model.name if arguments.model else "random",
        "faces": faces,
        "turns": arguments.turns,
        "steps": arguments.steps,
        "ms": {name: figures_of(spent) for name, spent in one.items()},
        "ms_faces": {name: figures_of(spent) for name, spent in many.items()},
        "gate": gate,
        "left_out": passed_over,
        "failed": failures.errors,
        "device_lost": failures.device_lost,
        **verdict(one, many, apart, gate),
    }
    return figures


def engine_runs(engine: StreamEngine, crops: np.ndarray, faces: int) -> tuple[np.ndarray, tuple[Call, Call]]:
    """Probabilities (N, n) of triplets, and a step with one face and with many."""
    return answers(engine, crops), (stepper(engine, 1), stepper(engine, faces))


def verdict(
    one: dict[str, list[float]], many: dict[str, list[float]], apart: dict[str, float], gate: float
) -> dict[str, Any]:
    """Ratios, and the figures of the fastest whose answers are within the gate; None where there is none.

    one, many: times in ms of steps with one face and with many; apart: largest difference of probabilities
    """
    middle = {name: statistics.median(spent) for name, spent in one.items()}
    held = {name: bool(difference < gate) for name, difference in apart.items()}  # NaN does not hold
    counts = sorted((name for name, holds in held.items() if holds and name in middle), key=middle.__getitem__)
    engine = counts[0] if counts else None
    return {
        "ratios": {name: round(middle["released"] / value, 2) for name, value in middle.items()},
        "max_difference": {
            name: float(f"{value:.2e}") if np.isfinite(value) else None for name, value in apart.items()
        },
        "held": held,
        "best": next((name for name in counts if name != GRAPH), None),
        "engine": engine,
        "latency_ms": None if engine is None else round(middle[engine], 4),
        "ratio_eager": None if engine is None else round(middle["released"] / middle[engine], 2),
        "ratio_8_faces": None if engine is None else round(statistics.median(many[engine]) / middle[engine], 2),
    }


def take_turns(
    runs: dict[str, tuple[Call, Call | None]], turns: int, steps: int, failures: Failures
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Times of single steps in ms, with one face and with many; the first turn warms up.

    One that fails is taken out, with its times. Where the device is lost with it the turns end, and the times of the
    others until then stay. Raises BackendUnavailable where that was before eager PyTorch had its first turn.
    """
    one: dict[str, list[float]] = {name: [] for name in runs}
    many: dict[str, list[float]] = {name: [] for name in runs if runs[name][1] is not None}
    for turn in range(turns + 1):
        for name in [name for name in runs if name not in failures.errors]:
            try:
                for call, spent in zip(runs[name], (one[name], many.get(name)), strict=True):
                    if call is not None and spent is not None:
                        times = step_times(call, steps)
                        spent += times if turn else []
            except Exception as error:  # of whatever library: the others are to be measured
                failures.add(name, error)
                if name != "released":  # which fails where another has lost the device
                    one.pop(name)
                    many.pop(name, None)
            if failures.device_lost:
                break
        if failures.device_lost:
            break
    one = {name: spent for name, spent in one.items() if spent}
    many = {name: spent for name, spent in many.items() if spent and name in one}
    one = {name: spent for name, spent in one.items() if runs[name][1] is None or name in many}
    if "released" not in one:
        raise BackendUnavailable(
            f"expected a turn of eager PyTorch, got none: {failures.errors}; leave out what failed"
        )
    return one, many


def step_times(call: Call, steps: int) -> list[float]:
    """Of so many steps, ms each, after two that are not counted (another shape: warm, captured)."""
    call()
    call()
    times = []
    for _ in range(steps):
        start_s = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start_s))
    return times


def show(figures: dict[str, Any]) -> None:
    """The table."""
    print(f"{figures['device']}, width {figures['width']}, {figures['resolution']} px, {figures['precision']}\n")
    crowd = f"{figures['faces']} faces"
    print(f"{'':22} {'p50 ms':>9} {'p90':>9} {'p99':>9} {'ratio':>7} {crowd:>9}  max |dp|")
    for name, ms in figures["ms"].items():
        many = figures["ms_faces"].get(name)
        tail = f"{many['p50']:9.3f}" if many else " " * 9
        apart = figures["max_difference"].get(name)
        difference = "" if apart is None else f"{apart:.1e}{'' if figures['held'][name] else ' does not hold'}"
        print(
            f"{name:22} {ms['p50']:9.3f} {ms['p90']:9.3f} {ms['p99']:9.3f} {figures['ratios'][name]:7.2f} {tail}  "
            f"{difference}"
        )
    for name, why in figures["left_out"].items():
        print(f"{name:22} left out: {why}")
    for name, why in figures["failed"].items():
        print(f"{name:22} failed: {why}")
    if figures["device_lost"]:
        print("the device stopped to answer: the other figures are those of the turns before")
    if figures["engine"] is None:
        print("none whose answers hold")
    else:
        print(f"{figures['engine']}: {figures['latency_ms']:.3f} ms, {figures['ratio_eager']:.2f} times eager PyTorch")
    if figures["tests"] is not None:
        print(f"tests marked gpu: {', '.join(f'{count} {word}' for word, count in figures['tests'].items())}")


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--model", type=Path, help="checkpoint (.safetensors); default: random weights")
    parser.add_argument("--head", choices=("aunet", "points"), default="aunet")
    parser.add_argument("--width", type=int, default=256, help="of the random model")
    parser.add_argument("--resolution", type=int, default=256, help="of the random model, px")
    parser.add_argument("--precision", choices=tuple(GATES), default="fp16")
    parser.add_argument("--engines", default=",".join(GPU_ENGINES), help="which to try")
    parser.add_argument("--faces", type=int, default=8, help="for ratio_8_faces; 8 at most")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--no-tests", action="store_true", help="without `pytest -m gpu`")
    parser.add_argument("--cpu", action="store_true", help="a dry run on the CPU with a small network")
    arguments = parser.parse_args()
    if min(arguments.turns, arguments.steps) < 1 or not 1 <= arguments.faces <= 8:
        parser.error("--turns, --steps: expected 1 or more; --faces: 1 to 8")
    if arguments.cpu and arguments.model is None:
        arguments.width, arguments.resolution = 16, 64
    figures = measure(arguments)
    show(figures)
    path = arguments.json
    if path is None and not arguments.cpu:
        arguments.results.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^a-z0-9]+", "-", str(figures["device"]).lower()).strip("-")
        path = arguments.results / f"gpu-{datetime.date.today().isoformat()}-{name}.json"
    code = finish(figures, path)
    return 1 if failed_tests(figures["tests"]) else code


def failed_tests(counts: dict[str, int] | None) -> int:
    """How many of `run_tests` failed, errors included."""
    return 0 if counts is None else counts.get("failed", 0) + counts.get("error", 0)


if __name__ == "__main__":
    sys.exit(run("gpu", main))
