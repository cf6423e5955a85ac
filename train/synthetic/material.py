"""What a set is made of: the head, the people with their splits and groups, and who is drawn how often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.synthetic.ict import Head, load_head
from train.synthetic.pictured import pictured_people
from train.synthetic.portraits import CREDITS, Portrait, read_groups, read_portraits, split_identities
from train.synthetic.render import Person, prepare_person
from train.synthetic.strangers import read_strangers

SPLITS = ("train", "val", "test")
SHARES = {"train": 0.76, "val": 0.08, "test": 0.16}
"""Of the sequences, however many people a split has."""
STRANGERS_CREDIT = "SFHQ-T2I, D. Beniaguev 2024: synthetic faces of SDXL and FLUX.1-schnell, MIT, modified"


class Crowd(Mapping[str, Person]):
    """Fitted people by identity, read from the cache when asked for: all of them at once are gigabytes."""

    def __init__(self, head: Head, portraits: list[Portrait], cache: Path) -> None:
        self._head, self._cache = head, cache
        self._of = {p.identity: p for p in portraits if not p.smiling}

    def __getitem__(self, identity: str) -> Person:
        return prepare_person(self._head, self._of[identity], self._cache)

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)

    def tones(self) -> dict[str, str]:
        """identity -> light, medium or dark (`portraits.skin_tone`); fits those that are not in the cache yet."""
        found = {}
        for identity in self:
            file = self._cache / f"{identity}.npz"
            if not file.is_file():
                found[identity] = self[identity].tone
                continue
            with np.load(file) as kept:
                found[identity] = str(kept["tone"])
        return found


@dataclass(frozen=True)
class Material:
    """What is read of the source. ``portraits``: photos with a known person, smiling ones too; ``strangers``: those of
    the folder `faces`, textures alone; ``of``: identity -> split; ``splits``: the other way round."""

    head: Head
    portraits: list[Portrait]
    strangers: list[Portrait]
    groups: dict[str, dict[str, str]]
    splits: dict[str, list[str]]
    of: dict[str, str]

    def people(self, cache: Path) -> Crowd:
        """Everybody with a neutral picture."""
        return Crowd(self.head, self.portraits + self.strangers, cache)

    def training(self) -> list[Portrait]:
        """The photos of those who are trained on."""
        return [p for p in self.portraits if self.of[p.identity] == "train"]

    @property
    def credits(self) -> list[str]:
        """Who made what the set is made of."""
        return [*CREDITS, *([STRANGERS_CREDIT] if self.strangers else [])]


def read_material(source: Path) -> Material:
    """The head, the portraits, and the people of `source`/faces where there is such a folder.

    Raises:
        FileNotFoundError: part of the source is missing.
        ValueError: too few people for three splits.
    """
    head, portraits = load_head(source / "ict_facekit_light.npz"), read_portraits(source / "portraits")
    groups = read_groups(source / "portraits")
    splits = split_identities([p.identity for p in portraits], groups)
    strangers, others, more = read_strangers(source / "faces")
    for identity, split in {**pictured_people(source / "faces"), **others}.items():
        splits[split].append(identity)
    if empty := [name for name in SPLITS if not splits[name]]:
        raise ValueError(
            f"{source}: expected people enough for train, val and test, got {len({p.identity for p in portraits})}, "
            f"none for {', '.join(empty)}; six of one ethnic group are the fewest"
        )
    of = {n: name for name in SPLITS for n in splits[name]}
    return Material(head, portraits, strangers, {**groups, **more}, splits, of)


def frequencies(names: list[str], of: dict[str, str], tones: dict[str, str]) -> np.ndarray:
    """(n,) how often each person is drawn, sum 1: splits by SHARES, and within a split the rarer skin tones more often
    (by the root of how many people have one)."""
    weights = np.array([sum(of[o] == of[n] and tones[o] == tones[n] for o in names) ** -0.5 for n in names])
    for split, share in SHARES.items():
        members = np.array([of[n] == split for n in names])
        weights[members] *= share / max(weights[members].sum(), 1e-12)
    return weights / weights.sum()


__all__ = ["SHARES", "SPLITS", "Crowd", "Material", "frequencies", "read_material"]
