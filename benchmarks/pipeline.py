"""Frames per second from a video file to a CSV table, stage by stage, beside MediaPipe's Face Landmarker.

    python benchmarks/pipeline.py [CLIP] [--model BUNDLE] [--task face_landmarker.task | --no-mediapipe]

Without CLIP: examples/sample.mp4. The whole way is measured: decoding, finding and following the face, network, table.
MediaPipe (VIDEO mode, one face, blendshapes; wheel and --task file wanted) decodes the same file in the same way and
writes its 52 blendshapes. The two take turns, `--repeats` times; the figures are medians over the turns.

Stages are those of `aunet_sdk.profiling.profile` (docs/profiling.md), means per frame; `stages` in the JSON has the
percentiles of one turn, the middle one. `rest`: what no stage counts, opening and closing of file and table and the
results that are left at the end. overhead_ms: everything but the network's run, per frame; copies to a GPU and back
belong to it. ratio_8_faces: time of a frame with eight faces over that of the same frame with one, without decoding;
the eight are copies of the clip's first face on one canvas. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import finish, machine, options_of, parser_of, run
from landmarker import Landmarker, available

from aunet_sdk import Detector, FrameResult
from aunet_sdk.profiling import Profile, profile
from aunet_sdk.sinks import CsvSink
from aunet_sdk.sources import VideoFile

SAMPLE = Path(__file__).parents[1] / "examples" / "sample.mp4"
TILE_PX, COLUMNS, TILE_ROWS = 160, 4, 2


@dataclass(frozen=True)
class Turn:
    """wall_ms: per frame, from before file and table are opened until the table is closed
    face_share: of the frames whose result has a face
    """

    profile: Profile
    wall_ms: float
    face_share: float

    def stages_ms(self) -> dict[str, float]:
        """Means per frame; `rest` is what is left of `wall`."""
        spent = {name: stage.mean_ms for name, stage in self.profile.stages.items() if name != "other"}
        return {**spent, "rest": self.wall_ms - sum(spent.values()), "wall": self.wall_ms}


def run_ours(detector: Detector, clip: Path, table: Path) -> Turn:
    """One turn. What `profile` does before and after the frames (sensors, device facts) is not counted."""
    results = with_face = 0
    start_s = time.perf_counter()
    with CsvSink(table, detector.au_names) as rows, VideoFile(clip) as frames:

        def write(result: FrameResult) -> None:
            nonlocal results, with_face
            rows.write(result)
            results += 1
            with_face += bool(result.faces)

        opened_s = time.perf_counter()
        found = profile(detector, frames, warm_up=0, sink=write, flush=True)
        done_s = time.perf_counter()
    around_s = opened_s - start_s + time.perf_counter() - done_s
    assert found.wall_s is not None
    return Turn(found, 1e3 * (around_s + found.wall_s) / found.frames, with_face / max(1, results))


def run_mediapipe(task: Path, clip: Path, table: Path) -> float:
    """One turn: ms per frame. Making the landmarker is not counted."""
    landmarker = Landmarker(task)
    frames = 0
    start_s = time.perf_counter()
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        for frame in VideoFile(clip):
            found = landmarker.read(frame)
            if found is not None:
                writer.writerow([frame.index, *(f"{value:.5f}" for value in found[1].values())])
            frames += 1
    wall_ms = 1e3 * (time.perf_counter() - start_s) / frames
    landmarker.close()
    return wall_ms


def first_face(detector: Detector, clip: Path, count: int) -> list[np.ndarray]:
    """Square cut-outs, TILE_PX wide, around the clip's first face, from `count` frames on; empty without a face."""
    frames = []
    box = None
    for frame in VideoFile(clip):
        if box is None:
            faces = detector.detect(frame.image).faces
            if not faces:
                continue
            box = faces[0].box
        x, y, w, h = box
        side = 2.0 * max(w, h)
        matrix = TILE_PX / side * np.array([[1.0, 0.0, side / 2 - x - w / 2], [0.0, 1.0, side / 2 - y - h / 2]])
        frames.append(cv2.warpAffine(frame.image, matrix, (TILE_PX, TILE_PX), flags=cv2.INTER_AREA))
        if len(frames) == count:
            break
    return frames


