"""What people do in front of a camera: who comes to a place in the picture, for how long, and where they look.

    python examples/people.py [SOURCE]

A line for everybody who comes to one of two places or leaves it, and every two seconds a line for everybody who is
there. All of it stays in this process; ids are of this run alone.
"""

from __future__ import annotations

import sys

from aunet_sdk import Detector, DetectorOptions
from aunet_sdk.post.activity import Activity, ActivityTracker
from aunet_sdk.post.zones import Zone, ZoneTracker
from aunet_sdk.sources import SourceOptions, open_source

EVERY_S = 2.0
ZONES = (  # shares of the picture's width and height
    Zone("entrance", [(0, 0), (0.5, 0), (0.5, 1), (0, 1)]),
    Zone("counter", [(0.5, 0), (1, 0), (1, 1), (0.5, 1)]),
)


def described(one: Activity) -> str:
    smile = "" if one.smile_s is None else f", smiled {one.smile_s:.1f} s"
    looks = "looks here" if one.facing else "looks away"
    return f"person {one.face}: {looks}, {one.attention_s:.1f} s of the last {one.seen_s:.1f} s{smile}"


def main() -> None:
    zones, activity = ZoneTracker(ZONES), ActivityTracker(window_s=60)
    told_s = float("-inf")
    options = SourceOptions(wait=True)  # a camera that is not there yet is waited for
    with Detector(DetectorOptions(look_ahead="none", max_faces=8)) as detector:
        with open_source(sys.argv[1] if len(sys.argv) > 1 else "0", options) as source:
            for result in detector.stream(source):
                for event in zones.update(result):
                    stayed = f" after {event.dwell_s:.1f} s" if event.kind == "leave" else ""
                    print(f"{event.timestamp_s:.1f} s: person {event.face} {event.kind}s the {event.zone}{stayed}")
                people = activity.update(result)
                if result.timestamp_s - told_s >= EVERY_S:
                    told_s = result.timestamp_s
                    for one in people:
                        print(f"{one.timestamp_s:.1f} s: {described(one)}")
    for event in zones.flush():
        print(f"{event.timestamp_s:.1f} s: person {event.face} leaves the {event.zone} after {event.dwell_s:.1f} s")


if __name__ == "__main__":
    main()
