"""From the release's files to a bundle, by the checkout's `train import-release` and `export`.

Both are no parts of the installed package, and run as processes of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import BackendUnavailable, ModelError

__all__ = ["checkout", "convert"]


def checkout() -> Path:
    """The folder with train and export beside this package; BackendUnavailable where they or their libraries lack."""
    root = Path(__file__).resolve().parents[2]
    if not all((root / part / "__main__.py").is_file() for part in ("train", "export")):
        raise BackendUnavailable(
            "models pull: expected a checkout of aunet_sdk with the folders train and export, got the installed "
            "package alone; run this command in a checkout and copy the bundle, or fetch alone with --download-only"
        )
    missing = [
        module for module in ("torch", "safetensors", "onnx", "onnxscript", "onnxruntime") if find_spec(module) is None
    ]
    if missing:
        raise BackendUnavailable(
            f"models pull: expected the libraries of the export, got no {', '.join(missing)}; "
            f"pip install -e '{root}[train,export,cpu]', or fetch alone with --download-only"
        )
    return root


def convert(root: Path, fan: Path, head: Path, au_numbers: Sequence[int], target: Path, by_order: bool) -> Path:
    """A stream bundle at `target` from the two files, by the checkout's `train import-release` and `export`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="aunet-models-") as work:
        options = ["--aus", ",".join(map(str, au_numbers)), *(["--by-order"] if by_order else [])]
        paths = [str(path.resolve()) for path in (fan, head)]
        _run(root, "train", "import-release", "--fan", paths[0], "--head", paths[1], "--out", work, *options)
        checkpoint = Path(work) / f"{head.name.split('.')[0]}.safetensors"
        made = ["--kind", "stream", "--head", "aunet", "--out", work, "--name", target.stem, "--limit", "2"]
        _run(root, "export", str(checkpoint), *made)
        bundles = sorted(Path(work).glob("*.onnx"))
        if len(bundles) != 1:
            raise ModelError(f"models pull: expected one bundle of the export, got {len(bundles)}")
        partial = target.with_name(target.name + ".partial")
        try:
            shutil.copyfile(bundles[0], partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return target


def _run(root: Path, module: str, *arguments: str) -> None:
    path = os.pathsep.join(part for part in (str(root), os.environ.get("PYTHONPATH", "")) if part)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ModelError(
            f"models pull: `python -m {module} {arguments[0]}` failed: {' '.join(said[-3:]) or done.returncode}"
        )
