"""How fast the data of a training come: seconds of an epoch of BP4D's size, projected from steps on a synthetic crop
store, and the share of the time that a device waits for them.

    PYTHONPATH=. python benchmarks/training_data.py [--steps 40] [--batch 64] [--resolution 256] [--workers 1,2]
        [--frames 400] [--step-ms 49,310] [--triplets 98000] [--threads N] [--folder DIR] [--json FILE]

The store is that of `python -m train store`, JPEG crops of 512 px, of pictures that are drawn: their bytes are printed,
so that they can be held beside the 46 kB of a real one. A batch is made as a run makes it (train.paper.batches), with
the paper's augmentation, by threads and by processes, each with the crops cut by the CPU and by the device. Measured:

- no network: batches are taken as fast as they come. Where the device cuts the crops, its part is left out here and
  timed by itself ("cut on this device").
- processor time of one core for a triplet, which a busy machine changes least, and the cores that an epoch in a given
  time takes.
- a network that does nothing but take its time (--step-ms: of a step of an 80 GB and of a 24 GB card by the estimates
  of docs/reproduce.md): the share of the time that it waits. A GPU's share is to be below 5 %.

All cases take turns. Prints a table and, as the last line, one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import common
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.configs.options import PaperOptions
from train.data.corpora.corpus import Video
from train.data.faces.stored import OK, Faces
from train.data.store import CropStore, StoredFrames, store_path, write_store
from train.data.transforms.device import unpack
from train.data.triplets import TripletSet
from train.engine.loader import batches, process_batches
from train.engine.loop import pick_device
from train.paper.batches import TripletBatches

SIDE = 720
"""Height of a drawn frame, px."""


class Drawn:
    """Frames of a video that is drawn: a face of ellipses over coarse and fine noise."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        coarse: Any = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
        self._ground: Any = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        self._grain = rng.normal(0, 5, (SIDE, SIDE, 3)).astype(np.float32)
        self.boxes = np.tile(np.float32([SIDE * 0.28, SIDE * 0.24, SIDE * 0.44, SIDE * 0.52]), (count, 1))
        five = np.float32([[0.3, 0.4], [0.7, 0.4], [0.5, 0.58], [0.34, 0.76], [0.66, 0.76]])
        self.points = self.boxes[:, None, :2] + five * self.boxes[:, None, 2:]
        self.points += rng.normal(0, 2, self.points.shape).astype(np.float32)

    def read(self, index: int) -> NDArray[np.uint8]:
        image = self._ground.copy()
        x, y, w, h = self.boxes[index].astype(int).tolist()
        cv2.ellipse(image, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, (120, 150, 200), -1, cv2.LINE_AA)
        for px, py in self.points[index].astype(int).tolist():
            cv2.ellipse(image, (px, py), (w // 12, h // 24), index % 60, 0, 360, (50, 40, 60), -1, cv2.LINE_AA)
        return np.clip(image + np.roll(self._grain, 7 * index, 1), 0, 255).astype(np.uint8)


def synthetic_store(folder: Path, frames: int, resolution: int) -> tuple[TripletSet, float]:
    """A training part of one video whose crops are in a store, and the mean size of a crop in kB."""
    drawn, numbers = Drawn(frames), np.arange(frames)
    labels = (np.random.default_rng(1).random((frames, 12)) < 0.3).astype(np.float32)
    aus = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    video = Video("bp4d", "drawn", "drawn", 25.0, numbers, labels, aus, drawn)
    score = np.ones(frames, np.float32)
    faces = Faces(numbers, np.full(frames, OK), drawn.boxes, drawn.points.astype(np.float32), score, "drawn")
    path = store_path(folder, "bp4d", "drawn")
    if not CropStore.fits(path, faces):
        write_store(video, faces, path)
    rows = np.stack((np.maximum(numbers - 10, 0), numbers, np.minimum(numbers + 10, frames - 1)), 1)
    names = np.full(frames, "drawn")
    data = TripletSet(
        StoredFrames([(video, numbers, faces)], folder), rows, labels, aus, corpus=np.full(frames, "bp4d"),
        video=names, subject=names, frame=numbers, resolution=resolution,
    )  # fmt: skip
    return data, float(CropStore.open(path).places[:, 1].mean()) / 1e3


def measure(
    maker: TripletBatches, processes: bool, workers: int, steps: int, warmup: int, step_s: float = 0.0
) -> tuple[float, float]:
    """Seconds of a step, and the share of the time that the taker waits; `step_s`: how long it takes over a batch."""

    def make(step: int) -> dict[str, Tensor]:
        return maker.part(step % maker.steps_per_epoch, 0, 1)

    source = (process_batches if processes else batches)(make, 0, warmup + steps, workers=workers)
    waited = begun = 0.0
    with contextlib.closing(source):
        for step in range(warmup + steps):
            if step == warmup:
                waited, begun = 0.0, time.perf_counter()
            start = time.perf_counter()
            next(source)
            waited += time.perf_counter() - start
            if step_s:
                time.sleep(step_s)
    whole = time.perf_counter() - begun
    return whole / steps, waited / whole


def core_s(maker: TripletBatches, steps: int) -> float:
    """Processor time of a triplet, in seconds of one core: the median batch."""
    taken = []
    for step in range(1 + steps):
        start = time.thread_time()
        maker.part(step % maker.steps_per_epoch, 0, 1)
        taken.append(time.thread_time() - start)
    return statistics.median(taken[1:]) / maker.batch


def cut_s(maker: TripletBatches, resolution: int, device: torch.device, repeats: int = 3) -> float:
    """Seconds that the device takes over the crops of a batch; the copy to it counts."""
    batch, taken = maker.part(0, 0, 1), []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        crops = unpack({name: tensor.to(device) for name, tensor in batch.items()}, resolution)
        crops[0, 0, 0, 0, 0].item()  # waits for a GPU
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="of every case, after a few to warm up")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--workers", type=numbers, default=[1, 2], help="threads or processes, with commas")
    parser.add_argument("--frames", type=int, default=400, help="of the store")
    parser.add_argument("--step-ms", type=numbers, default=[49, 310], help="of the network that does nothing")
    parser.add_argument("--triplets", type=int, default=98_000, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="turns of all cases; the medians count")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--device", default="auto", help="that cuts crops: cpu, cuda, or auto")
    parser.add_argument("--folder", type=Path, help="for the store (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    given = parser.parse_args()
    if min(given.steps, given.batch, given.rounds, given.frames - given.batch) < 1:
        parser.error("--steps, --batch, --rounds: expected positive numbers, and more --frames than --batch")
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        return common.finish(figures_of(given, given.folder or Path(scratch)), given.json)


def figures_of(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All cases in turns; prints the table."""
    data, crop_kb = synthetic_store(folder, given.frames, given.resolution)
    shared: dict[str, Any] = {"train_on": ("bp4d",), "batch": given.batch, "variant": "aunet"}
    makers = {where: TripletBatches(PaperOptions(**shared, augment_on=where), data, True)
              for where in ("cpu", "device")}  # fmt: skip
    cases = [
        (kind, int(workers), where)
        for workers in given.workers
        for kind in ("threads", "processes")
        for where in makers
    ]
    warmup = 4
    taken: dict[tuple[str, int, str], list[float]] = {case: [] for case in cases}
    for _ in range(given.rounds):
        for kind, workers, where in cases:
            step = measure(makers[where], kind == "processes", workers, given.steps, warmup)[0]
            taken[kind, workers, where].append(step)
    core = {where: core_s(maker, given.steps) for where, maker in makers.items()}
    cut = cut_s(makers["device"], given.resolution, pick_device(given.device))
    waits: dict[str, dict[str, float]] = {}
    rows = []
    for kind, workers, where in cases:
        step = statistics.median(taken[kind, workers, where])
        name = f"{workers} {kind}, cut by {where}"
        waits[name] = {
            f"{ms:g}": measure(makers[where], kind == "processes", workers, given.steps, warmup, ms / 1e3)[1]
            for ms in given.step_ms
        }
        rows.append({"case": name, "triplets_per_s": given.batch / step,
                     "epoch_s": given.triplets / given.batch * step, "waits": waits[name]})  # fmt: skip
    print(f"crops of {crop_kb:.0f} kB; {given.batch} triplets a step; an epoch of {given.triplets} triplets")
    print(f"{'prepared by':32}{'triplets/s':>11}{'epoch, s':>10}" + "".join(f"{f'waits at {ms:g} ms':>18}"
          for ms in given.step_ms))  # fmt: skip
    for row in rows:
        shares = "".join(f"{100 * share:>16.1f} %" for share in row["waits"].values())
        print(f"{row['case']:32}{row['triplets_per_s']:>11.0f}{row['epoch_s']:>10.0f}{shares}")
    for where, seconds in core.items():
        whole = given.triplets * seconds
        need = ", ".join(
            f"{whole / (ms / 1e3 * given.triplets / given.batch):.1f} cores at {ms:g} ms a step" for ms in given.step_ms
        )
        print(f"cut by {where}: {1e3 * seconds:.1f} ms of a core for a triplet, {whole:.0f} s for an epoch; {need}")
    print(f"cut on this device: {1e3 * cut:.0f} ms a step of {given.batch} triplets")
    return {
        "crop_kb": crop_kb,
        "cases": rows,
        "cut_ms": 1e3 * cut,
        "core_ms": {where: 1e3 * seconds for where, seconds in core.items()},
        **common.machine(),
    }


if __name__ == "__main__":
    sys.exit(common.run("training_data", main))
