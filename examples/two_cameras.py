"""Two cameras, or files, on one detector: frames that come at the same time are one batch of the network.

    python examples/two_cameras.py SOURCE SOURCE

Every camera has ids of its own. One that is lost does not stop the other.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack

from aunet_sdk import Detector, DetectorOptions, FrameResult
from aunet_sdk.live import LiveRunner
from aunet_sdk.sinks import CallbackSink, FanOut
from aunet_sdk.sources import open_source


def main() -> None:
    names = sys.argv[1:] or ["0", "1"]
    smiles: Counter[str] = Counter()

    def counter(name: str) -> CallbackSink:
        def count(result: FrameResult, image: object) -> None:
            smiles[name] += any(face.is_active("AU12") for face in result.faces)

        return CallbackSink(count)

    with ExitStack() as stack:
        detector = stack.enter_context(Detector(DetectorOptions(look_ahead="none")))
        outputs = {f"camera {i}": FanOut({"counter": counter(f"camera {i}")}) for i in range(len(names))}
        for output in outputs.values():
            stack.enter_context(output)
        runner = stack.enter_context(LiveRunner(detector))
        for (label, output), name in zip(outputs.items(), names, strict=True):
            runner.add(label, open_source(name), outputs=[output])
        runner.run(60.0)
    for label, error in runner.errors.items():
        print(f"{label}: {error}", file=sys.stderr)
    print(dict(smiles))


if __name__ == "__main__":
    main()
