"""Glasses, beards and hands over a rendered frame."""

from __future__ import annotations

import numpy as np
import pytest

from train.data import visibility
from train.synthetic import accessories, choreography
from train.synthetic.choreography import ROW
from train.synthetic.ict import AU_NUMBERS

SIDE, PX_PER_CM = 200, 10.0


def face() -> np.ndarray:
    """(68, 3) cm, y up: enough of a face to hang things on."""
    marks = np.zeros((68, 3))
    angle = np.linspace(np.pi, 2 * np.pi, 17)
    marks[:17] = np.stack([7 * np.cos(angle), 7 * np.sin(angle) + 1, np.full(17, -4.0)], 1)
    marks[17:27, :2] = np.stack([np.linspace(-5, 5, 10), np.full(10, 4.5)], 1)
    marks[27:31] = np.stack([np.zeros(4), np.linspace(2.5, -1, 4), np.linspace(1, 2.5, 4)], 1)
    marks[31:36, :2] = np.stack([np.linspace(-1.5, 1.5, 5), np.full(5, -1.5)], 1)
    for first, x in ((36, -3.2), (42, 3.2)):
        t = np.linspace(0, 2 * np.pi, 6, endpoint=False)
        marks[first : first + 6, :2] = np.stack([x + 1.4 * np.cos(t), 2.5 + 0.5 * np.sin(t)], 1)
    for first, count, size in ((48, 12, 2.5), (60, 8, 2.0)):
        t = np.pi - np.linspace(0, 2 * np.pi, count, endpoint=False)
        marks[first : first + count, :2] = np.stack([size * np.cos(t), -4 + 0.5 * size * np.sin(t) / 2], 1)
    return marks


def project(points: np.ndarray) -> np.ndarray:
    return points[:, :2] * (PX_PER_CM, -PX_PER_CM) + SIDE / 2


def draws(kind: str, count: int = 400) -> list:
    found = [getattr(accessories.draw_extras(np.random.default_rng(seed), 4), kind) for seed in range(count)]
    return [extra for extra in found if extra is not None]


@pytest.mark.parametrize(("kind", "share"), [("glasses", 0.125), ("beard", 0.11), ("hand", 0.3)])
def test_each_comes_in_its_share_of_the_sequences(kind: str, share: float) -> None:
    assert 0.6 * share <= len(draws(kind)) / 400 <= 1.5 * share


def test_glasses_stay_around_the_eyes() -> None:
    for glasses in draws("glasses")[:10]:
        image = np.full((SIDE, SIDE, 3), 128, np.float32)
        accessories.put_on_glasses(image, glasses, face(), project)
        changed = np.abs(image - 128).max(2) > 1
        assert changed.any()
        rows = np.flatnonzero(changed.any(1))
        eyes = project(face()[36:48])[:, 1].mean()
        assert abs(rows.min() - eyes) < 40 and abs(rows.max() - eyes) < 40
        assert image.min() >= 0 and image.max() <= 255


def test_a_beard_grows_below_the_nose_and_not_on_the_lips() -> None:
    points = project(face())
    for beard in draws("beard")[:10]:
        grown = accessories.beard_map((SIDE, SIDE), points, beard)
        assert 0 <= grown.min() and 0.05 < grown.max() <= 1
        assert grown[: int(points[33, 1]) - 5].max() < 0.05
        lips = points[60:68].mean(0).astype(int)
        chin = ((points[8] + points[57]) / 2).astype(int)
        assert grown[lips[1], lips[0]] < grown[chin[1] - 3 : chin[1] + 4, chin[0] - 3 : chin[0] + 4].mean()


def test_a_hand_hides_what_it_covers_and_only_while_it_is_there() -> None:
    points = project(face())
    came = 0
    for hand in draws("hand")[:20]:
        for frame in range(4):
            image = np.full((SIDE, SIDE, 3), 128, np.float32)
            skin = np.array((60.0, 70.0, 90.0))
            hidden = accessories.lay_hand(image, hand, frame, points, PX_PER_CM, skin)
            if not hand.there[frame]:
                assert not hidden.any() and (image == 128).all()
                continue
            came += hidden.any()
            column = points[hidden].round().astype(int).clip(0, SIDE - 1)
            assert (np.abs(image[column[:, 1], column[:, 0]] - 128).max(1) > 1).all()
    assert came > 10


def test_behind_a_hand_only_what_the_rest_of_the_face_shows_counts() -> None:
    hidden = np.zeros((2, 68), bool)
    hidden[1, 48:68] = True
    out_of_sight = visibility.hidden_aus(hidden, AU_NUMBERS)
    assert not out_of_sight[0].any()
    assert out_of_sight[1, ROW[12]] and out_of_sight[1, ROW[26]] and not out_of_sight[1, ROW[1]]
    doubtful = np.zeros((2, len(AU_NUMBERS)), bool)
    doubtful[1, ROW[24]] = True
    intensity, labels = choreography.labels(np.full((2, len(AU_NUMBERS)), 0.9), doubtful, hidden, np.array([0.1, 0.1]))
    assert np.isnan(labels[1, ROW[12]]) and intensity[1, ROW[12]] == pytest.approx(0.9)
    assert np.isnan(labels[1, ROW[26]]) and intensity[1, ROW[26]] == 0 and intensity[1, ROW[25]] == 0
    assert np.isnan(intensity[1, ROW[24]]) and labels[1, ROW[1]] == 1 and labels[0, ROW[26]] == 1
