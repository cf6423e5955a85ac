"""Hands as skinned meshes: read from a .glb, posed, laid over a face."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.synthetic import accessories, hand_mesh, photos
from train.synthetic.choreography import ROW
from train.synthetic.hand_mesh import JOINTS, HandMesh, MeshHand
from train.synthetic.portraits import read_portraits

pytest.importorskip("aunet_sdk._native.raster")

SIDE, PX_PER_CM = 200, 10.0
LIGHT = np.array((0.0, 0.0, 1.0))


def joint_places() -> np.ndarray:
    """(25, 3) metres: fingers along -z, side by side along x, back of the hand up (y)."""
    places = [(0.0, 0.0, 0.0)]
    for finger, bones in enumerate((4, 5, 5, 5, 5)):
        places += [((finger - 2) * 0.02, 0.0, -0.03 - 0.03 * bone) for bone in range(bones)]
    return np.array(places)


def write_glb(path: Path, names: tuple[str, ...] = JOINTS) -> Path:
    """A hand of one box to each joint, wholly skinned to it; ``names``: the joints in the order of the file."""
    place = dict(zip(JOINTS, joint_places(), strict=True))
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.008
    sides = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    one = np.array([t for a, b, c, d in sides for t in ((a, b, c), (a, c, d))])
    positions = np.concatenate([corners + place[n] for n in names]).astype(np.float32)
    joints = np.zeros((len(positions), 4), np.uint8)
    joints[:, 0] = np.repeat(np.arange(len(names)), 8)
    weights = np.tile(np.array((1, 0, 0, 0), np.float32), (len(positions), 1))
    triangles = np.concatenate([one + 8 * i for i in range(len(names))]).astype(np.uint16)
    inverse = np.repeat(np.eye(4, dtype=np.float32)[None], len(names), axis=0)
    inverse[:, 3, :3] = [-place[n] for n in names]  # column by column, as glTF has it
    parts = (positions, joints, weights, triangles, inverse)
    views, accessors, blob = [], [], b""
    kinds = (("VEC3", 5126), ("VEC4", 5121), ("VEC4", 5126), ("SCALAR", 5123), ("MAT4", 5126))
    for part, (kind, component) in zip(parts, kinds, strict=True):
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": part.nbytes})
        count = part.size if kind == "SCALAR" else len(part)
        accessors.append({"bufferView": len(accessors), "componentType": component, "count": count, "type": kind})
        blob += part.tobytes() + b"\0" * (-part.nbytes % 4)
    tree = {
        "asset": {"version": "2.0"},
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(blob)}],
        "nodes": [{"name": n} for n in names],
        "skins": [{"joints": list(range(len(names))), "inverseBindMatrices": 4}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "JOINTS_0": 1, "WEIGHTS_0": 2}, "indices": 3}]},
        ],
    }
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(blob))
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(blob), b"BIN\0") + blob
    path.write_bytes(head + chunks)
    return path


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> HandMesh:
    return hand_mesh.load_hand_mesh(write_glb(tmp_path_factory.mktemp("hand") / "hand.glb"))


def middle(mesh: HandMesh, vertices: np.ndarray, joint: str) -> np.ndarray:
    place: np.ndarray = vertices[mesh.weights[:, JOINTS.index(joint)] > 0.5].mean(0)
    return place


def test_a_hand_is_read_in_centimetres_whatever_the_order_of_its_joints(mesh: HandMesh, tmp_path: Path) -> None:
    other = hand_mesh.load_hand_mesh(write_glb(tmp_path / "turned.glb", JOINTS[::-1]))
    for one in (mesh, other):
        assert len(one.vertices) == 200 and len(one.triangles) == 300
        np.testing.assert_allclose(one.weights.sum(1), 1)
        np.testing.assert_allclose(one.bind[:, :3, 3], joint_places() * 100, atol=1e-4)
        np.testing.assert_allclose(middle(one, one.vertices, "index-finger-tip"), (-2, 0, -15), atol=1e-4)


def test_what_is_no_hand_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/data\.md"):
        hand_mesh.load_hand_mesh(tmp_path / "none.glb")
    good = write_glb(tmp_path / "hand.glb").read_bytes()
    for number, blob in enumerate((b"", b"ply\n" * 20, good[:200], good[:4000])):
        path = tmp_path / f"{number}.glb"
        path.write_bytes(blob)
        with pytest.raises(ValueError, match=f"{number}.glb: expected"):
            hand_mesh.load_hand_mesh(path)
    with pytest.raises(ValueError, match="pinky-finger-tip"):
        hand_mesh.load_hand_mesh(write_glb(tmp_path / "four.glb", JOINTS[:-1]))


@given(finger=st.integers(1, 4), bend=st.floats(0.1, 1.5))
def test_a_bent_finger_turns_to_the_palm_and_keeps_its_length(finger: int, bend: float, mesh: HandMesh) -> None:
    at_rest, _ = hand_mesh.pose(mesh, np.zeros((5, 3)), np.zeros(5))
    np.testing.assert_allclose(at_rest, mesh.vertices, atol=1e-4)
    bends = np.zeros((5, 3))
    bends[finger, 0] = bend
    vertices, joints = hand_mesh.pose(mesh, bends, np.zeros(5))
    name = hand_mesh.FINGERS[finger]
    root = joints[JOINTS.index(f"{name}-phalanx-proximal"), :3, 3]
    tip = middle(mesh, vertices, f"{name}-tip")
    np.testing.assert_allclose(root, mesh.bind[JOINTS.index(f"{name}-phalanx-proximal"), :3, 3], atol=1e-4)
    np.testing.assert_allclose(tip - root, 9 * np.array((0, -np.sin(bend), -np.cos(bend))), atol=1e-3)
    others = mesh.weights[:, [i for i, joint in enumerate(JOINTS) if not joint.startswith(name)]].sum(1) > 0.5
    np.testing.assert_allclose(vertices[others], mesh.vertices[others], atol=1e-4)


def hand(mesh: HandMesh, seed: int) -> MeshHand:
    rng = np.random.default_rng(seed)
    there = np.array((True, False))
    return hand_mesh.draw_mesh_hand(mesh, rng, there, (30,), np.array((150.0, 160.0, 215.0)))


def lay(one: MeshHand, frame: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((SIDE, SIDE, 3), 128, np.float32)
    skin = np.array((60.0, 70.0, 90.0))
    hidden = hand_mesh.lay_mesh_hand(image, one, frame, points, PX_PER_CM, skin, LIGHT, 60.0)
    return image, hidden


def test_it_hides_what_it_covers_where_it_is_put_and_only_while_it_is_there(mesh: HandMesh) -> None:
    points = np.random.default_rng(0).uniform(-20, SIDE + 20, (68, 2))  # some out of the picture
    points[30] = SIDE / 2
    came = 0
    for seed in range(20):
        one = hand(mesh, seed)
        image, hidden = lay(one, 1, points)
        assert not hidden.any() and (image == 128).all()
        image, hidden = lay(dataclasses.replace(one, offset_cm=np.zeros((2, 2))), 0, points)
        assert hidden[30], "the joint of the contact is inside its box"
        assert np.isfinite(image).all() and image.min() >= 0
        column = points[hidden].round().astype(int)
        assert (np.abs(image[column[:, 1], column[:, 0]] - 128).max(1) > 1).all()
        came += hidden.sum()
    assert came > 60
    far = dataclasses.replace(one, offset_cm=np.full((2, 2), 400.0))
    image, hidden = lay(far, 0, points)
    assert not hidden.any() and (image == 128).all()


def test_a_left_hand_is_a_mirrored_right_one(mesh: HandMesh) -> None:
    points = np.full((68, 2), (SIDE - 1) / 2)
    one = dataclasses.replace(
        hand(mesh, 3), frame=np.array(((1.0, 0, 0), (0, 0, -1), (0, 1, 0))), offset_cm=np.zeros((2, 2)), left=False
    )
    one = dataclasses.replace(one, arm=np.zeros(2))
    right, _ = lay(one, 0, points)
    left, _ = lay(dataclasses.replace(one, left=True), 0, points)
    covered = [(np.abs(image - 128).max(2) > 20) for image in (right, left[:, ::-1])]
    assert covered[0].any() and (covered[0] ^ covered[1]).mean() < 0.02


def test_most_hands_are_meshes_where_there_is_one(mesh: HandMesh) -> None:
    drawn = [accessories.draw_extras(np.random.default_rng(seed), 4, 1.0, mesh).hand for seed in range(100)]
    assert 60 < sum(isinstance(one, MeshHand) for one in drawn) < 95 and all(one is not None for one in drawn)
    flat = [accessories.draw_extras(np.random.default_rng(seed), 4, 1.0).hand for seed in range(20)]
    assert not any(isinstance(one, MeshHand) for one in flat)


def test_before_a_photo_it_changes_the_picture_and_what_nobody_sees_is_off(mesh: HandMesh, corpus: Path) -> None:
    portraits = [p for p in read_portraits(corpus / "portraits") if p.smiling][:4]
    plain, _ = photos.photo_rows(portraits)
    # Without a neutral photo, and without a hand, nobody can know AU26.
    assert all(np.isnan(row["labels"][:, ROW[26]]).all() for row in plain)
    told = 0
    for seed in range(12):
        rows, _ = photos.photo_rows(portraits, mesh, np.random.default_rng(seed))
        for before, after in zip(plain, rows, strict=True):
            assert after["images"].shape == before["images"].shape and after["images"].dtype == np.uint8
            np.testing.assert_array_equal(after["points"], before["points"])
            assert (after["images"] != before["images"]).any()
            assert after["labels"][0, ROW[12]] == 1, "the cheeks tell of a smile"
            told += after["labels"][0, ROW[26]] == 0
    assert 0 < told < 48, "some of the hands hide the mouth"
