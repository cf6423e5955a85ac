"""The timeline of a video: one strip per AU over time, one panel per face, after the paper's figure 10."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.files import check_writable
from ..errors import BackendUnavailable, InvalidInput, OutputLost
from .fonts import legible
from .palette import face_colour, facs_label

if TYPE_CHECKING:
    from ..results import FrameResult

__all__ = ["Track", "Truth", "check_plot", "read_tracks", "read_truth", "timeline", "tracks_of"]

_AU = re.compile(r"AU\d+")
PLOT_EXTENSIONS = (".png", ".svg", ".pdf")


@dataclass(frozen=True, eq=False)
class Track:
    """One face over time. Times ascend; a frame without this face has no entry.

    timestamps_s (n,) float64; au_names k names; probabilities (n, k) float64 in [0, 1]; active (n, k) bool.
    """

    face_id: int
    timestamps_s: np.ndarray
    au_names: tuple[str, ...]
    probabilities: np.ndarray
    active: np.ndarray


@dataclass(frozen=True, eq=False)
class Truth:
    """A known course of the AUs: timestamps_s (n,) float64, au_names k names, intensity (n, k) float64 in [0, 1]."""

    timestamps_s: np.ndarray
    au_names: tuple[str, ...]
    intensity: np.ndarray


def tracks_of(results: Iterable[FrameResult]) -> list[Track]:
    """The tracks in a sequence of final results, by ascending face id. Provisional faces are passed over."""
    times: dict[int, list[float]] = {}
    rows: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    names: dict[int, tuple[str, ...]] = {}
    for result in results:
        for face in result.faces:
            if not face.provisional:
                times.setdefault(face.id, []).append(result.timestamp_s)
                rows.setdefault(face.id, []).append((face.probabilities, face.active))
                names[face.id] = face.au_names
    return [
        Track(
            face_id,
            np.array(times[face_id]),
            names[face_id],
            np.array([p for p, _ in rows[face_id]], np.float64),
            np.array([a for _, a in rows[face_id]], bool),
        )
        for face_id in sorted(times)
    ]


def read_tracks(path: str | Path) -> list[Track]:
    """The tracks in a CSV file of `CsvSink`, by ascending face id, without provisional rows. Raises InvalidInput where
    it is no such file."""
    header, rows = _read(path)
    if "provisional" in header:
        column = header.index("provisional")
        rows = [row for row in rows if row[column : column + 1] != ["1"]]
    aus = [name for name in header if _AU.fullmatch(name)]
    wanted = ["timestamp_s", "face_id", *aus, *(f"{name}_active" for name in aus)]
    missing = [name for name in wanted if name not in header] if aus else ["AU.."]
    if missing:
        raise InvalidInput(f"{path}: expected a table of `aunet detect`, got one without the column {missing[0]}")
    where = [header.index(name) for name in wanted]
    values = _numbers(path, rows, where)
    tracks = []
    for face_id in np.unique(values[:, 1]):
        own = values[values[:, 1] == face_id]
        own = own[np.argsort(own[:, 0], kind="stable")]
        k = len(aus)
        tracks.append(Track(int(face_id), own[:, 0], tuple(aus), own[:, 2 : 2 + k], own[:, 2 + k :] > 0.5))
    return tracks


def read_truth(path: str | Path) -> Truth:
    """A known track from a CSV file with the columns `timestamp_s` and `AU..` (intensity 0-1). Raises InvalidInput."""
    header, rows = _read(path)
    aus = [name for name in header if _AU.fullmatch(name)]
    if "timestamp_s" not in header or not aus:
        raise InvalidInput(
            f"{path}: a known track needs the columns timestamp_s and AU.., got {', '.join(header[:8])}."
        )
    values = _numbers(path, rows, [header.index(name) for name in ("timestamp_s", *aus)])
    return Truth(values[:, 0], tuple(aus), values[:, 1:])


def check_plot(path: Path) -> None:
    """Says before the work whether a plot can be written: InvalidInput for the extension or an unwritable path,
    BackendUnavailable without matplotlib."""
    if path.suffix.lower() not in PLOT_EXTENSIONS:
        raise InvalidInput(f"plot: expected a path that ends in {', '.join(PLOT_EXTENSIONS)}, got {path.name!r}")
    if find_spec("matplotlib") is None:
        raise BackendUnavailable("plot: expected matplotlib, which is not installed; pip install 'aunet_sdk[plot]'")
    check_writable(path, "plot")


def timeline(
    tracks: Sequence[Track],
    path: str | Path,
    *,
    title: str | None = None,
    span_s: tuple[float, float] | None = None,
    truth: Truth | None = None,
    max_faces: int = 6,
) -> None:
    """Draws the tracks to `path` (.png, .svg or .pdf).

    A strip shows the probability as a filled curve from 0 to 1, its active intervals as a bar along the bottom, and
    nothing (a grey band) where the face was not there. span_s: the video's first and last time; without it the
    tracks' own. truth: a known course, drawn as a dashed line. More than max_faces ids: the longest tracks are drawn
    and the title counts the rest.
    Raises InvalidInput for an unknown extension or an unwritable path; BackendUnavailable without matplotlib;
    OutputLost where the disk is full.
    """
    path = Path(path)
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = sorted(sorted(tracks, key=lambda t: -len(t.timestamps_s))[:max_faces], key=lambda t: t.face_id)
    start, end = span_s or _span(tracks)
    end = max(end, start + 1e-3)
    strips = sum(len(track.au_names) for track in shown)
    figure = Figure(figsize=(11.0, 1.1 + 0.34 * strips + 0.45 * len(shown) if shown else 2.0), layout="constrained")
    FigureCanvasAgg(figure)
    heading = title or "Action Units over time"
    if len(shown) < len(tracks):
        heading += f" ({len(shown)} of {len(tracks)} faces)"
    heading, families = legible(heading)
    figure.suptitle(heading, fontsize=11, family=families, parse_math=False)
    if not shown:
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no face in this video", ha="center", va="center", fontsize=12)
    else:
        heights = [len(track.au_names) + 1.2 for track in shown]
        blocks: Any = figure.subfigures(len(shown), 1, squeeze=False, height_ratios=heights)
        for block, track in zip(blocks[:, 0], shown, strict=True):
            if len(tracks) > 1:
                block.suptitle(f"face {track.face_id}", fontsize=10, x=0.01, ha="left")
            _panel(block, track, start, end, truth)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:  # the path could be written before the work
        raise OutputLost(f"plot: cannot write to {path}: {error.strerror or error}; is the disk full?") from error


def _panel(block: Any, track: Track, start: float, end: float, truth: Truth | None) -> None:
    all_axes = block.subplots(len(track.au_names), 1, sharex=True, squeeze=False, gridspec_kw={"hspace": 0.08})[:, 0]
    colour = tuple(channel / 255 for channel in face_colour(track.face_id))
    dark = tuple(channel * 0.6 for channel in colour)
    period = float(np.median(np.diff(track.timestamps_s))) if len(track.timestamps_s) > 1 else 0.04
    pieces = runs(track.timestamps_s, period)
    for k, (axes, name) in enumerate(zip(all_axes, track.au_names, strict=True)):
        axes.set_facecolor("#e9e9e9")
        there, active = [], []
        for first, last in pieces:
            t = track.timestamps_s[first:last]
            edges = np.concatenate([t[:1] - period / 2, t, t[-1:] + period / 2])
            p = track.probabilities[first:last, k]
            curve = np.concatenate([p[:1], p, p[-1:]])
            there.append((edges[0], edges[-1] - edges[0]))
            axes.fill_between(edges, 0, curve, color=colour, alpha=0.55, lw=0, zorder=2)
            axes.plot(edges, curve, color=dark, lw=0.8, zorder=3)
            for on, off in _stretches(track.active[first:last, k]):
                active.append((t[on] - period / 2, t[off - 1] - t[on] + period))
        axes.broken_barh(there, (0, 1.05), color="white", lw=0, zorder=0)
        axes.broken_barh(active, (0, 0.13), color=dark, lw=0, zorder=4)
        if truth is not None and name in truth.au_names:
            course = truth.intensity[:, truth.au_names.index(name)]
            axes.plot(truth.timestamps_s, course, color="black", lw=1.0, ls=(0, (3, 2)), zorder=5)
        axes.set_ylim(0, 1.05)
        axes.set_yticks([])
        axes.set_xlim(start, end)
        axes.set_ylabel(facs_label(name), rotation=0, ha="right", va="center", fontsize=8)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_linewidth(0.4)
        axes.tick_params(axis="x", labelsize=8, length=2, labelbottom=k == len(track.au_names) - 1)
    all_axes[-1].set_xlabel(_legend(truth), fontsize=8)


def _legend(truth: Truth | None) -> str:
    text = "time in s    curve: probability 0-1    bar: active    grey: no face"
    return text + ("    dashed: known intensity 0-1" if truth is not None else "")


def runs(timestamps_s: np.ndarray, period_s: float) -> list[tuple[int, int]]:
    """Index ranges [first, last) without a gap of more than 1.5 periods."""
    breaks = np.flatnonzero(np.diff(timestamps_s) > 1.5 * period_s + 1e-9) + 1
    edges = [0, *breaks.tolist(), len(timestamps_s)]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def _stretches(on: np.ndarray) -> list[tuple[int, int]]:
    steps = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True)]


def _span(tracks: Sequence[Track]) -> tuple[float, float]:
    times = [t for track in tracks for t in (track.timestamps_s[0], track.timestamps_s[-1])]
    return (min(times), max(times)) if times else (0.0, 1.0)


def _read(path: str | Path) -> tuple[list[str], list[list[str]]]:
    try:
        with Path(path).open(newline="", encoding="utf-8") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"table: cannot read {path}: {error}") from error
    if not lines:
        raise InvalidInput(f"{path}: expected a CSV table with a header, got an empty file")
    return lines[0], lines[1:]


def _numbers(path: str | Path, rows: list[list[str]], where: list[int]) -> np.ndarray:
    try:
        values = [[float(row[i]) if row[i] else np.nan for i in where] for row in rows]
    except (ValueError, IndexError) as error:
        raise InvalidInput(f"{path}: a row does not fit the header: {error}") from error
    return np.array(values, np.float64).reshape(-1, len(where))
