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
from train.data.synthetic.native import load_raster
from train.data.synthetic.photos import photo_rows
from train.data.synthetic.portraits import CREDITS, Portrait, read_groups, read_portraits, split_identities
from train.data.synthetic.record import begin, renderer_key, source_key
from train.data.synthetic.render import Person, prepare_person, render

SEQUENCES_PER_SHARD = 64
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Settings:
    """``source``: folder with portraits/ and ict_facekit_light.npz; ``out``: the set; ``sequences`` in all, shared
    among the splits as their identities are (a set may grow: more of them later); ``hands``: share of them with a hand
    before the face; ``morphs``: how many photos mixed of two people go with them.
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


@dataclass(frozen=True)
class Material:
    """What is read of the source. ``of``: identity -> split; ``splits``: the other way round."""

    head: Head
    portraits: list[Portrait]
    groups: dict[str, dict[str, str]]
    splits: dict[str, list[str]]
    of: dict[str, str]

    def people(self, cache: Path) -> dict[str, Person]:
        """Everybody with a neutral portrait, fitted."""
        return {p.identity: prepare_person(self.head, p, cache) for p in self.portraits if not p.smiling}

    def training(self) -> list[Portrait]:
        """The photos of those who are trained on."""
        return [p for p in self.portraits if self.of[p.identity] == "train"]


def _read(source: Path) -> Material:
    head, portraits = load_head(source / "ict_facekit_light.npz"), read_portraits(source / "portraits")
    groups = read_groups(source / "portraits")
    splits = split_identities([p.identity for p in portraits], groups)
    if empty := [name for name in SPLITS if not splits[name]]:
        raise ValueError(
            f"{source}: expected people enough for train, val and test, got {len({p.identity for p in portraits})}, "
            f"none for {', '.join(empty)}; six of one ethnic group are the fewest"
        )
    return Material(head, portraits, groups, splits, {n: name for name in SPLITS for n in splits[name]})


def _start(settings: Settings) -> None:
    cv2.setNumThreads(1)
    material = _read(settings.source)
    mesh = load_hand_mesh(settings.hand_mesh) if settings.hand_mesh else None
    people, matrix = material.people(settings.out / "people"), material.head.au_matrix()
    _state.update(settings=settings, head=material.head, people=people, of=material.of, matrix=matrix, mesh=mesh)


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


def _render_shard(job: tuple[int, int]) -> int:
    """Write shard ``number`` of ``count`` sequences.  Returns ``count``."""
    number, count = job
    settings: Settings = _state["settings"]
    rng = np.random.default_rng((settings.seed, number))
    people: dict[str, Person] = _state["people"]
    names = sorted(people)
    mates = {split: [people[n] for n in names if _state["of"][n] == split] for split in SPLITS}
    rows, identity = [], []
    for _ in range(count):
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
        "intensity": np.full((FRAMES, len(AU_NUMBERS)), np.nan, np.float32),
        "labels": np.full((FRAMES, len(AU_NUMBERS)), np.nan, np.float32),
    }
    for _ in range(count):
        image = scene.no_face(list(people.values()), SIZE, rng)[..., ::-1]
        rows.append({"images": np.repeat(image[None], FRAMES, axis=0), **nothing})
    return rows


def _missing(shards: Path, sequences: int) -> list[tuple[int, int]]:
    """(number, rows) of the shards that a set of ``sequences`` lacks, or has with fewer rows.

    Raises:
        ValueError: there are more sequences already.
    """
    rows = {}
    for path in shards.glob("[0-9][0-9][0-9][0-9][0-9].npz"):
        with np.load(path) as shard:
            rows[int(path.stem)] = len(shard["identity"])
    held = max((number * SEQUENCES_PER_SHARD + count for number, count in rows.items()), default=0)
    if held > sequences:
        raise ValueError(
            f"{shards.parent}: holds sequence {held} already, got {sequences} as their number; ask for {held}, "
            "or choose another folder"
        )
    starts = range(0, sequences, SEQUENCES_PER_SHARD)
    wanted = {number: min(SEQUENCES_PER_SHARD, sequences - start) for number, start in enumerate(starts)}
    return [(number, count) for number, count in wanted.items() if rows.get(number) != count]


def _about(settings: Settings, material: Material, people: dict[str, Person]) -> dict:
    """What dataset.json says."""
    neutral = np.mean([p.fit.vertices[material.head.landmarks] for p in people.values()], axis=0)
    return {
        "version": 1,
        "seed": settings.seed,
        "size": SIZE,
        "margin": MARGIN,
        "frames": FRAMES,
        "interval_s": INTERVAL_S,
        "au_numbers": list(AU_NUMBERS),
        "template": TEMPLATE.tolist(),
        "crop_scale": CROP_SCALE,
        "splits": {name: sorted(material.splits[name]) for name in SPLITS},
        "groups": material.groups,
        "points3d": (neutral - neutral.mean(0)).round(4).tolist(),
        "credits": list(CREDITS),
    }


def _write_stills(settings: Settings, material: Material, people: dict[str, Person], mesh: HandMesh | None) -> None:
    """Photos, morphs and pictures without a face, as far as they are missing."""
    shards, seed = settings.out / "shards", settings.seed
    if not (shards / "photos.npz").is_file():
        rows, identity = photo_rows(material.portraits)
        if mesh is not None:  # of those who are trained on: the photos of the others stay what they are judged by
            more = photo_rows(material.training(), mesh, np.random.default_rng((seed, 10**7)))
            rows, identity = rows + more[0], identity + more[1]
        _write(shards / "photos.npz", rows, identity, "photo")
    if settings.morphs and not (shards / "morphs.npz").is_file():
        rng = np.random.default_rng((seed, 10**7 + 1))
        _write(shards / "morphs.npz", *morph_rows(material.training(), settings.morphs, rng), "photo")
    if not (shards / "no_face.npz").is_file():
        rows, identity = [], []
        for number, (name, share) in enumerate((("train", 192), ("val", 32), ("test", 64))):
            members = {n: people[n] for n in sorted(material.splits[name])}
            rows += _no_face_rows(members, share, np.random.default_rng((seed, 10**6 + number)))
            identity += [list(members)[i % len(members)] for i in range(share)]
        _write(shards / "no_face.npz", rows, identity, "negative")


def generate(settings: Settings) -> Iterator[tuple[int, int]]:
    """Render what is missing; yields (frames done, frames in all) as shards are finished. The same settings and sources
    give the same set, whatever the number of workers, and whether it was made at once or grew.

    Raises:
        ValueError: the folder holds a set of other settings, sources or renderer, or a larger one.
        FileNotFoundError: part of the source is missing.
        BackendUnavailable: the compiled raster is missing.
    """
    load_raster()
    material = _read(settings.source)
    mesh = load_hand_mesh(settings.hand_mesh) if settings.hand_mesh else None
    wanted = {
        "seed": settings.seed,
        "hands": settings.hands,
        "hand_mesh_sha256": hashlib.sha256(settings.hand_mesh.read_bytes()).hexdigest() if settings.hand_mesh else None,
        "morphs": settings.morphs,
        "sources": source_key(settings.source),
        "renderer": renderer_key(),
    }
    shards = settings.out / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    missing = _missing(shards, settings.sequences)
    begin(settings.out, wanted, settings.sequences)
    people = material.people(settings.out / "people")
    (settings.out / "dataset.json").write_text(json.dumps(_about(settings, material, people), indent=1))
    _write_stills(settings, material, people, mesh)
    del people, material, mesh
    total = settings.sequences * FRAMES
    done = total - sum(count for _, count in missing) * FRAMES
    yield done, total
    if not missing:
        return
    with multiprocessing.get_context("spawn").Pool(settings.workers, _start, (settings,)) as pool:
        for written in pool.imap_unordered(_render_shard, missing):
            done += written * FRAMES
            yield done, total


__all__ = ["Settings", "generate", "render_sequence"]
