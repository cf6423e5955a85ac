from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk.errors import InvalidInput, OutputLost
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.results import FrameResult
from aunet_sdk.sinks import CsvSink
from aunet_sdk.view import Track, read_tracks, timeline
from aunet_sdk.view.fonts import legible
from aunet_sdk.view.palette import face_colour, facs_label
from aunet_sdk.view.timeline import check_plot, read_truth, runs, tracks_of

from ..scripted import face, frame

AUS = ("AU1", "AU12")


def results() -> list[FrameResult]:
    made = []
    for i in range(100):
        faces = [face(1, probabilities=[i / 100, 1 - i / 100], au_names=AUS)] if not 40 <= i < 60 else []
        if i >= 50:
            faces.append(face(4, probabilities=[0.9, 0.1], au_names=AUS))
        made.append(frame(i, *faces))
    return made


def track(level: float, n: int = 50) -> Track:
    values = np.full((n, 2), level)
    return Track(1, np.arange(n) / 25, AUS, values, values >= 0.5)


def colour_pixels(path: Path) -> int:
    image = cv2.imread(str(path)).astype(int)
    return int((image.max(2) - image.min(2) > 60).sum())


def test_a_table_and_its_results_give_the_same_tracks(tmp_path: Path) -> None:
    with CsvSink(tmp_path / "a.csv", AUS, landmarks=True) as sink:
        for result in results():
            sink.write(result)
    from_table, from_results = read_tracks(tmp_path / "a.csv"), tracks_of(results())
    assert [one.face_id for one in from_table] == [1, 4]
    for one, other in zip(from_table, from_results, strict=True):
        assert one.au_names == AUS
        np.testing.assert_allclose(one.timestamps_s, other.timestamps_s)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
        np.testing.assert_array_equal(one.active, other.active)


def test_provisional_faces_are_no_part_of_a_track() -> None:
    assert tracks_of([frame(0, face(provisional=True))]) == []


def test_a_gap_breaks_a_run() -> None:
    times = np.r_[0:10, 15:20, 21:22] / 25
    assert runs(times, 1 / 25) == [(0, 10), (10, 15), (15, 16)]
    assert runs(times[:1], 1 / 25) == [(0, 1)]


def test_the_area_follows_the_probability(tmp_path: Path) -> None:
    amounts = []
    for level in (0.0, 0.3, 0.9):
        timeline([track(level)], tmp_path / "a.png")
        amounts.append(colour_pixels(tmp_path / "a.png"))
    assert amounts[0] < 0.2 * amounts[1] < amounts[1] < 0.6 * amounts[2]


def test_time_without_the_face_is_grey(tmp_path: Path) -> None:
    def grey(path: Path) -> int:
        return int((cv2.imread(str(path)) == 0xE9).all(2).sum())

    timeline([track(0.4)], tmp_path / "a.png", span_s=(0, 2))
    timeline([track(0.4)], tmp_path / "b.png", span_s=(0, 4))
    assert grey(tmp_path / "b.png") > grey(tmp_path / "a.png") + 10_000


def test_one_panel_per_face_and_at_most_max_faces(tmp_path: Path) -> None:
    tracks = [Track(i, *(getattr(track(0.6), k) for k in ("timestamps_s", "au_names", "probabilities", "active")))
              for i in range(1, 4)]  # fmt: skip
    heights = []
    for shown in (1, 2, 3):
        timeline(tracks, tmp_path / "a.png", max_faces=shown)
        heights.append(cv2.imread(str(tmp_path / "a.png")).shape[0])
    assert heights[0] < heights[1] < heights[2]


