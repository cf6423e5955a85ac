"""Workers that are killed, archives that are gone on with, disks that are full: nothing is lost, no row is twice."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk import DetectorOptions
from aunet_sdk.errors import ModelError, OutputLost
from aunet_sdk.jobs import split
from aunet_sdk.jobs.dataset import DataSet, Status
from aunet_sdk.jobs.items import Item, expand
from aunet_sdk.jobs.pools import LocalPool, Pool, RayPool
from aunet_sdk.jobs.runner import ATTEMPTS, Progress, _next, run
from aunet_sdk.jobs.worker import Task, Worker

from ..command import aunet, write_video
from .conftest import FRAMES, cut

pq = pytest.importorskip("pyarrow.parquet")
ds = pytest.importorskip("pyarrow.dataset")
pandas = pytest.importorskip("pandas")
pytest.importorskip("pebble")

OPTIONS = DetectorOptions(engine="onnxruntime", threads=1)
NAMES = ("AU12",)


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    made = DataSet(tmp_path / "out")
    made.begin({}, resume=False)
    return made


def _pool(data: DataSet, size: int = 1, options: DetectorOptions = OPTIONS) -> Pool:
    return LocalPool(size, str(data.root), options, {"model": "default"})


def test_a_split_file_learns_the_faces_at_rest_at_its_end(
    short_sample: Path, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "OVERLAP_S", 2.5)
    items = expand([str(short_sample)])
    whole = DataSet(tmp_path / "whole")
    whole.begin({}, resume=False)
    with _pool(whole) as pool:
        run(items, whole, pool, NAMES)
    with _pool(data, 2) as pool:
        (status,) = run(items, data, pool, NAMES, split_s=3, learns_rest=True)
    assert (status.state, status.frames) == ("done", FRAMES) and not list(data.work.iterdir())
    one, other = (pq.read_table(each.place_of(status.key), partitioning=None) for each in (whole, data))
    for name in ("AU1", "AU2", "AU12", "AU26"):
        assert np.abs(one.column(name).to_numpy() - other.column(name).to_numpy()).max() < 1e-4, name


def test_parts_need_an_engine_whose_states_can_be_kept(short_sample: Path, tmp_path: Path) -> None:
    arguments = ["jobs", "run", str(short_sample), "--out", str(tmp_path / "out"), "--split", "3", "--engine", "triton"]
    result = aunet(*arguments)
    assert result.exit_code == 2 and "--neutral off" in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_files_together_have_the_rows_that_they_have_alone(short_sample: Path, data: DataSet, tmp_path: Path) -> None:
    """One batch over two files of other lengths; a third that cannot be read disturbs nobody."""
    videos = [cut(short_sample, count, tmp_path / f"{count}.mp4") for count in (30, 45)]
    text = tmp_path / "text.mp4"
    text.write_text("no video", encoding="utf-8")
    items = expand([str(path) for path in (videos[0], text, videos[1])])
    worker = Worker(str(data.root), OPTIONS, {}, together=3)
    outcomes = worker.run_all([Task(item) for item in items])
    assert [each.state for each in outcomes if isinstance(each, Status)] == ["done", "failed", "done"]
    joint = worker._open()._joint
    assert joint is not None
    for _ in range(4):  # how many are shared hangs on when each file's frames come: again, on a busy machine
        if joint.batches < 0.8 * joint.steps:
            break
        joint.batches = joint.steps = 0
        worker.run_all([Task(item) for item in items])
    assert joint.batches < 0.8 * joint.steps, "few steps were shared"
    worker.close()
    tables = [pq.read_table(data.place_of(item.key), partitioning=None).to_pandas() for item in items[::2]]
    alone = Worker(str(data.root), OPTIONS, {})
    for item, table in zip(items[::2], tables, strict=True):
        alone.run(item)
        expected = pq.read_table(data.place_of(item.key), partitioning=None).to_pandas()
        pandas.testing.assert_frame_equal(table, expected, check_exact=False, rtol=0, atol=1e-4)
    alone.close()


def test_a_worker_gets_several_files_where_it_works_on_them_together() -> None:
    left = deque(Task(Item(f"{n}.mp4", f"{n}"), attempt=2 if n == 0 else 1) for n in range(21))
    counts = [len(_next(left, 2, 2)), len(_next(left, 2, 2)), len(_next(left, 2, 1)), len(_next(left, 1, 1))]
    assert counts == [1, 8, 8, 1], "what has ended a worker goes alone"
    assert len(_next(left, 4, 2)) == 3 and not left


def _children() -> list[int]:
    """Workers: processes of this one that have aunet_sdk's job in their environment of imports."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


