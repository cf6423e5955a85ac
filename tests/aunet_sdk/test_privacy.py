"""Nothing leaves the machine: what the README promises, looked at from outside, system call by system call.

The command runs in a network namespace without routes, under strace, with an empty home. No socket of the internet may
be opened, no name looked up, and no file written outside the folders that docs/privacy.md names.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from aunet_sdk._util import privacy

_CALLS = "trace=%network,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat"
_LOOKED_UP = ("/etc/resolv.conf", "/etc/hosts", "libnss_dns")
_SHARED = ("/dev/", "/proc/", "/sys/")
"""memory and devices, no files"""


@functools.cache
def _namespace() -> tuple[str, ...] | None:
    """The command that takes the network away; None where this user may not."""
    for words in (("unshare", "-n"), ("unshare", "-rn")):
        if (
            shutil.which("unshare")
            and not subprocess.run([*words, "true"], capture_output=True, check=False).returncode
        ):
            return words
    return None


@functools.cache
def _reason() -> str:
    """Why these tests cannot run here, or nothing."""
    if sys.platform != "linux":
        return "strace and network namespaces are Linux's"
    if shutil.which("strace") is None:
        return "strace is not installed (apt install strace)"
    if _namespace() is None:
        return "this user may not make a network namespace (unshare -n)"
    done = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "" if not done.returncode else "strace may not trace here"


class Seen:
    """What a command did. lines: of strace; home: its empty home; out: the folder of its outputs"""

    def __init__(self, text: str, home: Path, out: Path) -> None:
        self.lines, self.home, self.out = text.splitlines(), home, out

    @property
    def sockets(self) -> list[str]:
        """Sockets of the internet, and whatever was sent to one."""
        return [line for line in self.lines if "AF_INET" in line or re.search(r"\b(sendto|sendmsg)\(", line)]

    @property
    def lookups(self) -> list[str]:
        """The files that are read where a host's name is looked up."""
        return [line for line in self.lines if any(name in line for name in _LOOKED_UP)]

    @property
    def written(self) -> set[Path]:
        """Files and folders that were made or opened for writing."""
        found = set()
        for line in self.lines:
            if re.search(r"= -1 E[A-Z]+", line):
                continue
            makes = re.match(r"(\d+ +)?(mkdir|rename|link|symlink|creat)\w*\(", line)
            if makes or re.match(r"(\d+ +)?open(at)?\(.*O_(WRONLY|RDWR|CREAT)", line):
                names = re.findall(r'"([^"]*)"', line)
                found |= {self.out / name for name in names[-1:] if not name.startswith(_SHARED)}
        return found

    def outside(self, *folders: Path) -> set[Path]:
        """What was written elsewhere; folders may be made on the way to one of `folders`."""

        def stated(path: Path) -> bool:
            on_the_way = any(folder.is_relative_to(path) for folder in folders)
            return on_the_way or any(path.is_relative_to(folder) for folder in folders)

        return {path for path in self.written if not stated(path)}


def watch(tmp_path: Path, repository: Path, arguments: Sequence[str]) -> Seen:
    """Run Python with `arguments`, seen by strace, in the environment of a user who has set nothing."""
    return begin(tmp_path, repository, arguments)()


def begin(tmp_path: Path, repository: Path, arguments: Sequence[str]) -> Callable[[], Seen]:
    """`watch` that goes on by itself; what is returned waits for its end."""
    if _reason():
        pytest.skip(_reason())
    home, out, trace = (tmp_path / name for name in ("home", "out", "trace"))
    temporary = tmp_path / "temporary"
    for folder in (home, out, temporary):
        folder.mkdir(exist_ok=True)
    kept = ("PATH", "LD_LIBRARY_PATH", "LANG", "OMP_NUM_THREADS")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {
        "HOME": str(home),
        "PYTHONPATH": str(repository),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(temporary),
    }
    namespace = _namespace()
    assert namespace is not None
    said = (tmp_path / "stderr").open("w+b")
    running = subprocess.Popen(
        [*namespace, "strace", "-f", "-qq", "-s", "400", "-o", str(trace), "-e", _CALLS, sys.executable, *arguments],
        cwd=out, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
    )  # fmt: skip

    def end() -> Seen:
        with said, running:
            try:
                code = running.wait(550)
            finally:
                running.kill()
            said.seek(0)
            assert code == 0, said.read()[-3000:].decode(errors="replace")
        assert not list(temporary.iterdir()), "temporary files are left"
        return Seen(trace.read_text(errors="replace"), home, out)

    return end


def assert_private(seen: Seen, *folders: Path) -> None:
    assert seen.written, "strace saw nothing: the test would see nothing either"
    assert not seen.sockets and not seen.lookups
    assert not seen.outside(seen.out, seen.out.parent / "temporary", seen.home / ".cache" / "aunet_sdk", *folders)


def left_in(home: Path) -> set[str]:
    """Of the home's cache, the folders that are there now; and whatever else lies in the home."""
    cache = home / ".cache"
    return {p.name for p in home.iterdir()} | {p.name for p in (cache.iterdir() if cache.is_dir() else ())}


