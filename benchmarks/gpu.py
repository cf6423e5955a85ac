"""Everything that a CUDA machine can tell in one go: the tests marked `gpu`, then latencies against eager PyTorch.

    python benchmarks/gpu.py [--model CHECKPOINT] [--engines tensorrt,onnxruntime-cuda] [--faces 8] [--turns 15]

released: PyTorch, eager, FP32, without TF32: FAN three times per frame, then the head; what the authors' code does.
Against it one live step of the `stream` graph of the same weights in half precision (--precision fp32 for the other):
crops from the host, one decision per face, heatmaps and logits back on the host. torch_graph: the same graph in PyTorch
as one CUDA graph. All take turns. Every figure is named after the library that ran; an engine that cannot run here is
left out, with the reason.

latency_ms: median step with one face of the fastest whose probabilities are within the gate of PyTorch's (`gate`; wide
for random weights in half precision, so name a trained --model for a figure that counts). ratio_eager:
released over it. ratio_8_faces: its step with --faces faces over that with one. The last line is one JSON object, which
also goes to benchmarks/results/. --cpu runs all of it on the CPU, to see whether the script runs: not a result.
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
from importlib import metadata
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import numpy as np
import torch
from common import finish, parser_of, run
from released_path import answers, random_model, released, sigmoid

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import NEW, Query, StreamEngine
from aunet_sdk.engines.gpu import GPU_ENGINES, open_gpu_engine
from aunet_sdk.errors import AUNetError, BackendUnavailable
from export import build
from export.fuse import Stream, query_roles
from train.model import Model

ROOT = Path(__file__).parents[1]
GATES = {"fp32": 1e-3, "fp16": 5e-3}
"""largest difference of probabilities from eager PyTorch"""
RANDOM_GATE = 5e-2
"""the same for FP16 with random weights, whose answers amplify rounding: shows wrong rows and layouts alone"""
PACKAGES = (
    "torch", "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13-libs", "onnxruntime", "onnxruntime-gpu",
    "cuda-bindings", "pycuda", "numpy",
)  # fmt: skip


class TorchGraph:
    """The `stream` graph in PyTorch for a fixed number of faces, replayed as a CUDA graph where there is CUDA."""

    def __init__(self, model: Model, head: str, precision: str, faces: int, device: str) -> None:
        half = precision == "fp16"
        kinds = ("float16", "float16") if half else ("float32", "float32")
        stream = Stream(model, head, *kinds).to(device).eval()
        resolution = model.config.resolution
        self._host = torch.zeros(faces, 3, resolution, resolution)
        if device == "cuda":
            self._host = self._host.pin_memory()
        self.crops = self._host.numpy()
        self._crop = self._host.to(device)
        rings = [torch.zeros(16, *s.shape, dtype=getattr(torch, s.dtype), device=device) for s in stream.specs]
        indices = [torch.arange(faces, device=device) for _ in query_roles(stream.specs)]
        self._graph: Any = None

        def step() -> tuple[torch.Tensor, ...]:
            with torch.inference_mode():
                outputs: tuple[torch.Tensor, ...] = stream(self._crop, indices, rings)
                for ring, state in zip(rings, outputs[1:-1], strict=True):
                    ring[8 : 8 + faces].copy_(state[:8])
                return outputs[0], outputs[-1]

        self._step, self._device = step, device
        if device == "cuda":
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for _ in range(3):
                    step()
            torch.cuda.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._outputs = step()

    def __call__(self) -> None:
        self._crop.copy_(self._host, non_blocking=True)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._outputs = self._step()
        for output in self._outputs:
            output.cpu()


def stepper(engine: StreamEngine, faces: int) -> Callable[[], None]:
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
        from aunet_sdk.engines.ort_gpu import OrtGpuStreamEngine

        return {"onnxruntime-cpu": OrtGpuStreamEngine(bundle, provider="cpu", max_faces=faces)}, {}
    for name in names:
        try:
            engines[name] = open_gpu_engine(bundle, name, max_faces=faces)
            print(f"{name}: {', '.join(engines[name].providers)}", file=sys.stderr)
        except AUNetError as error:
            passed_over[name] = str(error)
            print(f"{name}: left out: {error}", file=sys.stderr)
    return engines, passed_over


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

    with tempfile.TemporaryDirectory() as folder:
        cpu_model = model.cpu() if device == "cpu" else Model(model.config).eval()
        if device != "cpu":
            cpu_model.load_state_dict({k: v.cpu() for k, v in model.state_dict().items()})
        path = build.save(build.build(cpu_model, described), Path(folder) / "stream.onnx")
        engines, passed_over = open_engines(arguments.engines.split(","), Bundle.load(path), faces, arguments.cpu)
        apart = {name: float(np.abs(answers(engine, crops) - expected).max()) for name, engine in engines.items()}
        runs: dict[str, tuple[Callable[[], object], Callable[[], object] | None]] = {"released": (eager, None)}
        runs["torch_graph"] = (
            TorchGraph(cpu_model, head, precision, 1, device),
            TorchGraph(cpu_model, head, precision, faces, device),
        )
        for name, engine in engines.items():
            runs[name] = (stepper(engine, 1), stepper(engine, faces))
        one, many = take_turns(runs, arguments.turns, arguments.steps)
        for engine in engines.values():
            engine.close()
    gate = RANDOM_GATE if precision == "fp16" and arguments.model is None else GATES[precision]
    held = {name: difference < gate for name, difference in apart.items()}
    ms = {name: figures_of(spent) for name, spent in one.items()}
    best = min((name for name in engines if held[name]), key=lambda name: ms[name]["p50"], default=None)
    middle = {name: statistics.median(spent) for name, spent in one.items()}
    figures |= {
        "width": model.config.width,
        "resolution": side,
        "head": head,
        "precision": precision,
        "weights": arguments.model.name if arguments.model else "random",
        "faces": faces,
        "turns": arguments.turns,
        "steps": arguments.steps,
        "ms": ms,
        "ms_faces": {name: figures_of(spent) for name, spent in many.items()},
        "ratios": {name: round(middle["released"] / value, 2) for name, value in middle.items()},
        "max_difference": {name: float(f"{value:.2e}") for name, value in apart.items()},
        "gate": gate,
        "held": held,
        "left_out": passed_over,
        "best": best,
        "latency_ms": None if best is None else ms[best]["p50"],
        "ratio_eager": None if best is None else round(middle["released"] / middle[best], 2),
        "ratio_8_faces": None if best is None else round(statistics.median(many[best]) / middle[best], 2),
    }
    return figures


def take_turns(
    runs: dict[str, tuple[Callable[[], object], Callable[[], object] | None]], turns: int, steps: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Times of single steps in ms, with one face and with many; the first turn warms up."""
    one: dict[str, list[float]] = {name: [] for name in runs}
    many: dict[str, list[float]] = {name: [] for name in runs if runs[name][1] is not None}
    for turn in range(turns + 1):
        for name, calls in runs.items():
            for call, spent in zip(calls, (one[name], many.get(name)), strict=True):
                if call is None or spent is None:
                    continue
                call()
                call()  # another shape: warm, captured
                for _ in range(steps):
                    start_s = time.perf_counter()
                    call()
                    if turn:
                        spent.append(1e3 * (time.perf_counter() - start_s))
    return one, many


def show(figures: dict[str, Any]) -> None:
    """The table."""
    print(f"{figures['device']}, width {figures['width']}, {figures['resolution']} px, {figures['precision']}\n")
    crowd = f"{figures['faces']} faces"
    print(f"{'':22} {'p50 ms':>9} {'p90':>9} {'p99':>9} {'ratio':>7} {crowd:>9}  max |dp|")
    for name, ms in figures["ms"].items():
        many = figures["ms_faces"].get(name)
        tail = f"{many['p50']:9.3f}" if many else " " * 9
        difference = f"{figures['max_difference'][name]:.1e}" if name in figures["max_difference"] else ""
        print(
            f"{name:22} {ms['p50']:9.3f} {ms['p90']:9.3f} {ms['p99']:9.3f} {figures['ratios'][name]:7.2f} {tail}  "
            f"{difference}"
        )
    for name, why in figures["left_out"].items():
        print(f"{name:22} left out: {why}")
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
    return finish(figures, path)


if __name__ == "__main__":
    sys.exit(run("gpu", main))
