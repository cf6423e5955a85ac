"""What the scripts share: options, how they end (a table, then one line of JSON), how an error becomes an exit code."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aunet_sdk import AUNetError, DetectorOptions


def parser_of(doc: str | None, *, model: bool = False) -> argparse.ArgumentParser:
    """A parser with --json, and with --model, --engine and --threads where `model` is set."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    if model:
        parser.add_argument("--model", type=Path, help="bundle (default: the one of the package)")
        parser.add_argument("--engine", default="auto", help="as `aunet info` lists them (default: auto)")
        parser.add_argument("--threads", type=int, help="threads of our network (default: the engine's choice)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    return parser


def options_of(arguments: argparse.Namespace, **more: Any) -> DetectorOptions:
    """DetectorOptions from --model, --engine and --threads."""
    return DetectorOptions(model=arguments.model, engine=arguments.engine, threads=arguments.threads, **more)


def machine() -> dict[str, Any]:
    """Cores, and the load when the script began: a figure measured beside other work says less."""
    return {"cores": os.cpu_count(), "load": load()}


def load() -> float | None:
    """Of the last minute, or None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def finish(figures: dict[str, Any], path: Path | None = None) -> int:
    """Write the figures to `path`, print them as the last line; exit code 0."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))
    return 0


def run(name: str, body: Callable[[], int]) -> int:
    """The script's exit code: 2 with one line on stderr for an error that aunet_sdk names."""
    try:
        return body()
    except AUNetError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2


def medians(calls: Sequence[Callable[[], object]], rounds: int, warm_up: int | None = None) -> list[float]:
    """Median time of each call in seconds; they take turns, `rounds` times, the first `warm_up` not counted."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, spent in zip(calls, times, strict=True):
            start_s = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start_s)
    skip = rounds // 10 if warm_up is None else warm_up
    return [statistics.median(spent[skip:]) for spent in times]
