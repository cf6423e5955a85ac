"""Frames per second over an archive: a plain loop, one worker, two workers, and Ray, in turns.

    python benchmarks/archive.py [CLIP...] [--frames 350] [--copies 6] [--rounds 2] [--workers 1 2] [--ray ADDRESS]
                                 [--together 4] [--hours 1000000 --video-fps 25 --price PRICE]

Without CLIP: examples/sample.mp4. The archive is so many copies of the clips, each cut to so many frames. The loop is
`Detector.detect_video` on one thread, with its rows written as the workers write them, in a process of its own. Every
way works on two archives of equally many files, one with files of `SHORT` frames: what the long one takes more is the
work, what is left of the short one is the start of the processes, of their engines, and the end. So the figures do not
depend on how long the archive is. Memory is the largest sum over all processes of a way, pages that they share counted
once (PSS; Linux alone), and that of the largest process. Processor time is that of all processes and cores, without
Ray's; beside other work it tells more than the rate. The last line is one JSON object; `ratio`: the most workers
over the loop (target 1.8 with two on two cores). `--hours`: how long one machine like this would take for so many
hours of video, and what that costs at the price of an hour of it; and how long one core, which is what to reckon with
where the machine had other work.

`--together`: one worker more that works on so many files at once, their faces in one batch.
Ray is asked for by `--ray local`, or a cluster's address; it has to be installed where this script runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
from common import finish, machine, parser_of, run

from aunet_sdk import InvalidInput

SAMPLE = Path(__file__).parents[1] / "examples" / "sample.mp4"
SHORT = 15
"""frames of each file of the short archive"""
MARK = "AUNET_ARCHIVE_BENCHMARK"
"""in the environment of every process of a run"""
LOOP = """
import sys
from aunet_sdk import DetectorOptions
from aunet_sdk.jobs.dataset import DataSet
from aunet_sdk.jobs.items import expand
from aunet_sdk.jobs.worker import Worker
data = DataSet(sys.argv[1])
data.begin({}, resume=False)
worker = Worker(str(data.root), DetectorOptions(engine="onnxruntime", threads=1), {})
for item in expand(sys.argv[2:]):
    worker.run(item)
"""


@dataclass
class Runs:
    """Of one way: seconds of each run, those of processors with it, and the most memory."""

    short_s: list[tuple[float, float]] = field(default_factory=list)
    long_s: list[tuple[float, float]] = field(default_factory=list)
    all_mib: float = 0.0
    largest_mib: float = 0.0

    def rates(self, short: int, long: int) -> tuple[float, float, float]:
        """Frames a second, seconds of the start, and ms of processors for a frame, of archives of so many frames."""
        (short_s, short_cpu_s), (long_s, long_cpu_s) = (
            [statistics.median(each[k] for each in spent) for k in range(2)] for spent in (self.short_s, self.long_s)
        )
        fps = (long - short) / max(long_s - short_s, 1e-9)
        cpu_ms = 1e3 * (long_cpu_s - short_cpu_s) / (long - short)
        return round(fps, 1), round(max(0.0, short_s - short / fps), 2), round(cpu_ms, 1)


class Memory:
    """Watches the processes of one run by their mark, once a second, until the block is left."""

    def __init__(self, mark: str, runs: Runs) -> None:
        self._mark, self._runs = f"{MARK}={mark}".encode(), runs
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            each = [mib for folder in Path("/proc").glob("[0-9]*") if (mib := self._pss_mib(folder)) is not None]
            self._runs.all_mib = max(self._runs.all_mib, sum(each))
            self._runs.largest_mib = max(self._runs.largest_mib, *each, 0.0)

    def _pss_mib(self, folder: Path) -> float | None:
        try:
            if self._mark not in (folder / "environ").read_bytes().split(b"\0"):
                return None
            lines = (folder / "smaps_rollup").read_text().splitlines()
        except OSError:  # it has gone, or is somebody else's
            return None
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), None)


def cut(clip: Path, frames: int, target: Path) -> Path:
    """The clip's first packets, as many as `frames`, without the sound; nothing is encoded anew."""
    options = {"movflags": "faststart"} if target.suffix.lower() in (".mp4", ".mov", ".m4v") else {}
    with av.open(str(clip)) as source, av.open(str(target), "w", options=options) as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        packets = (packet for packet in source.demux(stream) if packet.dts is not None)
        for packet, _ in zip(packets, range(frames), strict=False):
            packet.stream = copy
            out.mux(packet)
    return target