def _rows(data: DataSet) -> int:
    return sum(ds.dataset(str(path)).count_rows() for path in data.root.glob("file=*"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="workers are found by /proc")
def test_a_worker_that_is_killed_is_replaced_and_its_file_is_done_once(short_sample: Path, data: DataSet) -> None:
    items = expand([str(short_sample)])
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            time.sleep(0.05)
            if any(path.read_text() not in ("", "1") for path in data.work.glob("*.frames")):
                for pid in _children():
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    hand = threading.Thread(target=kill, daemon=True)
    with _pool(data) as pool:
        hand.start()
        (status,) = run(items, data, pool, NAMES)
    assert killed and (status.state, status.attempts, status.frames) == ("done", 2, FRAMES)
    assert _rows(data) == status.rows == FRAMES
    table = pq.read_table(data.place_of(status.key), partitioning=None)
    assert table.column("frame").to_pylist() == list(range(FRAMES))
    assert table.schema.metadata[b"aunet.model"] == b"default"


def test_a_file_that_kills_every_worker_is_one_failure_and_the_rest_goes_on(
    tmp_path: Path, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly, good = write_video(tmp_path / "deadly.avi", 5), write_video(tmp_path / "good.avi", 5)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(_deadly(tmp_path)), *sys.path]))
    seen: list[int] = []
    with _pool(data) as pool:
        statuses = run(
            expand([str(deadly), str(good)]), data, pool, NAMES, on_progress=lambda p: seen.append(len(p.done))
        )
    assert [status.state for status in statuses] == ["failed", "done"]
    assert f"died {ATTEMPTS} times" in statuses[0].problem and statuses[0].attempts == ATTEMPTS
    assert seen == sorted(seen) and seen[-1] == 2


def _deadly(folder: Path) -> Path:
    """A folder whose sitecustomize makes a process die when it opens `deadly.avi`."""
    place = folder / "deadly"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def hook(event, args):\n"
        "    if event == 'open' and str(args[0]).endswith('deadly.avi'):\n"
        "        os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(hook)\n",
        encoding="utf-8",
    )
    return place


def test_finished_files_are_passed_over_and_changed_ones_are_done_again(tmp_path: Path, data: DataSet) -> None:
    paths = [write_video(tmp_path / f"{name}.avi", 8) for name in "ab"]
    worker = Worker(str(data.root), OPTIONS, {})
    first = worker.run(expand([str(paths[0])])[0])
    worker.close()
    told: list[Progress] = []
    with _pool(data) as pool:
        statuses = run(expand([str(p) for p in paths]), data, pool, NAMES, on_progress=told.append)
    assert statuses[0] == first and told[-1].passed_over == 1 and len(told[-1].done) == 1
    write_video(paths[0], 12)
    with _pool(data) as pool:
        again = run(expand([str(p) for p in paths]), data, pool, NAMES)
    assert [status.frames for status in again] == [12, 8]
    assert _rows(data) == sum(status.rows for status in again)


def test_broken_files_are_reported_and_keep_their_rows(short_sample: Path, tmp_path: Path, data: DataSet) -> None:
    whole = short_sample.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    text = tmp_path / "text.mp4"
    text.write_text("no video", encoding="utf-8")
    worker = Worker(str(data.root), OPTIONS, {})
    broken, failed = (worker.run(item) for item in expand([str(cut), str(text)]))
    worker.close()
    assert broken.state == "broken" and 0 < broken.frames < FRAMES and broken.rows == _rows(data)
    assert failed.state == "failed" and "no video" in failed.problem and failed.rows == 0
    assert not list(data.work.iterdir())


