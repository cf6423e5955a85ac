"""What a trained network says about its test part: one `predictions.npz` per run, read by `tables`, `score`, `figures`.

Rows are frames. A run may leave rows in any order: whatever compares two sets of rows pairs them by key
(corpus, video, frame), never by position, which is how the released evaluation pairs different images.
"""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = "predictions.npz"
"""Name of the file in a run folder."""

Key = tuple[str, str, int]
"""(corpus, video, frame)."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Probabilities and labels of N frames and n AUs.

    Raises:
        ValueError: shapes that do not belong together, probabilities outside [0, 1], labels other than 0, 1 and NaN,
            AUs that do not ascend, a frame that is there twice.
    """

    probabilities: NDArray[np.float32]
    """(N, n) in [0, 1]."""
    labels: NDArray[np.float32]
    """(N, n): 0, 1, or NaN where the AU is not labelled."""
    video: NDArray[np.str_]
    """(N,)."""
    frame: NDArray[np.int64]
    """(N,) index in its video."""
    subject: NDArray[np.str_]
    """(N,)."""
    au_numbers: tuple[int, ...]
    """Ascending FACS numbers, n of them."""
    corpus: NDArray[np.str_]
    """(N,), or one name for all rows: 'bp4d', 'disfa', 'affwild2', 'synthetic'."""
    variant: str = ""
    """Of train.models.variants.VARIANTS: 'au-fan', ..., 'aunet'."""
    fold: int = 0
    """1, 2, 3; 0: no folds."""
    seed: int = 0
    """Seed of the training."""
    flipped: NDArray[np.float32] | None = None
    """(N, n) probabilities for the mirrored crops, in the rows of `probabilities`."""
    extra: dict[str, str] = dataclasses.field(default_factory=dict)
    """What else distinguishes this run from others, as text. Read here: 'train_corpus' (data set of the training where
    it is not that of the rows; 'mixture'), 'alignment_space' ('latent', 'label'), 'vae_lambda', 'motion',
    'experiment', 'preset', 'flip_average' ('probabilities', 'logits'), 'chosen_epoch', 'part' ('held-out': no test
    part). Others are kept."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        probabilities = np.asarray(self.probabilities, np.float32)
        if probabilities.ndim != 2:
            raise ValueError(f"probabilities: expected shape (N, n), got {probabilities.shape}")
        n_rows, n_aus = probabilities.shape
        set_(self, "probabilities", probabilities)
        set_(self, "labels", np.asarray(self.labels, np.float32))
        set_(self, "au_numbers", tuple(int(number) for number in self.au_numbers))
        corpus = np.asarray(self.corpus, np.str_)
        set_(self, "corpus", np.full(n_rows, corpus) if corpus.ndim == 0 else corpus)
        set_(self, "video", np.asarray(self.video, np.str_))
        set_(self, "subject", np.asarray(self.subject, np.str_))
        set_(self, "frame", np.asarray(self.frame, np.int64))
        if self.flipped is not None:
            set_(self, "flipped", np.asarray(self.flipped, np.float32))
            _expect("flipped", self.flipped, (n_rows, n_aus))
        _expect("labels", self.labels, (n_rows, n_aus))
        for name in ("video", "frame", "subject", "corpus"):
            _expect(name, getattr(self, name), (n_rows,))
        if len(self.au_numbers) != n_aus or list(self.au_numbers) != sorted(set(self.au_numbers)):
            raise ValueError(f"au_numbers: expected {n_aus} ascending AUs, got {self.au_numbers}")
        for name in ("probabilities", "flipped"):
            values = getattr(self, name)
            if values is not None and not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"{name}: expected values in [0, 1], got others or NaN; apply the sigmoid first")
        if not (np.isnan(self.labels) | (self.labels == 0) | (self.labels == 1)).all():
            raise ValueError("labels: expected 0, 1 or NaN (not labelled)")
        keys = self.keys()
        if len(set(keys)) != n_rows:
            seen: set[Key] = set()
            double = next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueError(f"rows: expected every (corpus, video, frame) once, got {double} twice")

    def __len__(self) -> int:
        return len(self.probabilities)

    def keys(self) -> list[Key]:
        """(corpus, video, frame) per row."""
        return list(zip(self.corpus.tolist(), self.video.tolist(), self.frame.tolist(), strict=True))

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Predictions:
        """The rows, in the order asked for."""
        names = ("probabilities", "labels", "video", "frame", "subject", "corpus")
        parts = {name: getattr(self, name)[rows] for name in names}
        flipped = None if self.flipped is None else self.flipped[rows]
        return dataclasses.replace(self, **parts, flipped=flipped)

    def only(self, au_numbers: tuple[int, ...]) -> Predictions:
        """The AUs, ascending; ValueError where one is not there."""
        missing = sorted(set(au_numbers) - set(self.au_numbers))
        if missing:
            raise ValueError(f"AUs: expected some of {self.au_numbers}, got {missing} beside")
        wanted = tuple(sorted(set(au_numbers)))
        columns = [self.au_numbers.index(number) for number in wanted]
        return dataclasses.replace(
            self,
            probabilities=self.probabilities[:, columns],
            labels=self.labels[:, columns],
            flipped=None if self.flipped is None else self.flipped[:, columns],
            au_numbers=wanted,
        )

    def with_flipped(self, other: Predictions) -> Predictions:
        """These rows with the probabilities of `other` (the mirrored crops, in any order) as `flipped`, paired by key.

        Raises:
            ValueError: other AUs, or a row that only one of the two has.
        """
        if other.au_numbers != self.au_numbers:
            raise ValueError(f"mirrored AUs: expected {self.au_numbers}, got {other.au_numbers}")
        place = {key: row for row, key in enumerate(other.keys())}
        own = self.keys()
        missing = [key for key in own if key not in place]
        if missing or len(place) != len(own):
            first = missing[0] if missing else next(iter(place.keys() - set(own)))
            raise ValueError(f"mirrored rows: expected the same frames, got {len(own)} and {len(place)}; one: {first}")
        return dataclasses.replace(self, flipped=other.probabilities[[place[key] for key in own]])

    def save(self, path: str | Path) -> Path:
        """Write an .npz, or `predictions.npz` into a folder; the old file stays until the new one is complete."""
        place = Path(path)
        if place.is_dir():
            place = place / FILE
        fields: dict[str, NDArray[np.generic]] = {
            name: getattr(self, name) for name in ("probabilities", "labels", "video", "frame", "subject", "corpus")
        }
        if self.flipped is not None:
            fields["flipped"] = self.flipped
        fields["au_numbers"] = np.array(self.au_numbers, np.int64)
        fields["variant"] = np.array(self.variant)
        fields["fold"] = np.array(self.fold, np.int64)
        fields["seed"] = np.array(self.seed, np.int64)
        fields["extra"] = np.array([[k, v] for k, v in sorted(self.extra.items())], np.str_).reshape(-1, 2)
        draft = place.with_name(place.name + ".part")
        try:
            with draft.open("wb") as file:
                np.savez_compressed(file, **fields)  # type: ignore[arg-type]
            os.replace(draft, place)
        finally:
            draft.unlink(missing_ok=True)
        return place

    @classmethod
    def load(cls, path: str | Path) -> Predictions:
        """Read what `save` wrote, from the file or its run folder.

        Raises:
            ValueError: not such a file.  OSError: no file.
        """
        place = Path(path)
        if place.is_dir():
            place = place / FILE
        try:
            with place.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
                fields = {name: file[name] for name in file.files}
            return cls(
                **{n: fields[n] for n in ("probabilities", "labels", "video", "frame", "subject", "corpus")},
                flipped=fields.get("flipped"),
                au_numbers=tuple(fields["au_numbers"].tolist()),
                variant=str(fields["variant"]),
                fold=int(fields["fold"]),
                seed=int(fields["seed"]),
                extra={str(k): str(v) for k, v in fields["extra"]} if "extra" in fields else {},
            )
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{place}: expected predictions of a run, got something else ({error})") from error


def _expect(name: str, values: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {values.shape}")


def merge(parts: list[Predictions]) -> Predictions:
    """The rows of several, on the AUs all have; fold, seed, variant and extra of the first. ValueError: no part."""
    if not parts:
        raise ValueError("predictions: expected at least one set, got none")
    common = tuple(sorted(set.intersection(*(set(part.au_numbers) for part in parts))))
    parts = [part.only(common) for part in parts]
    names = ("probabilities", "labels", "video", "frame", "subject", "corpus")
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    mirrored = [part.flipped for part in parts if part.flipped is not None]
    flipped = np.concatenate(mirrored) if len(mirrored) == len(parts) else None
    return dataclasses.replace(parts[0], **columns, flipped=flipped)
