"""How much memory a face's state takes, and what a frame allocates after the warm-up.

    python benchmarks/memory.py [--frames 50] [--faces 2] [--model BUNDLE] [--engine E] [--threads N] [--json FILE]

state_mib_25fps, state_mib_30fps: MiB of one face's states of the paper's network (width 256, 256 px, half precision):
the shapes that the `stream` graph gives (random weights), in as many rows as the engines lay their rings out for at
that frame rate. state_model_mib_25fps, state_model_mib_30fps: the same of the model that is loaded.

alloc_kib_per_frame: KiB that a frame takes at its peak above what was there before it (tracemalloc, Python and NumPy;
the largest of --frames after a warm-up of one second and a half; drawn heads, the finder left out). It is the results
themselves: an array of one crop's channel would be 16 KiB or more per frame (`arrays`: whether there was one).
kept_kib_per_frame: what stays, mean. Targets stand beside. The last line is one JSON object.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import checkout  # noqa: F401
from common import finish, machine, options_of, parser_of, run

from aunet_sdk import Detector
from aunet_sdk.bundle import StateSpec
from aunet_sdk.engines.ring import Ring, initial_rows
from aunet_sdk.profiling import SyntheticFrames
from aunet_sdk.profiling.allocations import SMALLEST_ARRAY, allocations

TARGET_STATE_MIB, TARGET_ALLOC_KIB = 40.0, 0.0
FILL = 38
"""frames of the warm-up, at 25 per second: the buffer is full, and every frame has its neighbours"""


def graph_states(width: int = 256, resolution: int = 256, head: str = "aunet") -> tuple[tuple[StateSpec, ...], float]:
    """The state tensors of one face as the `stream` graph gives them in half precision, and the model's interval in
    seconds. The graph runs without data (torch's "meta" device). Raises ValueError where it differs from its specs.
    """
    import torch

    from export.fuse import Stream, query_roles
    from train.models.config import ModelConfig
    from train.models.model import Model

    with torch.device("meta"), torch.inference_mode():
        model = Model(ModelConfig(width=width, resolution=resolution)).eval()
        stream = Stream(model, head, "float16", "float32")
        indices = [torch.zeros(1, dtype=torch.int64) for _ in query_roles(stream.specs)]
        rings = [torch.zeros(1, *s.shape, dtype=torch.float16) for s in stream.specs]
        states = stream(torch.zeros(1, 3, resolution, resolution), indices, rings)[1:-1]
    for spec, state in zip(stream.specs, states, strict=True):
        if tuple(state.shape[1:]) != spec.shape or state.dtype != torch.float16:
            raise ValueError(f"state {spec.name}: expected {spec.shape} in half, got {state.dtype} {state.shape}")
    return stream.specs, model.config.interval_s


def state_mib(specs: Sequence[StateSpec], interval_s: float, fps: float) -> float:
    """MiB of one face's rings as the engines make them."""
    rows = [initial_rows(spec, interval_s, fps) for spec in specs]
    rings = [Ring(spec, count, count) for spec, count in zip(specs, rows, strict=True)]
    return sum(ring.rows * ring.row_bytes for ring in rings) / 2**20


def frame_allocations(detector: Detector, faces: int, frames: int) -> tuple[int, int, int]:
    """`allocations` of a push with so many drawn heads after the warm-up, and how many of them were followed."""
    coming = iter(SyntheticFrames(faces, 320, 180))
    followed = 0

    def push() -> None:
        nonlocal followed
        frame = next(coming)
        for result in detector.push(frame.image, frame.timestamp_s):
            followed = len(result.faces)

    for _ in range(FILL):
        push()
    top, growth = allocations(push, frames)
    return top, growth, followed


def measure(arguments: Any) -> dict[str, Any]:
    """Everything."""
    specs, interval_s = graph_states()
    figures: dict[str, Any] = {"benchmark": "memory", **machine()}
    for fps in (25, 30):
        figures[f"state_mib_{fps}fps"] = round(state_mib(specs, interval_s, fps), 2)
    figures["target_state_mib"] = TARGET_STATE_MIB
    # the finder runs twice a second and is no part of the frame's own way
    with Detector(options_of(arguments, detect_interval_s=3600)) as detector:
        bundle = detector.bundle
        for fps in (25, 30):
            figures[f"state_model_mib_{fps}fps"] = round(state_mib(bundle.state, bundle.interval_s, fps), 3)
        top, growth, followed = frame_allocations(detector, arguments.faces, arguments.frames)
        figures |= {"model": bundle.name, "engine": detector.engine.name}
    return figures | {
        "faces": followed,
        "frames": arguments.frames,
        "alloc_kib_per_frame": round(top / 1024, 2),
        "kept_kib_per_frame": round(growth / arguments.frames / 1024, 3),
        "target_alloc_kib": TARGET_ALLOC_KIB,
        "arrays": top >= SMALLEST_ARRAY,
    }


def show(figures: dict[str, Any]) -> None:
    """The table."""
    print(f"{'':44} {'figure':>9} {'target':>9}")
    state, alloc = figures["target_state_mib"], figures["target_alloc_kib"]
    for fps in (25, 30):
        name = f"state of a face, width 256, half, {fps} fps, MiB"
        print(f"{name:44} {figures[f'state_mib_{fps}fps']:9.2f} {state:9.2f}")
        print(f"{'  of the model that is loaded':44} {figures[f'state_model_mib_{fps}fps']:9.2f}")
    print(f"{'allocated by a frame at its peak, KiB':44} {figures['alloc_kib_per_frame']:9.2f} {alloc:9.2f}")
    print(f"{'  kept of it, mean, KiB':44} {figures['kept_kib_per_frame']:9.2f}")
    print(f"arrays as large as a crop's channel among them: {'yes' if figures['arrays'] else 'no'}")


def main() -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("--frames", type=int, default=50, help="to measure (default: 50)")
    parser.add_argument("--faces", type=int, default=2, help="drawn heads (default: 2)")
    arguments = parser.parse_args()
    if arguments.frames < 1 or not 1 <= arguments.faces <= 4:
        parser.error("--frames: expected 1 or more; --faces: 1 to 4")

    def body() -> int:
        figures = measure(arguments)
        show(figures)
        return finish(figures, arguments.json)

    return run("memory", body)


if __name__ == "__main__":
    sys.exit(main())
