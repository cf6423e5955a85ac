"""The plan cache: real files, real processes."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aunet_sdk._util.paths import NOWHERE, engines_folder
from aunet_sdk.engines.tensorrt import ort_folder, plan_file
from aunet_sdk.engines.tensorrt.cache import PlanCache
from aunet_sdk.engines.tensorrt.ort_folder import ORT_FOLDER
from aunet_sdk.engines.tensorrt.plan_file import PlanKey

KEY = PlanKey(
    model="a model",
    model_sha256="00" * 32,
    precision="fp16",
    profile="{}",
    library="tensorrt 10.3.0",
    compute_capability="8.7",
    device="Orin",
    driver="12.6",
)

# A process that asks for a plan, takes a while to build it, and says what it got.
ASK = """
import sys, time
from pathlib import Path
from tests.aunet_sdk.engines.tensorrt.test_cache import KEY
from aunet_sdk.engines.tensorrt.cache import PlanCache
folder, name, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
def build():
    with open(folder / "builds.txt", "a") as file:
        file.write(name + "\\n")
    (folder / "begun").touch()
    time.sleep(seconds)
    return name.encode() * 100_000
plan, fresh = PlanCache(folder).get(KEY, build)
print(plan[:1].decode(), len(plan), fresh)
"""


def ask(folder: Path, name: str, seconds: float) -> subprocess.Popen[str]:
    root = Path(__file__).parents[4]
    return subprocess.Popen(
        [sys.executable, "-c", ASK, str(folder), name, str(seconds)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path) -> None:
    end_s = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_plan_is_built_once(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "new" / "folder")
    assert cache.get(KEY, lambda: b"plan") == (b"plan", True)
    assert cache.get(KEY, lambda: pytest.fail("built again")) == (b"plan", False)
    assert not list(cache.folder.glob(".*.partial"))
    if os.name == "posix":
        assert cache.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(PlanKey)])
def test_a_key_that_differs_in_anything_is_another_plan(tmp_path: Path, field: str) -> None:
    cache = PlanCache(tmp_path)
    cache.store(KEY, b"plan")
    other = dataclasses.replace(KEY, **{field: "changed"})
    assert cache.load(other) is None and cache.load(KEY) == b"plan"
    (tmp_path / KEY.file_name).rename(tmp_path / other.file_name)
    assert cache.load(other) is None, "a plan under another's name is not that plan"


@pytest.mark.parametrize("harm", ["empty", "cut", "header", "payload", "text", "longer", "folder"])
def test_a_damaged_plan_is_built_anew(tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    cache = PlanCache(tmp_path)
    path = cache.store(KEY, b"plan" * 100)
    assert path is not None
    data = path.read_bytes()
    harmed = {
        "empty": b"",
        "cut": data[:-7],
        "header": data.replace(b'"key"', b'"kex"'),
        "payload": data[:-1] + b"X",
        "text": b"something else",
        "longer": data + b"n",
    }
    if harm == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(harmed[harm])
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        assert cache.load(KEY) is None
    assert "built anew" in caplog.text
    if harm != "folder":
        assert [bool(entry.problem) for entry in cache.entries()] == ([] if harm == "text" else [True])
        assert cache.get(KEY, lambda: b"new") == (b"new", True)
        assert cache.load(KEY) == b"new"


def test_two_processes_build_once(tmp_path: Path) -> None:
    first = ask(tmp_path, "a", 1.0)
    wait_for(tmp_path / "begun")
    second = ask(tmp_path, "b", 0.0)
    assert first.communicate(timeout=30)[0].split() == ["a", "100000", "True"]
    assert second.communicate(timeout=30)[0].split() == ["a", "100000", "False"]
    assert (tmp_path / "builds.txt").read_text().split() == ["a"]


def test_a_builder_that_dies_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    first = ask(tmp_path, "a", 60.0)
    wait_for(tmp_path / "begun")
    second = ask(tmp_path, "b", 0.0)
    first.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    first.communicate()
    assert second.communicate(timeout=30)[0].split() == ["b", "100000", "True"]


def test_readers_see_whole_plans_alone(tmp_path: Path) -> None:
    """A process writes plans over and over while this one reads."""
    program = ASK.split("folder, name")[0] + (
        "cache, end = PlanCache(sys.argv[1]), time.monotonic() + 1.0\n"
        "while time.monotonic() < end:\n    cache.store(KEY, bytes([int(time.monotonic() * 1e6) % 256]) * 300_000)\n"
    )
    root = Path(__file__).parents[4]
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    cache, reads = PlanCache(tmp_path), 0
    wait_for(tmp_path / KEY.file_name)
    while writer.poll() is None:
        plan = cache.load(KEY)
        assert plan is not None and len(plan) == 300_000 and len(set(plan)) == 1
        reads += 1
    assert writer.returncode == 0 and reads > 10


def unwritable(tmp_path: Path) -> Path:
    """A folder that nobody can write to, root included: its parent is a file."""
    (tmp_path / "file").write_text("no folder")
    return tmp_path / "file" / "cache"


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = PlanCache(unwritable(tmp_path))
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        for _ in range(2):
            assert cache.get(KEY, lambda: b"plan") == (b"plan", True)
        cache.store_timing(KEY, b"timing")
    assert caplog.text.count("cannot be written") == 1 and "make the folder writable" in caplog.text
    assert cache.entries() == [] and cache.clear() == (0, 0) and cache.load_timing(KEY) == b""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert PlanCache(tmp_path).get(KEY, lambda: b"plan") == (b"plan", True)
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_leaves_the_old_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PlanCache(tmp_path)
    cache.store(KEY, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plan_file.os, "fsync", full)
    assert cache.store(KEY, b"new") is None
    assert cache.load(KEY) == b"old" and not list(tmp_path.glob(".*.partial"))


def test_an_error_of_the_builder_passes_and_frees_the_lock(tmp_path: Path) -> None:
    def broken() -> bytes:
        raise ValueError("no plan")

    cache = PlanCache(tmp_path)
    with pytest.raises(ValueError, match="no plan"):
        cache.get(KEY, broken)
    assert cache.get(KEY, lambda: b"plan")[1]


def test_discard_spares_a_plan_that_came_later(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.store(KEY, b"newer")
    cache.discard(KEY, b"older")
    assert cache.load(KEY) == b"newer"
    cache.discard(KEY, b"newer")
    assert cache.load(KEY) is None
    cache.discard(KEY, b"newer")


def test_timing_caches_are_shared_by_models_not_by_devices(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    assert cache.store_timing(KEY, b"") is None
    cache.store_timing(KEY, b"learnt")
    assert cache.load_timing(dataclasses.replace(KEY, model="b", profile="p")) == b"learnt"
    assert cache.load_timing(dataclasses.replace(KEY, device="Xavier")) == b""
    (tmp_path / KEY.timing_name).write_bytes(b"rubbish")
    assert cache.load_timing(KEY) == b""


def test_entries_and_clear(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.store(KEY, b"plan")
    cache.store_timing(KEY, b"learnt")
    (tmp_path / f".{KEY.file_name}.99.partial").write_bytes((tmp_path / KEY.file_name).read_bytes()[:20])
    (tmp_path / "notes.txt").write_text("not ours")
    assert [(e.path.suffix, e.key, e.problem) for e in cache.entries()] == [
        (".plan", KEY, None),
        (".cache", None, None),
    ]
    files, size = cache.clear()
    assert files == 3 and size > 10
    assert cache.entries() == [] and (tmp_path / "notes.txt").exists()


def test_clear_removes_what_onnxruntime_keeps(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    folder = tmp_path / ORT_FOLDER / "default-0123"
    ort_folder.prepare(folder)
    (folder / "TensorrtExecutionProvider_main.engine").write_bytes(b"engine")
    (folder.parent / "TensorrtExecutionProvider_cache_sm89.timing").write_bytes(b"learnt")
    assert cache.clear() == (2, 12)
    assert not (tmp_path / ORT_FOLDER).exists() and cache.clear() == (0, 0)


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_clear_leaves_what_is_not_ours(tmp_path: Path) -> None:
    """`aunet engine clear --cache DIR` removed every *.plan and *.cache of DIR, and DIR/onnxruntime with all in it."""
    (tmp_path / "trip.plan").write_text("Monday: Lisbon")
    (tmp_path / "notes.cache").write_text("")
    (tmp_path / ".draft.7.partial").write_text("")
    for name in ("core/session.cc", "core/model.engine", "README.md", "x.timing"):
        path = tmp_path / "onnxruntime" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a checkout of somebody's")
    before = everything_in(tmp_path)
    cache = PlanCache(tmp_path)
    assert cache.entries() == [] and cache.clear() == (0, 0)
    assert everything_in(tmp_path) == before
    cache.store(KEY, b"plan")
    assert cache.clear()[0] == 1
    assert everything_in(tmp_path) in (before, before | {"build.lock": b""})


def test_clear_leaves_what_others_put_beside_ours(tmp_path: Path) -> None:
    folder = tmp_path / ORT_FOLDER / "default-0123"
    ort_folder.prepare(folder)
    (folder / "main.engine").write_bytes(b"engine")
    (folder / "notes.txt").write_text("keep")
    outside = tmp_path / "elsewhere"
    ort_folder.prepare(outside / "x")
    (outside / "x" / "main.engine").write_bytes(b"engine")
    (tmp_path / ORT_FOLDER / "link").symlink_to(outside / "x")
    assert PlanCache(tmp_path).clear() == (1, 6)
    assert (folder / "notes.txt").read_text() == "keep" and (outside / "x" / "main.engine").is_file()


@pytest.mark.parametrize("version", [b"aunet_sdk plan 1\n", b"aunet_sdk plan 2\n"])
def test_clear_takes_files_of_other_versions(tmp_path: Path, version: bytes) -> None:
    """A cache that an earlier version filled has no marker; its files begin as ours do."""
    (tmp_path / "old.plan").write_bytes(version + b"rest")
    (tmp_path / KEY.file_name).write_bytes(b"")  # ours by name, and nothing in it: a write that was cut off
    assert len(PlanCache(tmp_path).entries()) == 2
    assert PlanCache(tmp_path).clear()[0] == 2


def test_onnxruntimes_own_failure_empties_its_folder_alone(tmp_path: Path) -> None:
    from aunet_sdk.engines.cuda.ort_session import _emptied

    folder = tmp_path / ORT_FOLDER / "default-0123"
    folder.mkdir(parents=True)
    (folder / "main.engine").write_bytes(b"a folder that we did not mark")
    assert not _emptied(folder, ValueError("refused")) and (folder / "main.engine").is_file()
    ort_folder.prepare(folder)
    (folder / "notes.txt").write_text("keep")
    assert _emptied(folder, ValueError("refused"))
    assert sorted(path.name for path in folder.iterdir()) == [ort_folder.MARKER, "notes.txt"]


def test_a_refused_plan_is_not_read_again(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.store(KEY, b"bad")
    assert cache.build_once(KEY, lambda: pytest.fail("it is there"), b"other") == (b"bad", False)
    assert cache.build_once(KEY, lambda: b"good", b"bad") == (b"good", True)
    assert cache.load(KEY) == b"good"


def test_keys_are_those_of_plans_under_their_own_names(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    other = dataclasses.replace(KEY, profile="{1}")
    for key in (KEY, other):
        cache.store(key, b"plan")
    (tmp_path / "a.plan").write_bytes((tmp_path / KEY.file_name).read_bytes())
    (tmp_path / "b.plan").write_bytes(b"damaged")
    cache.store_timing(KEY, b"learnt")
    assert set(cache.keys()) == {KEY, other} and PlanCache(tmp_path / "none").keys() == []


def test_who_waits_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At a level that is seen without any set-up of logging."""
    waited: list[bool] = []

    def wait() -> None:
        with PlanCache(tmp_path).building():
            waited.append(True)

    with PlanCache(tmp_path).building(), caplog.at_level(logging.WARNING, "aunet_sdk"):
        thread = threading.Thread(target=wait)
        thread.start()
        end_s = time.monotonic() + 20
        while "another process builds an engine" not in caplog.text:
            assert time.monotonic() < end_s
            time.sleep(0.01)
        assert not waited
    thread.join(20)
    assert waited == [True]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the rule of other systems")
def test_the_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engines_folder() == tmp_path / "aunet_sdk" / "engines" == PlanCache().folder
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert engines_folder() == tmp_path / ".cache" / "aunet_sdk" / "engines"


def test_a_user_without_a_home(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is kept, not even by root, and nothing fails."""
    cache = PlanCache(NOWHERE / "engines")
    assert cache.get(KEY, lambda: b"plan") == (b"plan", True)
    assert cache.load_timing(KEY) == b"" and cache.keys() == [] and cache.entries() == [] and cache.clear() == (0, 0)
    assert caplog.text.count("WARNING") == 1 and "cannot be written" in caplog.text
