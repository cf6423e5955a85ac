"""A robot's own loop: it brings the frames, asks for results at once, and acts when somebody begins to smile.

    python examples/robot_loop.py [CAMERA | VIDEO]

The robot reads its camera itself; the detector gets every frame with its time, and answers before the next.
"""

from __future__ import annotations

import sys
import time

from aunet_sdk import Detector, DetectorOptions
from aunet_sdk.post.events import EventTracker, Phase
from aunet_sdk.sources import open_source


def act(face: int, timestamp_s: float) -> None:
    """Where the robot would smile back."""
    print(f"{timestamp_s:7.2f} s: person {face} smiles")


def main() -> None:
    source = open_source(sys.argv[1] if len(sys.argv) > 1 else "0")
    events = EventTracker(min_duration_s=0.2)
    with Detector(DetectorOptions(look_ahead="none", aus=("AU6", "AU12"))) as detector, source:
        with detector.open_stream() as stream:
            for frame in source:
                start_s = time.perf_counter()
                for result in stream.push_frame(frame):
                    for event in events.update(result):
                        if event.au == "AU12" and event.phase is Phase.ONSET:
                            act(event.face, event.timestamp_s)
                spent_s = time.perf_counter() - start_s
                if spent_s > 0.1:  # the robot has other things to do
                    print(f"{frame.timestamp_s:7.2f} s: this frame took {1e3 * spent_s:.0f} ms", file=sys.stderr)


if __name__ == "__main__":
    main()
