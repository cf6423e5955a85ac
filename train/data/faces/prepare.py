"""Faces of a corpus, found once: boxes and five points per frame, one Parquet file per video.

    <out>/<corpus>/<video>.parquet          columns frame, status, score, box (4), points (10)
    <out>/<corpus>/frames/<video>/<n>.jpg   the frames, where the corpus comes as video files

A file appears when its video is finished, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.data.corpora.corpus import Corpus, DatasetError, Video
from train.data.faces.finders import PointFinder, choose
from train.data.faces.stored import (
    NO_FACE,
    OK,
    STATES,
    UNREADABLE,
    Faces,
    blank_faces,
    faces_path,
    frames_folder,
    spans_face,
)
from train.data.reading import VideoFrames

JPEG_QUALITY = 95
_log = logging.getLogger(__name__)


class Stopped(Exception):
    """The run was interrupted; everything finished is kept."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run of `prepare` did."""

    videos: int
    """prepared now"""
    kept: int
    """prepared before"""
    frames: int
    no_face: int
    unreadable: int
    problems: tuple[str, ...]
    """first unreadable picture of each video"""


def prepare(
    corpus: Corpus,
    out: str | os.PathLike[str],
    open_finder: Callable[[], PointFinder],
    *,
    names: Sequence[str] | None = None,
    workers: int = 1,
    keep_frames: bool = True,
    on_total: Callable[[int], None] = lambda total: None,
    on_frame: Callable[[int], None] = lambda count: None,
) -> Report:
    """Find the faces of all videos (or of `names`) that are not prepared yet.

    Args:
        out: folder for the results of all corpora.
        open_finder: makes one finder per worker.
        workers: threads; decoding and networks release the interpreter.
        keep_frames: write the frames of video files as JPEG, quality 95, which the training reads in any order.
        on_total, on_frame: for a progress bar; called with the number of frames to do, and with each that is done.

    A picture that cannot be read, and one without a face, is counted and marked; training leaves it out.

    Raises:
        DatasetError: an annotation that cannot be read, or results of another finder in `out`.
        OSError: the disk does not take the results.
        Stopped: on Ctrl-C; finished videos are kept.
    """
    finders, opening = threading.local(), threading.Lock()
    first = open_finder()
    spare = [first]
    todo: list[Video] = []
    kept = 0
    for name in corpus.names() if names is None else names:
        video = corpus.video(name)
        if _is_done(video, out, first.name, keep_frames):
            kept += 1
        elif video.n_frames:
            todo.append(video)
    on_total(sum(video.n_frames for video in todo))
    stop = threading.Event()

    def work(video: Video) -> Faces:
        if not hasattr(finders, "finder"):
            with opening:
                finders.finder = spare.pop() if spare else open_finder()
        return _prepare_video(video, Path(out), finders.finder, keep_frames, stop, on_frame)

    done: list[tuple[Video, Faces]] = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting: dict[Future[Faces], Video] = {pool.submit(work, video): video for video in todo}
        try:
            while waiting:
                finished, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in finished:
                    done.append((waiting.pop(future), future.result()))
        except BaseException as error:
            stop.set()
            for future in waiting:
                future.cancel()
            if isinstance(error, KeyboardInterrupt):
                ready = kept + len(done)
                raise Stopped(f"stopped, {ready} videos are ready; the same command goes on from there") from error
            raise
    return _report(done, kept)


def import_rectangles(
    corpus: Corpus, out: str | os.PathLike[str], names: Path, rectangles: Path, *, keep_frames: bool = True
) -> Report:
    """Take over faces that another finder found, for instance the paper's RetinaFace, in the authors' form.

    Args:
        names: one frame per line, `F001/T1/2440.jpg` or `LeftVideoSN001_comp_00000000.jpg`.
        rectangles: one line for each: `x0,y0,x1,y1;` and the five points `x,y,...`, px.
        keep_frames: write the frames of video files as JPEG, as `prepare` does; one that cannot be read is marked.

    Raises:
        DatasetError: a line is not of that form, or its five points coincide (file and line are named); the files do
            not have equally many.
        OSError: the disk does not take the results.
    """
    frames, boxes = (text_lines(path) for path in (names, rectangles))
    if len(frames) != len(boxes):
        raise DatasetError(f"{rectangles}: {len(boxes)} lines for the {len(frames)} frames of {names}")
    found: dict[str, dict[int, NDArray[np.float32]]] = {}
    for line, (frame, text) in enumerate(zip(frames, boxes, strict=True), 1):
        key = corpus.frame_of(frame)
        if key is None:
            raise DatasetError(f"{names}:{line}: expected the path of a frame of {corpus.name}, got {frame[:60]!r}")
        try:
            numbers = np.array([float(cell) for cell in text.replace(";", ",").split(",") if cell.strip()], np.float32)
        except ValueError:
            numbers = np.empty(0, np.float32)
        if len(numbers) != 14 or not np.isfinite(numbers).all() or (numbers[2:4] <= numbers[:2]).any():
            raise DatasetError(f"{rectangles}:{line}: expected x0,y0,x1,y1; and five points x,y, got {text[:60]!r}")
        if not spans_face(numbers[4:].reshape(5, 2)):
            raise DatasetError(
                f"{rectangles}:{line}: expected five points that span a face, got points that coincide in "
                f"{text[:60]!r}; the neighbours are aligned by them; leave the frame out of both files"
            )
        found.setdefault(key[0], {})[key[1]] = numbers
    done: list[tuple[Video, Faces]] = []
    known = set(corpus.names())
    for name, rows in found.items():
        if name not in known:
            raise DatasetError(f"{names}: {name} is not annotated in {corpus.root}")
        video = corpus.video(name)
        faces = blank_faces(video, "imported")
        for i, number in enumerate(video.frames.tolist()):
            if number in rows:
                corners = rows[number]
                faces.box[i] = *corners[:2], *(corners[2:4] - corners[:2])
                faces.points[i], faces.score[i], faces.status[i] = corners[4:].reshape(5, 2), 1, OK
        if keep_frames and isinstance(video.reader, VideoFrames):
            _log.info("%s: frames of %s", corpus.name, name)
            with _extraction(video, Path(out), True) as keep:
                for i in range(video.n_frames):
                    try:
                        image = video.read(i)
                    except DatasetError as error:
                        _log.debug("%s", error)
                        faces.status[i], faces.score[i] = UNREADABLE, 0
                        faces.box[i], faces.points[i] = np.nan, np.nan
                        continue
                    keep(i, image)
        faces.save(faces_path(out, corpus.name, name))
        done.append((video, faces))
    return _report(done, 0)