@pytest.fixture(scope="module", autouse=True)
def living(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> Iterator[Callable[[], Seen] | None]:
    """A detector that lives for a while, beside the tests of this file: its own is the last. None where that one is
    left out, or cannot run."""
    wanted = any(item.name == "test_a_detector_that_lives_for_a_while" for item in request.session.items)
    if not wanted or _reason() or importlib.util.find_spec("onnxruntime") is None:
        yield None
        return
    lives = "import aunet_sdk, time; d = aunet_sdk.Detector(aunet_sdk.DetectorOptions(engine='onnxruntime'))\n"
    lives += "time.sleep(12); d.close(); open('done', 'w')"
    yield begin(tmp_path_factory.mktemp("living"), repository, ["-c", lives])


def test_detect_with_every_output(tmp_path: Path, repository: Path) -> None:
    """ONNX Runtime left ~/.cache/Microsoft with queued events; OpenVINO looked up google-analytics and left ~/intel."""
    sample = str(repository / "examples" / "sample.mp4")
    outputs = ["-o", "t.csv", "--video", "v.mp4", "--plot", "p.png"]
    seen = watch(tmp_path, repository, ["-m", "aunet_sdk.cli", "detect", sample, *outputs])
    assert_private(seen, *(seen.home / name / "matplotlib" for name in (".cache", ".config")))
    assert left_in(seen.home) <= {".cache", ".config", "aunet_sdk", "matplotlib"}
    assert {path.name for path in seen.out.iterdir()} == {"t.csv", "t.csv.json", "v.mp4", "p.png"}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_profile(tmp_path: Path, repository: Path, engine: str) -> None:
    pytest.importorskip("openvino" if engine == "openvino" else "onnxruntime")
    words = ["profile", "--synthetic", "--duration", "1", "--engine", engine, "--json", "figures.json"]
    seen = watch(tmp_path, repository, ["-m", "aunet_sdk.cli", *words])
    assert_private(seen)
    assert left_in(seen.home) <= {".cache", "aunet_sdk"}


def test_info(tmp_path: Path, repository: Path) -> None:
    seen = watch(tmp_path, repository, ["-m", "aunet_sdk.cli", "info"])
    assert not seen.sockets and not seen.lookups and not seen.written


def test_the_watch_sees_a_lookup(tmp_path: Path, repository: Path) -> None:
    """The tests above can fail: this program does what they forbid."""
    asks = "import socket, pathlib; pathlib.Path.home().joinpath('x').write_text('')\n"
    asks += "try: socket.create_connection(('example.invalid', 80), 1)\nexcept OSError: pass"
    seen = watch(tmp_path, repository, ["-c", asks])
    assert seen.lookups and seen.outside(seen.out) == {seen.home / "x"}
    seen = watch(tmp_path, repository, ["-c", "import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)"])
    assert seen.sockets


def test_what_training_and_export_import(tmp_path: Path, repository: Path) -> None:
    """albumentations asks the package index for news when it is imported, unless told not to."""
    for name in ("torch", "albumentations", "onnxruntime", "onnxscript", "tensorboard"):
        pytest.importorskip(name)
    script = """
import torch, onnx, onnxscript, sklearn, skimage, pyarrow, train.engine.meter, export.quantise
from tensorboard.summary.writer.record_writer import RecordWriter
from train.data.triplets import TripletAugment
from aunet_sdk.engines.ort_wheel import import_runtime
TripletAugment().content(), import_runtime(gpu=False)
from onnxruntime.quantization import quantize_static
open("done", "w")
"""
    seen = watch(tmp_path, repository, ["-c", script])
    assert not seen.sockets and not seen.lookups
    assert left_in(seen.home) <= {".cache", ".config", "matplotlib"}


def _told(script: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=kept | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


_TELL = "from aunet_sdk._util.privacy import telemetry; print(telemetry()['onnxruntime'])"


@pytest.mark.parametrize(
    "value, told", [("1", "off"), ("yes", "off"), ("0", "on: ORT_DISABLE_TELEMETRY=0"), ("", "on:")]
)
def test_a_choice_of_the_users_stays_and_is_told(value: str, told: str) -> None:
    assert _told(_TELL, ORT_DISABLE_TELEMETRY=value).startswith(told)


def test_an_import_before_ours_is_told(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    script = f"import onnxruntime; {_TELL}\nfrom aunet_sdk.engines.ort_wheel import import_runtime\n"
    told = _told(script + "import_runtime(gpu=False); import_runtime(gpu=False)", HOME=str(tmp_path))
    assert told.startswith("on: onnxruntime was imported before aunet_sdk")
    assert told.count("telemetry of ONNX Runtime") == 1
    assert _told(f"import aunet_sdk, onnxruntime; {_TELL}").strip() == "off"


def test_openvino_comes_without_its_reports() -> None:
    pytest.importorskip("openvino_telemetry")
    script = """
import sys
from aunet_sdk._util.privacy import import_openvino, telemetry
assert import_openvino() is import_openvino() and "openvino_telemetry" not in sys.modules
print(telemetry()["openvino"])
import openvino_telemetry
"""
    assert _told(script).startswith("off")


def test_info_tells() -> None:
    from aunet_sdk.commands.info import facts

    assert dict(facts())["telemetry onnxruntime"] == privacy.telemetry()["onnxruntime"]


def test_a_detector_that_lives_for_a_while(living: Callable[[], Seen] | None) -> None:
    """Without the switch the first lookup of ONNX Runtime's host came within 10 s of its import (measured over 40 s:
    27 calls; with the switch none)."""
    pytest.importorskip("onnxruntime")
    if living is None:
        pytest.skip(_reason())
    assert_private(living())
