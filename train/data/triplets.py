"""Samples of the training: three crops, t - T, t, t + T, aligned on frame t; the paper's sections IV-C and V-B.

The crop of frame t is the paper's square about the face box, side 200 (w + h) / 260. The neighbours are brought into it
by the similarity that maps their five points onto those of frame t. A neighbour that is missing (the video begins or
ends, the frame is not annotated, no face was found) is replaced by frame t. T is 0.4 s: 10 frames at BP4D's 25 Hz.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aunet_sdk._util.privacy import keep_private
from aunet_sdk.errors import InvalidInput
from aunet_sdk.geometry import crop as alignment
from train.data.corpora.corpus import Corpus, DatasetError, Selection, Video
from train.data.faces.stored import NO_FACE, OK, UNREADABLE, Faces, load_prepared
from train.data.sequences import SequenceSet
from train.data.transforms import crop_matrix

INTERVAL_S = 0.4
_TARGETS = ("former", "due", "later")
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TripletAugment:
    """What is done to a sample of the training, alike to its three frames; probabilities and ranges of the paper's
    section V-B, and of the authors' release where the paper gives none."""

    flip: float = 0.5
    rotation_deg: float = 15.0
    shift: float = 10 / 256
    """of the crop's side"""
    scale: float = 0.25
    """of the square's side: 0.75 to 1.25"""
    blur: float = 0.5
    jpeg: float = 0.5
    dropout: float = 0.5
    colour: float = 0.0
    """strength of a colour jitter; the paper has none, the release 0.3"""
    box_blur: bool = False
    """blur by a mean over a square, as the release does; the paper's is Gaussian"""

    def content(self) -> Any:
        """The albumentations pipeline over three pictures of one size, or None where nothing is asked for."""
        keep_private()  # or the library asks the package index for news
        import albumentations

        steps: list[Any] = []
        if self.blur > 0:
            kind = albumentations.Blur if self.box_blur else albumentations.GaussianBlur
            steps.append(kind(blur_limit=(3, 7), p=self.blur))
        if self.colour > 0:
            c = self.colour
            steps.append(albumentations.ColorJitter((1 - c, 1 + c), (1 - c, 1 + c), (1 - c, 1 + c), (0, 0), p=1.0))
        if self.jpeg > 0:
            steps.append(albumentations.ImageCompression(quality_range=(30, 100), p=self.jpeg))
        if self.dropout > 0:
            side = (1 / 32, 1 / 8)
            steps.append(
                albumentations.CoarseDropout(
                    num_holes_range=(1, 8), hole_height_range=side, hole_width_range=side, fill=0, p=self.dropout
                )
            )
        return albumentations.Compose(steps, additional_targets=dict.fromkeys(_TARGETS[::2], "image"))

    def matrix(self, rng: np.random.Generator, resolution: int) -> NDArray[np.float64]:
        """A draw of the geometry but the flip: (2, 3), crop pixels to crop pixels."""
        angle = np.deg2rad(rng.uniform(-1, 1) * self.rotation_deg)
        grow = 1 / (1 + rng.uniform(-1, 1) * self.scale)
        shift = rng.uniform(-1, 1, 2) * self.shift * resolution
        linear = grow * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.full(2, (resolution - 1) / 2)
        return np.column_stack((linear, centre + shift - linear @ centre))


AUGMENTATIONS = {
    "paper": TripletAugment(),
    "release": TripletAugment(rotation_deg=13.5, shift=12.8 / 256, colour=0.3, box_blur=True),
}
"""By name. The released code turns 15 of 200 parts of half a turn, 13.5 degrees, and shifts by 10 px of a face of 200
px, which are 12.8 px of the crop."""


