"""Crops of the paper's geometry, neighbours, augmentation, and two steps of training on each data set."""

from __future__ import annotations

import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.geometry import crop as alignment
from tests.train.data.lab import Prepared
from train.data.corpora.corpus import DatasetError
from train.data.faces.stored import Faces, faces_path, load_prepared
from train.data.mixture import mix, mixture, spread
from train.data.sequences import load_split
from train.data.transforms.triplets import TripletAugment
from train.data.triplets import TripletSet, _neighbour
from train.losses.au import au_loss, au_weights
from train.models.variants import build

PLAIN = TripletAugment(flip=0, rotation_deg=0, shift=0, scale=0, blur=0, jpeg=0, dropout=0)


def load(prepared: dict[str, Prepared], name: str, part: str = "train", **options: object) -> TripletSet:
    each = prepared[name]
    fold = 1 if each.corpus.folds else None
    return TripletSet.from_corpus(each.corpus, each.out, part, fold, resolution=64, **options)  # type: ignore[arg-type]


def test_samples_of_a_fold(prepared: dict[str, Prepared]) -> None:
    sets = load(prepared, "bp4d")
    assert len(sets) == 4 * 13 and sets.labels.shape == (52, 12) and sets.labels.dtype == np.float32
    assert set(sets.subject) == {"M011", "F001"} and set(sets.corpus) == {"bp4d"}
    assert sets.video[0] == "M011_T1" and sets.frame[0] == 644 and sets.frame.dtype == np.int64
    assert set(load(prepared, "bp4d", "test").subject) == {"F007"}
    video = prepared["bp4d"].corpus.video("M011_T1")
    assert np.array_equal(sets.labels[5], video.labels[6])
    aff = load(prepared, "affwild2")
    assert len(aff) == 24 and aff.skipped == {} and np.isnan(aff.labels[:, aff.au_numbers.index(4)]).all()


def test_neighbours_are_ten_frames_away_at_25_hz(prepared: dict[str, Prepared]) -> None:
    sets = load(prepared, "bp4d")
    first = sets.rows[:13] - sets.rows[0, 1]  # frames 644..656, of 643..656
    own = first[:, 1]
    assert own.tolist() == list(range(13))
    assert (first[:, 2] - own).tolist() == [10] * 3 + [0] * 10
    assert (own - first[:, 0]).tolist() == [0] * 9 + [10] * 4
    disfa = load(prepared, "disfa")
    assert set(np.unique(np.diff(disfa.rows, axis=1))) == {0, 8}  # 20 Hz
    assert set(np.unique(np.diff(load(prepared, "disfa", interval_frames=10).rows, axis=1))) == {0, 10}
    with pytest.raises(DatasetError, match="expected at least one frame"):
        load(prepared, "disfa", interval_s=0.01)


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(-12, 12))
def test_a_neighbour_is_that_frame_or_the_own_one(frames: set[int], offset: int) -> None:
    numbers = np.array(sorted(frames))
    own = np.arange(100, 100 + len(numbers))
    for number, row, found in zip(numbers, own, _neighbour(numbers, offset, own), strict=True):
        assert numbers[found - 100] == (number + offset if number + offset in frames else number)
        assert (found == row) == (offset == 0 or number + offset not in frames)


def test_frames_without_a_face_are_left_out_and_not_neighbours(prepared: dict[str, Prepared], tmp_path: Path) -> None:
    each = prepared["disfa"]
    for name in each.corpus.names():
        faces = Faces.load(faces_path(each.out, "disfa", name))
        if name == "SN002":
            faces.status[8], faces.status[9] = "no face", "unreadable"
        faces.save(faces_path(tmp_path, "disfa", name))
    sets = TripletSet.from_corpus(each.corpus, tmp_path, "test", 1, resolution=64)
    assert len(sets) == 12 and sets.skipped == {"no face": 1, "unreadable": 1}
    assert 8 not in sets.frame and 9 not in sets.frame
    rows = dict(zip(sets.frame.tolist(), sets.rows.tolist(), strict=True))
    assert rows[0][2] == rows[0][1] and rows[1][2] == rows[1][1]  # 0 + 8 and 1 + 8
    assert rows[2][2] == rows[10][1]
    faces_path(tmp_path, "disfa", "SN002").unlink()
    with pytest.raises(DatasetError, match=r"disfa: 1 of 1 videos of test are not ready: .*SN002\.parquet"):
        TripletSet.from_corpus(each.corpus, tmp_path, "test", 1, resolution=64)


