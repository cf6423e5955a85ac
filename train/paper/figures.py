"""Figures 6, 8, 9 and 10 of the paper, drawn from our networks and predictions; matplotlib without a display.

Each function takes arrays and returns a matplotlib Figure; `save` writes it. Where the arrays come from:
train.paper.activations (6, 9) and train.evaluation.predictions (8, 10); train.cli.results puts them together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aunet_sdk.view.palette import facs_label
from train.evaluation.dependency import adjacency
from train.evaluation.predictions import Predictions
from train.evaluation.protocol import THRESHOLD, probabilities

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
HEAT = "inferno"
TRUTH = "#c8102e"
MODELS = ("#1a9850", "#2166ac", "#8c510a", "#762a83")
"""Ground truth red, then green, blue as in figure 10, and more."""


@dataclasses.dataclass(frozen=True)
class FaceMaps:
    """Rows of one network in figure 6."""

    name: str
    faces: NDArray[np.uint8]
    """(B, R, R, 3) RGB, the due frames."""
    maps: Mapping[int, NDArray[np.float32]]
    """Side of the map -> (B, side, side) in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class MotionRow:
    """One AU of figure 9."""

    au: int
    former: NDArray[np.uint8]
    """(R, R, 3) RGB; so is `due`."""
    due: NDArray[np.uint8]
    static: NDArray[np.float32]
    """(side, side) in [0, 1]; so is `dynamic`."""
    dynamic: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Lane:
    """One bar per AU in figure 10."""

    name: str
    active: NDArray[np.float32]
    """(T, n): 1, 0, or NaN where nothing is known."""


def save(figure: Figure, path: str | Path, dpi: int = 120) -> Path:
    """Write a figure as .png, .svg or .pdf; ValueError for another ending."""
    place = Path(path)
    if place.suffix.lower() not in FORMATS:
        raise ValueError(f"figure: expected a path that ends in {', '.join(FORMATS)}, got {place.name!r}")
    place.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(place, dpi=dpi)
    return place


