"""Frames per second over an archive: a plain loop, one worker, two workers, and Ray, in turns.

    python benchmarks/archive.py [CLIP...] [--copies 4] [--rounds 3] [--workers 2] [--ray ADDRESS]
                                 [--hours 1000000 --video-fps 25 --price PRICE]

Without CLIP: examples/sample.mp4. The archive is so many copies of the clips. The loop is `Detector.detect_video` on
one thread, with its rows written as the workers write them, in a process of its own. Every way is timed from the start
of its process to its end and once on an archive of one short file; what is left is the work, so that the figures do
not depend on how long the archive is. The last line is one JSON
object; `ratio`: two workers over the loop (target 1.8 on two cores). `--hours`: how long one machine like this would
take for so many hours of video, and what that costs at the price of an hour of it.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import finish, machine, parser_of, run

SAMPLE = Path(__file__).parents[1] / "examples" / "sample.mp4"
LOOP = """
import sys
from pathlib import Path
from aunet_sdk import DetectorOptions
from aunet_sdk.jobs.dataset import DataSet
from aunet_sdk.jobs.items import expand
from aunet_sdk.jobs.worker import Worker
data = DataSet(sys.argv[1])
data.begin({}, resume=False)
worker = Worker(str(data.root), DetectorOptions(engine="onnxruntime", threads=1), {})
print(sum(worker.run(item).frames for item in expand(sys.argv[2:])))
"""


def _timed(command: list[str]) -> float:
    start_s = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start_s


def _command(way: str, out: Path, files: list[Path], ray: str | None) -> list[str]:
    if way == "loop":
        return [sys.executable, "-c", LOOP, str(out), *map(str, files)]
    command = [sys.executable, "-m", "aunet_sdk", "jobs", "run", *map(str, files), "--out", str(out), "--quiet"]
    if way == "ray":
        return [*command, "--ray", ray or "local"]
    return [*command, "--workers", way.split()[0]]


def body() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("clips", nargs="*", type=Path, default=[SAMPLE])
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", help="address of a cluster, or local")
    parser.add_argument("--hours", type=float, help="of video, to be told what they cost")
    parser.add_argument("--video-fps", type=float, default=25.0)
    parser.add_argument("--price", type=float, default=1.0, help="of this machine for an hour, in any currency")
    arguments = parser.parse_args()
    from aunet_sdk.sources import VideoFile

    ways = ["loop", "1 worker", f"{arguments.workers} workers", *(["ray"] if arguments.ray else [])]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = []
        for i in range(arguments.copies):
            for clip in arguments.clips:
                files.append(root / f"{i}_{clip.name}")
                shutil.copy(clip, files[-1])
        frames = 0
        for file in files:
            video = VideoFile(file)
            frames += sum(1 for _ in video)
        picture = root / "start.png"
        _picture(arguments.clips[0], picture)
        start_s = {way: _timed(_command(way, root / f"start {way}", [picture], arguments.ray)) for way in ways}
        for number in range(arguments.rounds):
            for way in ways if number % 2 == 0 else ways[::-1]:
                out = root / f"{number} {way}"
                seconds[way].append(_timed(_command(way, out, files, arguments.ray)) - start_s[way])
                shutil.rmtree(out)
    fps = {way: round(frames / max(statistics.median(taken), 1e-9), 1) for way, taken in seconds.items()}
    many = f"{arguments.workers} workers"
    print(f"{'':12}{'frames/s':>10}{'of the loop':>13}")
    for way in ways:
        print(f"{way:12}{fps[way]:10.1f}{fps[way] / fps['loop']:13.2f}")
    cost = {}
    if arguments.hours is not None:
        machine_hours = arguments.hours * arguments.video_fps / fps[many]
        cost = {"hours": arguments.hours, "machine_hours": machine_hours, "cost": machine_hours * arguments.price}
        print(f"{arguments.hours:g} h of video: {machine_hours:,.0f} h of this machine, {cost['cost']:,.0f}")
    figures = {"benchmark": "archive", **cost, **machine(), "frames": frames, "fps": fps, "start_s": start_s}
    return finish({**figures, "workers": arguments.workers, "ratio": round(fps[many] / fps["loop"], 3)}, arguments.json)


def _picture(clip: Path, place: Path) -> None:
    import cv2

    from aunet_sdk.sources import VideoFile

    cv2.imwrite(str(place), next(iter(VideoFile(clip, read_ahead=0))).image)


if __name__ == "__main__":
    sys.exit(run("archive", body))