def timed(way: str, out: Path, files: Sequence[Path], ray: str | None, runs: Runs) -> tuple[tuple[float, float], int]:
    """Seconds from the start of the process to its end, those of processors, and the frames of its data set."""
    mark = f"{os.getpid()}-{out.name}"
    with Memory(mark, runs):
        start_s, start_cpu_s = time.perf_counter(), _children_s()
        subprocess.run(
            _command(way, out, files, ray),
            env={**os.environ, MARK: mark, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"},  # Ray's own is 15
            check=True,
            stdout=subprocess.DEVNULL,
        )
        taken_s = time.perf_counter() - start_s, _children_s() - start_cpu_s
    statuses = [json.loads(path.read_text()) for path in (out / "_status").glob("*.json")]
    bad = [f"{status['uri']}: {status['problem']}" for status in statuses if status["state"] != "done"]
    if bad or len(statuses) != len(files):
        raise InvalidInput(f"clips: expected files that can be worked on, got {'; '.join(bad) or 'none'}")
    return taken_s, sum(status["frames"] for status in statuses)


def _children_s() -> float:
    """Processor time of all processes that have ended; of those that somebody else waits for, none."""
    times = os.times()
    return times.children_user + times.children_system


def _command(way: str, out: Path, files: Sequence[Path], ray: str | None) -> list[str]:
    if way == "loop":
        return [sys.executable, "-c", LOOP, str(out), *map(str, files)]
    command = [sys.executable, "-m", "aunet_sdk", "jobs", "run", *map(str, files), "--out", str(out), "--quiet"]
    if way.startswith("ray"):
        return [*command, "--ray", ray or "local", "--workers", way.split()[1]]
    if way.startswith("together"):
        return [*command, "--workers", "1", "--together", way.split()[1]]
    return [*command, "--workers", way.split()[0]]


def body() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("clips", nargs="*", type=Path, default=[SAMPLE])
    parser.add_argument("--frames", type=int, default=350, help="of each copy")
    parser.add_argument("--copies", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--together", type=int, help="files at once, by one worker")
    parser.add_argument("--ray", help="address of a cluster, or local")
    parser.add_argument("--hours", type=float, help="of video, to be told what they cost")
    parser.add_argument("--video-fps", type=float, default=25.0)
    parser.add_argument("--price", type=float, default=1.0, help="of this machine for an hour, in any currency")
    arguments = parser.parse_args()
    if arguments.frames <= SHORT:
        raise InvalidInput(f"--frames: expected more than {SHORT}, those of the short archive, got {arguments.frames}")
    many = max(arguments.workers)
    ways = ["loop", *(f"{n} worker{'s'[: n > 1]}" for n in arguments.workers)]
    ways += [f"together {arguments.together}"] * bool(arguments.together) + [f"ray {many}"] * bool(arguments.ray)
    runs = {way: Runs() for way in ways}
    frames = [0, 0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        archives = []
        for count in (SHORT, arguments.frames):
            (root / str(count)).mkdir()
            archives.append(
                [
                    cut(clip, count, root / str(count) / f"{copy}-{clip.name}")
                    for copy in range(arguments.copies)
                    for clip in arguments.clips
                ]
            )
        for number in range(arguments.rounds):
            for way in ways if number % 2 == 0 else ways[::-1]:
                for k, (files, spent) in enumerate(zip(archives, (runs[way].short_s, runs[way].long_s), strict=True)):
                    taken_s, frames[k] = timed(way, root / f"{number}-{k}-{way}", files, arguments.ray, runs[way])
                    spent.append(taken_s)
    fps, start_s, cpu_ms = {}, {}, {}
    for way, each in runs.items():
        fps[way], start_s[way], cpu_ms[way] = each.rates(*frames)
        if way.startswith("ray"):
            cpu_ms[way] = float("nan")
    titles = ("frames/s", "of the loop", "start, s", "CPU ms/frame", "MiB, all", "largest")
    print(f"{'':12}" + "".join(f"{title:>14}" for title in titles))
    for way, each in runs.items():
        row = (fps[way], fps[way] / fps["loop"], start_s[way], cpu_ms[way], each.all_mib, each.largest_mib)
        cells = (f"{value:14.{digits}f}" for value, digits in zip(row, (1, 2, 2, 1, 0, 0), strict=True))
        print(f"{way:12}" + "".join(cells))
    best = f"{many} worker{'s'[: many > 1]}"
    cost = {}
    if arguments.hours is not None:
        machine_hours = arguments.hours * arguments.video_fps / fps[best]
        core_hours = arguments.hours * arguments.video_fps * cpu_ms[best] / 1e3
        cost = {"hours": arguments.hours, "machine_hours": machine_hours, "cost": machine_hours * arguments.price}
        cost["core_hours"] = core_hours
        print(
            f"{arguments.hours:g} h of video: {machine_hours:,.0f} h of this machine, {cost['cost']:,.0f}; "
            f"{core_hours:,.0f} h of one core's work"
        )
    memory = {way: {"all": round(each.all_mib), "largest": round(each.largest_mib)} for way, each in runs.items()}
    figures = {"benchmark": "archive", **cost, **machine(), "frames": frames[1], "fps": fps, "start_s": start_s}
    ratio = round(fps[best] / fps["loop"], 3)
    figures["cpu_ms_per_frame"] = {way: ms for way, ms in cpu_ms.items() if ms == ms}
    return finish({**figures, "memory_mib": memory, "workers": many, "ratio": ratio}, arguments.json)


if __name__ == "__main__":
    sys.exit(run("archive", body))
