"""How long it takes until the first frame can be looked at: the import, and a Detector with the default bundle.

    python benchmarks/startup.py [--rounds 7] [--model BUNDLE] [--engine E] [--threads N] [--json FILE]

Every round is a fresh Python. `import_s`: `import aunet_sdk`; `ready_s`: from the end of that import to a Detector that
is ready, all that is loaded on the way included. Medians; the files lie in the system's cache after the first round,
which is not counted. `python_s`: an interpreter that does nothing. The last line is one JSON object.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from common import finish, machine, options_of, parser_of, run

from aunet_sdk import AUNetError

SCRIPT = """
import time
start = time.perf_counter()
import aunet_sdk
imported = time.perf_counter()
detector = aunet_sdk.Detector(aunet_sdk.DetectorOptions(model={model!r}, engine={engine!r}, threads={threads!r}))
ready = time.perf_counter()
import numpy as np
detector.detect(np.zeros((360, 640, 3), np.uint8))
print(imported - start, ready - imported, time.perf_counter() - ready)
"""


def fresh(script: str) -> str:
    """What a Python of its own prints."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if done.returncode:
        raise AUNetError(done.stderr.strip().splitlines()[-1] if done.stderr else "the fresh Python gave no answer")
    return done.stdout


def main() -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds: expected 1 or more, got {arguments.rounds}")

    def body() -> int:
        options = options_of(arguments)
        model = None if options.model is None else str(options.model)
        script = SCRIPT.format(model=model, engine=options.engine, threads=options.threads)
        rows, empty = [], []
        for _ in range(arguments.rounds + 1):
            rows.append([float(value) for value in fresh(script).split()])
            start_s = time.perf_counter()
            fresh("pass")
            empty.append(time.perf_counter() - start_s)
        imported, ready, first = (statistics.median(column[1:]) for column in zip(*rows, strict=True))
        figures = {
            "benchmark": "startup",
            "rounds": arguments.rounds,
            **machine(),
            "python_s": round(statistics.median(empty[1:]), 4),
            "import_s": round(imported, 4),
            "ready_s": round(ready, 4),
            "first_picture_s": round(first, 4),
        }
        print(f"{'':22}{'s':>8}")
        for name, text in (
            ("python_s", "an empty Python"),
            ("import_s", "import aunet_sdk"),
            ("ready_s", "Detector ready"),
            ("first_picture_s", "first picture"),
        ):
            print(f"{text:22}{figures[name]:8.3f}")
        return finish(figures, arguments.json)

    return run("startup", body)


if __name__ == "__main__":
    sys.exit(main())
