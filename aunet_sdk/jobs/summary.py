"""One page about a data set: a row per file, with its Action Units over time; nothing is loaded from outside."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from ..errors import OutputLost
from ..sinks.base import lost
from .dataset import DataSet, Status
from .rows import arrow

__all__ = ["activity", "page", "write_page"]

COLUMNS = 480
"""parts of a file's time that the picture shows"""
ROW_PX = 6
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2733;--faint:#66727f;--line:#dfe4e9;--paper:#fff;--bad:#a3262a}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--faint:#98a4b0;--line:#313b45;--paper:#14191f;--bad:#ff8a80}}
body{font:15px/1.5 system-ui,sans-serif;margin:2.5rem auto;max-width:70rem;padding:0 1.2rem;color:var(--ink);
background:var(--paper)}h1{font-size:1.5rem;margin-bottom:.2rem}p{color:var(--faint);margin-top:0}
article{border-top:1px solid var(--line);padding:1rem 0;display:grid;gap:.3rem 1.2rem;grid-template-columns:19rem 1fr}
h2{font-size:1rem;margin:0;overflow-wrap:anywhere}article p{margin:0;font-size:.87rem}.bad{color:var(--bad)}
figure{margin:0;display:grid;grid-template-columns:3.2rem 1fr;gap:.4rem}figure ol{list-style:none;margin:0;padding:0;
font-size:7px;line-height:9px;text-align:right;color:var(--faint)}img{width:100%;height:calc(var(--rows)*9px);
image-rendering:pixelated;border:1px solid var(--line);box-sizing:border-box}figcaption{grid-column:2;display:flex;
justify-content:space-between;font-size:.75rem;color:var(--faint)}
@media(max-width:45rem){article{grid-template-columns:1fr}}
"""


def activity(
    path: Path, au_names: Sequence[str], columns: int = COLUMNS, duration_s: float = 0.0
) -> tuple[np.ndarray, float, float]:
    """The highest probability of each AU in equal parts of a file's time, over all its faces.

    Returns (AUs, columns) float32, NaN where there is no face; and where the time begins and ends, in seconds: at 0 or
    before, and after `duration_s` or with the last face.
    """
    table = arrow().parquet.read_table(path, columns=["timestamp_s", *au_names], partitioning=None)
    time_s = table.column("timestamp_s").to_numpy()
    found = np.full((len(au_names), columns), np.nan, np.float32)
    if not len(time_s):
        return found, 0.0, 0.0
    begin, end = min(0.0, float(time_s.min())), max(duration_s, float(time_s.max()))
    at = np.minimum(columns - 1, (columns * (time_s - begin) / max(end - begin, 1e-9)).astype(int))
    for row, name in zip(found, au_names, strict=True):
        np.fmax.at(row, at, table.column(name).to_numpy())
    return found, begin, end


def page(data: DataSet, statuses: Sequence[Status], au_names: Sequence[str], title: str) -> str:
    """The page as HTML text."""
    states = {state: sum(status.state == state for status in statuses) for state in ("done", "broken", "failed")}
    seconds = sum(status.duration_s for status in statuses)
    facts = [f"{states['done']} of {len(statuses)} files done"]
    facts += [
        f"{states[name]} {what}" for name, what in (("broken", "break off"), ("failed", "failed")) if states[name]
    ]
    facts += [f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"]
    facts += [f"{sum(status.rows for status in statuses):,} rows"]
    body = "".join(_article(data, status, au_names) for status in statuses)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>{escape(', '.join(facts))}. Dark: an Action Unit is likely.</p>"
        f"{body}</body></html>\n"
    )


def write_page(data: DataSet, statuses: Sequence[Status], au_names: Sequence[str], title: str) -> Path:
    """Writes OUT/_summary.html: the files of these statuses, and after them the others of the data set. Raises
    OutputLost."""
    here = {status.key for status in statuses}
    statuses = [*statuses, *(each for each in data.statuses() if each.key not in here)]
    place = data.root / "_summary.html"
    part = place.with_suffix(".tmp")
    try:
        part.write_text(page(data, statuses, au_names, title), encoding="utf-8", errors="replace")
        os.replace(part, place)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise lost("summary", place, error) from error
    return place


def _article(data: DataSet, status: Status, au_names: Sequence[str]) -> str:
    lines = []
    if status.frames:
        share = status.frames_with_face / status.frames
        speed = status.frames / status.work_s if status.work_s else 0.0
        ids = f"{status.faces} id{'s'[: status.faces != 1]}"
        lines.append(f"{status.frames:,} frames, {share:.0%} with a face, {ids}, {speed:.0f} frames/s")
    text = "".join(f"<p>{escape(line)}</p>" for line in lines)
    if status.problem:
        text += f'<p class="bad">{escape(status.state)}: {escape(status.problem)}</p>'
    name = status.uri.replace("\\", "/").rsplit("/", 1)[-1]
    figure = _figure(data.place_of(status.key), status, au_names, name) if status.rows else ""
    return (
        f'<article><div><h2 title="{escape(status.uri)}">{escape(name)}</h2>{text}</div><div>{figure}</div></article>'
    )


def _figure(path: Path, status: Status, au_names: Sequence[str], name: str) -> str:
    try:
        found, begin, end = activity(path, au_names, max(1, min(COLUMNS, status.frames)), status.duration_s)
    except (OSError, ValueError, OutputLost):
        return '<p class="bad">its rows cannot be read</p>'
    labels = "".join(f"<li>{escape(each)}</li>" for each in au_names)
    return (
        f'<figure style="--rows:{len(au_names)}"><ol aria-hidden="true">{labels}</ol>'
        f'<img alt="Action Units of {escape(name)} over time" src="data:image/png;base64,{_png(found)}">'
        f"<figcaption><span>{_clock(begin)}</span><span>{_clock(end)}</span></figcaption></figure>"
    )


def _png(found: np.ndarray) -> str:
    """Blue by probability; where there is no face, nothing."""
    from PIL import Image

    known = ~np.isnan(found)
    strength = np.nan_to_num(found)[..., None]
    light, dark = np.array([232, 238, 245]), np.array([8, 69, 148])
    pixels = np.zeros((*found.shape, 4), np.uint8)
    pixels[..., :3] = (light + (dark - light) * strength).astype(np.uint8)
    pixels[..., 3] = np.where(known, 255, 0)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
