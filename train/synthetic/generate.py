"""Write the synthetic set: shards of sequences, resumable, several workers (format: docs/architecture.md)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from train.synthetic import choreography, makeup, scene, taking
from train.synthetic.accessories import HANDS, draw_extras
from train.synthetic.crop import CROP, CROP_SCALE, FRAMES, INTERVAL_S, MARGIN, SIZE, TEMPLATE
from train.synthetic.hand_mesh import HandMesh, load_hand_mesh
from train.synthetic.ict import AU_NUMBERS, Head
from train.synthetic.material import SPLITS, Crowd, Material, frequencies, read_material
from train.synthetic.morph import MORPHS, morph_rows
from train.synthetic.native import load_raster
from train.synthetic.photos import photo_rows
from train.synthetic.pictured import picture_rows
from train.synthetic.record import begin, renderer_key, source_key
from train.synthetic.render import Person, landmarks, render
from train.synthetic.rigs import CREDITS, rigs_key, with_rigs

SEQUENCES_PER_SHARD = 64
MADE_UP = 0.25
"""Share of sequences with make-up."""


@dataclass(frozen=True)
class Settings:
    """``source``: folder with portraits/ and ict_facekit_light.npz; ``out``: the set; ``sequences`` in all, shared
    among the splits as their identities are (a set may grow: more of them later); ``hands``: share of them with a hand
    before the face; ``morphs``: how many photos mixed of two people go with them; ``rigs``: whether the movements of
    two more artists are mixed in (`train.synthetic.rigs`).
    """

    source: Path
    out: Path
    sequences: int = 7680
    seed: int = 1
    workers: int = 2
    hands: float = HANDS
    hand_mesh: Path | None = None
    morphs: int = MORPHS
    rigs: bool = False

    def head(self, own: Head) -> Head:
        """The head that moves."""
        return with_rigs(own, self.source, self.out / "rigs") if self.rigs else own


_state: dict = {}


def _start(settings: Settings) -> None:
    cv2.setNumThreads(1)
    material = read_material(settings.source)
    mesh = load_hand_mesh(settings.hand_mesh) if settings.hand_mesh else None
    people, head = material.people(settings.out / "people"), settings.head(material.head)
    names = sorted(people)
    often = frequencies(names, material.of, people.tones())
    _state.update(settings=settings, head=head, people=people, of=material.of, matrix=head.au_matrix(), mesh=mesh)
    _state.update(names=names, often=often)


def render_sequence(
    head: Head,
    person: Person,
    mates: Sequence[Person],
    matrix: np.ndarray,
    rng: np.random.Generator,
    hands: float = HANDS,
    mesh: HandMesh | None = None,
    maker: str = "",
) -> dict[str, np.ndarray]:
    """One sequence of F = FRAMES: images (F, 160, 160, 3) uint8 RGB, points (F, 68, 2), intensity and labels (F, n),
    NaN where not known; rest (F, 68, 2): the points of the same face at rest, from the front in the first row and
    turned otherwise in the others, y down, in tenths of the eye distance about the middle between the eye centres.

    ``mates``: whose skin may be mixed in; ``maker``: as in `choreography.act`.
    """
    look = scene.draw_look(head, mates, rng, SIZE)
    played = choreography.act(head.shape_names, matrix, FRAMES, rng, maker)
    own = choreography.at_rest(head.shape_names, rng)
    extras = draw_extras(rng, FRAMES, hands, mesh)
    if rng.random() < MADE_UP:
        made = makeup.draw_make_up(rng)
        person = dataclasses.replace(person, photo=makeup.put_on(person.photo, person.uv[head.landmarks], made))
    how = taking.draw_taking(rng)
    shots = [
        render(head, person, look, own + played.weights[i], played.intensity[i], played.turn[i], CROP, extras, i)
        for i in range(FRAMES)
    ]
    turns = np.concatenate((np.zeros((1, 3)), rng.normal(0, (0.14, 0.29, 0.04), (FRAMES - 1, 3))))
    hidden = np.stack([shot.hidden for shot in shots])
    gaps = np.array([shot.lip_gap for shot in shots])
    intensity, hard = choreography.labels(played.intensity, played.mask, hidden, gaps)
    return {
        "images": np.stack([taking.taken(s.image, how, i)[..., ::-1] for i, s in enumerate(shots)]),
        "points": np.stack([s.points for s in shots]),
        "rest": np.stack([landmarks(head, person, look, own, turn) for turn in turns]),
        "intensity": intensity,
        "labels": hard,
    }


def _write(path: Path, rows: list[dict[str, np.ndarray]], identity: list[str], source: str) -> None:
    partial = path.with_suffix(".partial.npz")
    stacked = {
        name: np.stack([row[name] for row in rows]) for name in ("images", "points", "rest", "intensity", "labels")
    }
    names = {"identity": np.array(identity), "source": np.array([source] * len(rows))}
    try:
        np.savez(partial, allow_pickle=False, **stacked, **names)
        os.replace(partial, path)
    except OSError:  # a full disk: half a shard would take up more of it
        partial.unlink(missing_ok=True)
        raise


class _Mates(Sequence[Person]):
    """Some of a crowd, by number."""

    def __init__(self, people: Crowd, names: list[str]) -> None:
        self._people, self._names = people, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> Any:
        return self._people[self._names[index]]


def _render_shard(job: tuple[int, int]) -> int:
    """Write shard ``number`` of ``count`` sequences.  Returns ``count``."""
    number, count = job
    settings: Settings = _state["settings"]
    rng = np.random.default_rng((settings.seed, number))
    people: Crowd = _state["people"]
    names: list[str] = _state["names"]
    mates = {split: _Mates(people, [n for n in names if _state["of"][n] == split]) for split in SPLITS}
    rows, identity = [], []
    for _ in range(count):
        name = names[rng.choice(len(names), p=_state["often"])]
        others = mates[_state["of"][name]]
        more = (rng, settings.hands, _state["mesh"])
        rows.append(render_sequence(_state["head"], people[name], others, _state["matrix"], *more))
        identity.append(name)
    _write(settings.out / "shards" / f"{number:05d}.npz", rows, identity, "render")
    return len(rows)


def _no_face_rows(people: Sequence[Person], count: int, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    rows = []
    nothing = {
        "points": np.full((FRAMES, 68, 2), np.nan, np.float32),
        "rest": np.full((FRAMES, 68, 2), np.nan, np.float32),
        "intensity": np.full((FRAMES, len(AU_NUMBERS)), np.nan, np.float32),
        "labels": np.full((FRAMES, len(AU_NUMBERS)), np.nan, np.float32),
    }
    for _ in range(count):
        image = scene.no_face(people, SIZE, rng)[..., ::-1]
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


def _about(settings: Settings, material: Material, people: Crowd) -> dict:
    """What dataset.json says."""
    neutral = np.mean([p.fit.vertices[material.head.landmarks] for p in people.values()], axis=0)
    groups = {name: {**material.groups.get(name, {}), "tone": tone} for name, tone in people.tones().items()}
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
        "groups": groups,
        "points3d": (neutral - neutral.mean(0)).round(4).tolist(),
        "credits": [*material.credits, *(CREDITS if settings.rigs else ())],
    }


def _write_stills(settings: Settings, material: Material, people: Crowd, mesh: HandMesh | None) -> None:
    """Photos, pictures with a sure label, morphs and pictures without a face, as far as they are missing."""
    shards, seed = settings.out / "shards", settings.seed
    if not (shards / "photos.npz").is_file():
        rows, identity = photo_rows(material.portraits)
        if mesh is not None:  # of those who are trained on: the photos of the others stay what they are judged by
            more = photo_rows(material.training(), mesh, np.random.default_rng((seed, 10**7)))
            rows, identity = rows + more[0], identity + more[1]
        _write(shards / "photos.npz", rows, identity, "photo")
    if not (shards / "pictures.npz").is_file():
        rows, identity = picture_rows(settings.source / "faces")
        if rows:
            _write(shards / "pictures.npz", rows, identity, "photo")
    if settings.morphs and not (shards / "morphs.npz").is_file():
        rng = np.random.default_rng((seed, 10**7 + 1))
        _write(shards / "morphs.npz", *morph_rows(material.training(), settings.morphs, rng), "photo")
    if not (shards / "no_face.npz").is_file():
        rows, identity = [], []
        for number, (name, share) in enumerate((("train", 192), ("val", 32), ("test", 64))):
            members = sorted(set(material.splits[name]) & set(people))
            rng = np.random.default_rng((seed, 10**6 + number))
            rows += _no_face_rows(_Mates(people, members), share, rng)
            identity += [members[i % len(members)] for i in range(share)]
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
    material = read_material(settings.source)
    mesh = load_hand_mesh(settings.hand_mesh) if settings.hand_mesh else None
    wanted = {
        "seed": settings.seed,
        "hands": settings.hands,
        "hand_mesh_sha256": hashlib.sha256(settings.hand_mesh.read_bytes()).hexdigest() if settings.hand_mesh else None,
        "morphs": settings.morphs,
        "sources": source_key(settings.source),
        "renderer": renderer_key(),
        "rigs": rigs_key(settings.source) if settings.rigs else None,
    }
    shards = settings.out / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    missing = _missing(shards, settings.sequences)
    begin(settings.out, wanted, settings.sequences)
    people = material.people(settings.out / "people")
    (settings.out / "dataset.json").write_text(json.dumps(_about(settings, material, people), indent=1))
    _write_stills(settings, material, people, mesh)
    settings.head(material.head)  # kept for the workers
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
