"""The reader of the synthetic set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.train.shards import write_set
from train.data.sequences import DatasetError, load_split


def test_splits_are_by_identity_and_complete(data: Path) -> None:
    parts = {split: load_split(data, split) for split in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == 48
    info = parts["train"].info
    for split, part in parts.items():
        assert set(part.identity.tolist()) == set(info.splits[split])
        assert part.points.shape == (len(part), 4, 68, 2) and part.labels.shape == (len(part), 4, 15)
        assert all(image.shape == (4, 160, 160, 3) and image.dtype == np.uint8 for image in part.images)


def test_images_are_mapped_and_right(data: Path) -> None:
    part = load_split(data, "train")
    assert isinstance(part.images[0], np.memmap)
    with np.load(sorted((data / "shards").glob("*.npz"))[-1]) as file:
        row = int(np.flatnonzero(file["identity"] == part.identity[-1])[-1])
        assert np.array_equal(part.images[-1], file["images"][row])
        assert np.array_equal(part.points[-1], file["points"][row], equal_nan=True)


def test_compressed_shards_are_read_too(tmp_path: Path) -> None:
    write_set(tmp_path, sequences=12, shards=1)
    shard = tmp_path / "shards" / "0000.npz"
    stored = load_split(tmp_path, "train")
    images = [np.array(image) for image in stored.images]
    with np.load(shard) as file:
        arrays = dict(file)
    np.savez_compressed(shard, **arrays)
    assert np.array_equal(load_split(tmp_path, "train").images, images)


def test_subset_keeps_rows_together(data: Path) -> None:
    part = load_split(data, "train")
    chosen = part.subset(np.array([5, 2]))
    assert len(chosen) == 2 and np.array_equal(chosen.images[1], part.images[2])
    assert np.array_equal(chosen.points[0], part.points[5], equal_nan=True)


def test_bad_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dataset\.json"):
        load_split(tmp_path, "train")
    with pytest.raises(ValueError, match="split"):
        load_split(tmp_path, "training")
    write_set(tmp_path, sequences=12, shards=1)
    path = tmp_path / "dataset.json"
    good = json.loads(path.read_text())
    path.write_text(json.dumps(good | {"splits": good["splits"] | {"val": good["splits"]["train"]}}))
    with pytest.raises(DatasetError, match="stands in train and in val"):
        load_split(tmp_path, "train")
    path.write_text(json.dumps({k: v for k, v in good.items() if k != "margin"}))
    with pytest.raises(DatasetError, match="margin"):
        load_split(tmp_path, "train")
    path.write_text(json.dumps(good | {"frames": 3}))
    with pytest.raises(DatasetError, match="expected images"):
        load_split(tmp_path, "train")
    path.write_text(json.dumps(good | {"splits": {"train": ["nobody"], "val": [], "test": []}}))
    with pytest.raises(DatasetError, match="no sequence"):
        load_split(tmp_path, "train")
    path.write_text(json.dumps(good))
    (tmp_path / "shards" / "0000.npz").write_bytes(b"PK torn")
    with pytest.raises(DatasetError, match="make it again"):
        load_split(tmp_path, "train")