def test_a_known_track_is_drawn_too(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("timestamp_s,AU12\n0.0,0.0\n1.0,1.0\n2.0,0.0\n")
    truth = read_truth(tmp_path / "truth.csv")
    assert truth.au_names == ("AU12",) and truth.intensity.tolist() == [[0.0], [1.0], [0.0]]
    timeline([track(0.2)], tmp_path / "a.png")
    timeline([track(0.2)], tmp_path / "b.png", truth=truth)
    assert (cv2.imread(str(tmp_path / "a.png")).min(2) < 60).sum() < (
        cv2.imread(str(tmp_path / "b.png")).min(2) < 60
    ).sum()


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_video_without_a_face_has_a_plot_that_says_so(tmp_path: Path, suffix: str) -> None:
    timeline([], tmp_path / f"a{suffix}", span_s=(0, 5))
    assert (tmp_path / f"a{suffix}").stat().st_size > 500


def test_a_track_of_one_frame(tmp_path: Path) -> None:
    timeline([track(0.7, 1)], tmp_path / "a.png")
    assert colour_pixels(tmp_path / "a.png") > 0


@pytest.mark.parametrize("name", ["a.txt", "missing/a.png"])
def test_paths_that_cannot_be_used_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="plot"):
        timeline([track(0.7)], tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n1,2\n",
        "timestamp_s,face_id,AU1\n0,1,0.5\n",
        "timestamp_s,face_id,AU1,AU1_active\n0,1,x,1\n",
        "\x00\xff",
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput):
        read_tracks(tmp_path / "a.csv")
    with pytest.raises(InvalidInput):
        read_tracks(tmp_path / "missing.csv")


def test_names_and_colours() -> None:
    assert facs_label("AU12") == "AU12 Lip corner puller"
    assert facs_label("AU45") == "AU45 Blink" and facs_label("AU99") == "AU99"
    assert all(name in facs_label(name) for name in AU_NAMES)
    assert len({face_colour(i) for i in range(7)}) == 7


def test_a_plot_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot write to"):
        check_plot(tmp_path / "missing" / "a.png")
    check_plot(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "title",
    ["\u8868\u60c5 \u7b11\u9854", "\U0001f600 smile", "a$b$c_{", "x\ty\x07", "caf\udce9.mp4", "\u0e01\u0e02", "%s {0}"],
)
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_title_in_any_language_warns_of_nothing(tmp_path: Path, title: str, suffix: str) -> None:
    """Matplotlib warned of every glyph that its font lacks; warnings are errors here. `$..$` is no formula either."""
    timeline([track(0.4)], tmp_path / f"a{suffix}", title=title)
    assert (tmp_path / f"a{suffix}").stat().st_size > 1000


def test_letters_without_a_font_become_squares() -> None:
    assert legible("AU12 caf\u00e9 \u03b1")[0] == "AU12 caf\u00e9 \u03b1"
    assert legible("a\nb\udce9")[0] == "a\u25a1b\u25a1"
    assert legible("\U0010fffd")[0] == "\u25a1"


def test_aus_beyond_those_of_the_paper(tmp_path: Path) -> None:
    """The next models have AU5, AU20 and AU45."""
    names = ("AU5", "AU12", "AU20", "AU45", "AU99")
    values = np.tile(np.linspace(0.1, 0.9, 5), (20, 1))
    with CsvSink(tmp_path / "a.csv", names) as sink:
        for i in range(20):
            sink.write(frame(i, face(1, probabilities=values[i], au_names=names)))
    (found,) = read_tracks(tmp_path / "a.csv")
    assert found.au_names == names
    np.testing.assert_allclose(found.probabilities, values, atol=1e-5)
    timeline([found], tmp_path / "a.png")
    assert [facs_label(name) for name in ("AU5", "AU20")] == ["AU5 Upper lid raiser", "AU20 Lip stretcher"]


def test_provisional_rows_of_a_table_are_no_part_of_a_track(tmp_path: Path) -> None:
    with CsvSink(tmp_path / "a.csv", AUS, provisional=True) as sink:
        for i in range(5):
            sink.write(frame(i, face(probabilities=[0.1, 0.1], au_names=AUS, provisional=True)))
            sink.write(frame(i, face(probabilities=[0.9, 0.9], au_names=AUS)))
    (found,) = read_tracks(tmp_path / "a.csv")
    assert found.probabilities.tolist() == [[0.9, 0.9]] * 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_names_the_plot(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/dev/full")
    with pytest.raises(OutputLost, match=r"a\.png: No space left"):
        timeline([track(0.4)], tmp_path / "a.png")
