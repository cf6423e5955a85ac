"""Pictures with a sure label: what is read of them, and what is left out."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.sequences import DatasetError
from train.synthetic.ict import AU_NUMBERS
from train.synthetic.pictures import ROLES, read_pictures, role_of

AU1, AU12 = AU_NUMBERS.index(1), AU_NUMBERS.index(12)


def write_faces(place: Path, count: int = 12) -> Path:
    """A table of MediaPipe's readings of pictures that are noise; the second half has raised brows and a smile."""
    rng = np.random.default_rng(0)
    names = sorted({"browInnerUp", "browOuterUpLeft", "browOuterUpRight", "mouthSmileLeft", "mouthSmileRight",
                    "jawOpen", "mouthPucker", "mouthLowerDownLeft", "mouthLowerDownRight", "browDownLeft",
                    "eyeBlinkLeft", "eyeBlinkRight"})  # fmt: skip
    shapes = np.zeros((count, len(names)), np.float32)
    shapes[count // 2 :] = 0.9
    points = np.tile(rng.uniform(20, 80, (68, 2)), (count, 1, 1))
    points[:, 60:] = points[:, 60:61]  # shut lips
    points[:, 36:42], points[:, 42:48] = (30, 40), (70, 40)
    paths = [f"some/{i:03d}.png" for i in range(count)]
    (place / "some").mkdir(parents=True)
    for path in paths:
        cv2.imwrite(str(place / path), rng.integers(0, 256, (96, 96, 3)).astype(np.uint8))
    np.savez(place / "mediapipe.npz", path=np.array(paths), points68=points.astype(np.float32), blendshapes=shapes,
             blendshape_names=np.array(names), matrix=np.zeros((count, 4, 4)))  # fmt: skip
    return place


def test_pictures_have_the_sure_labels_alone(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", 60)
    parts = {role: read_pictures(faces, role) for role in ROLES}
    assert sum(len(part) for part in parts.values()) == 60 and all(len(part) for part in parts.values())
    assert all(role_of("/".join(path.parts[-2:])) == role for role, part in parts.items() for path in part.paths)
    train = parts["train"]
    raised = np.array([int(path.stem) >= 30 for path in train.paths])
    assert (train.labels[raised][:, [AU1, AU12]] == 1).all() and (train.labels[~raised][:, [AU1, AU12]] == 0).all()
    assert np.isnan(train.labels[:, AU_NUMBERS.index(4)]).all(), "MediaPipe is no teacher of AU4"
    assert (train.rest == ~raised).all()


def test_pictures_that_were_coded_by_eye_are_left_out(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces")
    before = {path.name for role in ROLES for path in read_pictures(faces, role).paths}
    with (faces / "coded_by_eye.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["source", "file", "AU1"], ["some", "003.png", "1"]])
    after = {path.name for role in ROLES for path in read_pictures(faces, role).paths}
    assert before - after == {"003.png"}


def test_missing_and_broken_pictures_are_named_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    faces = write_faces(tmp_path / "faces")
    pictures = read_pictures(faces, "train")
    pictures.paths[0].unlink()
    pictures.paths[1].write_bytes(b"no picture")
    kept, pixels = pictures.load()
    assert kept.paths == pictures.paths[2:] and len(list(pixels)) == len(kept)
    assert pictures.paths[0].name in caplog.text and pictures.paths[1].name in caplog.text


def test_a_table_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mediapipe\.npz"):
        read_pictures(tmp_path, "train")
    (tmp_path / "mediapipe.npz").write_bytes(b"cut")
    with pytest.raises(DatasetError, match="is not the table"):
        read_pictures(tmp_path, "train")
    np.savez(tmp_path / "mediapipe.npz", path=np.array(["a"]))
    with pytest.raises(DatasetError, match="points68"):
        read_pictures(tmp_path, "train")
    with pytest.raises(ValueError, match="role: expected one of"):
        read_pictures(tmp_path, "all")
