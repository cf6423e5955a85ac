"""A profile as one page: figures, a bar of the stages, and every frame's time; nothing is loaded from outside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from ..errors import InvalidInput
from .report import Comparison, Profile

__all__ = ["page", "write_page"]

_COLOURS = (
    "#4477aa",
    "#66ccee",
    "#228833",
    "#ccbb44",
    "#ee6677",
    "#aa3377",
    "#994455",
    "#997700",
    "#bbbbbb",
    "#dddddd",
)
_WIDTH = 900
_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.15em .8em;text-align:right}"
    "td:first-child,th:first-child{text-align:left}tr+tr td{border-top:1px solid #eee}svg{width:100%;height:auto}"
)


def page(found: Profile | Comparison) -> str:
    """The page as HTML text."""
    profiles: Mapping[str, Profile] = found.profiles if isinstance(found, Comparison) else {found.engine: found}
    parts = [_section(name, profile) for name, profile in profiles.items()]
    if isinstance(found, Comparison):
        first = next(iter(profiles))
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{profiles[name].fps:.1f}</td><td>{ratio['frame']:.3f}</td>"
            f"<td>{ratio['network']:.3f}</td></tr>"
            for name, ratio in found.ratios.items()
        )
        parts.append(
            f"<h2>Compared with {escape(first)}</h2><table><tr><th>engine</th><th>frames/s</th><th>time</th>"
            f"<th>network</th></tr>{rows}</table>"
        )
    body = "".join(parts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>aunet profile</title>'
        f"<style>{_STYLE}</style></head><body><h1>aunet profile</h1>{body}</body></html>\n"
    )


def write_page(found: Profile | Comparison, path: Path) -> None:
    """Write the page. Raises InvalidInput where the path cannot be written."""
    try:
        path.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"page: cannot write to {path}: {error.strerror or error}; give another path") from error


def _section(name: str, profile: Profile) -> str:
    heads = ("min", "mean", "median", "p90", "p95", "p99", "max", "share")
    rows = []
    for stage, s in {**profile.stages, "frame": profile.frame, "age": profile.age}.items():
        values = (s.min_ms, s.mean_ms, s.median_ms, s.p90_ms, s.p95_ms, s.p99_ms, s.max_ms)
        share = f"{profile.share(stage):.1%}" if stage in profile.stages else ""
        cells = "".join(f"<td>{value:.3f}</td>" for value in values)
        rows.append(f"<tr><td>{escape(stage.replace('_', ' '))}</td>{cells}<td>{share}</td></tr>")
    faces = f"{profile.faces:g} face{'' if profile.faces == 1 else 's'}"
    facts = "".join(f"<li>{escape(line)}</li>" for line in profile.lines())
    head = "".join(f"<th>{text}</th>" for text in ("ms per frame", *heads))
    return (
        f"<h2>{escape(name)}: {escape(profile.model)}, {escape(profile.precision)}, {profile.frames} frames of "
        f"{profile.width}x{profile.height}, {faces}</h2>{_bar(profile)}<ul>{facts}</ul>"
        f"<table><tr>{head}</tr>{''.join(rows)}</table>{_line(profile)}"
    )


def _bar(profile: Profile) -> str:
    """Mean time of every stage, side by side."""
    whole = sum(s.mean_ms for s in profile.stages.values()) or 1.0
    x, boxes, labels = 0.0, [], []
    for i, (stage, s) in enumerate(profile.stages.items()):
        colour, width = _COLOURS[i % len(_COLOURS)], _WIDTH * s.mean_ms / whole
        title = f"<title>{escape(stage)} {s.mean_ms:.3f} ms</title>"
        boxes.append(f'<rect x="{x:.2f}" y="0" width="{width:.2f}" height="28" fill="{colour}">{title}</rect>')
        left, top = i % 5 * 180, 52 + i // 5 * 20
        text = f"{stage.replace('_', ' ')} {s.mean_ms:.2f} ms"
        labels.append(f'<rect x="{left}" y="{top - 11}" width="12" height="12" fill="{colour}"/>')
        labels.append(f'<text x="{left + 18}" y="{top}" font-size="13">{escape(text)}</text>')
        x += width
    return f'<svg viewBox="0 0 {_WIDTH} 80" role="img">{"".join(boxes)}{"".join(labels)}</svg>'


def _line(profile: Profile) -> str:
    """The time of every frame, up to a little above the 99th percentile."""
    values = profile.timeline_ms
    top = 1.25 * max(profile.frame.p99_ms, 1e-3)
    step = _WIDTH / max(1, len(values) - 1)
    points = " ".join(f"{i * step:.1f},{160 - 150 * min(value, top) / top:.1f}" for i, value in enumerate(values))
    y = 160 - 150 * profile.frame.median_ms / top
    return (
        f'<svg viewBox="0 0 {_WIDTH} 185" role="img"><polyline points="{points}" fill="none" stroke="#4477aa"/>'
        f'<line x1="0" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ee6677" stroke-dasharray="4"/>'
        f'<line x1="0" x2="{_WIDTH}" y1="160" y2="160" stroke="#999"/><text x="0" y="180" font-size="13">'
        f"time of each frame, 0 to {top:.1f} ms; dashed: median {profile.frame.median_ms:.2f} ms</text></svg>"
    )
