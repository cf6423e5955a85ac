"""The crop store: the same crops as from whole frames, stores that do not fit, a disk that is full."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.train.data.lab import Prepared, said
from train.data import store
from train.data.corpora.corpus import DatasetError
from train.data.corpora.registry import open_corpus
from train.data.faces.stored import Faces, faces_path, load_prepared
from train.data.transforms.sequences import crop_matrix
from train.data.transforms.triplets import TripletAugment
from train.data.triplets import TripletSet


@pytest.fixture(scope="module")
def stored(prepared: dict[str, Prepared], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the faces, with crops of BP4D and DISFA."""
    folder = tmp_path_factory.mktemp("store") / "prepared"
    for name in ("bp4d", "disfa"):
        shutil.copytree(prepared[name].out / name, folder / name)
        root = prepared[name].corpus.root
        assert "videos, 0 were ready before" in said("store", name, "--root", root, "--out", folder)
    return folder


@pytest.mark.parametrize("name", ["bp4d", "disfa"])
def test_crops_are_those_of_whole_frames(prepared: dict[str, Prepared], stored: Path, name: str) -> None:
    given = {"part": "train", "fold": 1, "resolution": 64, "interval_frames": 5}
    whole, cut = (
        TripletSet.from_corpus(prepared[name].corpus, stored, store=how, **given)  # type: ignore[arg-type]
        for how in ("never", "always")
    )
    assert isinstance(cut.table, store.StoredFrames) and np.array_equal(whole.rows, cut.rows)
    for augment in (None, TripletAugment(flip=0, blur=0, jpeg=0, dropout=0)):
        if augment is not None:
            whole.augment = cut.augment = augment
        for i in (0, len(whole) // 2, len(whole) - 1):
            rngs = [None if augment is None else np.random.default_rng(i) for _ in range(2)]
            a, b = whole.crops(i, rngs[0]).astype(float), cut.crops(i, rngs[1]).astype(float)
            error, moved = np.abs(a - b), np.abs(a[:, :, 1:] - b[:, :, :-1])  # moved: off by a pixel
            assert error.mean() < 3.0 and error.mean() < 0.7 * moved.mean(), (i, augment)
    again = pickle.loads(pickle.dumps(cut))
    assert np.array_equal(again.crops(1), cut.crops(1))


def test_the_margin_holds_every_draw() -> None:
    """The corners of a crop, turned, enlarged and moved as far as the augmentation goes, lie in the stored square."""
    worst = 0.0
    for augment in (TripletAugment(), TripletAugment(rotation_deg=13.5, shift=12.8 / 256)):
        rng = np.random.default_rng(0)
        for _ in range(3000):
            matrix = augment.matrix(rng, 256)
            back = np.linalg.inv(np.vstack((matrix, (0, 0, 1))))[:2]
            corners = np.array([(0, 0), (255, 0), (0, 255), (255, 255)]) @ back[:, :2].T + back[:, 2]
            worst = max(worst, float(np.abs(corners - 127.5).max() / 127.5))
    assert 1.4 < worst < store.MARGIN
    assert np.allclose(crop_matrix(256, 256, 1.0), [[1, 0, 0], [0, 1, 0]])


def test_a_store_of_other_faces_is_not_read(prepared: dict[str, Prepared], stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored / "bp4d", tmp_path / "bp4d")
    corpus = open_corpus("bp4d", prepared["bp4d"].corpus.root)
    place = faces_path(tmp_path, "bp4d", "F001_T1")
    faces = Faces.load(place)
    faces = dataclasses.replace(faces, box=faces.box + np.float32(1))
    faces.save(place)
    given = {"part": "train", "fold": 1, "resolution": 64}
    with pytest.raises(DatasetError, match=r"found none of F001_T1; run `python -m train store`"):
        TripletSet.from_corpus(corpus, tmp_path, store="always", **given)  # type: ignore[arg-type]
    plain = TripletSet.from_corpus(corpus, tmp_path, store="auto", **given)  # type: ignore[arg-type]
    assert not isinstance(plain.table, store.StoredFrames)
    assert store.make_store(corpus, tmp_path) == (1, 5)
    again = TripletSet.from_corpus(corpus, tmp_path, store="auto", **given)  # type: ignore[arg-type]
    assert isinstance(again.table, store.StoredFrames)
    path = store.store_path(tmp_path, "bp4d", "F001_T1")
    path.write_bytes(path.read_bytes()[:3000])
    opened = store.CropStore.fits(path, faces)
    with pytest.raises(DatasetError, match=r"cut short, or is none|cannot be read as a crop store|found none"):
        assert opened
        store.CropStore.open(path).read(int(faces.frames[-1]))


def test_what_is_not_whole_is_not_there(
    prepared: dict[str, Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, faces = load_prepared(prepared["bp4d"].corpus.video("F001_T1"), prepared["bp4d"].out)
    path = store.store_path(tmp_path, "bp4d", "F001_T1")
    inner, count = store._add, [0]

    def add(*arguments: object) -> None:
        count[0] += 1
        if count[0] == 5:
            raise OSError(28, "No space left on device")
        inner(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_add", add)
    with pytest.raises(OSError, match="No space left on device; make room, then run store again"):
        store.write_store(video, faces, path)
    assert not list(path.parent.iterdir())
    monkeypatch.undo()
    assert store.write_store(video, faces, path) == 14 and store.CropStore.fits(path, faces)
    with pytest.raises(DatasetError, match="expected a crop of frame 1, found none"):
        store.CropStore.open(path).read(1)
