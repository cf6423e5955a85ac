"""People and pictures of the folder `faces`: who is taken, for which split, and with which labels."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from tests.train.painted import write_faces
from train.data.sequences import DatasetError
from train.synthetic import strangers
from train.synthetic.choreography import ROW, at_rest
from train.synthetic.crop import STORED
from train.synthetic.ict import AU_NUMBERS
from train.synthetic.material import SHARES, frequencies
from train.synthetic.pictured import picture_rows, pictured_people
from train.synthetic.pictures import role_of
from train.synthetic.portraits import skin_tone
from train.synthetic.strangers import SPLIT_OF, identity_of, read_strangers
from train.synthetic.taking import Taking, draw_taking, taken


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(strangers, "SOURCES", ("interfaces",))
    monkeypatch.setattr(strangers, "LIPS_AT_REST", 1.0)  # painted lips stand open
    write_faces(tmp_path / "faces", np.random.default_rng(0), 24)
    return tmp_path / "faces"


def test_near_neutral_people_are_taken_by_the_role_of_their_picture(
    faces: Path, caplog: pytest.LogCaptureFixture
) -> None:
    people, splits, groups = read_strangers(faces)
    names = {p.path.name for p in people}
    assert names and all(int(p.path.stem) % 2 == 0 and int(p.path.stem) % 3 for p in people), "no smile, no raised brow"
    assert all(splits[p.identity] == SPLIT_OF[role_of(f"interfaces/{p.path.name}")] for p in people)
    assert all(not p.plain and not p.smiling for p in people) and set(groups) == set(splits)
    first = people[0].path.name
    (faces / "coded_by_eye.csv").write_text(f"source,file\ninterfaces,{first}\n")
    (faces / "interfaces" / people[1].path.name).unlink()
    with caplog.at_level(logging.WARNING):
        fewer = {p.path.name for p in read_strangers(faces)[0]}
    assert fewer == names - {first, people[1].path.name} and people[1].path.name in caplog.text
    (faces / "index.csv").write_text("file,source\ninterfaces/002.jpg,interfaces\n")
    with pytest.raises(DatasetError, match="do not fit each other"):
        read_strangers(faces)
    (faces / "index.csv").unlink()
    assert read_strangers(faces) == ([], {}, {})


def test_pictures_with_a_sure_label_become_photos_of_train_and_val(faces: Path) -> None:
    rows, identity = picture_rows(faces)
    people = pictured_people(faces)
    assert list(people) == identity and set(people.values()) == {"train", "val"}
    assert not any(SPLIT_OF[role_of(f"interfaces/{name[-3:]}.jpg")] == "test" for name in identity)
    for row, name in zip(rows, identity, strict=True):
        assert row["images"].shape == (4, 160, 160, 3) and row["images"].std() > 20
        smiles = int(name[-3:]) % 2
        assert (row["labels"][:, ROW[12]] == smiles).all() and np.isnan(
            row["labels"][:, [ROW[1], ROW[2], ROW[4]]]
        ).all()
        eyes = row["points"][0, [slice(36, 42), slice(42, 48)][0]].mean(0)
        assert np.abs(eyes - STORED[0]).max() < 0.02
    assert identity_of(Path("faces/some/one.jpg")) == "some_one"


def test_splits_keep_their_shares_and_rare_tones_come_more_often() -> None:
    of = {f"{split}{i}": split for split, count in (("train", 20), ("val", 4), ("test", 30)) for i in range(count)}
    tones = {name: "dark" if name.endswith("0") else "light" for name in of}
    names = sorted(of)
    often = dict(zip(names, frequencies(names, of, tones), strict=True))
    for split, share in SHARES.items():
        assert sum(often[n] for n in names if of[n] == split) == pytest.approx(share)
    assert often["train0"] > 2 * often["train1"] and often["train1"] == pytest.approx(often["train2"])


def test_faces_at_rest_differ_and_stay_within_what_people_have() -> None:
    shapes = ("browInnerUp", "browDown", "browOuterUp", "mouthSmile", "mouthFrown", "eyeSquint", "eyeBlink", "eyeWide")
    names = tuple(f"{n}_{s}" for n in (*shapes, "mouthLowerDown", "mouthUpperUp") for s in "LR")
    drawn = np.array([at_rest(names, np.random.default_rng(seed)) for seed in range(200)])
    assert np.abs(drawn).max() <= 0.5 and (drawn[:, ::2] == drawn[:, 1::2]).all()
    brow = drawn[:, names.index("browInnerUp_L")]
    assert brow.min() < -0.2 and brow.max() > 0.2 and 0.3 < (brow == 0).mean() < 0.7


def test_skin_tones_of_painted_cheeks() -> None:
    points = np.random.default_rng(0).uniform(40, 80, (68, 2))
    points[36:42], points[42:48] = (40, 50), (80, 50)
    points[[36, 39, 42, 45], 0] += (-6, 6, -6, 6)
    points[[37, 38, 43, 44], 1] -= 3
    for colour, expected in (((180, 200, 235), "light"), ((30, 45, 75), "dark")):
        photo = np.full((120, 120, 3), colour, np.uint8)
        photo[44:56, 30:50] = photo[44:56, 70:90] = 150  # the whites of the eyes
        assert skin_tone(photo, points)[0] == expected
    assert len(AU_NUMBERS) == 18


def test_a_frame_that_is_taken_well_stays_and_the_faults_do_what_they_say() -> None:
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (20, 20, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    np.testing.assert_array_equal(taken(image, Taking(), 0), image)
    rough = [Taking(blur=1.5), Taking(shake=6), Taking(shrunk=0.5), Taking(smooth=1.0)]
    steepest = np.abs(np.diff(image.astype(int), axis=1)).max()
    for how in rough:
        changed = taken(image, how, 0)
        assert np.abs(np.diff(changed.astype(int), axis=1)).max() <= steepest and (changed != image).mean() > 0.05
    dim = Taking(light=0.2, noise=8.0, seed=3)
    assert taken(image, dim, 0).mean() < 0.75 * image.mean() and (taken(image, dim, 0) != taken(image, dim, 1)).any()
    np.testing.assert_array_equal(taken(image, dim, 0), taken(image, dim, 0))
    grey = taken(image, Taking(saturation=0.0), 0).astype(int)
    assert np.ptp(grey, axis=2).max() <= 1
    assert len({draw_taking(np.random.default_rng(seed)).quality for seed in range(100)}) > 3
