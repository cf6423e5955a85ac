"""Blinks on real clips: AU45 and the counted blinks beside MediaPipe's eyeBlink. Agreement with a tool, no accuracy.

    python benchmarks/blinks.py CLIP... --task face_landmarker.task [--model BUNDLE] [--list]

A stretch is a run of frames in which AU45 is active, or in which the mean of MediaPipe's eyeBlink of both eyes is at
.5 or more. Per clip and pooled: `frames` with the face, `theirs`: MediaPipe's stretches, `found`: those in which AU45
is active, `ours`: stretches of AU45, `beside`: those of ours that no frame with at least .35 of MediaPipe's touches;
`open_s`: seconds with at most .2 of MediaPipe's, `false`: onsets of AU45 in them; `counted`: blinks that
aunet_sdk.post.activity counts. eyeBlink also rises where somebody looks down: `--list` names the frames to be looked
at. The last line is one JSON object.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from agreement import cached_reading
from common import finish, options_of, parser_of, run
from landmarker import IBUG_68, Reading, available

from aunet_sdk import Detector
from aunet_sdk.post.blinks import BlinkCounter

SHUT, NOT_OPEN, OPEN = 0.5, 0.35, 0.2


def stretches(on: np.ndarray) -> np.ndarray:
    """(n, 2): first frame of each stretch, and the first after it."""
    return np.flatnonzero(np.diff(np.r_[0, on.astype(int), 0])).reshape(-1, 2)


def compared(active: np.ndarray, blink: np.ndarray, step_s: float) -> dict[str, Any]:
    """AU45 (n,) bool and MediaPipe's value (n,) of the same frames."""
    ours, theirs = stretches(active), stretches(blink >= SHUT)
    opened = blink <= OPEN
    onsets = np.flatnonzero(np.diff(np.r_[0, active.astype(int)]) == 1)
    return {
        "frames": len(active),
        "theirs": len(theirs),
        "found": sum(bool(active[a:b].any()) for a, b in theirs),
        "ours": len(ours),
        "beside": sum(not (blink[a:b] >= NOT_OPEN).any() for a, b in ours),
        "open_s": round(float(opened.sum()) * step_s, 1),
        "false": int(opened[onsets].sum()),
    }


def look(detector: Detector, path: Path, reading: Reading, listed: bool) -> dict[str, Any]:
    """One clip. Of several faces the one nearest to MediaPipe's is taken."""
    eyes = [reading.names.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    value = reading.blendshapes[:, eyes].mean(1)
    active, said, blink, at, times = [], [], [], [], []
    counters: dict[int, BlinkCounter] = {}
    counted = []
    for result in detector.detect_video(path):
        i = result.index
        if not result.faces or i >= len(value) or not reading.present[i]:
            continue
        known = reading.points[i, IBUG_68]
        face = min(result.faces, key=lambda one: float(np.abs(one.landmarks - known).mean()))
        active.append("AU45" in face.active_aus)
        said.append(face.au["AU45"])
        blink.append(value[i])
        at.append(i)
        times.append(result.timestamp_s)
        if counters.setdefault(face.id, BlinkCounter()).update(face, result.timestamp_s):
            counted.append(round(result.timestamp_s, 2))
    on, theirs = np.array(active, bool), np.array(blink)
    found = compared(on, theirs, float(np.median(np.diff(times))))
    if listed:
        for a, b in stretches(on | (theirs >= NOT_OPEN)):
            ours, its = max(said[a:b]), theirs[a:b].max()
            print(f"  {path.stem} {at[a]}-{at[b - 1]} ({times[a]:.2f} s): AU45 {ours:.2f}, eyeBlink {its:.2f}")
        print(f"  {path.stem} counted at {counted}")
    return {**found, "counted": len(counted)}


def main() -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    parser.add_argument("--task", type=Path, required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--list", action="store_true", help="name the frames of every stretch")
    arguments = parser.parse_args()
    reason = available(arguments.task)
    if reason:
        parser.error(reason)

    def body() -> int:
        clips: dict[str, dict[str, Any]] = {}
        with Detector(options_of(arguments)) as detector:
            if "AU45" not in detector.au_names:
                parser.error(f"model: expected one with AU45, got {', '.join(detector.au_names)}")
            for path in arguments.clips:
                clips[path.stem] = look(detector, path, cached_reading(path, arguments.task), arguments.list)
        pooled = {name: round(sum(clip[name] for clip in clips.values()), 1) for name in next(iter(clips.values()))}
        for name, row in {**clips, "pooled": pooled}.items():
            print(f"{name:24}" + "  ".join(f"{key} {value}" for key, value in row.items()))
        return finish({"benchmark": "blinks", "pooled": pooled, "clips": clips}, arguments.json)

    return run("blinks", body)


if __name__ == "__main__":
    sys.exit(main())
