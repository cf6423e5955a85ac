"""Draws a FrameResult onto a frame: box, id, 68 points, and the active AUs with bars beside the face."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidInput
from .palette import face_colour, facs_label

if TYPE_CHECKING:
    from ..results import Face, FrameResult

__all__ = ["draw"]

WHITE = (255, 255, 255)
CROWD_ROWS = 6
"""AUs per panel where there are three faces or more"""
Box = tuple[int, int, int, int]  # x, y, width, height in px


@dataclass(frozen=True)
class _Style:
    """Sizes that follow the frame's, so that the text is legible at 320 px and not small at 4K."""

    font_scale: float
    thickness: int
    row_px: int
    text_px: int
    pad_px: int
    line_px: int

    @classmethod
    def of(cls, width: int, height: int) -> _Style:
        import cv2

        unit = max(min(width, height) / 720.0, 0.0)
        font_scale = float(np.clip(0.62 * unit, 0.36, 3.0))
        thickness = max(1, round(font_scale * 1.6))
        text_px = cv2.getTextSize("AU12", cv2.FONT_HERSHEY_SIMPLEX, font_scale, thickness)[0][1]
        row_px = round(text_px * 1.7) + 1
        return cls(font_scale, thickness, row_px, text_px, max(3, text_px // 2), max(1, round(2 * unit)))


def draw(image: np.ndarray, result: FrameResult, *, points: bool = True) -> np.ndarray:
    """A copy of the frame with every face of `result` drawn on it.

    image: uint8 (H, W, 3) BGR, the frame that `result` belongs to (any strides; it is not changed).
    points: draw the 68 points. Active AUs stand beside the face by name, with FACS names where the frame is wide
    enough, and a bar of their probability; the strongest first if not all fit. Provisional results have an open box
    of dashes, hollow bars and a `~` before the id. Text never leaves the frame; where there is no room it is left out.
    Returns uint8 (H, W, 3) BGR, C-contiguous. Raises InvalidInput for another shape or dtype.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InvalidInput(f"draw expects a uint8 (H, W, 3) BGR image, got {got}.")
    canvas = np.array(image, order="C")
    height, width = canvas.shape[:2]
    if min(height, width) < 1 or not result.faces:
        return canvas
    style = _Style.of(width, height)
    boxes = [_clip_box(face.box, width, height) for face in result.faces]
    taken = [(x, y - style.row_px, w, h + style.row_px) for x, y, w, h in boxes]  # with the tags on top
    for face, box in zip(result.faces, boxes, strict=True):
        _draw_face(canvas, face, box, style, points)
    for face, box in zip(result.faces, boxes, strict=True):
        panel = _draw_panel(canvas, face, style, taken, box, len(result.faces))
        if panel is not None:
            taken.append(panel)
    for face, box in zip(result.faces, boxes, strict=True):
        _draw_tag(canvas, face, box, style)
    return canvas


def _bgr(face: Face) -> tuple[int, int, int]:
    red, green, blue = face_colour(face.id)
    return blue, green, red


def _clip_box(box: np.ndarray, width: int, height: int) -> Box:
    values = np.nan_to_num(np.asarray(box, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    x0, y0 = np.clip(values[:2], 0, (width - 1, height - 1)).round().astype(int)
    x1, y1 = np.clip(values[:2] + values[2:], 0, (width - 1, height - 1)).round().astype(int)
    return int(x0), int(y0), int(x1 - x0), int(y1 - y0)


def _draw_face(canvas: np.ndarray, face: Face, box: Box, style: _Style, points: bool) -> None:
    import cv2

    height, width = canvas.shape[:2]
    colour = _bgr(face)
    x, y, w, h = box
    if face.provisional:
        _dashed(canvas, (x, y, w, h), colour, style.line_px)
    else:
        cv2.rectangle(canvas, (x, y), (x + w, y + h), colour, style.line_px)
    if points:
        radius = max(1, round(w / 150))
        for px, py in face.landmarks:
            if np.isfinite(px) and np.isfinite(py) and 0 <= px < width and 0 <= py < height:
                cv2.circle(canvas, (round(float(px)), round(float(py))), radius, colour, -1, cv2.LINE_AA)


def _draw_tag(canvas: np.ndarray, face: Face, box: Box, style: _Style) -> None:
    """The id on the face's colour, over the box's upper left corner."""
    import cv2

    height, width = canvas.shape[:2]
    x, y = box[:2]
    label = f"{'~' if face.provisional else ''}{face.id}"
    text_w, text_h = _text_size(label, style)
    tag_w, tag_h = text_w + 2 * style.pad_px, text_h + 2 * style.pad_px
    if tag_w > width or tag_h > height:
        return
    left = min(x, width - tag_w)
    top = y - tag_h if y >= tag_h else min(y, height - tag_h)
    cv2.rectangle(canvas, (left, top), (left + tag_w - 1, top + tag_h - 1), _bgr(face), -1)
    _text(canvas, label, left + style.pad_px, top + style.pad_px + text_h, (0, 0, 0), style)


def _draw_panel(canvas: np.ndarray, face: Face, style: _Style, taken: list[Box], own: Box, n_faces: int) -> Box | None:
    """The active AUs of one face in a dark panel where it hides least. Returns the panel's place."""
    import cv2

    active = [(name, float(face.probabilities[i])) for i, name in enumerate(face.au_names) if face.active[i]]
    if not active:
        return None
    height, width = canvas.shape[:2]
    room = (height - 2 * style.pad_px) // style.row_px
    if room < 1:
        return None
    room = room if n_faces < 3 else min(room, CROWD_ROWS)
    if len(active) > room:  # the strongest, in FACS order
        keep = sorted(sorted(active, key=lambda item: -item[1])[:room], key=active.index)
        active = keep
    bar_w = style.text_px * 5
    value_w = _text_size("0.00", style)[0] + style.pad_px // 2
    for labels in ([facs_label(name) for name, _ in active], [name for name, _ in active]):
        label_w = max(_text_size(label, style)[0] for label in labels)
        panel_w = label_w + bar_w + value_w + 6 * style.pad_px
        if panel_w <= 0.34 * width and n_faces == 1:
            break
    if panel_w > width - 2:
        panel_w -= bar_w + style.pad_px
        bar_w = 0
    if panel_w > width - 2:
        return None
    panel_h = len(active) * style.row_px + 2 * style.pad_px
    x, y = _place(own, panel_w, panel_h, width, height, taken)
    region = canvas[y : y + panel_h, x : x + panel_w]
    region[:] = (region * 0.35).astype(np.uint8)
    colour = _bgr(face)
    cv2.rectangle(canvas, (x, y), (x + max(1, style.pad_px // 2), y + panel_h - 1), colour, -1)
    for row, (label, (_, value)) in enumerate(zip(labels, active, strict=True)):
        base = y + style.pad_px + row * style.row_px + (style.row_px + style.text_px) // 2
        left = x + 2 * style.pad_px
        _text(canvas, label, left, base, WHITE, style)
        left += label_w + style.pad_px
        if bar_w:
            _bar(canvas, (left, base - style.text_px, bar_w, style.text_px), value, colour, face.provisional)
            left += bar_w + style.pad_px
        _text(canvas, f"{value:.2f}", left, base, WHITE, style)
    return x, y, panel_w, panel_h


def _place(own: Box, w: int, h: int, width: int, height: int, taken: list[Box]) -> tuple[int, int]:
    """The corner of a (w, h) panel near the box: right, left, under or over it, where it covers least of `taken`."""
    x, y, box_w, box_h = own
    gap = max(2, h // 20)
    wishes = [
        (x + box_w + gap, y),
        (x - w - gap, y),
        (x + (box_w - w) // 2, y + box_h + gap),
        (x + (box_w - w) // 2, y - h - 3 * gap),
        (width - w, y),
        (0, y),
    ]
    best, least = (0, 0), float("inf")
    for preference, (left, top) in enumerate(wishes):
        left, top = min(max(left, 0), width - w), min(max(top, 0), height - h)
        cost = sum(_overlap((left, top, w, h), other) for other in taken) + preference
        if cost < least:
            best, least = (left, top), cost
    return best


def _overlap(a: Box, b: Box) -> int:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def _bar(canvas: np.ndarray, place: Box, value: float, colour: tuple[int, int, int], hollow: bool) -> None:
    import cv2

    x, y, w, h = place
    filled = round(w * min(max(value if value == value else 0.0, 0.0), 1.0))
    cv2.rectangle(canvas, (x, y), (x + w - 1, y + h - 1), (90, 90, 90), 1 if hollow else -1)
    if filled > 0:
        cv2.rectangle(canvas, (x, y), (x + filled - 1, y + h - 1), colour, 1 if hollow else -1)


def _dashed(canvas: np.ndarray, box: Box, colour: tuple[int, int, int], line_px: int) -> None:
    import cv2

    x, y, w, h = box
    corners = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)], np.float64)
    for start, end in pairwise(corners):
        pieces = max(3, int(np.hypot(*(end - start)) // (6 * line_px)) | 1)
        steps = np.linspace(0.0, 1.0, pieces + 1)[:, None]
        nodes = (start + (end - start) * steps).round().astype(int)
        for i in range(0, pieces, 2):
            cv2.line(canvas, tuple(map(int, nodes[i])), tuple(map(int, nodes[i + 1])), colour, line_px)


def _text_size(text: str, style: _Style) -> tuple[int, int]:
    import cv2

    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, style.font_scale, style.thickness)
    return int(width), int(height)


def _text(canvas: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int], style: _Style) -> None:
    import cv2

    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, style.font_scale, colour, style.thickness, cv2.LINE_AA)