def _figure(width: float, height: float, tight: bool = False) -> Figure:
    """`tight`: pictures side by side with little between them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, hspace=0.0, wspace=0.0) if tight else None
    figure = Figure(figsize=(width, height), layout=layout or ConstrainedLayoutEngine())
    FigureCanvasAgg(figure)
    return figure


def _bare(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def overlay(face: NDArray[np.uint8], heat: NDArray[np.float32], strength: float = 0.72) -> NDArray[np.float64]:
    """A map over a face in grey: (R, R, 3) in [0, 1]; the map is enlarged bilinearly."""
    import cv2
    from matplotlib import colormaps

    side = face.shape[0]
    grey: Any = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY)
    large: Any = cv2.resize(heat, (side, side), interpolation=cv2.INTER_LINEAR)
    weight = strength * np.sqrt(np.clip(large, 0, 1))[..., None]
    mixed: NDArray[np.float64] = weight * colormaps[HEAT](large)[..., :3] + (1 - weight) * grey[..., None] / 255
    return mixed


def feature_maps(networks: Sequence[FaceMaps]) -> Figure:
    """Figure 6: faces and, for each network, how strongly each place is represented at three resolutions.

    Raises:
        ValueError: no network, or networks that were shown different faces.
    """
    if not networks or any(len(n.faces) != len(networks[0].faces) for n in networks):
        raise ValueError("figure 6: expected at least one network, and the same faces for all")
    count = len(networks[0].faces)
    widths = [1.0]
    for k, network in enumerate(networks):
        widths += ([0.12] if k else []) + [1.0] * len(network.maps)
    figure = _figure(1.4 * sum(widths), 1.4 * count + 0.5, tight=True)
    grid = figure.add_gridspec(count, len(widths), width_ratios=widths)
    for row in range(count):
        axes = figure.add_subplot(grid[row, 0])
        axes.imshow(networks[0].faces[row])
        _bare(axes)
        if row == 0:
            axes.set_title("input", fontsize=9)
        column = 1
        for letter, network in zip("abcdefgh", networks, strict=False):
            column += letter != "a"
            for k, (side, maps) in enumerate(sorted(network.maps.items(), reverse=True)):
                axes = figure.add_subplot(grid[row, column])
                axes.imshow(overlay(network.faces[row], maps[row]))
                _bare(axes)
                if row == 0:
                    label = network.name if len(networks) == 1 else f"({letter}) {network.name}"
                    middle = f"{label}\n" if k == 1 else "\n"
                    axes.set_title(f"{middle}{side} × {side}", fontsize=9)
                column += 1
    return figure


def dependencies(predictions: Predictions, flip: bool = False, least: float = 0.3) -> Figure:
    """Figure 8: correlation of the AUs in the predictions and in the labels, and the linkage graph of the predictions.

    Args:
        least: smallest |correlation| that is drawn as a link.
    """
    names = [f"AU{number}" for number in predictions.au_numbers]
    values = probabilities(predictions, flip)
    own = adjacency(np.where(np.isnan(predictions.labels), np.nan, values))
    wanted = adjacency(predictions.labels)
    figure = _figure(15.2, 5.0)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.98))
    for axes, matrix, title in ((left, own, "predictions"), (middle, wanted, "labels")):
        image = _matrix(axes, matrix, names)
        axes.set_title(f"Correlation of the AUs: {title}", fontsize=10)
    figure.colorbar(image, ax=[left, middle], fraction=0.03, pad=0.01)
    distance = float(np.sqrt(np.nansum((own - wanted) ** 2)))
    middle.set_xlabel(f"L2 distance of the two matrices: {distance:.2f}", fontsize=9)
    _graph(right, own, names, least)
    right.set_title(f"Linkage graph of the predictions, |r| ≥ {least:g}", fontsize=10)
    return figure


def _matrix(axes: Any, matrix: NDArray[np.float64], names: Sequence[str]) -> Any:
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.tick_params(length=0)
    for i, j in np.ndindex(matrix.shape):
        value = matrix[i, j]
        if not np.isnan(value) and i != j:
            text = f"{value:.2f}".replace("0.", ".").replace("-.00", ".00")
            axes.text(j, i, text, ha="center", va="center", fontsize=5.5, color="white" if abs(value) > 0.6 else "0.2")
    return image


def _graph(axes: Any, matrix: NDArray[np.float64], names: Sequence[str], least: float) -> None:
    from matplotlib.lines import Line2D

    n = len(names)
    angle = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    x, y = np.cos(angle), np.sin(angle)
    links = [(abs(matrix[i, j]), i, j) for i in range(n) for j in range(i) if abs(matrix[i, j]) >= least]
    for strength, i, j in sorted(links):
        colour = TRUTH if matrix[i, j] > 0 else MODELS[1]
        shade = min(1.0, 0.25 + strength)
        axes.plot(x[[i, j]], y[[i, j]], color=colour, lw=0.6 + 7 * strength**1.5, alpha=shade, zorder=1)
    axes.scatter(x, y, s=560, color="white", edgecolor="0.25", zorder=2)
    for i, name in enumerate(names):
        axes.text(x[i], y[i], name, ha="center", va="center", fontsize=7.5, zorder=3)
    axes.set_xlim(-1.2, 1.2)
    axes.set_ylim(-1.3, 1.2)
    axes.set_aspect("equal")
    _bare(axes)
    keys = [
        Line2D([], [], color=c, lw=3, label=t)
        for c, t in ((TRUTH, "occur together"), (MODELS[1], "exclude each other"))
    ]
    axes.legend(handles=keys, loc="lower center", ncols=2, frameon=False, fontsize=8)


def motion(rows: Sequence[MotionRow], per_line: int = 2) -> Figure:
    """Figure 9: per AU the former and the due frame, the static and the dynamic representation.

    Raises:
        ValueError: no row.
    """
    if not rows:
        raise ValueError("figure 9: expected at least one AU that begins within the interval, got none")
    lines = -(-len(rows) // per_line)
    widths = (([1.0] * 4 + [0.18]) * per_line)[:-1]
    figure = _figure(1.35 * sum(widths) + 0.2, 1.55 * lines + 0.1, tight=True)
    grid = figure.add_gridspec(lines, len(widths), width_ratios=widths)
    for k, row in enumerate(rows):
        line, place = divmod(k, per_line)
        pictures: tuple[NDArray[Any], ...] = (
            row.former,
            row.due,
            overlay(row.due, row.static),
            overlay(row.due, row.dynamic),
        )
        for i, (picture, title) in enumerate(zip(pictures, ("former", "due", "static", "dynamic"), strict=True)):
            axes = figure.add_subplot(grid[line, 5 * place + i])
            axes.imshow(picture)
            _bare(axes)
            axes.set_title(title, fontsize=7.5, color="0.35", pad=2)
            if i == 0:
                axes.set_ylabel(f"AU{row.au}", fontsize=10, rotation=90, fontweight="bold")
    return figure


def timelines(
    times: NDArray[np.float64],
    au_numbers: Sequence[int],
    truth: Lane | None,
    lanes: Sequence[Lane],
    unit: str = "frame",
    title: str = "",
) -> Figure:
    """Figure 10: when each AU is active, ground truth in red, each model in a colour of its own.

    Args:
        times: (T,) ascending; where two are further apart than 1.5 times the usual, the bars are broken.
        au_numbers: n of them.
        unit: of `times`, under the axis.

    Raises:
        ValueError: times that do not ascend, or lanes of another shape than (T, n).
    """
    from matplotlib.patches import Patch

    shown = ([truth] if truth is not None else []) + list(lanes)
    shape = (len(times), len(au_numbers))
    if len(times) < 2 or not (np.diff(times) > 0).all() or not shown or any(one.active.shape != shape for one in shown):
        raise ValueError(f"figure 10: expected ascending times and lanes of shape {shape} (two frames at least)")
    colours = ([TRUTH] if truth is not None else []) + [MODELS[i % len(MODELS)] for i in range(len(lanes))]
    step = float(np.median(np.diff(times)))
    height = 0.8 / len(shown)
    figure = _figure(11.0, 0.9 + (0.17 + 0.11 * len(shown)) * len(au_numbers))
    axes = figure.add_subplot()
    for i in range(len(au_numbers)):
        if i % 2:
            axes.axhspan(i - 0.5, i + 0.5, color="0.965", lw=0, zorder=0)
        for k, (lane, colour) in enumerate(zip(shown, colours, strict=True)):
            low = i - 0.4 + k * height
            known = list(_stretches(times, ~np.isnan(lane.active[:, i]), step))
            on = list(_stretches(times, np.nan_to_num(lane.active[:, i]) > 0.5, step))
            axes.broken_barh(known, (low + 0.42 * height, 0.08 * height), color=colour, alpha=0.25, lw=0, zorder=1)
            axes.broken_barh(on, (low + 0.08 * height, 0.84 * height), color=colour, lw=0, zorder=2)
    axes.set_ylim(len(au_numbers) - 0.5, -0.5)
    axes.set_xlim(times[0] - step / 2, times[-1] + step / 2)
    axes.set_yticks(range(len(au_numbers)), [facs_label(f"AU{n}") for n in au_numbers], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(unit, fontsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    handles = [Patch(color=colour, label=lane.name) for lane, colour in zip(shown, colours, strict=True)]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(shown), frameon=False, fontsize=9)
    if title:
        axes.set_title(title, loc="left", fontsize=10)
    return figure


def _stretches(times: NDArray[np.float64], there: NDArray[np.bool_], step: float) -> Iterator[tuple[float, float]]:
    """(start, length) of the runs of True; a frame is `step` long, a gap in time ends a run."""
    start: float | None = None
    for i, on in enumerate(there):
        gap = i > 0 and times[i] - times[i - 1] > 1.5 * step
        if start is not None and (not on or gap):
            yield start, times[i - 1] + step / 2 - start
            start = None
        if on and start is None:
            start = float(times[i] - step / 2)
    if start is not None:
        yield start, float(times[-1]) + step / 2 - start


def lane_of(predictions: Predictions, name: str, flip: bool = False) -> Lane:
    """Decisions at .5."""
    return Lane(name, (probabilities(predictions, flip) >= THRESHOLD).astype(np.float32))


def busiest_video(predictions: Predictions) -> str:
    """The video with the most changes of labels: the one that figure 10 is worth drawing of."""
    best, most = "", -1
    for name in sorted(set(predictions.video.tolist())):
        rows = predictions.video == name
        ordered = predictions.labels[rows][np.argsort(predictions.frame[rows])]
        changes = int((np.abs(np.diff(ordered, axis=0)) > 0.5).sum())
        if changes > most:
            best, most = name, changes
    return best
