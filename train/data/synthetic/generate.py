"""Write the synthetic set: shards of sequences, resumable, several workers (format: docs/architecture.md)."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from train.data.synthetic import choreography, scene
from train.data.synthetic.accessories import HANDS, draw_extras
from train.data.synthetic.crop import CROP, CROP_SCALE, FRAMES, INTERVAL_S, MARGIN, SIZE, TEMPLATE
from train.data.synthetic.hand_mesh import HandMesh, load_hand_mesh
from train.data.synthetic.ict import AU_NUMBERS, Head, load_head
from train.data.synthetic.morph import MORPHS, morph_rows
from train.data.synthetic.photos import photo_rows
from train.data.synthetic.portraits import CREDITS, Portrait, read_groups, read_portraits, split_identities
from train.data.synthetic.render import Person, prepare_person, render

SEQUENCES_PER_SHARD = 64


@dataclass(frozen=True)
class Settings:
    """``source``: folder with portraits/ and ict_facekit_light.npz; ``out``: the set; ``sequences`` in all, shared
    among the splits as their identities are; ``hands``: share of them with a hand before the face; ``morphs``: how
    many photos mixed of two people go with them.
    """

    source: Path
    out: Path
    sequences: int = 7680
    seed: int = 1
    workers: int = 2
    hands: float = HANDS
    hand_mesh: Path | None = None
    morphs: int = MORPHS


_state: dict = {}


def _load(settings: Settings) -> tuple[Head, dict[str, Person], dict[str, str], list[Portrait]]:
    head = load_head(settings.source / "ict_facekit_light.npz")
    portraits = read_portraits(settings.source / "portraits")
    splits = split_identities([p.identity for p in portraits], read_groups(settings.source / "portraits"))
    of = {identity: name for name, members in splits.items() for identity in members}
    people = {p.identity: prepare_person(head, p, settings.out / "people") for p in portraits if not p.smiling}
    return head, people, of, portraits


def _start(settings: Settings) -> None:
    cv2.setNumThreads(1)
    head, people, of, portraits = _load(settings)
    mesh = load_hand_mesh(settings.hand_mesh) if settings.hand_mesh else None
    matrix = head.au_matrix()
    _state.update(settings=settings, head=head, people=people, of=of, portraits=portraits, matrix=matrix, mesh=mesh)


def render_sequence(
    head: Head,
    person: Person,
    mates: list[Person],
    matrix: np.ndarray,
    rng: np.random.Generator,
    hands: float = HANDS,
    mesh: HandMesh | None = None,
) -> dict[str, np.ndarray]:
    """One sequence of F = FRAMES: images (F, 160, 160, 3) uint8 RGB, points (F, 68, 2), intensity and labels (F, 15),
    NaN where not known.
    """
    look = scene.draw_look(head, mates, rng, SIZE)
    played = choreography.act(head.shape_names, matrix, FRAMES, rng)
    extras = draw_extras(rng, FRAMES, hands, mesh)
    shots = [
        render(head, person, look, played.weights[i], played.intensity[i], played.turn[i], CROP, extras, i)
        for i in range(FRAMES)
    ]
    hidden = np.stack([shot.hidden for shot in shots])
    gaps = np.array([shot.lip_gap for shot in shots])
    intensity, hard = choreography.labels(played.intensity, played.mask, hidden, gaps)
    return {
        "images": np.stack([s.image[..., ::-1] for s in shots]),
        "points": np.stack([s.points for s in shots]),
        "intensity": intensity,
        "labels": hard,
    }


def _write(path: Path, rows: list[dict[str, np.ndarray]], identity: list[str], source: str) -> None:
    partial = path.with_suffix(".partial.npz")
    stacked = {name: np.stack([row[name] for row in rows]) for name in ("images", "points", "intensity", "labels")}
    names = {"identity": np.array(identity), "source": np.array([source] * len(rows))}
    np.savez(partial, allow_pickle=False, **stacked, **names)
    os.replace(partial, path)


def _render_shard(number: int) -> int:
    settings: Settings = _state["settings"]
    rng = np.random.default_rng((settings.seed, number))
    people: dict[str, Person] = _state["people"]
    names = sorted(people)
    mates = {split: [people[n] for n in names if _state["of"][n] == split] for split in ("train", "val", "test")}
    rows, identity = [], []
    for _ in range(min(SEQUENCES_PER_SHARD, settings.sequences - number * SEQUENCES_PER_SHARD)):
        name = names[rng.integers(len(names))]
        others = mates[_state["of"][name]]
        more = (rng, settings.hands, _state["mesh"])
        rows.append(render_sequence(_state["head"], people[name], others, _state["matrix"], *more))
        identity.append(name)
    _write(settings.out / "shards" / f"{number:05d}.npz", rows, identity, "render")
    return len(rows)


def _no_face_rows(people: dict[str, Person], count: int, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    rows = []
    nothing = {
        "points": np.full((FRAMES, 68, 2), np.nan, np.float32),
        "intensity": np.full((FRAMES, 15), np.nan, np.float32),
        "labels": np.full((FRAMES, 15), np.nan, np.float32),
    }
    for _ in range(count):
        image = scene.no_face(list(people.values()), SIZE, rng)[..., ::-1]
        rows.append({"images": np.repeat(image[None], FRAMES, axis=0), **nothing})
    return rows


def generate(settings: Settings) -> Iterator[tuple[int, int]]:
    """Render what is missing; yields (frames done, frames in all) as shards are finished. The same settings give the
    same set, whatever the number of workers.
    """
    shards = settings.out / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    record = settings.out / "settings.json"
    mesh = load_hand_mesh(settings.hand_mesh) if settings.hand_mesh else None
    of_mesh = hashlib.sha256(settings.hand_mesh.read_bytes()).hexdigest() if settings.hand_mesh else None
    wanted = {
        "seed": settings.seed,
        "hands": settings.hands,
        "hand_mesh_sha256": of_mesh,
        "morphs": settings.morphs,
    }
    begun = (
        {**wanted, "hand_mesh_sha256": None, "morphs": 0, **json.loads(record.read_text())}
        if record.is_file()
        else wanted
    )
    if other := [name for name in wanted if begun[name] != wanted[name]]:
        had, got = ({name: which[name] for name in other} for which in (begun, wanted))
        raise ValueError(f"{settings.out}: was begun with {had}, got {got}; choose another folder")
    wanted["sequences"] = settings.sequences
    record.write_text(json.dumps(wanted))
    head, people, of, portraits = _load(settings)
    splits = {name: sorted(n for n in of if of[n] == name) for name in ("train", "val", "test")}
    neutral = np.mean([p.fit.vertices[head.landmarks] for p in people.values()], axis=0)
    about = {
        "version": 1,
        "seed": settings.seed,
        "size": SIZE,
        "margin": MARGIN,
        "frames": FRAMES,
        "interval_s": INTERVAL_S,
        "au_numbers": list(AU_NUMBERS),
        "template": TEMPLATE.tolist(),
        "crop_scale": CROP_SCALE,
        "splits": splits,
        "groups": read_groups(settings.source / "portraits"),
        "points3d": (neutral - neutral.mean(0)).round(4).tolist(),
        "credits": list(CREDITS),
    }
    (settings.out / "dataset.json").write_text(json.dumps(about, indent=1))
    if not (shards / "photos.npz").is_file():
        rows, identity = photo_rows(portraits)
        if mesh is not None:  # of those who are trained on: the photos of the others stay what they are judged by
            training = [p for p in portraits if of[p.identity] == "train"]
            more = photo_rows(training, mesh, np.random.default_rng((settings.seed, 10**7)))
            rows, identity = rows + more[0], identity + more[1]
        _write(shards / "photos.npz", rows, identity, "photo")
    if settings.morphs and not (shards / "morphs.npz").is_file():  # of those who are trained on
        training = [p for p in portraits if of[p.identity] == "train"]
        _write(
            shards / "morphs.npz",
            *morph_rows(training, settings.morphs, np.random.default_rng((settings.seed, 10**7 + 1))),
            "photo",
        )
    if not (shards / "no_face.npz").is_file():
        rows, identity = [], []
        for number, (name, share) in enumerate((("train", 192), ("val", 32), ("test", 64))):
            members = {n: people[n] for n in splits[name]}
            rows += _no_face_rows(members, share, np.random.default_rng((settings.seed, 10**6 + number)))
            identity += [splits[name][i % len(members)] for i in range(share)]
        _write(shards / "no_face.npz", rows, identity, "negative")
    del people, head, mesh
    count = -(-settings.sequences // SEQUENCES_PER_SHARD)
    missing = [i for i in range(count) if not (shards / f"{i:05d}.npz").is_file()]
    total, done = settings.sequences * FRAMES, (count - len(missing)) * SEQUENCES_PER_SHARD * FRAMES
    yield done, total
    if not missing:
        return
    with multiprocessing.get_context("spawn").Pool(settings.workers, _start, (settings,)) as pool:
        for written in pool.imap_unordered(_render_shard, missing):
            done += written * FRAMES
            yield min(done, total), total


__all__ = ["Settings", "generate", "render_sequence"]