def test_the_crop_is_the_paper_square(prepared: dict[str, Prepared]) -> None:
    sets = load(prepared, "bp4d")
    i = 4
    video, faces = load_prepared(prepared["bp4d"].corpus.video("M011_T1"), prepared["bp4d"].out)
    x, y, w, h = faces.box[5].astype(float)
    side = 200 * (w + h) / 260
    matrix = sets.table.matrix(int(sets.rows[i, 1]), 64)
    back = alignment.transform(alignment.invert(matrix), np.array([(-0.5, -0.5), (63.5, 63.5)]))
    centre = np.array([x + w / 2, y + h / 2])
    assert np.allclose(back, [centre - side / 2, centre + side / 2], atol=1e-6)
    expected = np.empty((64, 64, 3), np.uint8)
    alignment.warp_crop(video.read(5), alignment.box_to_matrix(faces.box[5], 200 * 2 / 260, 64), expected)
    assert np.array_equal(sets.crops(i)[1], expected)


def test_neighbours_are_aligned_on_the_due_frame(prepared: dict[str, Prepared]) -> None:
    sets = load(prepared, "bp4d")
    crops = sets.crops(0)
    assert crops.shape == (3, 64, 64, 3) and crops.dtype == np.uint8
    assert np.array_equal(crops[0], crops[1])  # no former frame
    inner = (slice(16, 48), slice(16, 48))
    aligned = np.abs(crops[2][inner].astype(int) - crops[1][inner]).mean()
    # The face has drifted 9.5 px between the frames: without the alignment the crops differ much more.
    row, due = int(sets.rows[0, 2]), int(sets.rows[0, 1])
    loose = np.empty((64, 64, 3), np.uint8)
    alignment.warp_crop(sets.table.read(row), sets.table.matrix(due, 64), loose)
    assert aligned < 0.5 * np.abs(loose[inner].astype(int) - crops[1][inner]).mean()
    assert crops[1][32, 32, 0] > crops[1][32, 32, 2]  # RGB: skin is red before blue


def test_augmentation_is_shared_and_repeatable(prepared: dict[str, Prepared]) -> None:
    sets = load(prepared, "bp4d")
    i = 7  # neither former nor later: three times the same frame
    assert len(set(sets.rows[i])) == 1
    for seed in range(12):
        crops = sets.crops(i, np.random.default_rng(seed))
        assert np.array_equal(crops[0], crops[1]) and np.array_equal(crops[1], crops[2])
        assert np.array_equal(crops, sets.crops(i, np.random.default_rng(seed)))
    assert not np.array_equal(sets.crops(i, np.random.default_rng(1)), sets.crops(i, np.random.default_rng(2)))
    assert np.array_equal(load(prepared, "bp4d", augment=PLAIN).crops(i, np.random.default_rng(0)), sets.crops(i))


@given(seed=st.integers(0, 2**31))
def test_geometry_stays_within_the_ranges(seed: int) -> None:
    options = TripletAugment()
    matrix = options.matrix(np.random.default_rng(seed), 256)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    assert 1 / 1.25 - 1e-9 <= scale <= 1 / 0.75 + 1e-9
    assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) <= 15 + 1e-9
    centre = np.full((1, 2), 127.5)
    assert (np.abs(alignment.transform(matrix, centre) - centre) <= 10 + 1e-9).all()


def test_flip_mirrors_all_three(prepared: dict[str, Prepared]) -> None:
    sets = load(prepared, "bp4d", augment=dataclasses.replace(PLAIN, flip=1.0))
    assert np.array_equal(sets.crops(0, np.random.default_rng(0)), sets.crops(0)[:, :, ::-1])


@pytest.mark.parametrize("what", ["blur", "jpeg", "dropout", "colour"])
def test_content_changes_are_alike(prepared: dict[str, Prepared], what: str) -> None:
    strength = 0.3 if what == "colour" else 1.0
    sets = load(prepared, "bp4d", augment=dataclasses.replace(PLAIN, **{what: strength}))
    plain, changed = sets.crops(0), sets.crops(0, np.random.default_rng(3))
    assert not np.array_equal(plain[1], changed[1])
    if what == "dropout":
        holes = (changed == 0).all(-1) & ~(plain == 0).all(-1)
        assert holes[1].sum() >= 4 and np.array_equal(holes[1], holes[2])
        assert np.array_equal(changed[2][~holes[2]], plain[2][~holes[2]])


def test_a_set_can_be_pickled_and_used_by_threads(prepared: dict[str, Prepared]) -> None:
    sets = load(prepared, "bp4d")
    wanted = [sets.crops(i, np.random.default_rng(i)) for i in range(12)]
    again = pickle.loads(pickle.dumps(sets))
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda i: again.crops(i, np.random.default_rng(i)), range(12)))
    assert all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_subset(prepared: dict[str, Prepared]) -> None:
    sets = load(prepared, "disfa")
    part = sets.subset(np.array([5, 2]))
    assert len(part) == 2 and part.frame.tolist() == sets.frame[[5, 2]].tolist()
    assert np.array_equal(part.crops(1), sets.crops(2))