def _report(done: Sequence[tuple[Video, Faces]], kept: int) -> Report:
    problems = []
    for video, faces in sorted(done, key=lambda pair: pair[0].video):
        bad = np.flatnonzero(faces.status == UNREADABLE)
        if len(bad):
            problems.append(f"{video.reader.place(int(bad[0]))}: cannot be read; {len(bad)} such in {video.video}")
    counts = {status: sum(faces.count(status) for _, faces in done) for status in STATES}
    total = sum(len(faces.frames) for _, faces in done)
    return Report(len(done), kept, total, counts[NO_FACE], counts[UNREADABLE], tuple(problems))


def _is_done(video: Video, out: str | os.PathLike[str], finder: str, keep_frames: bool) -> bool:
    path = faces_path(out, video.corpus, video.video)
    if not path.exists():
        return False
    try:
        faces = Faces.load(path)
    except DatasetError as error:
        _log.warning("%s; made again", error)
        return False
    if not np.array_equal(faces.frames, video.frames):
        _log.warning("%s: the video has other frames now; made again", path)
        return False
    if faces.finder != finder:
        raise DatasetError(
            f"{path}: was made with the finder {faces.finder}, asked for is {finder}; use one finder, or another folder"
        )
    folder = frames_folder(out, video.corpus, video.video)
    return not (keep_frames and isinstance(video.reader, VideoFrames)) or folder.is_dir()


def _prepare_video(
    video: Video,
    out: Path,
    finder: PointFinder,
    keep_frames: bool,
    stop: threading.Event,
    on_frame: Callable[[int], None],
) -> Faces:
    faces = blank_faces(video, finder.name)
    before = None
    with _extraction(video, out, keep_frames) as keep:
        for i in range(video.n_frames):
            if stop.is_set():
                raise Stopped("stopped")
            try:
                image = video.read(i)
            except DatasetError as error:
                faces.status[i] = UNREADABLE
                _log.debug("%s", error)
                on_frame(1)
                continue
            keep(i, image)
            face = choose(finder.find(image), before, video.side)
            if face is not None:
                faces.status[i], faces.box[i], faces.points[i], faces.score[i] = OK, face.box, face.points, face.score
            before = face.box if face is not None else None
            on_frame(1)
    faces.save(faces_path(out, video.corpus, video.video))
    return faces


@contextlib.contextmanager
def _extraction(video: Video, out: Path, keep_frames: bool) -> Iterator[Callable[[int, NDArray[np.uint8]], None]]:
    """A function that stores the frame at a position, uint8 (H, W, 3) BGR, as JPEG, where the video is a file and
    `keep_frames` is set; the folder appears when all are stored. The video file is given back at the end."""
    if not isinstance(video.reader, VideoFrames):
        yield lambda index, image: None
        return
    folder = frames_folder(out, video.corpus, video.video)
    partial = folder.with_name(f".{folder.name}.partial")

    def keep(index: int, image: NDArray[np.uint8]) -> None:
        if keep_frames:
            _write_jpeg(partial / f"{video.frames[index]}.jpg", image)

    try:
        if keep_frames:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        yield keep
        if keep_frames:
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    finally:
        if keep_frames:
            shutil.rmtree(partial, ignore_errors=True)
        video.reader.close()


def _write_jpeg(path: Path, image: NDArray[np.uint8]) -> None:
    import cv2

    ok, code = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    if not ok:
        raise DatasetError(f"{path}: a frame of {image.shape} could not be stored as JPEG")
    try:
        path.write_bytes(code.tobytes())
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error}; make room, then run prepare again") from error


def text_lines(path: Path) -> list[str]:
    """Lines of a text file without empty ones at its end; DatasetError where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return lines
