"""The wheel as somebody gets it who has no compiler and no checkout."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from aunet_sdk._native import KERNELS

pytest.importorskip("Cython", reason="the wheel is built without an isolated environment, which needs Cython")
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt", "csrc", "aunet_sdk")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy. The kernels are compiled without optimisation, which takes a third of the time."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    leave_out = shutil.ignore_patterns("*.so", "__pycache__")
    for name in SOURCES:
        if (repository / name).is_dir():
            shutil.copytree(repository / name, copy / name, ignore=leave_out)
        else:
            shutil.copy(repository / name, copy / name)
    setup = copy / "setup.py"
    setup.write_text(setup.read_text(encoding="utf-8").replace('"-O3"', '"-O0"'), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"]
    command += ["--no-build-isolation", "-w", str(out), str(copy)]
    done = subprocess.run(
        command,
        env={**os.environ, "AUNET_REQUIRE_NATIVE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    (made,) = out.glob("*.whl")
    return made


def test_it_has_the_runtime_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"aunet_sdk"}
    for needed in ("py.typed", "models/default.onnx", "models/nano.onnx", "models/MANIFEST.json", "sample/sample.mp4"):
        assert f"aunet_sdk/{needed}" in names
    assert not [name for name in names if name.endswith((".pyx", ".c", ".h"))]
    kernels = sorted(name for name in names if name.startswith("aunet_sdk/_native/") and not name.endswith(".py"))
    assert len(kernels) == len(KERNELS) + 1, kernels
    if sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED") and os.name == "posix":
        assert "-cp311-abi3-" in wheel.name and all(name.endswith(".abi3.so") for name in kernels)


def test_the_main_job_runs_from_it(wheel: Path, tmp_path: Path) -> None:
    """From a folder of its own, with no program in reach: no compiler, and nothing of the checkout."""
    target = tmp_path / "target"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    environment = {
        "PYTHONPATH": str(target),
        "PATH": str(tmp_path),
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    code = (
        "import sys, aunet_sdk; from aunet_sdk import _native; from aunet_sdk.__main__ import main; "
        f"assert aunet_sdk.__file__.startswith({str(target)!r}), aunet_sdk.__file__; "
        f"assert all(_native.load(name).__file__.startswith({str(target)!r}) for name in _native.KERNELS); "
        "sys.argv = ['aunet', 'demo', '-o', 'out', '--engine', 'onnxruntime']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "sample.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 350 and {row["face_id"] for row in rows} == {"1"}
    assert (tmp_path / "out" / "sample.mp4").stat().st_size > 10_000
    assert "AU12" in done.stdout and "out/sample.csv" in done.stdout
