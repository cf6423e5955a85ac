"""Parquet: read back by pandas; killed, on a full disk, in the way of other files."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest

from aunet_sdk.errors import AUNetError, InvalidInput, OutputLost
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.post.validity import Reason
from aunet_sdk.sinks import CallbackSink, FanOut, csv_columns, open_sink, parquet
from aunet_sdk.sinks.message import status_message

from ..scripted import face, frame

arrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


def test_the_rows_are_those_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with open_sink(f"parquet:{path}", source="rtsp://a:b@cam/1", au_names=AU_NAMES, landmarks=True) as sink:
        sink.put(frame(0, face(), face(7, (1, 2, 3, 4), np.full(15, np.nan))))
        sink.put(frame(1))
        sink.put(frame(2, face(provisional=True)), file="b.png")
    assert path.is_file() and sink.rows == 3 and [each.name for each in tmp_path.iterdir()] == ["a.parquet"]
    table = pandas.read_parquet(path)
    expected = csv_columns(AU_NAMES, landmarks=True, provisional=True)
    assert list(table.columns) == ["source", *expected]
    assert table["frame"].tolist() == [0, 0, 2] and table["face_id"].tolist() == [1, 7, 1]
    assert table["source"].tolist() == ["rtsp://***@cam/1"] * 2 + ["b.png"]
    assert table["provisional"].tolist() == [False, False, True] and table["context"].tolist() == ["full"] * 3
    assert table["AU26"].tolist()[::2] == pytest.approx([0.95, 0.95]) and np.isnan(table["AU26"][1])
    np.testing.assert_allclose(table["y67"][0], face().landmarks[67, 1])
    assert table.dtypes["AU26_active"] == np.bool_ and table.dtypes["yaw_deg"] == np.float32
    with pytest.raises(AUNetError, match="closed"):
        sink.put(frame(3))


def test_no_face_leaves_an_empty_table_with_its_columns(tmp_path: Path) -> None:
    with open_sink(f"parquet:{tmp_path / 'a.parquet'}", au_names=("AU12",)) as sink:
        sink.put(frame(0))
    table = pandas.read_parquet(tmp_path / "a.parquet")
    assert len(table) == 0 and "AU12_active" in table.columns


def test_what_was_flushed_can_be_read_while_it_is_written_and_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    code = (
        "import os, signal\nfrom tests.aunet_sdk.scripted import face, frame\nfrom aunet_sdk.facs import AU_NAMES\n"
        f"from aunet_sdk.sinks import open_sink\nsink = open_sink('parquet:{path}', au_names=AU_NAMES, flush_s=1e9)\n"
        "for i in range(50):\n    sink.put(frame(i, face()))\n    if i in (19, 39): sink.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env={"PYTHONPATH": str(root)})
    assert done.returncode == -signal.SIGKILL
    assert pandas.read_parquet(path)["frame"].tolist() == list(range(40)), "up to the last flush"
    (path / ".part-00002.parquet.tmp").write_bytes(b"PAR1 cut")  # killed while a part was written
    assert len(pandas.read_parquet(path)) == 40
    with open_sink(f"parquet:{path}", au_names=AU_NAMES) as sink:
        sink.put(frame(5, face()))
    assert path.is_file() and pandas.read_parquet(path)["frame"].tolist() == [5]


def test_parts_are_flushed_by_time_also_where_nobody_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    sink = open_sink(f"parquet:{path}", au_names=AU_NAMES, flush_s=0.0)
    sink.put(frame(0, face()))
    assert len(list(path.glob("part-*"))) == 1
    sink._flush_s = 1e9
    sink.put(frame(1, face()))
    assert len(pandas.read_parquet(path)) == 1
    sink._flush_s = 0.0
    sink.status(status_message("running"))
    assert len(pandas.read_parquet(path)) == 2
    sink.abandon()
    assert path.is_dir() and len(pandas.read_parquet(path)) == 2


def test_a_part_grows_until_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of its own for every flush made a file every ten seconds, for months."""
    monkeypatch.setattr(parquet, "FLUSH_ROWS", 4)
    path = tmp_path / "a.parquet"
    sink = open_sink(f"parquet:{path}", au_names=AU_NAMES, flush_s=0.0)
    for index in range(10):
        sink.put(frame(index, face()))
        assert pandas.read_parquet(path)["frame"].tolist() == list(range(index + 1))
        assert len(list(path.iterdir())) == index // 4 + 1
    sink.close()
    assert path.is_file() and pandas.read_parquet(path)["frame"].tolist() == list(range(10)) and sink.rows == 10


