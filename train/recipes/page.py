"""One page on how good a model is: renders of held-out people per AU and per group, pictures coded by eye, photos
neutral and smiling, real clips, and a picture per AU of its best and worst frames.

The pictures show people: the page is for the developer's own eyes and belongs in no commit.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from train.data.sequences import SequenceSet
from train.data.transforms.sequences import centre_crops
from train.engine.run_folder import write_text
from train.evaluation import metrics
from train.evaluation.sequences import predict
from train.models.model import Model
from train.recipes.looks import look_at_pictures

HEAD = "points"
SHOWN = 12
"""Frames of a row of best or worst ones."""
LEAST = 40
"""Frames with and without an AU that a group needs to be judged by."""
KINDS = ("tone", "ethnicity", "gender", "age")
Cells = Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Scored:
    """What the head says of n frames: ``said`` and ``labels`` (n, n_aus), 0, 1, NaN; ``crops`` gives frame i, (R, R, 3)
    uint8 RGB."""

    said: NDArray[np.float64]
    labels: NDArray[np.float64]
    crops: Any


class Page:
    """Headings, words, tables and pictures, written as Markdown or HTML by the file's name."""

    def __init__(self, title: str) -> None:
        self._title, self._blocks = title, list[tuple[str, Any]]()

    def heading(self, text: str) -> None:
        self._blocks.append(("heading", text))

    def words(self, text: str) -> None:
        self._blocks.append(("words", text))

    def table(self, head: Sequence[str], rows: Cells) -> None:
        self._blocks.append(("table", (head, rows)))

    def picture(self, name: str, image: NDArray[np.uint8]) -> None:
        """`image` (h, w, 3) uint8 RGB."""
        self._blocks.append(("picture", (name, image)))

    def write(self, out: Path) -> None:
        """Write the page; in Markdown its pictures lie in the folder OUT-pictures.

        Raises:
            ValueError: neither .md nor .html.
            RunError: it cannot be written.
        """
        if out.suffix not in (".md", ".html"):
            raise ValueError(f"page: expected a file .md or .html, got {out}")
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, self._html() if out.suffix == ".html" else self._markdown(out))

    def _markdown(self, out: Path) -> str:
        lines = [f"# {self._title}", ""]
        for kind, what in self._blocks:
            if kind == "heading":
                lines += [f"## {what}", ""]
            elif kind == "words":
                lines += [what, ""]
            elif kind == "table":
                head, rows = what
                lines += [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)] + [""]
            else:
                name, image = what
                folder = out.with_name(f"{out.stem}-pictures")
                folder.mkdir(exist_ok=True)
                (folder / f"{name}.jpg").write_bytes(_jpeg(image))
                lines += [f"![{name}]({folder.name}/{name}.jpg)", ""]
        return "\n".join(lines)

    def _html(self) -> str:
        parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(self._title)}</title>"]
        parts.append("<style>body{font:15px sans-serif;margin:2em}td,th{padding:.1em .7em;text-align:right}</style>")
        parts.append(f"<h1>{html.escape(self._title)}</h1>")
        for kind, what in self._blocks:
            if kind == "heading":
                parts.append(f"<h2>{html.escape(what)}</h2>")
            elif kind == "words":
                parts.append(f"<p>{html.escape(what)}</p>")
            elif kind == "table":
                head, rows = what
                cells = [("th", head), *(("td", row) for row in rows)]
                lines = ["".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) for tag, row in cells]
                parts.append(f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>")
            else:
                name, image = what
                code = base64.b64encode(_jpeg(image)).decode()
                parts.append(f'<p>{html.escape(name)}<br><img src="data:image/jpeg;base64,{code}"></p>')
        return "\n".join(parts) + "\n"


def write_page(
    model: Model, sequences: SequenceSet, out: Path, source: Path | None = None, agreement: Path | None = None
) -> None:
    """Measure the head 'points' and write the page.

    Args:
        sequences: of held-out people, as a set has them.
        source: with faces/coded_by_eye.csv; None, or without that file: no such part.
        agreement: what benchmarks/agreement.py --json wrote of real clips; None: no such part.
    """
    numbers = model.config.aus_of(HEAD)
    thresholds = np.array(model.config.thresholds_of(HEAD))
    names, sequences = [f"AU{number}" for number in numbers], sequences.of(numbers)
    page = Page(f"Evaluation: width {model.config.width}, {model.config.resolution} px, head {HEAD}")
    rendered = _of_renders(model, sequences)
    page.heading("Renders of held-out people")
    renders = sequences.source == "render"
    people = len(set(sequences.identity[renders].tolist()))
    page.words(f"{len(rendered.said)} frames of {people} people that no training saw.")
    _per_au(page, names, rendered, thresholds)
    _groups(page, sequences.subset(np.flatnonzero(renders)), rendered, thresholds)
    _photos(page, model, sequences, numbers)
    shown = [("renders", rendered)]
    if source is not None and (coded := _coded(model, source / "faces", numbers)) is not None:
        page.heading("Pictures coded by eye")
        page.words(f"{len(coded.said)} pictures; one coder, without a FACS certificate.")
        _per_au(page, names, coded, thresholds)
        shown.append(("coded", coded))
    if agreement is not None:
        _clips(page, json.loads(agreement.read_text(encoding="utf-8")))
    page.heading("Best and worst frames")
    page.words("First row: surest of those that have the AU; second: least sure of them; third: surest of the others.")
    for origin, scored in shown:
        for i, name in enumerate(names):
            if (image := _rows(scored, i)) is not None:
                page.picture(f"{origin}-{name}", image)
    page.write(out)


def _text(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 85))[1])


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else float("nan")