def crowd_ms(detector: Detector, tiles: list[np.ndarray], faces: int) -> tuple[float, float]:
    """Median time of a push with this many copies of the face, in ms, and how many faces were followed (median)."""
    times, seen = [], []
    for i, tile in enumerate(tiles):
        blank = np.full_like(tile, 96)
        cells = [tile if k < faces else blank for k in range(COLUMNS * TILE_ROWS)]
        canvas = np.vstack([np.hstack(cells[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(TILE_ROWS)])
        start_s = time.perf_counter()
        results = detector.push(canvas, i / 25)
        times.append(1e3 * (time.perf_counter() - start_s))
        seen += [len(result.faces) for result in results]
    detector.flush()
    half = len(times) // 3  # the first ones have nothing due yet
    return statistics.median(times[half:]), float(statistics.median(seen)) if seen else 0.0


def measure(arguments: argparse.Namespace, task: Path | None) -> dict[str, Any]:
    """All turns, and what comes of them."""
    ours: list[Turn] = []
    theirs: list[float] = []
    load = machine()
    one: list[tuple[float, float]] = []
    eight: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, Detector(options_of(arguments)) as detector:
        table = Path(folder) / "table.csv"
        run_ours(detector, arguments.clip, table)  # warm-up
        tiles = first_face(detector, arguments.clip, 60)
        for _ in range(arguments.repeats):
            ours.append(run_ours(detector, arguments.clip, table))
            if task is not None:
                theirs.append(run_mediapipe(task, arguments.clip, table))
            if tiles:
                one.append(crowd_ms(detector, tiles, 1))
                eight.append(crowd_ms(detector, tiles, 8))
    middle = sorted(ours, key=lambda turn: turn.wall_ms)[len(ours) // 2].profile
    stages = {name: statistics.median(turn.stages_ms()[name] for turn in ours) for name in ours[0].stages_ms()}
    overhead = [turn.wall_ms - turn.profile.stages["network"].mean_ms for turn in ours]
    figures: dict[str, Any] = {
        "benchmark": "pipeline",
        "clip": arguments.clip.name,
        "width": middle.width,
        "height": middle.height,
        "frames": middle.frames,
        "face_share": round(statistics.median(turn.face_share for turn in ours), 3),
        "model": middle.model,
        "engine": middle.engine,
        "precision": middle.precision,
        **load,
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "fps": round(1e3 / stages["wall"], 1),
        "overhead_ms": round(statistics.median(overhead), 3),
        "stages_ms": {name: round(value, 3) for name, value in stages.items()},
        "stages": middle.as_json()["stages"],
        "peak_memory_mb": middle.as_json()["peak_memory_mb"],
        "peak_gpu_memory_mb": middle.as_json()["peak_gpu_memory_mb"],
        "notes": list(middle.notes),
        "mediapipe_fps": round(1e3 / statistics.median(theirs), 1) if theirs else None,
        "ratio_8_faces": None,
    }
    if one:
        figures["one_face_ms"] = round(statistics.median(ms for ms, _ in one), 3)
        figures["eight_faces_ms"] = round(statistics.median(ms for ms, _ in eight), 3)
        figures["faces_followed"] = [one[0][1], eight[0][1]]
        if figures["faces_followed"] == [1.0, 8.0]:
            ratios = [a[0] / b[0] for a, b in zip(eight, one, strict=True)]
            figures["ratio_8_faces"] = round(statistics.median(ratios), 2)
    return figures


def show(figures: dict[str, Any], why_not: str) -> None:
    """The table."""
    size = f"{figures['width']}x{figures['height']}"
    print(f"{figures['clip']}: {figures['frames']} frames of {size}, a face in {figures['face_share']:.0%}")
    print(f"model {figures['model']}, {figures['cores']} cores, medians of {figures['repeats']} turns\n")
    print(f"{'stage':10} {'ms/frame':>9} {'p50':>9} {'p95':>9}")
    for name, value in figures["stages_ms"].items():
        stage = figures["stages"].get(name)
        tail = f" {stage['p50_ms']:9.2f} {stage['p95_ms']:9.2f}" if stage else ""
        print(f"{name.replace('_', ' '):10} {value:9.2f}{tail}")
    print(f"\n{'aunet_sdk':22} {figures['fps']:8.1f} fps, {figures['overhead_ms']:.2f} ms without the network")
    other = f"{figures['mediapipe_fps']:8.1f} fps" if figures["mediapipe_fps"] else f"  not run: {why_not}"
    print(f"{'MediaPipe landmarker':22} {other}")
    if figures["ratio_8_faces"]:
        text = f"{figures['ratio_8_faces']:8.2f} times one ({figures['eight_faces_ms']:.1f} ms)"
    else:
        text = f"  not measured: one and eight faces shown, followed {figures.get('faces_followed', 'none')}"
    print(f"{'eight faces':22} {text}")
    if figures["face_share"] < 0.5:
        print("few frames have a face: the network hardly ran, and the speed says little")
    for note in figures["notes"]:
        print(f"note: {note}")


def main() -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("clip", nargs="?", type=Path, default=SAMPLE, metavar="CLIP")
    parser.add_argument("--task", type=Path, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--no-mediapipe", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error(f"--repeats: expected 1 or more, got {arguments.repeats}")
    why_not = "--no-mediapipe" if arguments.no_mediapipe else available(arguments.task)

    def body() -> int:
        figures = measure(arguments, None if why_not else arguments.task)
        show(figures, why_not)
        return finish(figures, arguments.json)

    return run("pipeline", body)


if __name__ == "__main__":
    sys.exit(main())
