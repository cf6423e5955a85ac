"""How far aunet_sdk agrees with MediaPipe's Face Landmarker on the same frames. Agreement with a tool, no accuracy.

    python benchmarks/agreement.py CLIP... --task face_landmarker.task [--model BUNDLE] [--neutral off]

Per clip and pooled: Pearson's r of AU probabilities with MediaPipe's channels, the distance of the 68 points from its
own (NME: mean distance over the distance of the outer eye corners, 51 inner points and all 68), frames with a face,
ids; per AU how often it is falsely active while the face is at rest in MediaPipe's eyes (calm.py); and of the frames on
which MediaPipe is sure of AU1, 2, 12 or 26 how many are found, and how many without stay calm (clear.py).

AU25 stands in two ways: AU25 against the inner lip gap (its points 13 and 14, over the distance of the outer eye
corners), AU25_shapes against the mean of mouthLowerDown and mouthUpperUp. Frames where either tool has no face are
skipped and counted. `pooled` takes all clips' frames together; `within` is the mean of the clips' own r. MediaPipe's
reading is kept in the temporary folder. The last line is one JSON object.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from calm import calm_frames, false_activations
from clear import clear_counts, summed
from common import finish, options_of, parser_of, run
from landmarker import IBUG_68, Reading, available, read_all

from aunet_sdk import Detector
from aunet_sdk.options import Neutral
from aunet_sdk.sources import VideoFile

# AU -> MediaPipe's blendshapes, whose mean is taken
CHANNELS = {
    "AU1": ("browInnerUp",),
    "AU2": ("browOuterUpLeft", "browOuterUpRight"),
    "AU4": ("browDownLeft", "browDownRight"),
    "AU6": ("eyeSquintLeft", "eyeSquintRight"),
    "AU7": ("eyeSquintLeft", "eyeSquintRight"),
    "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU12": ("mouthSmileLeft", "mouthSmileRight"),
    "AU17": ("mouthShrugLower",),
    "AU25_shapes": ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU26": ("jawOpen",),
}
ROWS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU17", "AU25", "AU25_shapes", "AU26")
UPPER_LIP, LOWER_LIP, RIGHT_EYE, LEFT_EYE = 13, 14, 33, 263
INNER = np.arange(17, 68)
LEAST_FRAMES, LEAST_SPREAD = 10, 1e-3


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip in both tools' eyes. The arrays hold the m frames where both have the face."""

    name: str
    frames: int
    ours: int
    theirs: int
    ids: int
    au: dict[str, np.ndarray]
    """(m,) probabilities"""
    channel: dict[str, np.ndarray]
    """(m,) MediaPipe's"""
    nme_inner: np.ndarray
    """(m,)"""
    nme_all: np.ndarray
    calm: dict[str, Any]
    """`false_activations` of all our AUs"""
    clear: dict[str, dict[str, int]]
    """`clear_counts`"""

    @property
    def both(self) -> int:
        return len(self.nme_inner)


def cached_reading(path: Path, task: Path) -> Reading:
    """MediaPipe's reading of a clip, from the temporary folder where clip and task are the same as before."""
    key = "|".join(f"{file.resolve()}:{file.stat().st_mtime_ns}:{file.stat().st_size}" for file in (path, task))
    folder = Path(tempfile.gettempdir()) / "aunet_agreement"
    file = folder / f"{path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as data:
            return Reading(data["present"], data["points"], tuple(data["names"].tolist()), data["blendshapes"])
    reading = read_all(task, VideoFile(path))
    folder.mkdir(exist_ok=True)
    part = file.with_suffix(".part.npz")
    np.savez_compressed(
        part,
        present=reading.present,
        points=reading.points,
        names=np.array(reading.names, str),
        blendshapes=reading.blendshapes,
    )
    part.replace(file)
    return reading


def channels_of(reading: Reading) -> dict[str, np.ndarray]:
    """MediaPipe's value per AU and frame, (n,), NaN without a face."""
    if not reading.names:
        return {name: np.full(len(reading.present), np.nan) for name in ROWS}
    shapes = {
        au: np.mean([reading.blendshapes[:, reading.names.index(name)] for name in names], 0)
        for au, names in CHANNELS.items()
    }
    points = reading.points
    gap = np.linalg.norm(points[:, UPPER_LIP] - points[:, LOWER_LIP], axis=1)
    return {**shapes, "AU25": gap / np.linalg.norm(points[:, RIGHT_EYE] - points[:, LEFT_EYE], axis=1)}


def look(detector: Detector, path: Path, reading: Reading) -> Clip:
    """Both tools on one clip. Of several faces the one nearest to MediaPipe's is taken."""
    channels = channels_of(reading)
    au: dict[str, list[float]] = {row: [] for row in ROWS}
    channel: dict[str, list[float]] = {row: [] for row in ROWS}
    inner, everywhere, ids = [], [], set()
    active, times, at = [], [], []
    frames = ours = 0
    for result in detector.detect_video(path):
        frames += 1
        ours += bool(result.faces)
        ids |= {face.id for face in result.faces}
        i = result.index
        if not result.faces or i >= len(reading.present) or not reading.present[i]:
            continue
        known = reading.points[i, IBUG_68]
        eyes = np.linalg.norm(known[45] - known[36])
        distances = [np.linalg.norm(face.landmarks - known, axis=1) / eyes for face in result.faces]
        nearest = int(np.argmin([distance[INNER].mean() for distance in distances]))
        inner.append(distances[nearest][INNER].mean())
        everywhere.append(distances[nearest].mean())
        face = result.faces[nearest]
        active.append(face.active)
        times.append(result.timestamp_s)
        at.append(i)
        for row in ROWS:
            au[row].append(face.au.get(row.split("_")[0], np.nan))
            channel[row].append(channels[row][i])
    said = np.array(active, bool).reshape(len(at), len(detector.au_names))
    return Clip(
        path.name,
        frames,
        ours,
        int(reading.present.sum()),
        len(ids),
        {row: np.array(values) for row, values in au.items()},
        {row: np.array(values) for row, values in channel.items()},
        np.array(inner),
        np.array(everywhere),
        false_activations(
            said,
            detector.au_names,
            calm_frames(channels)[at],
            np.array(times),
        ),
        clear_counts(said, detector.au_names, {row: np.array(values) for row, values in channel.items()}),
    )


