"""The geometry path: what it is trained on, a real training, the fusion with the appearance path."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.train.networks import randomised
from tests.train.people import six_people
from train.cli.main import app
from train.configs.options import GeometryOptions
from train.data.sequences import DatasetError
from train.evaluation.references import normalised, references
from train.models.config import ModelConfig
from train.models.model import Model, grown
from train.models.points_head import PointsHead
from train.recipes import fusion
from train.recipes.evidence import Evidence, both
from train.recipes.geometry_task import GeometryTask, portrait_references
from train.recipes.landmarks import LandmarkSampler, Spread, draw_acts, fit_people, landmark_head, mirrored, project
from train.recipes.looks import Looks, look_at_pictures
from train.recipes.two_paths import with_path_of, without_path
from train.synthetic import generate
from train.synthetic.generate import Settings
from train.synthetic.ict import AU_NUMBERS, Head
from train.synthetic.pictures import ROLES, read_pictures, role_of

CHECKPOINT = Path(__file__).resolve().parents[3] / "train" / "checkpoints" / "default.safetensors"
AU1, AU12 = AU_NUMBERS.index(1), AU_NUMBERS.index(12)


def test_points_are_normalised_as_in_the_head() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(5, 25, (4, 68, 2))
    points[:, 36:42] += [-8, 0]
    points[:, 42:48] += [8, 1]
    x, y = (torch.from_numpy(points[..., k]).float() for k in (0, 1))
    head = PointsHead(3, 16)
    np.testing.assert_allclose(normalised(points), head._normalise(x, y).numpy(), atol=1e-3)


def test_twice_mirrored_is_the_face_itself() -> None:
    points = np.random.default_rng(0).normal(0, 1, (3, 68, 2)).astype(np.float32)
    assert not np.allclose(mirrored(points), points)
    np.testing.assert_array_equal(mirrored(mirrored(points)), points)


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


def test_no_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one with a face"):
        look_at_pictures(Model(ModelConfig(width=16, resolution=64)), [])


def test_a_new_path_says_nothing_yet() -> None:
    torch.manual_seed(0)
    model = Model(ModelConfig(width=16, resolution=64)).eval()
    wider = grown(model, geometry=24, intensity=True)
    crops = torch.rand(2, 3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(wider(*crops.unbind(1))[1]["points"], model(*crops.unbind(1))[1]["points"])
    with pytest.raises(ValueError, match="without that path"):
        grown(wider, geometry=24)


def test_a_path_survives_saving(tmp_path: Path) -> None:
    model = grown(Model(ModelConfig(width=16, resolution=64)), geometry=24, intensity=True)
    model.save(tmp_path / "m.safetensors", torch.float16)
    config = Model.load(tmp_path / "m.safetensors").config
    assert (config.geometry, config.intensity, config.reference) == (24, True, True)
    with pytest.raises(ValueError, match="geometry: expected 0"):
        ModelConfig(geometry=-1)


def test_more_aus_leave_the_others_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    narrow = ModelConfig(width=16, resolution=64, geometry=24, intensity=True, thresholds={"points": (0.3,) * 15})
    model = randomised(Model(narrow)).eval()
    more = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 45)
    wider = grown(model, more)
    assert wider.config.aus_of("points") == more and wider.config.aus_of("aunet") == narrow.au_numbers
    assert (
        wider.config.thresholds_of("points")[:4] == (0.3, 0.3, 0.3, 0.5)
        and len(wider.config.thresholds_of("aunet")) == 15
    )
    wider.save(tmp_path / "m.safetensors")
    wider = Model.load(tmp_path / "m.safetensors")
    crops, reference = torch.rand(2, 3, 3, 64, 64), torch.randn(2, 68, 2)
    kept = [more.index(number) for number in narrow.au_numbers]
    with torch.no_grad():
        (_, before), (_, after) = (one(*crops.unbind(1), reference) for one in (model, wider))
    torch.testing.assert_close(after["points"][:, kept], before["points"])
    torch.testing.assert_close(after["aunet"], before["aunet"])
    with pytest.raises(ValueError, match="au_numbers: expected those of the model"):
        grown(model, (1, 2))
    with pytest.raises(ValueError, match="head_aus: expected some of"):
        ModelConfig(head_aus={"aunet": (1, 5)})


@pytest.fixture(scope="module")
def head(corpus: Path) -> Head:
    return landmark_head(corpus / "ict_facekit_light.npz")


def sampler_of(head: Head) -> LandmarkSampler:
    errors = np.random.default_rng(1).normal(0, 0.2, (50, 68, 2)).astype(np.float32)
    return LandmarkSampler(head, np.empty((0, 68, 3), np.float32), errors, draw_acts(head, 40, 1))


def test_the_same_seed_draws_the_same_faces(head: Head) -> None:
    sampler = sampler_of(head)
    first, second = (sampler.draw(np.random.default_rng(3), 64) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    coordinates, reference, intensity = first
    assert coordinates.shape == reference.shape == (64, 68, 2) and coordinates.dtype == reference.dtype == np.float32
    np.testing.assert_allclose(coordinates[:, 36:42].mean(1), [[-5, 0]] * 64, atol=1.5)
    assert ((intensity >= 0) & (intensity <= 1) | np.isnan(intensity)).all()


def test_a_reference_is_the_same_person_at_rest(head: Head) -> None:
    """Faces that do nothing are near their reference, which is nearer to them than to others; about .3 have none."""
    errors = np.random.default_rng(1).normal(0, 0.2, (50, 68, 2)).astype(np.float32)
    weights, intensity, turn = draw_acts(head, 4, 1)
    still = (weights * 0, intensity * 0, turn)
    spread = Spread(contaminated=0.0)
    sampler = LandmarkSampler(head, np.empty((0, 68, 3), np.float32), errors, still, spread)
    coordinates, reference, _ = sampler.draw(np.random.default_rng(3), 2000)
    known = reference.any((1, 2))
    assert known.mean() == pytest.approx(1 - spread.unknown, abs=0.04)
    inner = slice(17, 68)
    change = np.abs(coordinates - reference)[known][:, inner].mean()
    others = np.abs(coordinates[known] - np.roll(reference[known], 1, 0))[:, inner].mean()
    assert change < 0.6 * others
    acting = LandmarkSampler(head, sampler.people, errors, (weights, intensity, turn), Spread(contaminated=1.0))
    clean = LandmarkSampler(head, sampler.people, errors, (weights, intensity, turn), spread)
    stained, plain = (one.draw(np.random.default_rng(5), 2000)[1] for one in (acting, clean))
    both = stained.any((1, 2)) & plain.any((1, 2))
    assert np.abs(stained - plain)[both].mean() > 0.05, "a part of an act shows"


def test_renders_that_tell_how_a_face_rests_have_a_reference() -> None:
    rng = np.random.default_rng(0)
    frames, rest = 4, rng.normal(0, 4, (3, 4, 68, 2)).astype(np.float32)
    rest[2] = np.nan
    true = np.repeat(rest[:, :1], frames, 1).reshape(-1, 68, 2)
    errors = np.full_like(true, 0.1)
    info = SimpleNamespace(frames=frames)
    found = np.nan_to_num(true) + errors
    reference = references(SimpleNamespace(rest=rest, info=info), found, errors, rng)  # type: ignore[arg-type]
    assert reference[:8].any((1, 2)).all() and not reference[8:].any(), "not known is all zeros"
    nearest = np.abs(reference[:8, None] - (rest[:2].repeat(frames, 0) + 0.1)).mean((2, 3)).min(1)
    assert np.median(nearest) < 1e-5, "FAN's bias is in it"
    assert not references(SimpleNamespace(rest=None, info=info), found, errors, rng).any()  # type: ignore[arg-type]


def test_a_smiling_portrait_refers_to_the_neutral_one() -> None:
    coordinates = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 68, 2), np.float32) + 1
    names = np.array(["", "a", "a", "b", ""])
    reference = portrait_references(coordinates, names, np.array([True, True, False, True, False]))
    np.testing.assert_array_equal(reference[2], coordinates[1])
    assert not reference[[0, 1, 3, 4]].any()


def test_raised_brows_are_higher_and_a_turn_brings_the_far_eye_nearer_the_nose(head: Head) -> None:
    neutral = (head.neutral - head.neutral.mean(0))[None].astype(np.float32)
    raised = neutral + (head.au_matrix()[AU1] @ head.shapes.reshape(len(head.shapes), -1)).reshape(1, 68, 3)
    far, near = np.full((1, 1), 60, np.float32), np.zeros((1, 3), np.float32)
    rest, up = project(neutral, near, far)[0], project(raised, near, far)[0]
    assert (rest[19:25, 1] - up[19:25, 1]).mean() > 0.4
    turned = project(neutral, np.float32([[0, 0.5, 0]]), far)[0]
    assert abs(turned[30, 0]) > abs(rest[30, 0]) + 1


def test_a_fitted_person_projects_to_the_points_that_were_fitted(head: Head, corpus: Path) -> None:
    from train.synthetic.portraits import read_portraits

    portrait = read_portraits(corpus / "portraits")[0]
    person = fit_people(head, portrait.points[None])
    shown = project(person, np.zeros((1, 3), np.float32), np.full((1, 1), 500, np.float32))[0]
    off = np.linalg.norm(shown - normalised(portrait.points), axis=1)[17:]
    assert np.median(off) < 0.5, "tenths of the eye distance, its small turn left out"


def test_without_errors_of_fan_nothing_is_drawn(head: Head) -> None:
    with pytest.raises(ValueError, match="errors: expected"):
        LandmarkSampler(head, np.empty((0, 68, 3), np.float32), np.empty((0, 68, 2), np.float32), draw_acts(head, 1, 1))


def test_options_that_no_run_can_have() -> None:
    for values, words in (
        ({"render_share": 0.6, "picture_share": 0.4}, "sum below 1"),
        ({"acts": 0}, "acts: expected"),
        ({"hidden": 0}, "hidden: expected"),
    ):
        with pytest.raises(ValueError, match=words):
            GeometryOptions(**values).check()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="--init"):
        GeometryTask(GeometryOptions())


def evidence(name: str, seed: int, appearance: float, geometry: float, shows: bool = True) -> Evidence:
    """One AU; both paths see it as strongly as said, with noise of 1."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((600, 1)) < 0.2 * shows).astype(float)
    seen = [strength * (2 * labels - 1) + rng.normal(0, 1, labels.shape) for strength in (appearance, geometry)]
    return Evidence(name, *seen, labels, labels)


