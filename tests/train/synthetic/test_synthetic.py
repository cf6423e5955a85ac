"""The renderer: choreography and labels without data; fits and renders with the real head and portraits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from train.synthetic import choreography, photos
from train.synthetic.choreography import ROW
from train.synthetic.ict import AU_NUMBERS, AU_SHAPES
from train.synthetic.portraits import read_portraits, split_identities

raster = pytest.importorskip("aunet_sdk._native.raster")


def test_raster_draws_the_nearer_triangle_and_interpolates() -> None:
    xyz = np.array([(0, 0, 0), (8, 0, 0), (0, 8, 0), (0, 0, 1), (4, 0, 1), (0, 4, 1)], np.float32)
    attributes = np.array([(0.0,), (8.0,), (0.0,), (100.0,), (100.0,), (100.0,)], np.float32)
    drawn, index = raster.rasterise(xyz, attributes, np.array([(0, 1, 2), (3, 4, 5)], np.int32), 10, 12)
    assert drawn.shape == (10, 12, 1) and index.shape == (10, 12)
    assert index[1, 1] == 1 and drawn[1, 1, 0] == pytest.approx(100)
    assert index[0, 6] == 0 and drawn[0, 6, 0] == pytest.approx(6, abs=1e-4)
    assert index[9, 11] == -1 and drawn[9, 11, 0] == 0


def test_raster_refuses_indices_beyond_the_vertices() -> None:
    with pytest.raises(ValueError, match="vertex indices"):
        raster.rasterise(
            np.zeros((3, 3), np.float32), np.zeros((3, 1), np.float32), np.array([(0, 1, 3)], np.int32), 4, 4
        )


def test_normals_of_a_tetrahedron_point_outwards() -> None:
    xyz = np.array([(1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1)], np.float32)
    triangles = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)], np.int32)
    normals = raster.vertex_normals(xyz, triangles)
    np.testing.assert_allclose(normals, xyz / np.sqrt(3), atol=1e-6)


NAMES = tuple(
    sorted(
        {f"{n}_{s}" for shapes in AU_SHAPES.values() for n, _ in shapes for s in "LR"}
        | {
            f"{n}_{s}"
            for n in ("eyeBlink", "eyeWide", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeLookDown", "cheekPuff")
            for s in "LR"
        }
        | {"jawOpen", "mouthClose", "mouthPucker", "mouthFunnel", "jawLeft", "jawRight", "mouthLeft", "mouthRight"}
    )
)


def test_a_smile_that_bares_the_teeth_says_nothing_about_au10() -> None:
    matrix = np.zeros((len(AU_NUMBERS), len(NAMES)))  # what moves the lips then is the smile's own way
    raised = NAMES.index("mouthUpperUp_R")
    grins = 0
    for seed in range(200):
        act = choreography.act(NAMES, matrix, 4, np.random.default_rng(seed))
        grin = act.weights[:, raised] > 0.1
        assert (act.intensity[grin][:, [ROW[12], ROW[25]]] > 0.1).all() and act.mask[grin, ROW[10]].all()
        grins += grin.any()
    assert 3 < grins < 100


def test_acts_stay_in_range_and_do_not_contradict_themselves() -> None:
    matrix = np.abs(np.random.default_rng(0).normal(0, 0.3, (len(AU_NUMBERS), len(NAMES))))
    jaw = NAMES.index("jawOpen")
    matrix[:, jaw] = 0
    matrix[ROW[26], jaw] = choreography.JAW_AT_FULL_AU26
    most = (0.3 + (1.1 * 0.5 + 0.5) * 0.12) / 0.5  # hanging behind closed lips, and a trace of AU26, opened wide
    seen = np.zeros(len(AU_NUMBERS))
    for seed in range(300):
        act = choreography.act(NAMES, matrix, 4, np.random.default_rng(seed))
        assert act.intensity.shape == (4, len(AU_NUMBERS)) and act.weights.shape == (4, len(NAMES))
        assert act.turn.shape == (4, 3)
        assert act.intensity.min() >= 0 and act.intensity.max() <= 1 and act.weights.min() >= 0
        for a, b in choreography.CONTRADICTIONS:
            limits = [most + 1e-6 if number == 26 else 0.3 for number in (a, b)]
            both = (act.intensity[:, ROW[a]] > limits[0]) & (act.intensity[:, ROW[b]] > limits[1])
            assert not both.any(), (seed, a, b)
        seen += (act.intensity > 0.3).any(0)
    assert (seen >= 8).all(), dict(zip(AU_NUMBERS, seen, strict=True))  # every AU comes up


def test_the_same_seed_gives_the_same_act() -> None:
    matrix = np.ones((len(AU_NUMBERS), len(NAMES))) * 0.1
    first, second = (choreography.act(NAMES, matrix, 4, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)


def test_labels_follow_intensity_and_the_lip_gap() -> None:
    intensity = np.zeros((3, len(AU_NUMBERS)))
    intensity[:, ROW[12]] = (0.1, 0.2, 0.9)
    mask = np.zeros((3, len(AU_NUMBERS)), bool)
    mask[2, ROW[7]] = True
    graded, hard = choreography.labels(intensity, mask, np.zeros((3, 68), bool), np.array((0.01, 0.045, 0.09)))
    assert hard[0, ROW[12]] == 0 and np.isnan(hard[1, ROW[12]]) and hard[2, ROW[12]] == 1
    assert hard[0, ROW[25]] == 0 and np.isnan(hard[1, ROW[25]]) and hard[2, ROW[25]] == 1
    assert np.isnan(hard[2, ROW[7]]) and graded[2, ROW[25]] == pytest.approx(0.6)


def test_split_keeps_identities_apart_and_holds_out_every_group() -> None:
    groups = {f"p{i}": {"ethnicity": "a" if i % 3 else "b"} for i in range(60)}
    split = split_identities(list(groups), groups)
    members = [set(split[n]) for n in ("train", "val", "test")]
    assert sum(map(len, members)) == 60 and not (
        members[0] & members[1] or members[0] & members[2] or members[1] & members[2]
    )
    for part in members:
        assert {groups[m]["ethnicity"] for m in part} == {"a", "b"}


def test_fit_and_render_a_real_portrait(corpus: Path, tmp_path: Path) -> None:
    from train.synthetic.crop import CROP, TEMPLATE
    from train.synthetic.generate import render_sequence
    from train.synthetic.ict import load_head
    from train.synthetic.portraits import read_portraits
    from train.synthetic.render import prepare_person

    head = load_head(corpus / "ict_facekit_light.npz")
    portrait = read_portraits(corpus / "portraits")[0]
    person = prepare_person(head, portrait, tmp_path)
    assert person.fit.error < 0.08
    again = prepare_person(head, portrait, tmp_path)  # from the cache
    np.testing.assert_array_equal(again.furrows, person.furrows)
    one, two = (render_sequence(head, person, [person], head.au_matrix(), np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one["images"], two["images"])
    assert one["images"].shape == (4, 160, 160, 3) and one["images"].dtype == np.uint8 and one["images"].std() > 20
    assert one["points"].shape == (4, 68, 2) and (one["points"] > -0.1).all() and (one["points"] < 1.1).all()
    five = np.array([one["points"][0][s].mean(0) for s in (slice(36, 42), slice(42, 48), [30], [48], [54])])
    assert np.abs(five - (0.5 + (TEMPLATE - 0.5) / CROP.margin)).max() < 0.06  # the crop is the canonical one


def test_a_smiling_photo_tells_of_the_jaw_by_the_neutral_one(corpus: Path) -> None:
    portraits = read_portraits(corpus / "portraits")
    smile = next(p for p in portraits if p.smiling)
    rest = next(p for p in portraits if p.identity == smile.identity and not p.smiling)
    eye = np.linalg.norm(rest.points[36:42].mean(0) - rest.points[42:48].mean(0))

    def au26(drop: float | None) -> float:
        """AU26 of a smile whose jaw line is that of the neutral photo, lowered by `drop` eye distances."""
        points = rest.points.copy()
        points[:17, 1] += 0 if drop is None else drop * eye
        photo = dataclasses.replace(smile, path=rest.path, points=points)
        rows, _ = photos.photo_rows([photo] if drop is None else [rest, photo])
        assert (rows[-1]["labels"][:, ROW[12]] == 1).all()
        return float(rows[-1]["labels"][0, ROW[26]])

    assert au26(0.0) == 0 and au26(0.02) == 0
    assert np.isnan(au26(0.06)) and np.isnan(au26(None)), (
        "a chin that is lower, and one without comparison, tell nothing"
    )
    rows, _ = photos.photo_rows([rest])
    assert (rows[0]["labels"] == 0).all()


def test_known_track_of_the_sample() -> None:
    from train.synthetic.clip import FPS, known_track

    times, track = known_track()
    assert len(times) == 350 and track.shape == (350, len(AU_NUMBERS))
    assert track[round(1.5 * FPS), ROW[1]] == pytest.approx(0.9) and track[round(1.5 * FPS), ROW[12]] == 0
    assert track[0].max() == 0 and track[-1].max() == 0
