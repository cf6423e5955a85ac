from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk.errors import AUNetError, InvalidInput, OutputLost
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.results import FrameResult
from aunet_sdk.sinks import CsvSink, csv_columns

from ..scripted import face, frame

LEADING = (
    "frame timestamp_s face_id x y width height score context yaw_deg pitch_deg roll_deg AU1 AU2 AU4 AU6 AU7 AU9 AU10 "
    "AU12 AU14 AU15 AU17 AU23 AU24 AU25 AU26 AU1_active AU2_active"
).split()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_columns_are_those_of_the_documentation() -> None:
    columns = csv_columns(AU_NAMES)
    assert columns[: len(LEADING)] == LEADING
    assert columns[-1] == "AU26_active"
    assert len(columns) == 12 + 15 + 15
    with_points = csv_columns(("AU1",), landmarks=True, with_file=True)
    assert with_points[0] == "file"
    assert with_points[-136:] == [f"x{i}" for i in range(68)] + [f"y{i}" for i in range(68)]


def test_one_row_per_face_and_what_is_in_it(tmp_path: Path) -> None:
    first, second = face(1), face(7, (1, 2, 3, 4), np.full(15, 0.123456))
    with CsvSink(tmp_path / "a.csv", AU_NAMES, landmarks=True) as sink:
        sink.write(frame(0, first, second))
        sink.write(frame(1))
        sink.write(frame(2, first))
        assert sink.rows == 3
    rows = rows_of(tmp_path / "a.csv")
    assert [(row["frame"], row["face_id"]) for row in rows] == [("0", "1"), ("0", "7"), ("2", "1")]
    assert float(rows[2]["timestamp_s"]) == pytest.approx(0.08)
    assert [float(rows[1][name]) for name in ("x", "y", "width", "height")] == [1, 2, 3, 4]
    assert float(rows[1]["AU12"]) == pytest.approx(0.123456, abs=1e-4)
    assert rows[0]["context"] == "full"
    assert (float(rows[0]["yaw_deg"]), float(rows[0]["pitch_deg"])) == (1.5, -2.25)
    for name, p, on in zip(AU_NAMES, first.probabilities, first.active, strict=True):
        assert float(rows[0][name]) == pytest.approx(float(p), abs=1e-4)
        assert rows[0][f"{name}_active"] == str(int(on))
    points = [(float(rows[0][f"x{i}"]), float(rows[0][f"y{i}"])) for i in range(68)]
    np.testing.assert_allclose(points, first.landmarks, atol=0.006)


def test_rows_are_on_disk_as_they_come(tmp_path: Path) -> None:
    sink = CsvSink(tmp_path / "a.csv", AU_NAMES)
    assert rows_of(tmp_path / "a.csv") == []
    for index in range(3):
        sink.write(frame(index, face()))
        assert len(rows_of(tmp_path / "a.csv")) == index + 1
    sink.close()
    sink.close()


def test_a_selection_of_aus_is_taken_by_name(tmp_path: Path) -> None:
    with CsvSink(tmp_path / "a.csv", ("AU26", "AU1")) as sink:
        sink.write(frame(0, face()))
        with pytest.raises(InvalidInput, match="AU26"):
            sink.write(frame(1, face(probabilities=[0.5], au_names=("AU1",))))
    row = rows_of(tmp_path / "a.csv")[0]
    assert float(row["AU26"]) == pytest.approx(0.95, abs=1e-4)
    assert float(row["AU1"]) == pytest.approx(0.05, abs=1e-4)


def test_an_unknown_number_leaves_its_cell_empty(tmp_path: Path) -> None:
    with CsvSink(tmp_path / "a.csv", AU_NAMES) as sink:
        sink.write(frame(0, face(probabilities=np.full(15, np.nan))))
    assert rows_of(tmp_path / "a.csv")[0]["AU1"] == ""


def test_file_names_with_commas_stay_one_cell(tmp_path: Path) -> None:
    with CsvSink(tmp_path / "a.csv", AU_NAMES, with_file=True) as sink:
        sink.write(frame(0, face()), 'a, "b".png')
        with pytest.raises(InvalidInput, match="file"):
            sink.write(frame(1, face()))
    assert rows_of(tmp_path / "a.csv")[0]["file"] == 'a, "b".png'


