from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aunet_sdk.errors import InvalidInput
from aunet_sdk.view import draw, face_colour
from aunet_sdk.view.overlay import _draw_panel, _place, _Style

from ..scripted import face, frame

ALL_ON = np.full(15, 0.9)


def grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(2)


def test_box_id_points_and_aus_are_drawn_on_a_copy() -> None:
    image = grey(640, 360)
    result = frame(0, face(1, (200, 80, 120, 160)), size=(640, 360))
    drawn = draw(image, result)
    assert (image == 100).all()
    assert drawn.shape == image.shape and drawn.dtype == np.uint8 and drawn.flags.c_contiguous
    marks = changed(image, drawn)
    red, green, blue = face_colour(1)
    assert drawn[160, 200].tolist() == [blue, green, red]  # left edge of the box
    assert marks[60:80, 200:215].any()  # the id over the box
    assert marks[80:200, 330:].sum() > 3000  # the panel beside it
    assert marks[100:220, 215:310].any()  # points
    assert not changed(image, draw(image, result, points=False))[100:220, 215:310].any()


def test_a_frame_without_a_face_is_left_alone() -> None:
    image = grey(64, 48)
    drawn = draw(image, frame(0))
    assert (drawn == image).all() and drawn is not image


def test_only_active_aus_have_a_row() -> None:
    image = grey(640, 360)
    style = _Style.of(640, 360)
    place = (200, 80, 120, 160)
    heights = []
    for count in (0, 1, 3):
        on = np.where(np.arange(15) < count, 0.8, 0.2)
        panel = _draw_panel(image.copy(), face(1, place, on), style, [], place, 1)
        heights.append(panel[3] if panel else 0)
    assert heights[0] == 0
    assert heights[2] - heights[1] == 2 * style.row_px


def test_bars_grow_with_the_probability() -> None:
    image = grey(640, 360)
    red, green, blue = face_colour(1)
    amounts = []
    for value in (0.5, 0.75, 1.0):
        one = face(1, (200, 80, 120, 160), [value], au_names=("AU12",))
        panel = draw(image, frame(0, one, size=(640, 360)))[80:120, 330:]
        amounts.append(int((panel == (blue, green, red)).all(2).sum()))
    assert amounts[0] < amounts[1] < amounts[2]


def test_provisional_looks_different() -> None:
    image = grey(640, 360)
    final = draw(image, frame(0, face(1, (200, 80, 120, 160))))
    early = draw(image, frame(0, face(1, (200, 80, 120, 160), provisional=True)))
    red, green, blue = face_colour(1)
    left_edge = [(picture[80:240, 200] == (blue, green, red)).all(1).sum() for picture in (final, early)]
    assert left_edge[1] < 0.8 * left_edge[0]  # dashes
    assert (final != early).any()


@pytest.mark.parametrize(("width", "height"), [(320, 240), (640, 360), (1920, 1080), (3840, 2160)])
def test_text_is_legible_and_in_proportion(width: int, height: int) -> None:
    style = _Style.of(width, height)
    assert style.text_px >= 7
    assert style.text_px <= 0.045 * height


def test_panels_of_neighbours_do_not_hide_faces_where_there_is_room() -> None:
    image = grey(1280, 720)
    faces = [face(i, (150 + 400 * i, 250, 150, 200), ALL_ON) for i in range(3)]
    drawn = draw(image, frame(0, *faces, size=(1280, 720)), points=False)
    for one in faces:
        x, y, w, h = one.box.astype(int)
        inside = np.s_[y + 5 : y + h - 5, x + 5 : x + w - 5]
        assert not changed(image, drawn)[inside].any()


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 300)),
    box=st.tuples(*[st.floats(-300, 500)] * 2, *[st.floats(0, 600)] * 2),
    count=st.integers(1, 3),
    provisional=st.booleans(),
)
def test_any_box_in_any_frame(
    size: tuple[int, int], box: tuple[float, float, float, float], count: int, provisional: bool
) -> None:
    image = grey(*size)
    faces = [face(i, box, ALL_ON, provisional=provisional) for i in range(count)]
    assert draw(image, frame(0, *faces, size=size)).shape == image.shape
    style = _Style.of(*size)
    own = (0, 0, size[0] - 1, size[1] - 1)
    panel = _draw_panel(image, faces[0], style, [own], own, count)
    if panel is not None:  # else there was no room for text
        x, y, w, h = panel
        assert x >= 0 and y >= 0 and x + w <= size[0] and y + h <= size[1]


@given(st.tuples(*[st.integers(-50, 400)] * 4), st.integers(1, 200), st.integers(1, 150))
def test_places_lie_in_the_frame(own: tuple[int, int, int, int], w: int, h: int) -> None:
    x, y = _place(own, w, h, 200, 150, [own])
    assert 0 <= x <= 200 - w and 0 <= y <= 150 - h


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), "picture"])
def test_other_pictures_are_refused(bad: object) -> None:
    with pytest.raises(InvalidInput, match="uint8"):
        draw(bad, frame(0, face()))  # type: ignore[arg-type]


def test_landmarks_that_are_not_finite_are_left_out() -> None:
    one = face(1, (float("nan"), 0, 20, 20))
    assert draw(grey(100, 100), frame(0, one, size=(100, 100))).shape == (100, 100, 3)
