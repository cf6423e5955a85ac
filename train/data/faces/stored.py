"""The faces of a video as they are stored: one Parquet file, a row per frame."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.data.corpora.corpus import DatasetError, Video
from train.data.reading import ImageFiles, VideoFrames

OK, NO_FACE, UNREADABLE = "ok", "no face", "unreadable"
STATES = (OK, NO_FACE, UNREADABLE)
SCHEMA = 1
_KEY = b"aunet_faces"
_STATUS = f"<U{max(map(len, STATES))}"


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
                np.array(table["status"].to_pylist(), _STATUS),
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


def blank_faces(video: Video, finder: str) -> Faces:
    """Faces of a video in which none is found yet."""
    n = video.n_frames
    return Faces(
        video.frames,
        np.full(n, NO_FACE, _STATUS),
        np.full((n, 4), np.nan, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        np.zeros(n, np.float32),
        finder,
    )


def spans_face(points: NDArray[np.float32]) -> bool:
    """Whether five points (5, 2) can be aligned on (`aunet_sdk.geometry.crop.similarity`): they do not all coincide."""
    from aunet_sdk.errors import InvalidInput
    from aunet_sdk.geometry import crop as alignment

    try:
        alignment.similarity(points, points)
    except InvalidInput:
        return False
    return True


def digest(frames: NDArray[np.int64]) -> str:
    """Short name of a list of frame numbers."""
    return hashlib.sha256(np.ascontiguousarray(frames, "<i8").tobytes()).hexdigest()[:16]


def _flat(column: Any) -> NDArray[np.float32]:
    return np.asarray(column.combine_chunks().flatten().to_numpy(zero_copy_only=False), np.float32)
