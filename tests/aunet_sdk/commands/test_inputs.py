"""Several inputs, patterns, folders that are videos, and the names of their outputs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from aunet_sdk.commands.inputs import distinct_names, expand
from aunet_sdk.errors import InvalidInput

from ..command import aunet, rows_of, write_video
from ..painted import paint

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_patterns_are_expanded_in_natural_order(tmp_path: Path) -> None:
    for name in ("a10.mp4", "a2.mp4", "b.mp4", "a[1].mp4", "deep/x/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in expand(["a*.mp4"])] == ["a2.mp4", "a10.mp4", "a[1].mp4"]
    assert [path.name for path in expand(["a[1].mp4"])] == ["a[1].mp4"]  # it exists
    assert [str(path) for path in expand(["deep/**"])] == ["deep/x/c.mp4"]
    assert [path.name for path in expand(["b.mp4", "?.mp4", "./b.mp4", "missing.mp4"])] == ["b.mp4", "missing.mp4"]
    with pytest.raises(InvalidInput, match=r"nothing matches z\*"):
        expand(["z*"])


def test_names_of_outputs_are_distinct(tmp_path: Path) -> None:
    for name in ("a/clip.mp4", "b/clip.mp4", "b/clip.avi", "c/a/clip.mp4", "other.v2.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "set.1").mkdir()
    assert distinct_names([Path("other.v2.mp4"), Path("set.1")]) == ["other.v2", "set.1"]
    assert distinct_names([Path("b/clip.mp4"), Path("b/clip.avi")]) == ["clip.mp4", "clip.avi"]
    names = distinct_names([Path("a/clip.mp4"), Path("b/clip.mp4"), Path("b/clip.avi"), Path("c/a/clip.mp4")])
    assert names[1:] == ["b_clip.mp4", "clip.avi", "c_a_clip.mp4"] and names[0].endswith("_a_clip.mp4")
    assert distinct_names([Path("."), Path("..")]) == [tmp_path.name, tmp_path.parent.name]


def test_each_of_several_inputs_has_its_own_outputs(painted: None, tmp_path: Path) -> None:
    write_video(tmp_path / "one.avi", 6)
    write_video(tmp_path / "two.avi", 4)
    cv2.imwrite("picture.jpg", paint((160, 120, 90)))
    (tmp_path / "set").mkdir()
    cv2.imwrite("set/a.png", paint((160, 120, 90)))
    result = aunet("detect", "*.avi", "picture.jpg", "set", "-o", "tables", "--video", "drawn/new", "--plot", "plots")
    assert result.exit_code == 0, result.output
    tables = ["one.csv", "picture.csv", "set.csv", "two.csv"]
    assert files(tmp_path / "tables") == sorted([*tables, *(f"{name}.json" for name in tables)])
    assert files(tmp_path / "drawn") == ["new/one.mp4", "new/picture.jpg", "new/set/a.png", "new/two.mp4"]
    assert files(tmp_path / "plots") == ["one.png", "two.png"]
    assert [len(rows_of(tmp_path / "tables" / name)) for name in tables] == [6, 1, 1, 4]
    assert result.stdout.index("one.avi") < result.stdout.index("two.avi") < result.stdout.index("picture.jpg")


def test_the_detector_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ..painted import painted_detector

    made = []

    def make(options: object) -> object:
        made.append(painted_detector())
        return made[-1]

    monkeypatch.setattr("aunet_sdk.commands.detect.Detector", make)
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, 3)
    assert aunet("detect", "a.avi", "b.avi", "--quiet").exit_code == 0
    assert len(made) == 1
    with pytest.raises(Exception, match="closed"):
        made[0].detect(paint())
    for name in ("a.csv", "b.csv"):  # ids begin anew with each input
        assert {row["face_id"] for row in rows_of(tmp_path / name)} == {"1"}


def test_one_broken_input_is_told_and_the_others_are_worked_on(painted: None, tmp_path: Path) -> None:
    for name in ("a.avi", "z.avi"):
        write_video(tmp_path / name, 3)
    (tmp_path / "text.mp4").write_text("no video\n" * 30)
    result = aunet("detect", "a.avi", "missing.mp4", "text.mp4", "z.avi", "--quiet")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 2 and "missing.mp4 does not exist" in lines[0] and "text.mp4" in lines[1]
    assert files(tmp_path) == ["a.avi", "a.csv", "a.csv.json", "text.mp4", "z.avi", "z.csv", "z.csv.json"]
    data = write_video(tmp_path / "m.avi", 40).read_bytes()
    (tmp_path / "m.avi").write_bytes(data[: len(data) // 2])
    result = aunet("detect", "missing.mp4", "m.avi", "z.avi", "--quiet")
    assert result.exit_code == 4 and "rows are kept in m.csv" in result.stderr
    assert len(rows_of(tmp_path / "z.csv")) == 3


def test_a_model_that_cannot_be_used_ends_all(tmp_path: Path) -> None:
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, 2)
    (tmp_path / "text.onnx").write_text("no model")
    result = aunet("detect", "a.avi", "b.avi", "--model", "text.onnx")
    assert result.exit_code == 3 and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "a.csv"], "-o: expected a folder for the outputs of 2 inputs, got the file a.csv"),
        (["--video", "a.mp4"], "--video: expected a folder"),
        (["--plot", "a.png"], "--plot: expected a folder"),
        (["-o", "a.avi"], "-o: expected a folder"),
        (["--plot", "plots", "--truth", "a.csv"], "--truth: expected one input"),
    ],
)
def test_a_file_for_the_outputs_of_several_inputs_is_refused(tmp_path: Path, arguments: list[str], words: str) -> None:
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, 2)
    result = aunet("detect", "a.avi", "b.avi", *arguments)
    assert result.exit_code == 2 and words in result.stderr
    assert files(tmp_path) == ["a.avi", "b.avi"]


def test_an_output_never_replaces_an_input(painted: None, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / "clips" / name, 2).rename(tmp_path / "clips" / name.replace(".avi", ".mp4"))
    before = (tmp_path / "clips" / "a.mp4").read_bytes()
    result = aunet("detect", "clips/*", "--video", "clips")
    assert result.exit_code == 2 and "is the input" in result.stderr
    assert (tmp_path / "clips" / "a.mp4").read_bytes() == before


def test_one_input_and_a_folder_for_its_table(painted: None, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 3)
    (tmp_path / "tables").mkdir()
    assert aunet("detect", "clip.avi", "-o", "tables", "--quiet").exit_code == 0
    assert files(tmp_path / "tables") == ["clip.csv", "clip.csv.json"]


def pictures(folder: Path) -> None:
    folder.mkdir()
    for i in range(12):
        cv2.imwrite(str(folder / f"im{i}.png"), paint((110 + i, 120, 90), background=i))


def test_a_folder_as_a_video(painted: None, tmp_path: Path) -> None:
    pictures(tmp_path / "set")
    arguments = ["--as-video", "--fps", "10", "--video", "a.mp4", "--plot", "a.png"]
    result = aunet("detect", "set", *arguments)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "set.csv")
    assert [row["file"] for row in rows] == [f"im{i}.png" for i in range(12)]
    assert [float(row["timestamp_s"]) for row in rows] == pytest.approx([i / 10 for i in range(12)])
    assert {row["face_id"] for row in rows} == {"1"} and {row["context"] for row in rows} == {"future", "full", "past"}
    assert "a.mp4 (12 frames)" in result.stdout and (tmp_path / "a.png").exists()
    assert json.loads((tmp_path / "set.csv.json").read_text())["source"]["kind"] == "sequence"


def test_a_folder_is_a_set_of_images_without_it(painted: None, tmp_path: Path) -> None:
    pictures(tmp_path / "set")
    assert aunet("detect", "set", "--quiet").exit_code == 0
    rows = rows_of(tmp_path / "set.csv")
    assert {row["context"] for row in rows} == {"none"} and {row["timestamp_s"] for row in rows} == {"0.000000"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["set", "--fps", "10"], "--fps: expected --as-video"),
        (["set", "--as-video", "--fps", "0"], "fps: expected a number over 0"),
        (["clip.avi", "--as-video"], "--as-video: expected a folder"),
    ],
)
def test_wishes_that_contradict_each_other(tmp_path: Path, arguments: list[str], words: str) -> None:
    pictures(tmp_path / "set")
    write_video(tmp_path / "clip.avi", 2)
    result = aunet("detect", *arguments)
    assert result.exit_code == 2 and words in result.stderr


def test_look_ahead_both_has_two_rows_per_face_and_frame(painted: None, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 12)
    assert aunet("detect", "clip.avi", "--quiet").exit_code == 0
    final = rows_of(tmp_path / "clip.csv")
    result = aunet("detect", "clip.avi", "--look-ahead", "both", "--video", "a.mp4", "--plot", "a.png")
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "clip.csv")
    assert len(rows) == 24 and "frames              12" in result.stdout and "a.mp4 (12 frames)" in result.stdout
    kept = [
        {name: cell for name, cell in row.items() if name != "provisional"} for row in rows if row["provisional"] == "0"
    ]
    assert [row["frame"] for row in kept] == [row["frame"] for row in final]
    assert [float(row["AU12"]) for row in kept] == pytest.approx([float(row["AU12"]) for row in final], abs=1e-4)
