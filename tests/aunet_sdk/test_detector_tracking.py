"""Which faces get rows, and under which id, with painted faces (tests/aunet_sdk/painted.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from aunet_sdk import FrameResult
from aunet_sdk.engines import StreamEngine

from .painted import GHOST, PLAIN, WEAK, PaintedNetwork, paint, painted_detector

PERIOD_S = 0.04


def ids_by_frame(
    scene: Callable[[int], list[tuple]], count: int, **options: object
) -> tuple[list[list[int]], list[FrameResult]]:
    with painted_detector(look_ahead="none", **options) as detector:
        results = [detector.push(paint(*scene(i)), i * PERIOD_S)[0] for i in range(count)]
    return [[face.id for face in r.faces] for r in results], results


def test_a_frame_without_a_face_is_a_result_without_rows() -> None:
    ids, results = ids_by_frame(lambda i: [], 20)
    assert ids == [[]] * 20 and [r.index for r in results] == list(range(20))


def test_a_face_has_rows_from_its_first_to_its_last_frame() -> None:
    ids, _ = ids_by_frame(lambda i: [(100, 100, 60)] if 7 <= i < 31 else [], 50)
    assert ids == [[]] * 7 + [[1]] * 24 + [[]] * 19


@pytest.mark.parametrize("gap, expected", [(3, 1), (25, 1), (60, 2)])
def test_a_face_that_comes_back_soon_keeps_its_id(gap: int, expected: int) -> None:
    ids, _ = ids_by_frame(lambda i: [] if 10 <= i < 10 + gap else [(100, 100, 60)], gap + 20)
    assert ids == [[1]] * 10 + [[]] * gap + [[expected]] * 10


def test_a_face_elsewhere_is_another_person() -> None:
    ids, _ = ids_by_frame(lambda i: [(60, 60, 40)] if i < 10 else [] if i < 13 else [(260, 180, 40)], 20)
    assert ids[:13] == [[1]] * 10 + [[]] * 3 and ids[13:] == [[2]] * 7


@pytest.mark.parametrize("speed", [2, 8, 14])
def test_a_moving_face_is_followed_between_the_finders_runs(speed: int) -> None:
    ids, results = ids_by_frame(lambda i: [(40 + speed * i, 100, 60)], 16)
    assert ids == [[1]] * 16
    for i, result in enumerate(results):
        box = result.faces[0].box
        assert abs(box[0] + box[2] / 2 - (40 + speed * i)) < 1.5


def test_a_crop_that_was_off_is_taken_again() -> None:
    def steps(jump: float) -> int:
        networks = []

        def network_of(engine: StreamEngine) -> PaintedNetwork:
            networks.append(PaintedNetwork(engine))
            return networks[-1]

        with painted_detector(network_of=network_of, look_ahead="none") as detector:
            (network,) = networks
            for i in range(6):
                before = network.steps
                detector.push(paint((100 + (jump if i == 5 else 0), 100, 60)), i * PERIOD_S)
            return network.steps - before

    assert steps(2) == 1
    assert steps(15) == 2


def test_the_finder_runs_by_the_clock_while_a_face_is_followed() -> None:
    with painted_detector(look_ahead="none", detect_interval_s=0.5) as detector:
        for i in range(51):
            detector.push(paint((100, 100, 60)), i * PERIOD_S)
        assert detector.finder.calls == 5  # type: ignore[attr-defined]  # 0, 0.52, 1, 1.52, 2 s


def test_two_people_keep_their_ids() -> None:
    ids, results = ids_by_frame(lambda i: [(60 + 2 * i, 60, 40), (260 - 2 * i, 160, 60)], 40)
    assert ids == [[1, 2]] * 40
    first = [r.faces[0].box[2:].mean() for r in results]
    assert np.ptp(first) < 2  # id 1 is the same square all along


def test_a_second_person_is_found_by_the_next_run_of_the_finder() -> None:
    ids, _ = ids_by_frame(lambda i: [(60, 60, 40)] + ([(220, 150, 60)] if i >= 5 else []), 20)
    assert ids[:5] == [[1]] * 5 and ids[-1] == [1, 2]
    assert ids.index([1, 2]) <= 13


def test_what_only_the_network_takes_for_a_face_ends_within_seconds() -> None:
    ids, results = ids_by_frame(lambda i: [(100, 100, 60, PLAIN if i < 10 else GHOST)], 60)
    rows = sum(bool(i) for i in ids[10:])
    assert ids[:10] == [[1]] * 10
    assert 0 < rows * PERIOD_S <= 1.6 and ids[-15:] == [[]] * 15
    scores = [r.faces[0].score for r in results if r.faces]
    assert scores[-1] < 0.85 * scores[0]


def test_what_never_convinces_the_network_gets_no_row() -> None:
    ids, _ = ids_by_frame(lambda i: [(100, 100, 60, WEAK)], 20)
    assert ids == [[]] * 20


def test_a_face_that_fades_into_nothing_gets_no_row_from_that_frame_on() -> None:
    ids, _ = ids_by_frame(lambda i: [(100, 100, 60)] if i < 15 else [(100, 100, 60, WEAK)], 30)
    assert ids == [[1]] * 15 + [[]] * 15


def test_two_tracks_on_one_face_become_the_older() -> None:
    def scene(i: int) -> list[tuple]:
        return [(100, 100, 60), (230 - 6 * i, 100, 60)] if i < 15 else [(100, 100, 60)]

    ids, _ = ids_by_frame(scene, 40)
    assert ids[0] == [1, 2] and ids[-1] == [1]
    assert {i for frame in ids for i in frame} == {1, 2}


def test_a_face_that_leaves_the_frame_ends() -> None:
    ids, _ = ids_by_frame(lambda i: [(260 + 8 * i, 100, 60)], 30)
    assert ids[0] == [1] and ids[-10:] == [[]] * 10


def test_faces_under_the_smallest_size_are_passed_over() -> None:
    ids, _ = ids_by_frame(lambda i: [(60, 60, 30), (200, 100, 60)], 5, min_face_px=40)
    assert ids == [[1]] * 5


def test_the_largest_faces_are_kept_and_the_rest_is_counted() -> None:
    squares = [(40, 40, 30), (120, 60, 60), (230, 80, 90), (60, 180, 40)]
    with painted_detector(look_ahead="none", max_faces=2) as detector:
        for i in range(5):
            (result,) = detector.push(paint(*squares), i * PERIOD_S)
            assert sorted(round(float(f.box[2:].mean())) for f in result.faces) == pytest.approx([60, 90], abs=1)
        assert detector.faces_left_out == 2
        assert len(detector.detect(paint(*squares)).faces) == 2


def test_a_much_larger_face_takes_the_place_of_the_smallest() -> None:
    ids, _ = ids_by_frame(
        lambda i: [(60, 60, 30)] + ([(200, 140, 100)] if i >= 5 else []), 25, max_faces=1, detect_interval_s=0.2
    )
    assert ids[0] == [1] and ids[-1] == [2]
    assert all(len(frame) <= 1 for frame in ids)


def test_ids_are_never_used_again() -> None:
    ids, _ = ids_by_frame(lambda i: [(60 + 200 * (i // 45 % 2), 100, 40)] if i % 45 < 5 else [], 225)
    order = [frame[0] for frame in ids if frame]
    assert order == sorted(order) and sorted(set(order)) == [1, 2, 3, 4, 5]


def test_results_wait_for_the_face_of_every_frame_with_look_ahead() -> None:
    """A face that is lost and comes back: every frame has its result once, and the neighbours that exist are used."""
    with painted_detector() as detector:
        results = []
        for i in range(50):
            faces = [] if 20 <= i < 23 else [(100, 100, 60)]
            results += detector.push(paint(*faces, (240, 100, 50)), i * PERIOD_S)
        results += detector.flush()
    assert [r.index for r in results] == list(range(50))
    assert [len(r.faces) for r in results] == [1 if 20 <= i < 23 else 2 for i in range(50)]
    by_frame = {r.index: {f.id: f.context.value for f in r.faces} for r in results}
    assert by_frame[25] == {1: "full", 2: "full"}
    assert by_frame[11][1] == "past" and by_frame[11][2] == "full"  # 11 + 10 frames: the face is away
    assert by_frame[31][1] == "future" and by_frame[31][2] == "full"