def test_a_picture_that_is_lost_later_is_named(prepared: dict[str, Prepared], tmp_path: Path) -> None:
    sets = load(prepared, "bp4d")
    reader = sets.table._readers[0]  # type: ignore[attr-defined]
    sets.table._readers[0] = dataclasses.replace(reader, folder=tmp_path)  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match=r"0644\.jpg: cannot be read"):
        sets.crops(0)


def test_points_that_cannot_be_aligned_are_named(prepared: dict[str, Prepared]) -> None:
    sets = load(prepared, "bp4d")
    sets.table.points[sets.rows[0, 2]] = 5.0
    with pytest.raises(DatasetError, match=r"bp4d: M011_T1 frame 644: a neighbour cannot be aligned"):
        sets.crops(0)


def test_the_synthetic_set(data: Path) -> None:
    sequences = load_split(data, "train")
    sets = TripletSet.from_sequences(sequences, 64)
    assert sets.au_numbers == sequences.info.au_numbers and set(sets.corpus) == {"synthetic"}
    assert not np.isnan(sets.labels).all(1).any() and set(sets.subject) <= set(sequences.info.splits["train"])
    at = {(v, f): i for i, (v, f) in enumerate(zip(sets.video, sets.frame, strict=True))}
    video = next(v for v, f in at if sum(w == v for w, _ in at) == 4)
    rows = [sets.rows[at[video, f]].tolist() for f in range(4)]
    first = rows[0][1]
    assert [[r - first for r in row] for row in rows] == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    crops = sets.crops(at[video, 1])
    sequence = int(video.rsplit("-", 1)[1])
    image = sequences.images[sequence][1]
    assert np.abs(crops[1].mean((0, 1)) - image[16:144, 16:144].mean((0, 1))).max() < 3


def test_the_mixture_masks_what_a_set_does_not_label(prepared: dict[str, Prepared], data: Path) -> None:
    corpora = [prepared[name].corpus for name in ("bp4d", "disfa", "affwild2")]
    sets = mixture(corpora, prepared["bp4d"].out, "train", 1, resolution=64)
    assert sets.au_numbers == (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26)
    for corpus in corpora:
        own = load(prepared, corpus.name)
        here = sets.corpus == corpus.name
        labelled = [au for k, au in enumerate(sets.au_numbers) if not np.isnan(sets.labels[here, k]).all()]
        known = [au for k, au in enumerate(own.au_numbers) if not np.isnan(own.labels[:, k]).all()]
        assert labelled == known and here.sum() == len(own)
        last = int(np.flatnonzero(here)[-1])
        assert np.array_equal(sets.crops(last), own.crops(len(own) - 1))
        assert np.array_equal(sets.rows[last] - sets.rows[last, 1], own.rows[-1] - own.rows[-1, 1])
    with_synthetic = mix([sets, TripletSet.from_sequences(load_split(data, "train"), 64)])
    assert set(with_synthetic.corpus) == {"bp4d", "disfa", "affwild2", "synthetic"}
    assert np.array_equal(pickle.loads(pickle.dumps(with_synthetic)).crops(3), sets.crops(3))
    with pytest.raises(DatasetError, match="one resolution"):
        mix([sets, TripletSet.from_sequences(load_split(data, "train"), 128)])
    assert np.isnan(spread(np.ones((2, 1), np.float32), (12,), (1, 12))).tolist() == [[True, False]] * 2


@pytest.mark.parametrize("name", ["bp4d", "disfa", "affwild2", "mixture", "synthetic"])
def test_two_steps_of_training(prepared: dict[str, Prepared], data: Path, name: str) -> None:
    if name == "synthetic":
        sets = TripletSet.from_sequences(load_split(data, "train"), 64)
    elif name == "mixture":
        corpora = [each.corpus for each in prepared.values()]
        sets = mixture(corpora, prepared["bp4d"].out, "train", 2, resolution=64)
    else:
        sets = load(prepared, name)
    torch.manual_seed(0)
    network = build("au-tdn", len(sets.au_numbers), width=16, resolution=64)
    optimizer = torch.optim.AdamW(network.trainable(), lr=2e-3)
    weights = au_weights(torch.from_numpy(np.nan_to_num(np.array([np.nanmean(c) if len(c) else np.nan for c in
                         (column[~np.isnan(column)] for column in sets.labels.T)]), nan=1.0)))  # fmt: skip
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(sets))[:8]
    crops = torch.from_numpy(np.stack([sets.crops(int(i), rng) for i in chosen])).permute(0, 1, 4, 2, 3) / 255.0
    labels = torch.from_numpy(sets.labels[chosen])
    losses = []
    for _ in range(3):
        loss = au_loss(network(crops), labels, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all() and losses[2] < losses[0]
