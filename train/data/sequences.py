"""Reader of the synthetic set on disk (format: docs/architecture.md, "The synthetic set on disk").

Images are mapped, not copied: shards are uncompressed, so several processes share one copy in the page cache and a run
starts at once. Everything else is small and is read into memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS = 68
SPLITS = ("train", "val", "test")


class DatasetError(ValueError):
    """A folder that is not a synthetic set of the documented format."""


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The contents of `dataset.json`."""

    path: Path
    size: int
    """Side of a stored image in pixels."""
    margin: float
    """Side of a stored image over the side of the canonical crop in it."""
    frames: int
    """Frames of a sequence."""
    interval_s: float
    au_numbers: tuple[int, ...]
    template: tuple[tuple[float, float], ...]
    crop_scale: float
    splits: dict[str, list[str]]
    groups: dict[str, dict[str, Any]]
    """Per identity: ethnicity, gender, age."""
    raw: dict[str, Any]
    """The whole file, for what a later version adds (for instance points3d)."""

    @classmethod
    def read(cls, folder: str | Path) -> DatasetInfo:
        """Read `folder`/dataset.json.

        Raises:
            FileNotFoundError: no such file.
            DatasetError: it lacks a field, or a field is not what it should be.
        """
        path = Path(folder) / "dataset.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"data: expected dataset.json in {folder}, found none; make a set or check the path"
            )
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            info = cls(
                path=Path(folder),
                size=int(raw["size"]),
                margin=float(raw["margin"]),
                frames=int(raw["frames"]),
                interval_s=float(raw["interval_s"]),
                au_numbers=tuple(int(n) for n in raw["au_numbers"]),
                template=tuple((float(x), float(y)) for x, y in raw["template"]),
                crop_scale=float(raw["crop_scale"]),
                splits={name: list(raw["splits"][name]) for name in SPLITS},
                groups=dict(raw.get("groups", {})),
                raw=raw,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"data: {path} does not have the documented fields: {error!r}") from error
        seen: dict[str, str] = {}
        for split, identities in info.splits.items():
            for identity in identities:
                if seen.setdefault(identity, split) != split:
                    raise DatasetError(
                        f"data: identity {identity!r} stands in {seen[identity]} and in {split} of {path}"
                    )
        return info


@dataclasses.dataclass(frozen=True)
class SequenceSet:
    """N sequences of F frames of one split; the AUs are those of `info`."""

    info: DatasetInfo
    images: Sequence[NDArray[np.uint8]]
    """Per sequence (F, S, S, 3) uint8 RGB."""
    points: NDArray[np.float32]
    """(N, F, 68, 2), normalised to the stored image; NaN: no face."""
    intensity: NDArray[np.float32]
    """(N, F, n) in [0, 1]; NaN: not known."""
    labels: NDArray[np.float32]
    """(N, F, n), 0 or 1; NaN: not known."""
    identity: NDArray[np.str_]
    source: NDArray[np.str_]
    """(N,): render, photo or negative."""
    rest: NDArray[np.float32] | None = None
    """(N, F, 68, 2): the same face at rest, from the front in the first row and turned otherwise in the others, in
    tenths of the eye distance as PointsHead normalises points; NaN where not known. None: built without."""

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, rng: np.random.Generator, count: int, photo_share: float = 0.0) -> NDArray[np.int64]:
        """`count` indices with repetition; `photo_share` of them photographs on average, 0: as many as there are."""
        chosen = rng.integers(0, len(self), count)
        photos = np.flatnonzero(self.source == "photo")
        if photo_share > 0 and len(photos):
            others = np.flatnonzero(self.source != "photo")
            photo = rng.random(count) < photo_share if len(others) else np.ones(count, bool)
            chosen = np.where(photo, rng.choice(photos, count), rng.choice(others, count) if len(others) else 0)
        return chosen

    def of(self, au_numbers: Sequence[int]) -> SequenceSet:
        """The same with the columns of `au_numbers`, NaN for AUs that the set does not have.

        Raises:
            DatasetError: it has none of them.
        """
        if tuple(au_numbers) == self.info.au_numbers:
            return self
        if not set(au_numbers) & set(self.info.au_numbers):
            raise DatasetError(f"data: expected some of the AUs {tuple(au_numbers)}, got {self.info.au_numbers}")
        info = dataclasses.replace(self.info, au_numbers=tuple(au_numbers))
        columns: dict[str, Any] = {}
        for name in ("intensity", "labels"):
            values = getattr(self, name)
            columns[name] = np.full((*values.shape[:-1], len(au_numbers)), np.nan, np.float32)
            for i, number in enumerate(au_numbers):
                if number in self.info.au_numbers:
                    columns[name][..., i] = values[..., self.info.au_numbers.index(number)]
        return dataclasses.replace(self, info=info, **columns)

    def subset(self, indices: NDArray[np.int64]) -> SequenceSet:
        """The sequences at `indices`, in that order."""
        return SequenceSet(
            self.info,
            [self.images[i] for i in indices],
            self.points[indices],
            self.intensity[indices],
            self.labels[indices],
            self.identity[indices],
            self.source[indices],
            None if self.rest is None else self.rest[indices],
        )