def pearson(a: np.ndarray, b: np.ndarray) -> float | None:
    """r, or None where there are too few frames or one of the two does not move."""
    good = np.isfinite(a) & np.isfinite(b)
    if good.sum() < LEAST_FRAMES or min(a[good].std(), b[good].std()) < LEAST_SPREAD:
        return None
    return float(np.corrcoef(a[good], b[good])[0, 1])


def figures_of(clips: list[Clip]) -> dict[str, Any]:
    """The figures of one clip, or of several taken together."""
    frames = sum(clip.frames for clip in clips)
    inner = np.concatenate([clip.nme_inner for clip in clips])
    everywhere = np.concatenate([clip.nme_all for clip in clips])
    calm_s = sum(clip.calm["calm_s"] for clip in clips)
    onsets = {name: sum(clip.calm["onsets"][name] for clip in clips) for name in clips[0].calm["onsets"]}
    return {
        "frames": frames,
        "face_share": rounded(sum(clip.ours for clip in clips) / frames if frames else None),
        "mediapipe_face_share": rounded(sum(clip.theirs for clip in clips) / frames if frames else None),
        "frames_compared": len(inner),
        "frames_skipped": frames - len(inner),
        "ids": sum(clip.ids for clip in clips),
        "nme_inner": rounded(inner.mean() if len(inner) else None, 4),
        "nme_all": rounded(everywhere.mean() if len(inner) else None, 4),
        "r": {
            row: rounded(
                pearson(
                    np.concatenate([clip.au[row] for clip in clips]),
                    np.concatenate([clip.channel[row] for clip in clips]),
                )
            )
            for row in ROWS
        },
        "clear": summed(clip.clear for clip in clips),
        "calm_s": rounded(calm_s, 1),
        "false_per_minute": {name: rounded(60 * count / calm_s, 1) for name, count in onsets.items()} if calm_s else {},
    }


def rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(float(value), digits)


def show(columns: dict[str, dict[str, Any]], within: dict[str, float | None]) -> None:
    """The table: one column per clip, then pooled and within."""

    def text(value: Any) -> str:
        return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

    names = [*columns, "within"]
    widths = [max(9, min(len(name), 22)) for name in names]
    cells = [name[-22:].rjust(width) for name, width in zip(names, widths, strict=True)]
    print(f"{'':22}{'  '.join(cells)}")
    facts = [key for key, value in next(iter(columns.values())).items() if not isinstance(value, dict)]
    for key in facts:
        cells = [text(column[key]).rjust(width) for column, width in zip(columns.values(), widths[:-1], strict=True)]
        print(f"{key:22}{'  '.join(cells)}")
    for row in ROWS:
        values = [column["r"][row] for column in columns.values()] + [within[row]]
        cells = [text(value).rjust(width) for value, width in zip(values, widths, strict=True)]
        print(f"{'r ' + row:22}{'  '.join(cells)}")
    for name, row in columns["pooled"]["clear"].items():
        for share, of in (("found", "on"), ("calm", "off")):
            cells = [text(column["clear"].get(name, {}).get(share)).rjust(width)
                     for column, width in zip(columns.values(), widths[:-1], strict=True)]  # fmt: skip
            print(f"{f'{share} {name} ({row[of]})':22}{'  '.join(cells)}")
    for name in columns["pooled"]["false_per_minute"]:
        values = [column["false_per_minute"].get(name) for column in columns.values()] + [None]
        cells = [text(value).rjust(width) for value, width in zip(values, widths, strict=True)]
        print(f"{'false/min ' + name:22}{'  '.join(cells)}")


def main() -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    parser.add_argument("--task", type=Path, required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--baseline", default="none", choices=("none", "person"), help="as in DetectorOptions")
    parser.add_argument("--neutral", default="auto", choices=get_args(Neutral), help="as in DetectorOptions")
    arguments = parser.parse_args()
    reason = available(arguments.task)
    if reason:
        parser.error(reason)

    def body() -> int:
        with Detector(options_of(arguments, baseline=arguments.baseline, neutral=arguments.neutral)) as detector:
            clips = [look(detector, path, cached_reading(path, arguments.task)) for path in arguments.clips]
            return report(clips, detector.bundle.name, arguments.neutral, arguments.json)

    return run("agreement", body)


def report(clips: list[Clip], model: str, neutral: str, path: Path | None) -> int:
    """Print the table and the figures of all clips."""
    columns = {clip.name: figures_of([clip]) for clip in clips}
    within: dict[str, float | None] = {}
    for row in ROWS:
        values = [column["r"][row] for column in columns.values() if column["r"][row] is not None]
        within[row] = rounded(float(np.mean(values))) if values else None
    pooled = figures_of(clips)
    show({**columns, "pooled": pooled}, within)
    print("r: Pearson's, - where a channel does not move; NME against MediaPipe's points, 51 inner and all 68")
    figures = {
        "benchmark": "agreement",
        "model": model,
        "neutral": neutral,
        "au25": "inner lip gap; AU25_shapes: mouthLowerDown and mouthUpperUp",
        "pooled": pooled,
        "within": within,
        "clips": columns,
    }
    return finish(figures, path)


if __name__ == "__main__":
    sys.exit(main())
