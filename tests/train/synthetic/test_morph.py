"""Photos mixed of two people: bent where they should be, labelled by what was done to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.synthetic import morph
from train.synthetic.choreography import ROW
from train.synthetic.crop import SIZE
from train.synthetic.photos import photo_rows
from train.synthetic.portraits import Portrait, read_portraits


@pytest.fixture(scope="module")
def portraits(corpus: Path) -> list[Portrait]:
    found = read_portraits(corpus / "portraits")
    smiling = sorted({p.identity for p in found if p.smiling})[:5]
    return [p for p in found if p.identity in smiling]


@pytest.fixture(scope="module")
def people(portraits: list[Portrait]) -> morph.People:
    return morph.read_people(portraits)


def test_bent_to_its_own_shape_a_photo_stays_as_it_is(portraits: list[Portrait], people: morph.People) -> None:
    rows, names = photo_rows(portraits)
    by_name = {name: row for row, name, p in zip(rows, names, portraits, strict=True) if not p.smiling}
    for pair in people.pairs:
        row = by_name[pair.identity]
        crop, marks = morph.bend(pair.neutral, pair.neutral.upright)
        np.testing.assert_allclose((marks + 0.5) / (2 * SIZE), row["points"][0], atol=1e-4)
        small = crop.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))[..., ::-1]
        assert np.abs(small - row["images"][0])[10:-10, 10:-10].mean() < 1.0


def test_points_go_where_the_shape_has_them(people: morph.People) -> None:
    """The picture follows its points: bent from B's shape into A's and looked at there, A's corners are B's."""
    pair = people.pairs[0]
    shape = pair.neutral.upright.copy()
    shape[[48, 54, 60, 64], 1] -= 12  # the corners of the mouth, up by a seventh of the eyes' distance
    before, at = morph.bend(pair.neutral, pair.neutral.upright)
    after, moved = morph.bend(pair.neutral, shape)
    for corner in (48, 54):
        (x0, y0), (x1, y1) = at[corner].round().astype(int), moved[corner].round().astype(int)
        was, now = before[y0 - 6 : y0 + 7, x0 - 8 : x0 + 9], after[y1 - 6 : y1 + 7, x1 - 8 : x1 + 9]
        stayed = after[y0 - 6 : y0 + 7, x0 - 8 : x0 + 9]
        assert np.corrcoef(was.ravel(), now.ravel())[0, 1] > 0.6
        assert np.corrcoef(was.ravel(), now.ravel())[0, 1] > np.corrcoef(was.ravel(), stayed.ravel())[0, 1]


def test_a_shut_smile_opens_neither_lips_nor_jaw(people: morph.People) -> None:
    for pair in people.pairs:
        assert pair.smiling is not None
        rest = pair.neutral.upright
        way = pair.smiling.upright - rest
        shut = morph.shut(way)
        np.testing.assert_array_equal(shut[[48, 54]], way[[48, 54]])
        for upper, lower in ((61, 67), (62, 66), (63, 65)):
            np.testing.assert_allclose(shut[upper], shut[lower])
        assert np.abs(shut[3:14, 1]).max() <= 0.2 * np.abs(way[3:14, 1]).max() + 1e-9
        assert morph.reach(shut) == morph.reach(way) > 0


def test_morphs_repeat_and_are_labelled(portraits: list[Portrait]) -> None:
    rows, names = morph.morph_rows(portraits, 40, np.random.default_rng(4))
    again, _ = morph.morph_rows(portraits, 40, np.random.default_rng(4))
    assert set(names) <= {p.identity for p in portraits}
    smiles = 0
    for row, same in zip(rows, again, strict=True):
        np.testing.assert_array_equal(row["images"], same["images"])
        assert row["images"].shape == (4, SIZE, SIZE, 3) and row["images"].dtype == np.uint8
        assert row["points"].shape == (4, 68, 2) and np.isfinite(row["points"]).all()
        assert row["labels"][0, ROW[12]] in (0, 1)
        if row["labels"][0, ROW[12]] == 0:
            assert (row["labels"] == 0).all(), "a face at rest shows no AU"
        else:
            smiles += 1
            assert row["labels"][0, ROW[4]] == 0 and np.isnan(row["labels"][0, ROW[6]])
    assert 10 <= smiles <= 30


def test_without_smiles_there_is_nothing_to_mix(portraits: list[Portrait]) -> None:
    with pytest.raises(ValueError, match=r"two people or more .* got 0; --morphs 0"):
        morph.morph_rows([p for p in portraits if not p.smiling], 1, np.random.default_rng(0))