def test_the_path_that_knows_counts() -> None:
    first = fusion.fit([evidence("renders", 0, 1.5, 0.0)], (4,))
    second = fusion.fit([evidence("renders", 0, 0.0, 1.5)], (4,))
    assert first.appearance[0] > 4 * first.geometry[0] and second.geometry[0] > 4 * second.appearance[0]


def test_either_path_can_carry_a_decision() -> None:
    """On renders furrows tell everything; on smooth skin they are missing, and the points have to do."""
    renders, pictures = evidence("renders", 0, 4.0, 1.5), evidence("pictures", 1, 0.0, 3.0)
    weights = fusion.fit([renders, pictures], (1,))
    on = pictures.labels[:, 0] == 1
    decided = weights.logits(pictures)[:, 0] > 0
    assert decided[on].mean() > 0.9 and decided[~on].mean() < 0.06
    alone = fusion.fit([renders], (1,), fusion.FusionOptions(dropout=0.0))
    assert weights.geometry[0] > alone.geometry[0]


def test_a_domain_without_the_au_still_keeps_it_calm() -> None:
    renders = evidence("renders", 0, 1.5, 1.0)
    calm = evidence("pictures", 1, 0.0, 0.0, shows=False)
    loud = dataclasses.replace(calm, appearance=calm.appearance + 1.5)
    weights = fusion.fit([renders, loud], (9,))
    assert (weights.logits(loud) > 0).mean() <= 0.051
    assert (fusion.fit([renders], (9,)).logits(loud) > 0).mean() > 0.2