def _of_renders(model: Model, sequences: SequenceSet) -> Scored:
    renders = sequences.subset(np.flatnonzero(sequences.source == "render"))
    if not len(renders):
        raise ValueError(f"data: expected renders of held-out people in {sequences.info.path}, found none")
    said = predict(model, renders).probabilities[HEAD, "sequence"]
    frames, side, margin = renders.info.frames, model.config.resolution, renders.info.margin

    def crop(i: int) -> NDArray[np.uint8]:
        row, frame = divmod(i, frames)
        one = slice(frame, frame + 1)
        return centre_crops(renders.images[row][one], renders.points[row][one], side, margin)[0][0]

    n_aus = said.shape[-1]
    return Scored(said.reshape(-1, n_aus).astype(float), renders.labels.reshape(-1, n_aus).astype(float), crop)


def _per_au(page: Page, names: list[str], scored: Scored, thresholds: NDArray[np.float64]) -> None:
    """Table: how many are known, AUC, F1, and at the threshold the share of hits and of calm frames."""
    table = metrics.per_au(scored.said, scored.labels, thresholds)
    rows = []
    for i, name in enumerate(names):
        active, label = scored.said[:, i] >= thresholds[i], scored.labels[:, i]
        counts = [str(int((label == value).sum())) for value in (1, 0)]
        found, calm = _share(active[label == 1]), _share(~active[label == 0])
        rows.append([name, *counts, *map(_text, (table["auc"][i], table["f1_calibrated"][i], found, calm))])
    means = [metrics.nanmean(table[key]) for key in ("auc", "f1_calibrated")]
    rows.append(["mean", "", "", *map(_text, means), "", ""])
    page.table(["AU", "with", "without", "AUC", "F1", "found", "calm"], rows)


def _groups(page: Page, renders: SequenceSet, scored: Scored, thresholds: NDArray[np.float64]) -> None:
    """Table: a row per group of people that is large enough, the mean over the AUs that it shows often enough."""
    frames = renders.info.frames
    rows = []
    for kind in KINDS:
        of = np.array([str(renders.info.groups.get(name, {}).get(kind, "unknown")) for name in renders.identity])
        for group in sorted(set(of)):
            chosen = np.repeat(of == group, frames)
            said, labels = scored.said[chosen], scored.labels[chosen]
            enough = ((labels == 1).sum(0) >= LEAST) & ((labels == 0).sum(0) >= LEAST)
            if not enough.any():
                continue
            table = metrics.per_au(said[:, enough], labels[:, enough], thresholds[enough])
            means = [metrics.nanmean(table[key]) for key in ("auc", "f1_calibrated")]
            people = len(set(renders.identity[of == group].tolist()))
            rows.append([kind, group, str(people), str(int(chosen.sum())), str(int(enough.sum())), *map(_text, means)])
    page.heading("Groups")
    page.words(
        "Skin tone is that of the picture (light changes it); ethnicity, gender and age as far as the sources tell. "
        f"Mean over the AUs with {LEAST} frames with and without."
    )
    page.table(["by", "group", "people", "frames", "AUs", "AUC", "F1"], rows)


