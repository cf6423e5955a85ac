"""Where the time of a frame goes, operator by operator: the released path in PyTorch, our graph in ONNX Runtime.

    python benchmarks/operators.py [--model CHECKPOINT] [--head aunet] [--width 256] [--resolution 256] [--runs 9]

The profile behind released_path.py: the same weights on one thread, each side by its own profiler (a mean of the runs;
the profilers take some time themselves). `gflops`: what the convolutions and matrix products compute in a second
(multiply-adds times two); beside it the rate of a large matrix product in the same process, which they can pass only by
computing less, as Winograd's 3x3 convolutions do. `work`: what the released path computes over what ours does: the
ratio that is left when both run at one rate. The last line is one JSON object.
"""

from __future__ import annotations

import collections
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import numpy as np
import torch
from common import finish, machine, medians, parser_of, run
from released_path import random_model, released
from torch.utils.flop_counter import FlopCounterMode
from torch_graph import TorchGraph

from aunet_sdk import InvalidInput
from aunet_sdk.engines.ort_wheel import import_runtime
from export.build import build, describe, save
from train.models.model import Model

SHOWN = 8
"""operators that a table has a line for"""


def gflop(call: Any) -> float:
    """Of the convolutions and matrix products in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return 1e-9 * float(counter.get_total_flops())


def product_gflops(size: int = 1536) -> float:
    """Of a product of two float32 matrices."""
    a = torch.rand(size, size)
    return 2e-9 * size**3 / medians([lambda: a @ a], 7)[0]


def convolution(weight: list[int], groups: bool) -> str:
    """A name for the table, from the shape of the weights."""
    return f"Conv {weight[2]}x{weight[3]}" + (" depthwise" if groups else "")


def of_pytorch(call: Any, runs: int) -> dict[str, float]:
    """Operator -> ms per call."""
    with torch.inference_mode(), torch.profiler.profile(record_shapes=True) as profiler:
        for _ in range(runs):
            call()
    spent: dict[str, float] = collections.defaultdict(float)
    for event in profiler.events() or ():
        name = event.name.removeprefix("aten::")
        if name in ("mkldnn_convolution", "_slow_conv2d_forward"):
            image, weight = event.input_shapes[:2]
            name = convolution(weight, weight[1] != image[1])
        spent[name] += 1e-3 * event.self_cpu_time_total / runs
    return spent


def of_onnxruntime(path: Path, runs: int) -> dict[str, float]:
    """Operator -> ms per run of the stream graph at `path`, one face."""
    ort = import_runtime(gpu=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling, options.profile_file_prefix = True, str(path.with_suffix(""))
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {
        value.name: np.zeros(
            [side if isinstance(side, int) else 1 for side in value.shape],
            np.float32 if value.type == "tensor(float)" else np.int64,
        )
        for value in session.get_inputs()
    }
    for _ in range(runs + 1):
        session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    whole = [event for event in events if event["name"] == "model_run"]
    begin_us = whole[1]["ts"]  # the first run allocates
    spent: dict[str, float] = collections.defaultdict(float)
    for event in events:
        if event["ts"] >= begin_us and event["name"].endswith("_kernel_time"):
            name, shapes = event["args"]["op_name"], event["args"].get("input_type_shape", [])
            if name in ("Conv", "FusedConv"):
                image, weight = (next(iter(shape.values())) for shape in shapes[:2])
                name = convolution(weight, weight[1] != image[1])
            spent[name] += 1e-3 * event["dur"] / runs
    return spent


def show(title: str, spent: Mapping[str, float], rate: float) -> None:
    total = sum(spent.values())
    print(f"\n{title}: {total:.1f} ms, {rate:.1f} GFLOP/s in convolutions and matrix products")
    ordered = sorted(spent.items(), key=lambda item: -item[1])
    rest = sum(ms for _, ms in ordered[SHOWN:])
    for name, ms in [*ordered[:SHOWN], *([("others", rest)] if rest else [])]:
        print(f"    {name:28}{ms:9.2f} ms{ms / total:8.1%}")


def computing(spent: Mapping[str, float]) -> float:
    """Milliseconds in convolutions and matrix products."""
    return sum(ms for name, ms in spent.items() if name.startswith("Conv") or name in ("addmm", "mm", "Gemm", "MatMul"))


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--model", type=Path, help="checkpoint (.safetensors); default: random weights")
    parser.add_argument("--head", choices=("aunet", "points"), default="aunet")
    parser.add_argument("--width", type=int, default=256, help="of the random model")
    parser.add_argument("--resolution", type=int, default=256, help="of the random model, px")
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs: expected 1 or more, got {arguments.runs}")

    def body() -> int:
        torch.set_num_threads(1)
        try:
            model = Model.load(arguments.model) if arguments.model else None
        except (OSError, ValueError) as error:
            raise InvalidInput(str(error)) from error
        model = model or random_model(arguments.width, arguments.resolution)
        model.eval()
        side = model.config.resolution
        crops = [torch.rand(1, 3, side, side) for _ in range(3)]
        work = {
            "released": gflop(lambda: released(model, arguments.head, *crops)),
            "ours": gflop(TorchGraph(model, arguments.head, "fp32", 1, "cpu")),
        }
        with tempfile.TemporaryDirectory() as folder:
            bundle = save(build(model, describe(model, kind="stream", head=arguments.head)), Path(folder) / "a.onnx")
            spent = {
                "released": of_pytorch(lambda: released(model, arguments.head, *crops), arguments.runs),
                "ours": of_onnxruntime(bundle, arguments.runs),
            }
        rates = {side: work[side] / (1e-3 * computing(spent[side])) for side in work}
        print(f"width {model.config.width}, {model.config.resolution} px, head {arguments.head}, one thread")
        show(f"released path, PyTorch: {work['released']:.1f} GFLOP", spent["released"], rates["released"])
        show(f"stream graph, ONNX Runtime: {work['ours']:.1f} GFLOP", spent["ours"], rates["ours"])
        product = product_gflops()
        print(f"\na matrix product: {product:.1f} GFLOP/s; work {work['released'] / work['ours']:.2f}")
        return finish(
            {
                "benchmark": "operators",
                "width": model.config.width,
                "resolution": model.config.resolution,
                "head": arguments.head,
                "runs": arguments.runs,
                **machine(),
                "gflop": {side: round(value, 3) for side, value in work.items()},
                "gflops": {side: round(value, 1) for side, value in rates.items()},
                "product_gflops": round(product, 1),
                "work": round(work["released"] / work["ours"], 3),
                "ms": {side: {name: round(ms, 3) for name, ms in spent[side].items()} for side in spent},
            },
            arguments.json,
        )

    return run("operators", body)


if __name__ == "__main__":
    sys.exit(main())