def test_an_au_that_nothing_shows_keeps_the_appearance_path() -> None:
    weights = fusion.fit([evidence("pictures", 0, 0.0, 0.0, shows=False)], (9,))
    assert (weights.appearance[0], weights.geometry[0], weights.shift[0]) == (1, 0, 0)


def looks(count: int) -> Looks:
    rng = np.random.default_rng(0)
    pooled = rng.normal(0, 1, (count, 68, 48)).astype(np.float16)
    coordinates = rng.normal(0, 2, (count, 68, 2)).astype(np.float32)
    return Looks(pooled, coordinates, coordinates.astype(float), np.ones(count))


def test_paths_of_a_model_without_geometry_are_refused() -> None:
    nothing, labels = np.zeros((1, 68, 2), np.float32), np.zeros((1, 15))
    with pytest.raises(ValueError, match="train geometry"):
        both("none", Model(ModelConfig(width=16, resolution=64)), looks(1), nothing, labels, labels)


def test_evidence_of_both_states_is_what_the_head_adds_up() -> None:
    """With weights of 1 the gate is the sum of both paths; rows without a reference are in the first table alone."""
    torch.manual_seed(0)
    model = randomised(Model(ModelConfig(width=16, resolution=64, geometry=24, intensity=True))).eval()
    seen, labels = looks(6), np.zeros((6, 15))
    reference = np.random.default_rng(1).normal(0, 2, (6, 68, 2)).astype(np.float32)
    reference[[1, 4]] = 0
    order = np.array([0, 0, 1, 2, 3, 4]), np.array([1, 2, 3, 4, 5, 5])
    unknown, known = both("some", model, seen, reference, labels, labels, order, labels)
    assert len(unknown.labels) == 6 and len(known.labels) == 4 and known.intensity is not None
    pooled = torch.from_numpy(seen.pooled).float()
    with torch.no_grad():
        described = model.points.describe_pooled(pooled, torch.from_numpy(seen.coordinates))
        frames = described[order[0]], described, described[order[1]]
        for one, rest in ((unknown, None), (known, torch.from_numpy(reference))):
            said = model.points.combine(*frames, rest).numpy()
            rows = slice(None) if rest is None else [0, 2, 3, 5]
            np.testing.assert_allclose(one.appearance + one.geometry, said[rows], atol=1e-4)


