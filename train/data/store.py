"""The crop store: of every frame with a face one small JPEG about it, so that an epoch decodes no whole frames.

    <prepared>/<corpus>/crops/<video>.tar     about.json, then <frame>.jpg for every frame with a face

The JPEG is the paper's square enlarged by MARGIN, which holds all that rotation, scale and shift of the augmentation
can ask for; at most SIDE_PX wide. A tar appears when it is whole, so an interrupted run goes on where it was, and
it says of which faces it was made: one of other boxes is not read.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aunet_sdk.geometry import crop as alignment
from train.data.corpora.corpus import Corpus, DatasetError, Video, named
from train.data.faces.stored import OK, Faces, load_prepared
from train.data.reading import decode_bytes

MARGIN = 1.75
"""Side of a stored square over that of the crop. The largest draw is 1.25 sides, turned by 15 degrees, moved by 10 px:
1.25 (cos 15 + sin 15) + 2 * 10 / 256 = 1.61."""
SIDE_PX = 512
"""Largest side of a stored square: 256 px of the crop are 293 px of it."""
QUALITY = 95
SCHEMA = 1
_ABOUT = "about.json"


def store_path(prepared: str | os.PathLike[str], corpus: str, video: str) -> Path:
    """Where the crops of a video lie."""
    return Path(prepared) / corpus / "crops" / f"{video}.tar"


def key_of_faces(faces: Faces) -> str:
    """Hash of the boxes that crops are cut by, and of which frames have one."""
    good = faces.status == OK
    digest = hashlib.sha256(np.ascontiguousarray(faces.frames[good], "<i8").tobytes())
    digest.update(np.ascontiguousarray(faces.box[good], "<f4").tobytes())
    return f"{SCHEMA} {MARGIN} {SIDE_PX} {QUALITY} {digest.hexdigest()[:24]}"


def stored_matrix(box: NDArray[np.float32]) -> tuple[NDArray[np.float64], int]:
    """(2, 3) from pixels of the frame to those of its stored square, and the side of that."""
    side = alignment.PAPER_CROP_SCALE * MARGIN * float(box[2] + box[3]) / 2
    pixels = int(np.clip(np.ceil(side), 16, SIDE_PX))
    return alignment.box_to_matrix(box, alignment.PAPER_CROP_SCALE * MARGIN, pixels), pixels


def write_store(video: Video, faces: Faces, path: Path) -> int:
    """Cut the crops of a prepared video into a tar; returns how many.

    Raises:
        DatasetError: a picture that could be read when it was prepared, and cannot now.
        OSError: the disk does not take it; nothing of it is left.
    """
    import cv2

    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    good = np.flatnonzero(faces.status == OK)
    try:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            about = {"faces": key_of_faces(faces), "finder": faces.finder, "margin": MARGIN, "frames": len(good)}
            _add(tar, _ABOUT, json.dumps(about).encode())
            for i in good.tolist():
                matrix, side = stored_matrix(faces.box[i])
                out = np.empty((side, side, 3), np.uint8)
                alignment.warp_crop(*alignment.reduce_for_crop(video.read(i), matrix, side), out)
                _, code = cv2.imencode(
                    ".jpg", np.ascontiguousarray(out[..., ::-1]), (cv2.IMWRITE_JPEG_QUALITY, QUALITY)
                )
                _add(tar, f"{faces.frames[i]}.jpg", code.tobytes())
        partial.replace(path)
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error}; make room, then run store again") from error
    finally:
        partial.unlink(missing_ok=True)
        if hasattr(video.reader, "close"):
            video.reader.close()
    return len(good)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def make_store(corpus: Corpus, prepared: str | os.PathLike[str], workers: int = 1) -> tuple[int, int]:
    """Write the stores that a prepared corpus lacks; (videos written now, videos that had theirs).

    Raises DatasetError where a video is not prepared, and as `write_store`.
    """

    def work(name: str) -> bool:
        video, faces = load_prepared(corpus.video(name), prepared)
        path = store_path(prepared, corpus.name, name)
        if not (faces.status == OK).any() or CropStore.fits(path, faces):
            return False
        write_store(video, faces, path)
        return True

    with ThreadPoolExecutor(max(1, workers)) as pool:
        done = list(pool.map(work, corpus.names()))
    return sum(done), len(done) - sum(done)


@dataclasses.dataclass(frozen=True)
class CropStore:
    """The crops of one video, read in any order by several threads and processes."""

    path: Path
    numbers: NDArray[np.int64]
    """(n,) frame numbers, ascending"""
    places: NDArray[np.int64]
    """(n, 2) offset and length of each JPEG in the file"""

    @staticmethod
    def fits(path: Path, faces: Faces) -> bool:
        """Whether a store is there, and was made of these faces."""
        try:
            with tarfile.open(path) as tar:
                entry = tar.next()
                file = None if entry is None or entry.name != _ABOUT else tar.extractfile(entry)
                return file is not None and json.loads(file.read())["faces"] == key_of_faces(faces)
        except (OSError, tarfile.TarError, ValueError, KeyError):
            return False

    @classmethod
    def open(cls, path: Path) -> CropStore:
        """The index of a store; DatasetError where it cannot be read."""
        try:
            with tarfile.open(path) as tar:
                found = {int(e.name.removesuffix(".jpg")): (e.offset_data, e.size) for e in tar if e.name != _ABOUT}
        except (OSError, tarfile.TarError, ValueError) as error:
            raise DatasetError(f"{path}: cannot be read as a crop store ({error}); delete it, store again") from error
        numbers = sorted(found)
        return cls(path, np.array(numbers, np.int64), np.array([found[n] for n in numbers], np.int64).reshape(-1, 2))

    def read(self, number: int) -> NDArray[np.uint8]:
        """The square of a frame, uint8 (S, S, 3) BGR; DatasetError where there is none."""
        at = int(np.searchsorted(self.numbers, number))
        if at == len(self.numbers) or self.numbers[at] != number:
            raise DatasetError(f"{self.path}: expected a crop of frame {number}, found none; delete it and store again")
        offset, size = self.places[at].tolist()
        return decode_bytes(os.pread(_handle(str(self.path)), size, offset), f"{self.path} frame {number}")


_handles = threading.local()


def _handle(path: str) -> int:
    """Descriptor of a file that stays open, for this thread and process."""
    if getattr(_handles, "process", None) != os.getpid():
        _handles.process, _handles.open = os.getpid(), functools.lru_cache(256)(_Handle)
    handle: _Handle = _handles.open(path)
    return handle.number


class _Handle:
    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        os.close(self.number)


def stored_frames(
    loaded: Sequence[tuple[Video, Faces]], prepared: str | os.PathLike[str], required: bool
) -> StoredFrames | None:
    """Frames of prepared videos out of their stores; None where one is lacking, or is of other faces.

    Raises DatasetError in that case where they are `required`.
    """
    with_face = [(video, np.flatnonzero(faces.status == OK), faces) for video, faces in loaded]
    with_face = [one for one in with_face if len(one[1])]
    lacking = [
        video.video
        for video, _, faces in with_face
        if not CropStore.fits(store_path(prepared, video.corpus, video.video), faces)
    ]
    if not lacking:
        return StoredFrames(with_face, prepared)
    if required:
        raise DatasetError(
            f"store: expected crops of {len(with_face)} videos that fit their faces, found none of {named(lacking)}; "
            "run `python -m train store`"
        )
    return None


class StoredFrames:
    """Frames of prepared videos out of their stores (train.data.frames.FrameTable)."""

    def __init__(
        self, videos: Sequence[tuple[Video, NDArray[np.int64], Faces]], prepared: str | os.PathLike[str]
    ) -> None:
        self._stores = [CropStore.open(store_path(prepared, video.corpus, video.video)) for video, _, _ in videos]
        self._numbers = [video.frames[good] for video, good, _ in videos]
        self._starts = np.cumsum([0, *(len(good) for _, good, _ in videos)])
        self._boxes = np.concatenate([faces.box[good] for _, good, faces in videos])
        points = np.concatenate([faces.points[good] for _, good, faces in videos])
        matrices = [stored_matrix(box)[0] for box in self._boxes]
        self.points = np.stack(
            [alignment.transform(matrix, five) for matrix, five in zip(matrices, points, strict=True)]
        ).astype(np.float32)

    def read(self, row: int) -> NDArray[np.uint8]:
        video = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._stores[video].read(int(self._numbers[video][row - self._starts[video]]))

    def matrix(self, row: int, resolution: int) -> NDArray[np.float64]:
        box = self._boxes[row]
        whole = alignment.box_to_matrix(box, alignment.PAPER_CROP_SCALE, resolution)
        stored = np.vstack((stored_matrix(box)[0], (0.0, 0.0, 1.0)))
        back: Any = np.linalg.inv(stored)
        return np.asarray(np.vstack((whole, (0.0, 0.0, 1.0))) @ back)[:2]
