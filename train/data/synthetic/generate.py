"""Write the synthetic set: shards of sequences, resumable, several workers (format: docs/architecture.md)."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from aunet_sdk import alignment
from train.data.synthetic import choreography, scene
from train.data.synthetic.accessories import HANDS, draw_extras
from train.data.synthetic.ict import AU_NUMBERS, Head, load_head
from train.data.synthetic.portraits import CREDITS, Portrait, read_groups, read_portraits, split_identities
from train.data.synthetic.render import Camera, Person, prepare_person, render

TEMPLATE = np.array([(0.3583, 0.4066), (0.6417, 0.4066), (0.5, 0.5471), (0.3895, 0.7090), (0.6105, 0.7090)])
CROP_SCALE = 1.3736
SIZE, MARGIN, FRAMES, INTERVAL_S = 160, 1.25, 4, 0.4
SEQUENCES_PER_SHARD = 64
JAW_SHUT = 0.031
"""Drop of the chin, in inter-ocular distances, up to which AU26 is off on a smiling photo: .15 of the .21 by which the
head's jaw drops at full strength. The jaw's points on the photos are good to about .03.
"""
CROP = Camera(SIZE, SIZE, TEMPLATE, MARGIN)


@dataclass(frozen=True)
class Settings:
    """``source``: folder with portraits/ and ict_facekit_light.npz; ``out``: the set; ``sequences`` in all, shared
    among the splits as their identities are; ``hands``: share of them with a hand before the face.
    """

    source: Path
    out: Path
    sequences: int = 7680
    seed: int = 1
    workers: int = 2
    hands: float = HANDS


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
    _state.update(settings=settings, head=head, people=people, of=of, portraits=portraits, matrix=head.au_matrix())


def render_sequence(
    head: Head, person: Person, mates: list[Person], matrix: np.ndarray, rng: np.random.Generator, hands: float = HANDS
) -> dict[str, np.ndarray]:
    """One sequence of F = FRAMES: images (F, 160, 160, 3) uint8 RGB, points (F, 68, 2), intensity and labels (F, 15),
    NaN where not known.
    """
    look = scene.draw_look(head, mates, rng, SIZE)
    played = choreography.act(head.shape_names, matrix, FRAMES, rng)
    extras = draw_extras(rng, FRAMES, hands)
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
        rows.append(render_sequence(_state["head"], people[name], others, _state["matrix"], rng, settings.hands))
        identity.append(name)
    _write(settings.out / "shards" / f"{number:05d}.npz", rows, identity, "render")
    return len(rows)


def _chin(points: np.ndarray) -> float:
    """From the eyes down to the chin, in inter-ocular distances; ``points`` (68, 2) of one photo."""
    eye = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    down = (points[8] - points[27]) / np.linalg.norm(points[8] - points[27])
    return float((points[7:10].mean(0) - points[36:48].mean(0)) @ down / eye)


def _photo_rows(portraits: list[Portrait]) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """The real photos as still sequences: neutral = every AU off; smiling = AU12 on and only what is sure besides,
    AU26 off where the chin is less than JAW_SHUT lower than on the same person's neutral photo.
    """
    rows, identity = [], []
    at_rest = {p.identity: _chin(p.points) for p in portraits if not p.smiling}
    for portrait in portraits:
        image, points = portrait.load()
        wide = 0.5 + (TEMPLATE - 0.5) / MARGIN
        matrix = alignment.similarity(alignment.five_points(points), wide * SIZE * 2 - 0.5)
        crop = cv2.warpAffine(
            image, matrix, (SIZE * 2, SIZE * 2), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        crop = cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., ::-1]
        marks = (alignment.transform(matrix, points) + 0.5) / (2 * SIZE)
        hard = np.zeros(len(AU_NUMBERS), np.float32)
        if portrait.smiling:
            eye = np.linalg.norm(marks[36:42].mean(0) - marks[42:48].mean(0))
            gap = np.linalg.norm(marks[[61, 62, 63]] - marks[[67, 66, 65]], axis=1).mean() / eye
            hard[:] = np.nan
            hard[choreography.ROW[12]] = 1
            hard[[choreography.ROW[n] for n in (4, 15)]] = 0
            if _chin(portrait.points) - at_rest.get(portrait.identity, -np.inf) < JAW_SHUT:
                hard[choreography.ROW[26]] = 0
            if not 0.03 <= gap <= 0.06:
                hard[choreography.ROW[25]] = float(gap > 0.06)
        one = {"images": crop, "points": marks.astype(np.float32), "intensity": np.nan_to_num(hard), "labels": hard}
        rows.append({k: np.repeat(v[None], FRAMES, axis=0) for k, v in one.items()})
        identity.append(portrait.identity)
    return rows, identity


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
    wanted = {"sequences": settings.sequences, "seed": settings.seed, "hands": settings.hands}
    begun = {**wanted, **(json.loads(record.read_text()) if record.is_file() else {})}
    if (begun["seed"], begun["hands"]) != (settings.seed, settings.hands):
        raise ValueError(
            f"{settings.out}: was begun with seed {begun['seed']} and hands {begun['hands']}, got {settings.seed} and "
            f"{settings.hands}; choose another folder"
        )
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
        rows, identity = _photo_rows(portraits)
        _write(shards / "photos.npz", rows, identity, "photo")
    if not (shards / "no_face.npz").is_file():
        rows, identity = [], []
        for number, (name, share) in enumerate((("train", 192), ("val", 32), ("test", 64))):
            members = {n: people[n] for n in splits[name]}
            rows += _no_face_rows(members, share, np.random.default_rng((settings.seed, 10**6 + number)))
            identity += [splits[name][i % len(members)] for i in range(share)]
        _write(shards / "no_face.npz", rows, identity, "negative")
    del people, head
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