def load_split(folder: str | Path, split: str) -> SequenceSet:
    """All sequences whose identity belongs to `split` (train, val or test), in the order of the shards' names.

    Raises:
        FileNotFoundError: no dataset.json, or no shards.
        DatasetError: a shard that does not fit dataset.json, or a split without sequences.
        ValueError: no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
    info = DatasetInfo.read(folder)
    shards = sorted(path for path in (info.path / "shards").glob("*.npz") if ".partial" not in path.name)
    if not shards:
        raise FileNotFoundError(f"data: expected shards/*.npz in {folder}, found none; the set is not made yet")
    wanted = set(info.splits[split])
    images: list[NDArray[np.uint8]] = []
    columns: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("points", "rest", "intensity", "labels", "identity", "source")
    }
    for shard in shards:
        arrays = read_shard(shard, info)
        keep = np.flatnonzero(np.isin(arrays["identity"], list(wanted)))
        images += [arrays["images"][i] for i in keep]
        for name, parts in columns.items():
            parts.append(arrays[name][keep])
    if not images:
        raise DatasetError(f"data: no sequence in {folder} belongs to split {split!r} ({len(wanted)} identities)")
    return SequenceSet(info, images, **{name: np.concatenate(parts) for name, parts in columns.items()})


def set_key(folder: str | Path) -> str:
    """Short name of what a set holds: of dataset.json, and of the names, sizes and times of change of its shards, links
    resolved. The pictures themselves are not read. FileNotFoundError where there is no dataset.json."""
    place = Path(folder)
    digest = hashlib.sha256((place / "dataset.json").read_bytes())
    for shard in sorted((place / "shards").glob("*.npz")):
        facts = shard.stat()  # of what a link points to
        digest.update(f"\n{shard.name} {shard.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()[:24]


def read_shard(path: Path, info: DatasetInfo) -> dict[str, NDArray[Any]]:
    """The arrays of a shard, its images mapped; DatasetError where it does not fit dataset.json."""
    try:
        images = _map_images(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("points", "intensity", "labels", "identity", "source")}
            arrays["rest"] = file["rest"] if "rest" in file else np.full(arrays["points"].shape, np.nan, np.float32)
            arrays["images"] = file["images"] if images is None else images
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"data: {path} is not a shard of the documented format: {error!r}; make it again") from error
    count, n_aus = len(arrays["images"]), len(info.au_numbers)
    expected = {
        "images": (count, info.frames, info.size, info.size, 3),
        "points": (count, info.frames, POINTS, 2),
        "rest": (count, info.frames, POINTS, 2),
        "intensity": (count, info.frames, n_aus),
        "labels": (count, info.frames, n_aus),
        "identity": (count,),
        "source": (count,),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise DatasetError(f"data: expected {name} {shape} in {path}, got {arrays[name].shape}")
    if arrays["images"].dtype != np.uint8:
        raise DatasetError(f"data: expected images uint8 in {path}, got {arrays['images'].dtype}")
    return arrays


def _map_images(path: Path) -> NDArray[np.uint8] | None:
    """Memory map of the member images.npy; None where it is compressed."""
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("images.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        return None
    with path.open("rb") as file:
        file.seek(member.header_offset)
        name_length, extra_length = struct.unpack("<26xHH", file.read(30))
        file.seek(name_length + extra_length, 1)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
        if fortran_order or dtype.hasobject:
            return None
        offset = file.tell()
    return np.memmap(path, dtype=dtype, mode="r", shape=shape, offset=offset) if np.prod(shape) else None
