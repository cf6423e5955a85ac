"""Samples of the training: three crops, t - T, t, t + T, aligned on frame t; the paper's sections IV-C and V-B.

The crop of frame t is the paper's square about the face box, side 200 (w + h) / 260. The neighbours are brought into it
by the similarity that maps their five points onto those of frame t. A neighbour that is missing (the video begins or
ends, the frame is not annotated, no face was found) is replaced by frame t. T is 0.4 s: 10 frames at BP4D's 25 Hz.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aunet_sdk.errors import InvalidInput
from aunet_sdk.geometry import crop as alignment
from train.data.corpora.corpus import Corpus, DatasetError, Selection, Video
from train.data.faces.stored import NO_FACE, OK, UNREADABLE, Faces, load_prepared
from train.data.frames import CorpusFrames, FrameTable, SequenceFrames
from train.data.sequences import SequenceSet
from train.data.transforms.triplets import TripletAugment

INTERVAL_S = 0.4
_log = logging.getLogger(__name__)


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
        placed = self._placed(i, rng, neighbours)
        out = np.empty((len(placed), side, side, 3), np.uint8)
        done: dict[int, int] = {}
        for place, (row, matrix) in enumerate(placed):
            if row in done:  # a neighbour that the due frame stands in for
                out[place] = out[done[row]]
                continue
            alignment.warp_crop(*alignment.reduce_for_crop(self.table.read(row), matrix, side), out[place])
            done[row] = place
        if rng is None:
            return out
        if rng.random() < self.augment.flip:
            out = np.ascontiguousarray(out[:, :, ::-1])
        return self._content(rng, out)

    def sources(
        self, i: int, rng: np.random.Generator | None = None, neighbours: bool = True
    ) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64], bool]:
        """What `crops` are cut out of, for a device that cuts them (train.data.transforms.device). The generator is
        asked for the same numbers in the same order, so that the geometry is the same; the content is not drawn.

        Returns:
            pixels, (h, w, 3) uint8 BGR for each crop, no more of the frame than the crop needs; (3 or 1, 2, 3), crop
            pixels to those; and whether the crops are to be mirrored.
        """
        pixels, back = [], []
        for row, matrix in self._placed(i, rng, neighbours):
            image, matrix = alignment.reduce_for_crop(self.table.read(row), matrix, self.resolution)
            part, own = _needed(image, matrix, self.resolution)
            pixels.append(part)
            back.append(own)
        return pixels, np.stack(back), rng is not None and bool(rng.random() < self.augment.flip)

    def _placed(
        self, i: int, rng: np.random.Generator | None, neighbours: bool
    ) -> list[tuple[int, NDArray[np.float64]]]:
        """For each crop of sample `i` the frame's row in the table, and (2, 3), its pixels to crop pixels."""
        side, due = self.resolution, int(self.rows[i, 1])
        matrix = self.table.matrix(due, side)
        if rng is not None:
            more = self.augment.matrix(rng, side)
            matrix = np.column_stack((more[:, :2] @ matrix[:, :2], more[:, :2] @ matrix[:, 2] + more[:, 2]))
        target = alignment.transform(matrix, self.table.points[due])
        rows = [int(row) for row in self.rows[i]] if neighbours else [due]
        return [(row, matrix if row == due else self._alignment(i, row, target)) for row in rows]

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
            CorpusFrames(kept_videos),
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
            SequenceFrames(sequences),
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


def _needed(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of an image (h, w, 3) that a crop is made of, and (2, 3), crop pixels to its pixels."""
    back = alignment.invert(matrix)
    corners = np.array([(0, 0), (side - 1, 0), (0, side - 1), (side - 1, side - 1)]) @ back[:, :2].T + back[:, 2]
    low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, (image.shape[1], image.shape[0]))
    if (high <= low).any():  # the crop lies beside the image
        return np.zeros((1, 1, 3), np.uint8), back
    back[:, 2] -= low
    return image[low[1] : high[1], low[0] : high[0]], back


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
