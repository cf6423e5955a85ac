"""Random faults for as long as wanted: the results stay right, and nothing grows.

    python benchmarks/faults.py --minutes 60 [--seed 0] [--frames 60]

One detector with two streams, and iterators that are given up, is fed frames with a sample's face. Its finder, its
engine's steps and questions, its source and its pictures fail at random, once or for a while. After every round the
faults are switched off, and the good frames that a stream took in must have had exactly the results that a detector
without faults gives for them. At the end the memory of the process (in the second half), its threads and its open
files must not have grown. Exit code 1 where a result was wrong or something grew; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import finish

from aunet_sdk import AUNetError, Detector, DetectorOptions, Frame, FrameResult, InvalidInput
from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.faces.finders.base import FaceFinder, FoundFace
from aunet_sdk.faces.finders.slime import SlimefaceFinder
from aunet_sdk.sources import VideoFile

SAMPLE = Path(__file__).parents[1] / "examples" / "sample.mp4"
FEWEST_FRAMES = 20
MOST_GROWTH_MB = 8.0
"""from the beginning of the second half to its end"""
LEAST_ROUNDS = 28
"""In the first ten memory still grows by what is loaded and cached once."""


class Broken(AUNetError):
    """What an injected fault raises."""


class Faults:
    """Whether the next call of a part fails: with `chance`, once or for `for_calls` calls in a row."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.on = False
        self.chance = 0.02
        self.left = 0
        self.raised = 0

    def check(self) -> None:
        if not self.on:
            return
        if not self.left and self.random.random() < self.chance:
            self.left = self.random.choice([1, 1, 1, 3, 40])
        if self.left:
            self.left -= 1
            self.raised += 1
            raise Broken("injected")


class BrittleFinder:
    name = "brittle"

    def __init__(self, faults: Faults) -> None:
        self._faults, self._finder = faults, SlimefaceFinder()

    def find(self, image: np.ndarray, longer_side_px: int = 320) -> list[FoundFace]:
        self._faults.check()
        return self._finder.find(image, longer_side_px)


class BrittleEngine(OrtStreamEngine):
    def __init__(self, faults: Faults, bundle: Bundle) -> None:
        super().__init__(bundle, max_faces=2, threads=1)
        self._faults = faults

    def _execute(self, *arguments: Any) -> None:
        self._faults.check()
        super()._execute(*arguments)
        self._faults.check()  # also after the work is done


def detector_of(faults: Faults) -> Detector:
    def finder(_: DetectorOptions) -> FaceFinder:
        return BrittleFinder(faults)

    options = DetectorOptions(model="nano", max_faces=2, look_ahead="both")
    return Detector(options, finder=finder, engine=lambda bundle, _: BrittleEngine(faults, bundle))


def same(got: list[FrameResult], expected: list[FrameResult]) -> bool:
    def told(results: list[FrameResult]) -> list[Any]:
        return [(r.index, r.timestamp_s, r.provisional, r.ids.tolist(), [f.context for f in r.faces]) for r in results]

    if told(got) != told(expected):
        return False
    return all(np.allclose(a.probabilities, b.probabilities, atol=2e-5) for a, b in zip(got, expected, strict=True))


def round_of(detector: Detector, calm: Detector, images: list[np.ndarray], faults: Faults) -> bool:
    """Two streams in turns, an iterator that is given up, single pictures; whether all results were right."""
    dice = faults.random
    streams = [detector.open_stream() for _ in range(2)]
    good: list[list[tuple[np.ndarray, float]]] = [[], []]
    results: list[list[FrameResult]] = [[], []]
    faults.on = True
    period_s = dice.choice([0.002, 1 / 60, 1 / 25, 0.2])
    for i in range(dice.randint(FEWEST_FRAMES, len(images))):
        which = dice.randrange(2)
        image, time_s = images[i % len(images)], i * period_s
        try:
            if dice.random() < 0.05:
                streams[which].push(image[:, :, 0:2], time_s)
            ready = streams[which].push(image, time_s)
        except (Broken, InvalidInput):
            continue
        good[which].append((image, time_s))
        results[which] += ready
        if dice.random() < 0.02:
            drain(detector, images, faults, dice.randint(1, 8))
    faults.on, faults.left = False, 0
    right = len(detector.detect(images[0]).faces) == 1
    for which, stream in enumerate(streams):
        results[which] += stream.flush()
        stream.close()
        with calm.open_stream() as reference:
            expected = [r for image, time_s in good[which] for r in reference.push(image, time_s)] + reference.flush()
        right = right and same(results[which], expected)
    return right


def drain(detector: Detector, images: list[np.ndarray], faults: Faults, count: int) -> None:
    """A source that fails, or an iterator that is given up, on the same detector."""

    def source() -> Iterator[Frame]:
        for i in range(count):
            faults.check()
            yield Frame(images[i % len(images)], i / 25, i)

    iterator = detector.stream(source())
    try:
        for _ in range(faults.random.randint(0, count)):
            next(iterator, None)
    except Broken:
        pass


def resident_mb() -> float:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096 / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=60, help="of a round at most (default: 60)")
    given = parser.parse_args()
    if not given.minutes > 0 or given.frames < FEWEST_FRAMES:
        parser.error(f"--minutes: expected a number above 0; --frames: {FEWEST_FRAMES} or more")
    logging.getLogger("aunet_sdk").setLevel(logging.ERROR)
    images = [frame.image.copy() for frame in itertools.islice(VideoFile(SAMPLE), given.frames)]
    faults, none = Faults(given.seed), Faults(0)
    memory: list[tuple[float, float]] = []
    threads: list[int] = []
    files: list[int] = []
    rounds = wrong = 0
    with detector_of(faults) as detector, detector_of(none) as calm:
        start_s = time.monotonic()
        while (spent_s := time.monotonic() - start_s) < 60 * given.minutes or rounds < LEAST_ROUNDS:
            wrong += not round_of(detector, calm, images, faults)
            rounds += 1
            gc.collect()
            memory.append((spent_s, resident_mb()))
            threads.append(threading.active_count())
            files.append(len(list(Path("/proc/self/fd").iterdir())))
    settled = memory[len(memory) // 2 :]
    times, sizes = np.array(settled).T
    slope = float(np.polyfit(times / 60, sizes, 1)[0]) if len(settled) > 2 else 0.0
    grown_mb = float(np.median(sizes[-max(1, len(sizes) // 5) :]) - np.median(sizes[: max(1, len(sizes) // 5)]))
    figures = {
        "minutes": round((time.monotonic() - start_s) / 60, 2),
        "seed": given.seed,
        "rounds": rounds,
        "faults": faults.raised,
        "wrong_rounds": wrong,
        "memory_mb": round(float(sizes[-1]), 1),
        "memory_grown_mb": round(grown_mb, 2),
        "memory_mb_per_minute": round(slope, 3),
        "threads": [min(threads), max(threads[len(threads) // 5 :])],
        "threads_grown": threads[-1] - threads[len(threads) // 5],
        "files_grown": files[-1] - files[len(files) // 5],
    }
    finish(figures)
    grown = figures["threads_grown"] > 0 or figures["files_grown"] > 0 or grown_mb > MOST_GROWTH_MB
    return int(bool(wrong or grown))


if __name__ == "__main__":
    sys.exit(main())