@pytest.mark.parametrize("name", ["a.txt", "a", "missing/a.csv"])
def test_paths_that_cannot_be_used_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        CsvSink(tmp_path / name, AU_NAMES)


def test_a_file_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    with CsvSink(tmp_path / "a.csv", AU_NAMES, with_file=True) as sink:
        sink.write(frame(0, face()), b"caf\xe9.jpg".decode("utf-8", "surrogateescape"))
    assert (tmp_path / "a.csv").read_bytes().splitlines()[1].startswith(b"caf\xe9.jpg,0,")


def early(index: int, *faces: object) -> FrameResult:
    return FrameResult(index, index / 25, 320, 240, faces=faces, provisional=True)  # type: ignore[arg-type]


def both(count: int) -> list[FrameResult]:
    """What look_ahead "both" gives: every frame twice."""
    results = []
    for i in range(count):
        results += [early(i, face(probabilities=np.full(15, 0.2), provisional=True)), frame(i, face())]
    return results


def test_provisional_rows_are_left_out(tmp_path: Path) -> None:
    """Every face was there twice, and no column told the early row from the final one."""
    with CsvSink(tmp_path / "a.csv", AU_NAMES) as sink:
        for result in both(30):
            sink.write(result)
        assert sink.rows == 30
    rows = rows_of(tmp_path / "a.csv")
    assert [row["frame"] for row in rows] == [str(i) for i in range(30)]
    assert {row["AU26"] for row in rows} == {"0.95000"} and "provisional" not in rows[0]


def test_provisional_rows_have_a_column_where_they_are_asked_for(tmp_path: Path) -> None:
    with CsvSink(tmp_path / "a.csv", AU_NAMES, provisional=True) as sink:
        for result in both(3):
            sink.write(result)
    rows = rows_of(tmp_path / "a.csv")
    assert [(row["frame"], row["provisional"]) for row in rows] == [(str(i // 2), str(1 - i % 2)) for i in range(6)]
    assert rows[0]["AU26"] == "0.20000" and rows[1]["AU26"] == "0.95000"
    assert list(rows[0])[8:11] == ["context", "provisional", "yaw_deg"]


def test_aus_beyond_those_of_the_paper_have_columns(tmp_path: Path) -> None:
    names = ("AU5", "AU12", "AU20", "AU45")
    with CsvSink(tmp_path / "a.csv", names) as sink:
        sink.write(frame(0, face(probabilities=[0.1, 0.2, 0.3, 0.9], au_names=names)))
    row = rows_of(tmp_path / "a.csv")[0]
    assert [row[name] for name in names] == ["0.10000", "0.20000", "0.30000", "0.90000"]
    assert (row["AU20_active"], row["AU45_active"]) == ("0", "1")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_at_the_header_names_the_file(tmp_path: Path) -> None:
    """It was a raw OSError without a name."""
    (tmp_path / "a.csv").symlink_to("/dev/full")
    with pytest.raises(OutputLost, match=r"a\.csv: No space left"):
        CsvSink(tmp_path / "a.csv", AU_NAMES)


FULL = """
import resource, sys
from aunet_sdk import OutputLost
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.sinks import CsvSink
from tests.aunet_sdk.scripted import face, frame
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
with CsvSink(sys.argv[1], AU_NAMES) as sink:
    for i in range(2):
        try:
            for index in range(1000):
                sink.write(frame(index, face(1), face(2)))
        except OutputLost as error:
            print(sink.rows, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for the size of a file")
def test_a_full_disk_keeps_whole_frames(tmp_path: Path, repository: Path) -> None:
    """The last row was cut in its middle; the disk stays full, and the sink can still be closed."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "a.csv")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    for line in done.stdout.splitlines():
        rows = int(line.split()[0])
        assert "a.csv: File too large" in line
    found = rows_of(tmp_path / "a.csv")
    assert len(found) == rows > 10 and rows % 2 == 0
    assert all(None not in row.values() and row["AU26_active"] == "1" for row in found)


def test_a_closed_table_takes_no_more(tmp_path: Path) -> None:
    sink = CsvSink(tmp_path / "a.csv", AU_NAMES)
    sink.close()
    with pytest.raises(AUNetError, match="closed"):
        sink.write(frame(0, face()))
