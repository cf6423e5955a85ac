"""A kiosk: a callback for every event and every status, while another thread shows something else.

    python examples/kiosk.py [SOURCE]

The camera may be pulled out and put back in; the callbacks run in threads of their own and hold up nothing.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from aunet_sdk import Detector, DetectorOptions
from aunet_sdk.live import LiveRunner
from aunet_sdk.sinks import CallbackSink, FanOut
from aunet_sdk.sources import open_source


def on_event(event: Any) -> None:
    print(f"{event.timestamp_s:7.2f} s: {event.au} {event.phase} of person {event.face}, peak {event.peak:.2f}")


def on_status(status: dict[str, Any]) -> None:
    speed = "" if status["fps"] is None else f", {status['fps']:.0f} results/s"
    print(f"{status['state']}{speed}, dropped {status['dropped'] or 'nothing'}", file=sys.stderr)


def main() -> None:
    sinks = FanOut({"kiosk": CallbackSink(on_event=on_event, on_status=on_status)})
    with Detector(DetectorOptions(look_ahead="full", max_faces=2)) as detector, sinks:
        with LiveRunner(detector, [sinks], events={"min_duration_s": 0.3}) as runner:
            signal.signal(signal.SIGTERM, lambda *_: runner.stop())
            runner.add("kiosk", open_source(sys.argv[1] if len(sys.argv) > 1 else "0"))
            runner.run()


if __name__ == "__main__":
    main()