def test_the_path_of_another_model_of_the_same_fan() -> None:
    torch.manual_seed(0)
    plain = randomised(Model(ModelConfig(width=16, resolution=64, intensity=True))).eval()
    other = grown(plain, geometry=24)
    assert other.points.geometry is not None
    for layer in other.points.geometry.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.1)
    frames, reference = torch.randn(3, 2, 68, 34), torch.randn(2, 68, 2)
    taken = with_path_of(plain, other)
    with torch.no_grad():
        moved = other.points.geometry(frames[1, ..., -2:], reference)
        expected = plain.points.appearance(*frames) + moved
        torch.testing.assert_close(taken.points.combine(*frames, reference), expected)
    with pytest.raises(ValueError, match="without it"):
        with_path_of(other, plain)
    with pytest.raises(ValueError, match="the same FAN"):
        with_path_of(Model(ModelConfig(width=16, resolution=64, intensity=True)), other)


def moved(model: Model) -> Model:
    """A model whose geometry path says something."""
    assert model.points.geometry is not None
    for layer in model.points.geometry.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.1)
    randomised(model.points.geometry)
    return model.eval()


def test_of_a_path_for_more_aus_those_of_the_model_are_taken() -> None:
    torch.manual_seed(0)
    plain = Model(ModelConfig(width=16, resolution=64)).eval()
    other = moved(grown(plain, AU_NUMBERS, geometry=24, intensity=True))
    assert other.points.geometry is not None
    taken = with_path_of(plain, other)
    assert taken.config.aus_of("points") == plain.config.aus_of("points") and not taken.config.intensity
    coordinates, reference = torch.randn(2, 3, 68, 2)
    rows = [AU_NUMBERS.index(number) for number in plain.config.aus_of("points")]
    with torch.no_grad():
        assert taken.points.geometry is not None
        expected = other.points.geometry(coordinates, reference)[:, rows]
        torch.testing.assert_close(taken.points.geometry(coordinates, reference), expected)
    fewer = grown(Model(ModelConfig(width=16, resolution=64, au_numbers=(1, 2))), geometry=24)
    with pytest.raises(ValueError, match=r"for \(1, 2\)"):
        with_path_of(plain, fewer)