class FrameTable(Protocol):
    """Frames with a face, numbered by row over all videos; can be pickled."""

    points: NDArray[np.float32]
    """(M, 5, 2) px of the frame"""

    def read(self, row: int) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) BGR; DatasetError where it cannot be read."""
        ...

    def matrix(self, row: int, resolution: int) -> NDArray[np.float64]:
        """(2, 3): frame pixels to crop pixels."""
        ...


class TripletSet:
    """N samples. `crops` may be called from several threads and processes.

    Attributes:
        au_numbers: the AUs of `labels`, ascending.
        labels: (N, n) float32, 0 or 1; NaN: not labelled.
        corpus, video, subject: (N,) str.
        frame: (N,) int64, the data set's own number of frame t.
        rows: (N, 3) int64, former, due, later in `table`; equal to due where a neighbour is missing.
        resolution: side R of a crop, px.
        skipped: frames that were left out, by reason.
    """

    def __init__(
        self,
        table: FrameTable,
        rows: NDArray[np.int64],
        labels: NDArray[np.float32],
        au_numbers: Sequence[int],
        *,
        corpus: NDArray[np.str_],
        video: NDArray[np.str_],
        subject: NDArray[np.str_],
        frame: NDArray[np.int64],
        resolution: int,
        augment: TripletAugment | None = None,
        skipped: dict[str, int] | None = None,
    ) -> None:
        self.table, self.rows, self.labels, self.au_numbers = table, rows, labels, tuple(au_numbers)
        self.corpus, self.video, self.subject, self.frame = corpus, video, subject, frame
        self.resolution = resolution
        self.augment = augment or TripletAugment()
        self.skipped = dict(skipped or {})
        self._local = threading.local()

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _local=threading.local())

    def crops(self, i: int, rng: np.random.Generator | None = None, neighbours: bool = True) -> NDArray[np.uint8]:
        """The crops of sample `i`, former, due, later.

        Args:
            rng: source of all draws of the augmentation; None: the plain crops.
            neighbours: False: the due frame alone; the others are not read.

        Returns:
            uint8 (3 or 1, R, R, 3) RGB.

        Raises:
            DatasetError: a picture that could be read when it was prepared, and cannot now; five points that cannot be
                aligned (data set, video and frame are named).
        """
        side = self.resolution
        due = int(self.rows[i, 1])
        matrix = self.table.matrix(due, side)
        if rng is not None:
            more = self.augment.matrix(rng, side)
            matrix = np.column_stack((more[:, :2] @ matrix[:, :2], more[:, :2] @ matrix[:, 2] + more[:, 2]))
        target = alignment.transform(matrix, self.table.points[due])
        slots = (0, 1, 2) if neighbours else (1,)
        out = np.empty((len(slots), side, side, 3), np.uint8)
        middle = out[slots.index(1)]
        alignment.warp_crop(*alignment.reduce_for_crop(self.table.read(due), matrix, side), middle)
        for place, slot in enumerate(slots):
            row = int(self.rows[i, slot])
            if slot == 1:
                continue
            if row == due:
                out[place] = middle
                continue
            own = self._alignment(i, row, target)
            alignment.warp_crop(*alignment.reduce_for_crop(self.table.read(row), own, side), out[place])
        if rng is None:
            return out
        if rng.random() < self.augment.flip:
            out = np.ascontiguousarray(out[:, :, ::-1])
        return self._content(rng, out)

    def _alignment(self, i: int, row: int, target: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2, 3): pixels of the frame at `row`, a neighbour in sample `i`, to crop pixels."""
        try:
            return alignment.similarity(self.table.points[row], target)
        except InvalidInput as error:
            raise DatasetError(
                f"{self.corpus[i]}: {self.video[i]} frame {self.frame[i]}: a neighbour cannot be aligned on it by the "
                f"five points of both: {error}; mend the imported points, then import them again"
            ) from error

    def subset(self, indices: NDArray[np.int64] | NDArray[np.bool_]) -> TripletSet:
        """The samples at `indices`, in that order; shares the frames."""
        return TripletSet(
            self.table,
            self.rows[indices],
            self.labels[indices],
            self.au_numbers,
            corpus=self.corpus[indices],
            video=self.video[indices],
            subject=self.subject[indices],
            frame=self.frame[indices],
            resolution=self.resolution,
            augment=self.augment,
            skipped=self.skipped,
        )

    def _content(self, rng: np.random.Generator, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        # A pipeline keeps the state of its draws: one per thread, seeded anew for every sample.
        if not hasattr(self._local, "content"):
            self._local.content = self.augment.content()
        pipeline = self._local.content
        pipeline.set_random_seed(int(rng.integers(2**31)))
        if len(crops) == 1:
            return np.asarray(pipeline(image=crops[0])["image"])[None]
        done = pipeline(image=crops[1], former=crops[0], later=crops[2])
        return np.stack((done["former"], done["image"], done["later"]))

    @classmethod
    def from_corpus(
        cls,
        corpus: Corpus,
        prepared: str | os.PathLike[str],
        part: str,
        fold: int | None = None,
        *,
        resolution: int = 256,
        interval_s: float = INTERVAL_S,
        interval_frames: int | None = None,
        augment: TripletAugment | None = None,
        skip_missing: bool = False,
        listed: bool = False,
        store: str = "never",
    ) -> TripletSet:
        """The samples of one part ("train" or "test") of a corpus.

        Args:
            prepared: the folder that `python -m train prepare` filled.
            interval_s: T in seconds; frames by the video's rate (10 at 25 Hz, 8 at 20 Hz).
            interval_frames: T in frames whatever the rate, as the authors' code has it.
            skip_missing: see Corpus.select.
            listed: take neighbours out of the part's own frames alone, and only where none is missing between, as the
                authors' code does; otherwise out of all frames of the video.
            store: whether to read crops that `python -m train store` cut instead of whole frames: never, always, or
                auto: where every video has one that fits its faces.

        Raises DatasetError as Corpus.select, and where videos are not prepared.
        """
        selections = corpus.select(part, fold, skip_missing)
        loaded, lacking = [], []
        for selection in selections:
            try:
                loaded.append(load_prepared(selection.video, prepared))
            except DatasetError as error:
                lacking.append(error)
        if lacking:
            raise DatasetError(
                f"{corpus.name}: {len(lacking)} of {len(selections)} videos of {part} are not ready: {lacking[0]}"
            )
        whole = cls._build(
            corpus, selections, loaded, resolution, interval_s, interval_frames, augment or TripletAugment(), listed
        )
        if store != "never":
            from train.data.store import stored_frames

            whole.table = stored_frames(loaded, prepared, required=store == "always") or whole.table
        return whole

    @classmethod
    def _build(
        cls,
        corpus: Corpus,
        selections: Sequence[Selection],
        loaded: Sequence[tuple[Video, Faces]],
        resolution: int,
        interval_s: float,
        interval_frames: int | None,
        augment: TripletAugment,
        listed: bool,
    ) -> TripletSet:
        rows, labels, frame = [], [], []
        videos, counts = [], []
        skipped = {NO_FACE: 0, UNREADABLE: 0, "no label": 0}
        kept_videos: list[tuple[Video, NDArray[np.int64], Faces]] = []
        start = 0
        for selection, (video, faces) in zip(selections, loaded, strict=True):
            good = np.flatnonzero(faces.status == OK)
            step = round(interval_s * video.fps) if interval_frames is None else interval_frames
            if step < 1:
                raise DatasetError(f"interval: expected at least one frame, {interval_s} s at {video.fps} Hz is less")
            numbers = video.frames[good]
            own = np.arange(start, start + len(good))
            find = _in_list(selection.chosen[good]) if listed else _neighbour
            beside = [find(numbers, offset, own) for offset in (-step, step)]
            labelled = ~np.isnan(video.labels).all(1)
            take = (selection.chosen & labelled)[good]
            for status in (NO_FACE, UNREADABLE):
                skipped[status] += int((selection.chosen & (faces.status == status)).sum())
            skipped["no label"] += int((selection.chosen & ~labelled).sum())
            rows.append(np.stack((beside[0], own, beside[1]), 1)[take])
            labels.append(video.labels[good][take])
            frame.append(numbers[take])
            videos.append(video)
            counts.append(int(take.sum()))
            kept_videos.append((video, good, faces))
            start += len(good)
        skipped = {reason: count for reason, count in skipped.items() if count}
        if skipped:
            _log.warning("%s: left out: %s", corpus.name, ", ".join(f"{c} frames, {r}" for r, c in skipped.items()))
        if not sum(counts):
            raise DatasetError(f"{corpus.name}: no frame with a label and a face is left ({skipped})")
        return cls(
            _CorpusFrames(kept_videos),
            np.concatenate(rows),
            np.concatenate(labels),
            corpus.au_numbers,
            corpus=np.full(sum(counts), corpus.name),
            video=np.repeat([video.video for video in videos], counts),
            subject=np.repeat([video.subject for video in videos], counts),
            frame=np.concatenate(frame),
            resolution=resolution,
            augment=augment,
            skipped=skipped,
        )

    @classmethod
    def from_sequences(
        cls, sequences: SequenceSet, resolution: int, augment: TripletAugment | None = None
    ) -> TripletSet:
        """The synthetic set: every labelled frame with a face, its neighbours those before and after in the sequence.
        The crop is the set's canonical one."""
        n, frames = sequences.points.shape[:2]
        seen = np.asarray(np.isfinite(sequences.points).all((2, 3)))
        take = np.asarray(seen & ~np.isnan(sequences.labels).all(2))
        if not take.any():
            raise DatasetError(f"synthetic: no labelled frame with a face among {n} sequences")
        own = np.arange(n * frames).reshape(n, frames)
        former, later = own.copy(), own.copy()
        former[:, 1:] = np.where(seen[:, :-1], own[:, :-1], own[:, 1:])
        later[:, :-1] = np.where(seen[:, 1:], own[:, 1:], own[:, :-1])
        which, frame = np.nonzero(take)
        skipped = {NO_FACE: int((~seen).sum()), "no label": int((seen & ~take).sum())}
        return cls(
            _SequenceFrames(sequences),
            np.stack((former, own, later), 2)[take].astype(np.int64),
            sequences.labels[take],
            sequences.info.au_numbers,
            corpus=np.full(len(which), "synthetic"),
            video=np.array([f"{sequences.identity[i]}-{i}" for i in which]),
            subject=sequences.identity[which],
            frame=frame.astype(np.int64),
            resolution=resolution,
            augment=augment,
            skipped={reason: count for reason, count in skipped.items() if count},
        )


def _neighbour(numbers: NDArray[np.int64], offset: int, own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the frames `offset` away, own rows where no such frame exists; `numbers` ascend."""
    at = np.minimum(np.searchsorted(numbers, numbers + offset), max(len(numbers) - 1, 0))
    there = numbers[at] == numbers + offset
    return np.where(there, own[at], own).astype(np.int64)


def _in_list(chosen: NDArray[np.bool_]) -> Callable[[NDArray[np.int64], int, NDArray[np.int64]], NDArray[np.int64]]:
    """`_neighbour` among the chosen frames: the one `offset` places away in their list, if its number is as far."""
    places = np.flatnonzero(chosen)

    def find(numbers: NDArray[np.int64], offset: int, own: NDArray[np.int64]) -> NDArray[np.int64]:
        found = own.copy()
        order = np.arange(len(places)) + offset
        inside = (order >= 0) & (order < len(places))
        due, near = places[inside], places[order[inside]]
        there = numbers[near] == numbers[due] + offset
        found[due[there]] = own[near[there]]
        return found

    return find


class _CorpusFrames:
    """Frames of prepared videos; the crop is the paper's square about the box."""

    def __init__(self, videos: Sequence[tuple[Video, NDArray[np.int64], Faces]]) -> None:
        self._readers = [video.reader for video, _, _ in videos]
        self._index = [good for _, good, _ in videos]
        self._starts = np.cumsum([0, *(len(good) for good in self._index)])
        self.points = np.concatenate([faces.points[good] for _, good, faces in videos])
        self._boxes = np.concatenate([faces.box[good] for _, good, faces in videos])
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def read(self, row: int) -> NDArray[np.uint8]:
        video = int(np.searchsorted(self._starts, row, side="right")) - 1
        reader, index = self._readers[video], int(self._index[video][row - self._starts[video]])
        if hasattr(reader, "close"):  # a video file has one position
            with self._lock:
                return reader.read(index)
        return reader.read(index)

    def matrix(self, row: int, resolution: int) -> NDArray[np.float64]:
        return alignment.box_to_matrix(self._boxes[row], alignment.PAPER_CROP_SCALE, resolution)


class _SequenceFrames:
    """Frames of the synthetic set."""

    def __init__(self, sequences: SequenceSet) -> None:
        info = sequences.info
        self._images, self._per, self._size, self._margin = sequences.images, info.frames, info.size, info.margin
        pixels = sequences.points.reshape(-1, 68, 2) * info.size - 0.5
        eyes = [pixels[:, 36:42].mean(1), pixels[:, 42:48].mean(1)]
        self.points = np.stack([*eyes, *(pixels[:, k] for k in (30, 48, 54))], 1).astype(np.float32)

    def read(self, row: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._images[row // self._per][row % self._per][..., ::-1])

    def matrix(self, row: int, resolution: int) -> NDArray[np.float64]:
        return crop_matrix(resolution, self._size, self._margin)