def test_validity_and_intensity_have_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with open_sink(f"parquet:{path}", au_names=AU_NAMES, validity=True, intensity=True) as sink:
        known = replace(face(), reasons=(Reason.COVERED, *[None] * 14), intensities=np.arange(15) / 15)
        sink.put(frame(0, known))
        sink.put(frame(1, face()))
    table = arrow.read_table(path).to_pydict()
    assert list(table) == ["source", *csv_columns(AU_NAMES, provisional=True, validity=True, intensity=True)]
    assert table["AU4_intensity"] == [pytest.approx(2 / 15), None]
    assert table["AU1_valid"] == [False, None] and table["AU1_why_not"] == ["covered", None]
    assert table["AU2_valid"] == [True, None] and table["AU2_why_not"] == [None, None]


def test_a_full_disk_keeps_the_parts_and_the_other_sinks(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk: it is the same error to us, and needs no rights."""
    path = tmp_path / "a.parquet"
    sink = open_sink(f"parquet:{path}", au_names=AU_NAMES, landmarks=True, flush_s=1e9)
    others: list[int] = []
    fan_out = FanOut({"parquet": sink, "other": CallbackSink(lambda result, image: others.append(result.index))})
    fan_out.put(frame(0, face()))
    fan_out.flush()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for index in range(1, 20):
        fan_out.put(frame(index, face(probabilities=np.random.default_rng(index).random(15))))
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, hard))
    try:
        fan_out.flush()
        with pytest.raises(OutputLost, match="Parquet: cannot write"):
            fan_out.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.is_dir() and pandas.read_parquet(path)["frame"].tolist() == [0]
    assert [each.name for each in path.iterdir()] == ["part-00000.parquet"], "no half of a part"
    assert others == list(range(20)) and set(fan_out.failed) == {"parquet"}
    assert fan_out.dropped == {"parquet": 19, "other": 0}, "what it had taken and not written is counted, too"


def test_no_room_for_one_file_in_the_end_leaves_the_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    monkeypatch.setattr(parquet, "FLUSH_ROWS", 1)
    sink = open_sink(f"parquet:{path}", au_names=AU_NAMES, landmarks=True)
    for index in range(3):
        sink.put(frame(index, face()))
    (tmp_path / ".a.parquet.whole").mkdir()  # in the way
    sink.close()
    assert path.is_dir() and len(pandas.read_parquet(path)) == 3
    assert "stays a folder of 3 parts" in caplog.text


def test_very_many_parts_stay_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MOST_PARTS", 2)
    monkeypatch.setattr(parquet, "FLUSH_ROWS", 1)
    path = tmp_path / "a.parquet"
    with open_sink(f"parquet:{path}", au_names=AU_NAMES) as sink:
        for index in range(3):
            sink.put(frame(index, face()))
    assert path.is_dir() and pandas.read_parquet(path)["frame"].tolist() == [0, 1, 2]


def test_other_peoples_files_are_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "a.parquet"
    folder.mkdir()
    (folder / "thesis.docx").write_text("years of work")
    with pytest.raises(InvalidInput, match=r"thesis\.docx"):
        open_sink(f"parquet:{folder}", au_names=AU_NAMES)
    assert (folder / "thesis.docx").read_text() == "years of work"
    for name in ("a.csv", "missing/a.parquet", "x\0.parquet"):
        with pytest.raises(InvalidInput):
            open_sink(f"parquet:{tmp_path / name}", au_names=AU_NAMES)
    with pytest.raises(InvalidInput, match="au_names"):
        open_sink(f"parquet:{tmp_path / 'b.parquet'}")


def test_a_face_without_an_au_is_refused_whole(tmp_path: Path) -> None:
    with open_sink(f"parquet:{tmp_path / 'a.parquet'}", au_names=("AU1", "AU26")) as sink:
        with pytest.raises(InvalidInput, match="without AU26"):
            sink.put(frame(0, face(), face(2, probabilities=[0.5], au_names=("AU1",))))
        sink.put(frame(1, face()))
    assert pandas.read_parquet(tmp_path / "a.parquet")["frame"].tolist() == [1]