@pytest.mark.parametrize("known", [False, True])
def test_fused_where_known_all_else_is_the_appearance_path_to_the_bit(known: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    thresholds = tuple(0.5 if number in (1, 2, 12, 26) else 0.4 for number in ModelConfig().au_numbers)
    plain = Model(ModelConfig(width=16, resolution=64, thresholds={"points": thresholds})).eval()
    randomised(plain.points).eval()
    plain.save(tmp_path / "plain.safetensors", torch.float16)
    plain = Model.load(tmp_path / "plain.safetensors")  # as a checkpoint stores it
    fused, numbers = moved(grown(plain, geometry=24)), plain.config.aus_of("points")
    tables = [np.repeat(part, 15, 1) for part in dataclasses.astuple(evidence("renders", 0, 0.5, 1.5))[1:5]]
    weights = fusion.fit_where_known([Evidence("renders", *tables)], numbers)
    fusion.apply(fused, weights, only=fusion.WHERE_KNOWN.only).save(tmp_path / "fused.safetensors", torch.float16)
    after = Model.load(tmp_path / "fused.safetensors").eval()
    frames = torch.randn(3, 40, 68, 34)
    reference = torch.randn(40, 68, 2) if known else None
    if not known:
        first, again = tmp_path / "first.safetensors", tmp_path / "again.safetensors"
        plain.save(first)
        without_path(after).save(again)
        assert first.read_bytes() == again.read_bytes()
        with pytest.raises(ValueError, match="counts only where the points at rest are known"):
            without_path(moved(grown(plain, geometry=24)))
    with torch.no_grad():
        same = (after.points.combine(*frames, reference) == plain.points.combine(*frames)).all(0)
    assert [number for number, one in zip(numbers, same.tolist(), strict=True) if not one] == (
        [1, 2, 12, 26] if known else []
    )


def test_weights_are_those_of_the_state(tmp_path: Path) -> None:
    model = Model(ModelConfig(width=16, resolution=64, geometry=24, intensity=True, thresholds={"points": (0.2,) * 15}))
    row = np.arange(15.0)
    weights = fusion.Weights(row, row + 1, row + 2), fusion.Weights(row + 3, row + 4, row + 5)
    gate = fusion.apply(model, weights, weights).points.gate
    assert gate is not None and model.config.thresholds_of("points") == (0.5,) * 15
    with torch.no_grad():
        said = gate(torch.ones(2, 15), torch.full((2, 15), 10.0), torch.tensor([[0.0], [1.0]])).numpy()
    np.testing.assert_allclose(said, np.stack((row + 10 * (row + 1) + row + 2, row + 3 + 10 * (row + 4) + row + 5)))


@pytest.fixture(scope="module")
def material(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source with six people and the first 60 pictures, and a small set of it."""
    pytest.importorskip("aunet_sdk._native.raster")
    source = six_people(corpus, tmp_path_factory.mktemp("source"))
    with np.load(corpus / "faces" / "mediapipe.npz") as table:
        arrays = {name: table[name] for name in table.files}
    for path in arrays["path"][:60]:
        (source / "faces" / str(path)).parent.mkdir(parents=True, exist_ok=True)
        (source / "faces" / str(path)).symlink_to(corpus / "faces" / str(path))
    shared = {name: values if name == "blendshape_names" else values[:60] for name, values in arrays.items()}
    np.savez(source / "faces" / "mediapipe.npz", **shared)
    out = tmp_path_factory.mktemp("set")
    list(generate.generate(Settings(source, out, 24, seed=5, workers=1, hands=0.0, morphs=0)))
    return source, out


def test_a_training_and_a_fusion_on_real_material(material: tuple[Path, Path], tmp_path: Path) -> None:
    source, data = material

    def run(*arguments: object) -> None:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output

    options = ("--source", source, "--data", data, "--threads", 1)
    small = ("--samples", 12_800, "--batch", 128, "--acts", 200, "--hidden", 48, "--eval-every", 1_000_000)
    run("geometry", *options, "--run", tmp_path / "run", "--init", CHECKPOINT, *small)
    run("fuse", *options, "--model", tmp_path / "run", "--out", tmp_path / "fused.safetensors", "--half")
    careful, whole = tmp_path / "careful.safetensors", tmp_path / "report.json"
    run("fuse", *options, "--model", CHECKPOINT, "--geometry", tmp_path / "run", "--where-known", "--out", careful)
    assert "--where-known" in Model.load(careful).config.provenance["fusion"]["command"]
    measured = ("--data", data, "--threads", 1, "--split", "val", "--paths", "--json", whole)
    run("evaluate", "--model", tmp_path / "fused.safetensors", *measured)
    paths = json.loads(whole.read_text())["paths"]
    assert all(set(of) == {"appearance", "geometry", "geometry, no rest", "both"} for of in paths.values())
    run("evaluate", "--model", CHECKPOINT, *measured)
    assert set(json.loads(whole.read_text())["paths"]) == {"AU1", "AU2", "AU12", "AU26"}
    before, trained, after = (
        Model.load(path)
        for path in (CHECKPOINT, tmp_path / "run" / "model.safetensors", tmp_path / "fused.safetensors")
    )
    assert after.config.geometry == 48 and after.config.intensity and after.config.aus_of("points") == AU_NUMBERS
    assert after.config.thresholds["points"] == (0.5,) * len(AU_NUMBERS)
    assert after.config.aus_of("aunet") == before.config.au_numbers
    assert {"geometry", "fusion"} <= after.config.provenance.keys() and "fuse" in str(after.config.provenance["fusion"])
    for name, tensor in before.fan.state_dict().items():
        assert torch.equal(trained.fan.state_dict()[name], tensor)
    head = landmark_head(source / "ict_facekit_light.npz")
    neutral = (head.neutral - head.neutral.mean(0)).astype(np.float32)
    raised = neutral + (head.au_matrix()[AU1] @ head.shapes.reshape(len(head.shapes), -1)).reshape(68, 3)
    both = project(np.stack((neutral, raised)), np.zeros((2, 3), np.float32), np.full((2, 1), 60, np.float32))
    path = trained.points.geometry
    assert path is not None
    with torch.no_grad():
        seen = torch.from_numpy(both)
        (rest, up), strength = (part[:, AU1] for part in path.decide(seen, seen[:1].expand(2, -1, -1)))
    assert up > rest + 0.2 and strength[1] > strength[0]
    kept = [AU_NUMBERS.index(number) for number in before.config.au_numbers]
    with torch.no_grad():  # one person is too few to weigh the paths by: what nobody shows stays as it was
        crops = torch.rand(2, 3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
        said, expected = (model(*crops.unbind(1))[1]["points"] for model in (after, before))
        torch.testing.assert_close(said[:, kept], expected, rtol=0.02, atol=0.02)
