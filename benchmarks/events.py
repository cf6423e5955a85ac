"""Events beside a script: are the movements of the sample found, in one piece, and when.

Runs the detector over examples/sample.mp4, makes events of its results (aunet_sdk.post.events) and compares them with
the known track, examples/sample_track.csv. A movement of the track is a stretch at or over 30 % of the AU's strongest.
Clips that are named besides have no script: of them it says how many stretches over the threshold became how many
events.
"""

from __future__ import annotations

import csv
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, machine, options_of, parser_of, run

from aunet_sdk import Detector, FrameResult
from aunet_sdk.post.events import AUEvent, EventTracker, Phase

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SHARE = 0.3


def ends(events: list[AUEvent], au: str) -> list[AUEvent]:
    return [event for event in events if event.au == au and event.phase is Phase.OFFSET]


def stretches(on: np.ndarray) -> np.ndarray:
    """(n, 2): first frame of each stretch, and the first after it."""
    return np.flatnonzero(np.diff(np.r_[0, on.astype(int), 0])).reshape(-1, 2)


def over_threshold(results: list[FrameResult]) -> int:
    """How many stretches of active frames the AUs of all faces have."""
    count, before = 0, set[tuple[int, str]]()
    for result in results:
        now = {(face.id, au) for face in result.faces for au in face.active_aus}
        count += len(now - before)
        before = now
    return count


def against_script(events: list[AUEvent], track: Path) -> dict[str, Any]:
    with track.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    times = np.array([float(row["timestamp_s"]) for row in rows])
    scripted = found = pieces = extra = 0
    onsets_s, offsets_s = [], []
    for au in [name for name in rows[0] if name.startswith("AU")]:
        strength = np.array([float(row[au]) for row in rows])
        on = strength >= SHARE * strength.max() if strength.max() > 0.5 else np.zeros(len(rows), bool)
        theirs, taken = ends(events, au), set[int]()
        for first, after in stretches(on):
            begin_s, end_s = times[first], times[after - 1]
            mine = [i for i, e in enumerate(theirs) if e.onset_s <= end_s and e.timestamp_s >= begin_s]
            scripted += 1
            taken.update(mine)
            if mine:
                found += 1
                pieces += len(mine) - 1
                onsets_s.append(theirs[mine[0]].onset_s - begin_s)
                offsets_s.append(theirs[mine[-1]].timestamp_s - end_s)
        extra += len(theirs) - len(taken)
    return {
        "movements": scripted,
        "found": found,
        "in_pieces": pieces,
        "besides": extra,
        "onset_s": [round(float(v), 3) for v in np.percentile(onsets_s, [10, 50, 90])],
        "offset_s": [round(float(v), 3) for v in np.percentile(offsets_s, [10, 50, 90])],
    }


def measure(arguments: Namespace) -> int:
    clips: dict[str, dict[str, int]] = {}
    figures: dict[str, Any] = {}
    with Detector(options_of(arguments)) as detector:
        for path in [EXAMPLES / "sample.mp4", *arguments.clips]:
            results = list(detector.detect_video(path))
            events = list(EventTracker().events(results))
            clips[path.name] = {"over_threshold": over_threshold(results), "events": len(events) // 3}
            print(f"{path.name}: {clips[path.name]['over_threshold']} stretches, {clips[path.name]['events']} events")
            if path.parent == EXAMPLES:
                figures = against_script(events, EXAMPLES / "sample_track.csv")
                print("  " + ", ".join(f"{name} {value}" for name, value in figures.items()))
            for event in ends(events, "AU12"):
                print(
                    f"  AU12 of face {event.face}: {event.onset_s:.2f} to {event.timestamp_s:.2f} s, {event.peak:.2f}"
                )
    return finish({**figures, "clips": clips, "machine": machine()}, arguments.json)


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("clips", nargs="*", type=Path, help="further videos, without a script")
    arguments = parser.parse_args(argv)
    return run("events.py", lambda: measure(arguments))


if __name__ == "__main__":
    sys.exit(main())
