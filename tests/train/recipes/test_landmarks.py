"""Landmarks that are drawn, and the points at rest that go with them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from train.evaluation.references import normalised, references
from train.models.model import Model
from train.models.points_head import PointsHead
from train.recipes.geometry_task import portrait_references
from train.recipes.landmarks import (
    LIDS_DOWN,
    LandmarkSampler,
    Spread,
    draw_acts,
    fit_people,
    landmark_head,
    mirrored,
    project,
)
from train.recipes.options import CHECKPOINTS
from train.synthetic.ict import AU_NUMBERS, Head
from train.synthetic.rigs import available

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


@pytest.fixture(scope="module")
def head(corpus: Path) -> Head:
    return landmark_head(corpus / "ict_facekit_light.npz")


def sampler_of(head: Head) -> LandmarkSampler:
    errors = np.random.default_rng(1).normal(0, 0.2, (50, 68, 2)).astype(np.float32)
    return LandmarkSampler(head, np.empty((0, 68, 3), np.float32), errors, draw_acts(head, 40, 1))


def test_rigs_stand_behind_the_own_shapes_and_move_the_same_points(corpus: Path, head: Head, tmp_path: Path) -> None:
    if not available(corpus):
        pytest.skip("the rigs are absent")
    more = landmark_head(corpus / "ict_facekit_light.npz", rigs=tmp_path)
    own = len(head.shapes)
    np.testing.assert_array_equal(more.shapes[:own], head.shapes)
    assert len(more.shapes) == len(more.shape_names) > own
    weights, intensity, _ = draw_acts(more, 60, 1)
    assert (weights[:, own:] > 0).any(1).mean() > 0.3
    plain_weights, plain_intensity, _ = draw_acts(head, 60, 1)
    smiling = plain_intensity[:, AU12] > 0.6
    points = [(w @ h.shapes[:, [48, 54], 0])[smiling] for w, h in ((weights, more), (plain_weights, head))]
    wide = [one[:, 1] - one[:, 0] for one in points]
    assert np.nanmin(intensity[smiling, AU12]) > 0.6
    assert 0.6 < float(wide[0].mean() / wide[1].mean()) < 1.4 and not np.allclose(wide[0], wide[1])


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


def test_where_lids_come_down_the_eyes_sink_and_all_else_rises_with_the_brows(head: Head) -> None:
    """The same faces with and without it: open eyes stay where they are; above shut ones the brows rise as much as the
    nose does, and the AUs are the same."""
    errors, (_, intensity, turn) = np.zeros((1, 68, 2), np.float32), draw_acts(head, 50, 1)
    weights = np.zeros((len(turn), len(head.shape_names)), np.float32)
    plain = {"bias": 0.0, "contaminated": 0.0, "restless": 0.0, "sway": 0.0, "parts": (1.0, 1.0)}
    seen = {}
    for down in (0.0, 1.0):
        weights[:, head.index("eyeBlink")] = down
        for sinks in (0.0, 1.0):
            spread = Spread(**plain, sinking=(sinks, sinks))  # type: ignore[arg-type]
            nobody, acts = np.empty((0, 68, 3), np.float32), (weights, intensity, turn)
            sampler = LandmarkSampler(head, nobody, errors, acts, spread)
            seen[down, sinks] = sampler.draw(np.random.default_rng(3), 300)
    np.testing.assert_allclose(seen[0, 1][0], seen[0, 0][0], atol=0.1)
    np.testing.assert_array_equal(seen[1, 1][2], seen[1, 0][2])
    known = seen[1, 0][1].any((1, 2))
    np.testing.assert_allclose(seen[1, 1][1][known], seen[1, 0][1][known], atol=0.1)
    rise = (seen[1, 0][0] - seen[1, 1][0])[..., 1]
    brows, nose, lids = (rise[:, points].mean(1) for points in (range(17, 27), [27, 28, 29], [40, 41, 46, 47]))
    assert brows.mean() == pytest.approx(sum(amount for _, amount in LIDS_DOWN) / 3, abs=0.08)
    np.testing.assert_allclose(nose, brows, atol=0.1)
    assert lids.mean() < -0.3


def test_the_shipped_model_tells_shut_eyes_from_raised_brows(head: Head) -> None:
    """On 200 drawn people at rest, with eyes that sink in full where they are shut: neither AU1 nor AU2 then, and each
    where its own part of the brows is raised."""
    model = Model.load(CHECKPOINTS / "default.safetensors").eval()
    assert model.points.geometry is not None and model.config.aus_of("points")[:2] == (1, 2)
    spread = Spread(contaminated=0.0, unknown=0.0, sinking=(1.0, 1.0), parts=(1.0, 1.0))
    still = np.zeros((1, len(AU_NUMBERS)), np.float32), np.zeros((1, 3), np.float32)
    found = {}
    for shape, weight in (("eyeBlink", 1.0), ("browInnerUp", 0.8), ("browOuterUp", 0.8)):
        weights = np.zeros((1, len(head.shape_names)), np.float32)
        weights[:, head.index(shape)] = weight
        nobody, exact = np.empty((0, 68, 3), np.float32), np.zeros((1, 68, 2), np.float32)
        sampler = LandmarkSampler(head, nobody, exact, (weights, *still), spread)
        seen, rest, _ = sampler.draw(np.random.default_rng(0), 200)
        with torch.no_grad():
            said = model.points.geometry(torch.from_numpy(seen), torch.from_numpy(rest))[:, :2]
        found[shape] = (said > 0).float().mean(0).tolist()
    assert max(found["eyeBlink"]) <= 0.02, "a third of them before eyes sank in the training"
    assert found["browInnerUp"][0] > 0.9 and found["browInnerUp"][1] < 0.05
    assert found["browOuterUp"][1] > 0.9 and found["browOuterUp"][0] < 0.05


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
