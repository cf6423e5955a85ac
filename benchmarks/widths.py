"""What a width and a resolution cost and give: time of a frame with one face beside landmarks and AUs on a set.

    python benchmarks/widths.py CHECKPOINT... [--data SET [--aus]] [--frames 1200] [--split test] [--threads 1]

A checkpoint is a model file or a run folder of `python -m train`; the points head is timed, in ONNX Runtime in FP32,
after one look and one question as in a live stream, the models in turns. `ms` is the median, `ratio` the time over that
of the first model. With --data: `nme_inner` of the 68 points, and with --aus the mean AUC and macro F1 (at .5, as
trained, not calibrated) of both heads, on evenly spaced sequences; of `python -m train fan` no head has learned
anything. The last line is one JSON object.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import numpy as np
from common import finish, machine, medians, parser_of, run

from aunet_sdk import InvalidInput
from aunet_sdk.engines import NEW, Query
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from export.build import build, describe, save
from export.cli import checkpoint_file
from train.data.sequences import load_split
from train.evaluation.sequences import brief, evenly, landmark_report, predict
from train.models.model import Model

HEAD = "points"


def engine_of(model: Model, path: Path, threads: int) -> OrtStreamEngine:
    """The model's stream graph in ONNX Runtime, with a random crop to look at."""
    save(build(model, describe(model, kind="stream", head=HEAD)), path)
    engine = OrtStreamEngine(path, threads=threads)
    resolution = model.config.resolution
    engine.crops[0] = np.random.default_rng(0).random((3, resolution, resolution), np.float32)
    return engine


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("checkpoint", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, help="a synthetic set")
    parser.add_argument("--aus", action="store_true", help="the heads are trained: measure them, too")
    parser.add_argument("--split", default="test")
    parser.add_argument("--frames", type=int, default=1200, help="that are looked at (default: 1200)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    for name in ("frames", "threads", "rounds"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}: expected 1 or more, got {getattr(arguments, name)}")
    if arguments.aus and arguments.data is None:
        parser.error("--aus: expected --data, too")

    def body() -> int:
        try:
            models = [Model.load(checkpoint_file(path)) for path in arguments.checkpoint]
            data = load_split(arguments.data, arguments.split) if arguments.data is not None else None
        except (OSError, ValueError) as error:
            raise InvalidInput(str(error)) from error
        rows: list[dict[str, Any]] = []
        for path, model in zip(arguments.checkpoint, models, strict=True):
            row: dict[str, Any] = {"model": path.name, "width": model.config.width, "px": model.config.resolution}
            row["parameters"] = sum(p.numel() for part in (model.fan, model.points) for p in part.parameters())
            if data is not None:
                part = evenly(data, arguments.frames)
                found = brief(model, part) if arguments.aus else landmark_report(predict(model, part, heads=False))
                row |= {name: round(value, 4) for name, value in found.items()}
            rows.append(row)
        with tempfile.TemporaryDirectory() as folder:
            engines = [
                engine_of(model, Path(folder) / f"{i}.onnx", arguments.threads) for i, model in enumerate(models)
            ]
            steps = [lambda engine=engine: engine.step(1, [Query(NEW, NEW, NEW)]) for engine in engines]
            times_s = medians(steps, arguments.rounds)
            for engine in engines:
                engine.close()
        shown = ["nme_inner"] if data is not None else []
        shown += [f"{head}_{name}" for head in ("points", "aunet") for name in ("auc", "f1")] if arguments.aus else []
        print(f"{'model':16}{'width':>6}{'px':>5}{'parameters':>12}{'ms':>8}{'ratio':>7}", end="")
        print("".join(f"{name:>12}" for name in shown))
        for row, time_s in zip(rows, times_s, strict=True):
            row["ms"], row["ratio"] = round(1e3 * time_s, 3), round(time_s / times_s[0], 3)
            print(f"{row['model']:16}{row['width']:6}{row['px']:5}{row['parameters']:12}", end="")
            print(f"{row['ms']:8.2f}{row['ratio']:7.2f}", end="")
            print("".join(f"{row[name]:12.4f}" for name in shown))
        figures = {"benchmark": "widths", "threads": arguments.threads, "rounds": arguments.rounds, **machine()}
        if data is not None:
            figures |= {"data": arguments.data.name, "split": arguments.split, "frames": arguments.frames}
        return finish({**figures, "models": rows}, arguments.json)

    return run("widths", body)


if __name__ == "__main__":
    sys.exit(main())
