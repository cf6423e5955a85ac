"""One CSV row per face and frame, written as the results come. docs/csv.md describes the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from .base import Blocks, Sink, WholeBlocks

if TYPE_CHECKING:
    import numpy as np

    from ..results import Face, FrameResult

__all__ = ["CsvSink", "csv_columns"]

FRAME_COLUMNS = ("frame", "timestamp_s", "face_id", "x", "y", "width", "height", "score", "context")
POSE_COLUMNS = ("yaw_deg", "pitch_deg", "roll_deg")
N_POINTS = 68


def csv_columns(
    au_names: Sequence[str],
    *,
    landmarks: bool = False,
    with_file: bool = False,
    provisional: bool = False,
    validity: bool = False,
    intensity: bool = False,
) -> list[str]:
    """The header: `file` for a folder, frame, box, context, `provisional` where it is asked for, pose, `AU..`
    probabilities, `AU.._active`; where they are asked for `AU.._intensity`, `AU.._valid`, `AU.._why_not`, and points.

    `au_names`: for instance `("AU1", "AU12")`, in the order of the bundle (ascending FACS number).
    """
    columns = ["file"] if with_file else []
    columns += [*FRAME_COLUMNS, *(("provisional",) if provisional else ()), *POSE_COLUMNS]
    columns += [*au_names, *(f"{name}_active" for name in au_names)]
    if intensity:
        columns += [f"{name}_intensity" for name in au_names]
    if validity:
        columns += [f"{name}_{what}" for what in ("valid", "why_not") for name in au_names]
    if landmarks:
        columns += [f"{axis}{i}" for axis in "xy" for i in range(N_POINTS)]
    return columns


class CsvSink(Sink):
    """Writes FrameResults to a CSV file, one row per face. The rows of a frame reach the file together and at once.

    The header is there from the start, so a video without a face leaves a readable, empty table. An existing file is
    replaced; `path` may be a `Blocks` of your own instead, such as one in memory. Pixels: two decimals; degrees: two;
    probabilities and scores: five, in [0, 1]; seconds: six. A number that is not known (NaN)
    leaves its cell empty. The table is UTF-8; a file's name that is not keeps its bytes.

    provisional: with look_ahead "both" a frame has an early result and a final one. False: the early one is left out,
    and every face of a frame has one row. True: both are written, and a column `provisional` (1 or 0) marks the
    early ones.

    intensity: one column more per AU, how strong it is, in [0, 1] with three decimals; empty where the model does not
    tell.

    validity: two columns more per AU, whether it can be seen (1 or 0) and why not; empty where nobody looked.

    Raises InvalidInput where the path is no `.csv` or cannot be opened, and where a face carries no such AU;
    OutputLost where the file takes no more (a full disk): the rows of earlier frames are kept whole.
    """

    takes_images = False

    def __init__(
        self,
        path: str | Path | Blocks,
        au_names: Sequence[str],
        landmarks: bool = False,
        with_file: bool = False,
        provisional: bool = False,
        validity: bool = False,
        intensity: bool = False,
    ) -> None:
        self.path = Path(path) if isinstance(path, (str, Path)) else Path("table.csv")
        self.au_names = tuple(au_names)
        self.landmarks = landmarks
        self.with_file = with_file
        self.provisional = provisional
        self.validity = validity
        self.intensity = intensity
        self.rows = 0
        if self.path.suffix.lower() != ".csv":
            raise InvalidInput(f"table: expected a path that ends in .csv, got {self.path.name!r}")
        self._file: Blocks = WholeBlocks(self.path, "table") if isinstance(path, (str, Path)) else path
        try:
            wanted = {"landmarks": landmarks, "with_file": with_file, "provisional": provisional}
            self._append([csv_columns(au_names, **wanted, validity=validity, intensity=intensity)])
        except BaseException:
            self._file.close()
            raise

    def write(self, result: FrameResult, file: str | None = None) -> None:
        """Writes one row per face of `result`. `file`: the image's name, wanted where the sink was made with_file.

        A provisional result is left out unless the sink was made with `provisional`.
        """
        self._file.check_open()
        if self.with_file and file is None:
            raise InvalidInput("table: expected the image's name for the column `file`, got none")
        rows = [
            [*([file] if self.with_file else []), *self._row(result, face)]
            for face in result.faces
            if self.provisional or not (result.provisional or face.provisional)
        ]
        if rows:
            self._append(rows)
            self.rows += len(rows)

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        self.write(result, file)

    def _append(self, rows: Sequence[Sequence[str | None]]) -> None:
        """All of these rows, or none of them."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.append(text.getvalue().encode("utf-8", "surrogateescape"))

    def _row(self, result: FrameResult, face: Face) -> list[str | None]:
        where = self._positions(face.au_names)
        pose = face.pose
        row: list[str | None] = [str(result.index), f"{result.timestamp_s:.6f}", str(face.id)]
        row += [_number(value, 2) for value in face.box.tolist()]  # plain numbers print in half the time
        row += [_number(face.score, 5), str(getattr(face.context, "value", face.context))]
        if self.provisional:
            row.append(str(int(result.provisional or face.provisional)))
        row += [_number(value, 2) for value in (pose.yaw_deg, pose.pitch_deg, pose.roll_deg)]
        probabilities, active = face.probabilities.tolist(), face.active.tolist()
        row += [_number(probabilities[i], 5) for i in where]
        row += ["1" if active[i] else "0" for i in where]
        if self.intensity:
            strength = face.intensity
            row += ["" if (here := strength[name]) is None else _number(here, 3) for name in self.au_names]
        if self.validity:
            valid, why_not = face.valid, face.why_not
            row += [None if (here := valid[name]) is None else str(int(here)) for name in self.au_names]
            row += [why_not[name] for name in self.au_names]
        if self.landmarks:
            row += [_number(value, 2) for axis in face.landmarks.T.tolist() for value in axis]
        return row

    def _positions(self, names: tuple[str, ...]) -> Sequence[int]:
        if names == self.au_names:
            return range(len(names))
        try:
            return [names.index(name) for name in self.au_names]
        except ValueError:
            missing = [name for name in self.au_names if name not in names]
            raise InvalidInput(
                f"table: expected faces with {', '.join(self.au_names)}, got one without {', '.join(missing)}"
            ) from None

    def close(self) -> None:
        """Closes the file. It may be called twice."""
        self._file.close()


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if value == value else ""