def _photos(page: Page, model: Model, sequences: SequenceSet, numbers: tuple[int, ...]) -> None:
    """AU12 between neutral and smiling photos."""
    photos = sequences.subset(np.flatnonzero(sequences.source == "photo"))
    if 12 not in numbers or not len(photos):
        return
    column = numbers.index(12)
    said = predict(model, photos).probabilities[HEAD, "none"][:, 0, column].astype(float)
    label = photos.labels[:, 0, column]
    area = _text(metrics.auc(said, label))
    page.heading("Photos, neutral and smiling")
    page.words(f"{int((label == 0).sum())} neutral, {int((label == 1).sum())} smiling: AUC of AU12 {area}.")


@torch.inference_mode()
def _coded(model: Model, faces: Path, numbers: tuple[int, ...]) -> Scored | None:
    """The pictures of coded_by_eye.csv, each alone; None where there are none."""
    table = faces / "coded_by_eye.csv"
    if not table.is_file():
        return None
    with np.load(faces / "mediapipe.npz", allow_pickle=False) as data:
        points = dict(zip(map(str, data["path"]), data["points68"].astype(float), strict=True))
    with table.open(newline="", encoding="utf-8") as handle:
        rows = [(f"{row['source']}/{row['file']}", row) for row in csv.DictReader(handle)]
    rows = [(name, row) for name, row in rows if name in points and cv2.haveImageReader(str(faces / name))]
    if not rows:
        return None

    def pictures() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.floating]]]:
        for name, _ in rows:
            image: Any = cv2.imread(str(faces / name), cv2.IMREAD_COLOR)
            yield image, points[name]

    looks = look_at_pictures(model, pictures())
    described = looks.described(model)
    logits = model.points.combine(described, described, described)
    codes = [[row.get(f"AU{number}") or "nan" for number in numbers] for _, row in rows]

    def crop(i: int) -> NDArray[np.uint8]:
        name = rows[i][0]
        image: Any = cv2.imread(str(faces / name), cv2.IMREAD_COLOR)
        x, y, w, h = cv2.boundingRect(points[name].astype(np.float32))
        top, left = max(0, y - h // 3), max(0, x - w // 6)
        return cv2.resize(image[top : y + h + h // 8, left : x + w + w // 6, ::-1], (128, 128))

    return Scored(logits.sigmoid().numpy().astype(float), np.array(codes, float), crop)


def _clips(page: Page, agreement: dict[str, Any]) -> None:
    """Real clips: hits at the threshold and calm beside r, of the frames on which MediaPipe is sure."""
    page.heading("Real clips")
    page.words(
        "Agreement with MediaPipe, a tool: found and calm are shares of the frames on which it is sure; AU25's r is "
        "with its lip gap."
    )
    rows = []
    for clip, column in [*agreement["clips"].items(), ("pooled", agreement["pooled"])]:
        for au, value in column["r"].items():
            clear = column.get("clear", {}).get(au, {})
            if value is not None or clear.get("on"):
                counts = [str(clear.get("on", "-")), _text(clear.get("found")), _text(clear.get("calm"))]
                rows.append([clip, au, _text(value, 2), *counts])
    page.table(["clip", "AU", "r", "clear frames", "found", "calm"], rows)


def _rows(scored: Scored, i: int) -> NDArray[np.uint8] | None:
    """Three rows of SHOWN frames of one AU; None where nothing has it."""
    said, label = scored.said[:, i], scored.labels[:, i]
    order = np.argsort(-said, kind="stable")
    positive, negative = order[label[order] == 1], order[label[order] == 0]
    if not len(positive):
        return None
    lines = []
    for chosen in (positive[:SHOWN], positive[::-1][:SHOWN], negative[:SHOWN]):
        tiles = [np.zeros((128, 128, 3), np.uint8)] * SHOWN
        for k, frame in enumerate(chosen):
            tile: Any = cv2.resize(np.ascontiguousarray(scored.crops(int(frame))), (128, 128))
            cv2.putText(tile, f"{said[frame]:.2f}", (3, 124), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 0), 1)
            tiles[k] = tile
        lines.append(np.hstack(tiles))
    return np.vstack(lines)


__all__ = ["Page", "Scored", "write_page"]