def test_a_full_disk_stops_the_job_and_what_was_finished_stays(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk: the error is the same OSError."""
    code = f"""
import resource, sys
from pathlib import Path
from aunet_sdk import DetectorOptions
from aunet_sdk.errors import OutputLost
from aunet_sdk.jobs.dataset import DataSet, Status
from aunet_sdk.jobs.items import Item, expand
from aunet_sdk.jobs.worker import Worker
data = DataSet({str(tmp_path / "out")!r})
data.begin({{}}, resume=False)
items = expand([{str(tmp_path / "a.avi")!r}, {str(tmp_path / "b.avi")!r}])
worker = Worker(str(data.root), DetectorOptions(engine="onnxruntime", threads=1), {{}})
worker.run(items[0])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    worker.run(items[1])
except OutputLost as error:
    assert "make room" in str(error), error
    assert data.status_of(items[0]) and not data.status_of(items[1])
    assert not list(data.work.iterdir()), list(data.work.iterdir())
    sys.exit(7)
"""
    for name in "ab":
        write_video(tmp_path / f"{name}.avi", 10)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7


def test_a_model_that_cannot_be_had_ends_the_job(tmp_path: Path, data: DataSet) -> None:
    model = tmp_path / "no.onnx"
    model.write_bytes(b"no bundle")
    with _pool(data, options=DetectorOptions(model=model, engine="onnxruntime")) as pool, pytest.raises(ModelError):
        run(expand([str(write_video(tmp_path / "a.avi", 3))]), data, pool, NAMES)


def test_the_command_makes_a_data_set_and_goes_on_with_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    videos = [write_video(tmp_path / f"{name}.avi", 6) for name in ("talk one", "b")]
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video", encoding="utf-8")
    result = aunet("jobs", "run", *videos, bad, "--out", out, "--workers", 1)
    assert result.exit_code == 4 and "bad.mp4: failed" in result.output and "2 of 3 files done" in result.output
    table = ds.dataset(str(out), partitioning="hive").to_table().to_pandas()
    assert table["file"].nunique() == sum(1 for p in out.glob("file=*") if ds.dataset(str(p)).count_rows())
    page = (out / "_summary.html").read_text(encoding="utf-8")
    assert "talk one.avi" in page and "no video" in page and "http" not in page
    assert aunet("jobs", "run", *videos, "--out", out, "--workers", 1).exit_code == 2
    result = aunet("jobs", "run", *videos, "--out", out, "--workers", 1, "--resume")
    assert result.exit_code == 0 and "2 of 2 files done" in result.output


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (the extra `ray`)")
def test_ray_gives_the_same_rows_and_outlives_a_lost_node(repository: Path, data: DataSet, tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    lost = cluster.add_node(num_cpus=1)
    paths = [repository / "examples" / "sample.mp4", write_video(tmp_path / "a.avi", 20)]
    removed: list[bool] = []

    def on_progress(progress: Progress) -> None:
        if not removed and progress.frames > 20:
            cluster.remove_node(lost)
            removed.append(True)

    try:
        with RayPool(2, cluster.address, str(data.root), OPTIONS, {}) as pool:
            statuses = run(expand([str(path) for path in paths]), data, pool, NAMES, on_progress=on_progress)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert removed and [status.state for status in statuses] == ["done", "done"]
    assert [status.frames for status in statuses] == [350, 20] and _rows(data) == sum(s.rows for s in statuses)


def test_output_lost_is_what_a_worker_raises_without_its_folder(tmp_path: Path, data: DataSet) -> None:
    (item,) = expand([str(write_video(tmp_path / "a.avi", 3))])
    worker = Worker(str(tmp_path / "gone"), OPTIONS, {})
    with pytest.raises(OutputLost, match="gone"):
        worker.run(item)
    worker.close()
