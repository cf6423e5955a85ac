"""Users without a home, homes that may not be read or written, folders that are gone: the shipped model runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .command import write_video

_RUN = """
import os, sys
{first}
from aunet_sdk.cli import main
sys.argv = ["aunet", *{arguments!r}]
main()
"""
_UID = 54321  # a number without a name, as `docker run -u 54321` gives


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can get to, other than pytest's, which are closed to them."""
    with tempfile.TemporaryDirectory(prefix="aunet-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "faces.avi", frames=12)


def aunet_as(
    uid: int, repository: Path, arguments: list[str], first: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of another user (0: this one), whose environment is what is given and the path."""
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"} | environment
    script = _RUN.format(arguments=arguments, first=first)
    other = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"] if uid else []
    return subprocess.run(
        [*other, sys.executable, "-c", script],
        env=kept,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="root alone can become another user")
@pytest.mark.parametrize("home", [None, "", "closed", "/nonexistent", "relative"])
def test_a_user_that_is_a_number(repository: Path, open_folder: Path, home: str | None) -> None:
    """Without HOME a RuntimeError, with one that may not be read a PermissionError came from the search for YuNet's
    file, and stopped the default model, which is shipped."""
    if shutil.which("setpriv") is None or aunet_as(_UID, repository, ["--help"], HOME="/").returncode:
        pytest.skip("there is no setpriv, or another user may not read this Python or the checkout")
    out = open_folder / "out"
    video = write_video(open_folder / "faces.avi", frames=12)
    out.mkdir()
    out.chmod(0o777)
    closed = open_folder / "closed"
    (closed / ".cache" / "aunet_sdk" / "models").mkdir(parents=True)
    closed.chmod(0o700)
    environment = {} if home is None else {"HOME": str(closed) if home == "closed" else home}
    table = out / "t.csv"
    arguments = ["detect", str(video), "-o", str(table), "--engine", "auto", "--quiet"]
    done = aunet_as(_UID, repository, arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert table.is_file() and "Traceback" not in done.stderr
    assert {path.name for path in open_folder.iterdir()} == {"faces.avi", "out", "closed"}
    for words in (["info"], ["models", "list"], ["engine", "list"], ["engine", "clear"]):
        done = aunet_as(_UID, repository, words, **environment)
        assert done.returncode == 0, (words, done.stderr)


def test_a_home_that_cannot_be_written(video: Path, repository: Path, tmp_path: Path) -> None:
    """Not by root either: it is a file."""
    (tmp_path / "home").write_text("")
    table = tmp_path / "t.csv"
    home = str(tmp_path / "home")
    done = aunet_as(0, repository, ["detect", str(video), "-o", str(table), "--quiet"], HOME=home)
    assert done.returncode == 0 and table.is_file(), done.stderr


def test_a_working_folder_that_is_gone(video: Path, repository: Path, tmp_path: Path) -> None:
    """It gave "No such file or directory" and no more."""
    gone = tmp_path / "gone"
    first = f"os.mkdir({str(gone)!r}); os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})"
    table = tmp_path / "t.csv"
    done = aunet_as(0, repository, ["detect", str(video), "-o", str(table), "--quiet"], first, HOME=str(tmp_path))
    assert done.returncode == 0 and table.is_file(), done.stderr
    done = aunet_as(0, repository, ["detect", str(video), "--quiet"], first, HOME=str(tmp_path))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "the working directory does not exist any more" in done.stderr


def test_a_read_only_file_system(video: Path, repository: Path, tmp_path: Path) -> None:
    """As in a container with `--read-only`: everything but the folder of the outputs."""
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir(), out.mkdir()
    bind = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    mount = ["unshare", "-m", "sh", "-c", bind, str(home)]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount in a namespace of its own")
    command = [*mount, sys.executable, "-m", "aunet_sdk.cli", "detect", str(video), "-o", str(out / "t.csv"), "--quiet"]
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(repository)}
    environment.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (out / "t.csv").is_file(), done.stderr
    assert not list(home.iterdir())
