"""How the scripts of benchmarks/ are run by their tests."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def run(repository: Path, script: str, *arguments: object) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output and the object in the last line."""
    command = [sys.executable, str(repository / "benchmarks" / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, figures_in(done.stdout)


def figures_in(text: str) -> dict[str, Any]:
    """The object in the last line; none where there is none."""
    lines = text.splitlines()
    figures: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return figures


def load(name: str) -> ModuleType:
    return importlib.import_module(name)
