"""The sample clip: a rendered person (skin of two held-out portraits, a shape of neither), a fixed camera, a scripted
course of AUs, and the track beside it.
"""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from train.synthetic import scene
from train.synthetic.choreography import ROW
from train.synthetic.ict import AU_NUMBERS, load_head
from train.synthetic.portraits import read_groups, read_portraits, split_identities
from train.synthetic.render import Camera, prepare_person, render

WIDTH, HEIGHT, FPS = 640, 360, 25.0
# (AUs, onset s, apex s, offset begins s, neutral again s, intensity at the apex)
SCRIPT = (
    ((1, 2), 0.8, 1.2, 2.0, 2.4, 0.9),
    ((4,), 2.9, 3.3, 4.1, 4.5, 0.95),
    ((6, 12), 5.0, 5.5, 7.2, 7.7, 0.9),
    ((25,), 5.8, 6.1, 6.9, 7.2, 0.7),
    ((25, 26), 8.2, 8.5, 9.2, 9.5, 0.85),
    ((9,), 10.0, 10.4, 11.1, 11.5, 0.85),
    ((15, 17), 12.0, 12.4, 13.2, 13.6, 0.9),
)
DURATION_S = 14.0
BLINKS_S = (0.4, 4.75, 9.75, 13.8)


def known_track() -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) s and scripted intensities (n, n_aus)."""
    times = np.arange(round(DURATION_S * FPS)) / FPS
    track = np.zeros((len(times), len(AU_NUMBERS)))
    for numbers, onset, apex, offset, end, strength in SCRIPT:
        course = strength * np.interp(times, (onset, apex, offset, end), (0, 1, 1, 0))
        for number in numbers:
            track[:, ROW[number]] = np.maximum(track[:, ROW[number]], course)
    for blink in BLINKS_S:
        track[:, ROW[45]] += np.clip(1 - np.abs(times - blink) / 0.12, 0, 1)
    return times, track


def render_clip(source: Path, out: Path, seed: int = 7) -> None:
    """Write ``out`` (.mp4) and, beside it, the known track (NAME_track.csv: timestamp_s, AU1, ... as intensities;
    AU25 also from the rendered lip gap).
    """
    head = load_head(source / "ict_facekit_light.npz")
    portraits = [p for p in read_portraits(source / "portraits") if not p.smiling]
    held_out = split_identities([p.identity for p in portraits], read_groups(source / "portraits"))["test"]
    rng = np.random.default_rng(seed)
    first, second = (
        prepare_person(head, next(p for p in portraits if p.identity == held_out[i]))
        for i in rng.permutation(len(held_out))[:2]
    )
    drawn = scene.draw_look(head, [second], rng, HEIGHT)
    rows = np.linspace(0, 1, HEIGHT)[:, None, None]
    wall = np.clip(
        np.array((150.0, 165, 160)) * (1.05 - 0.3 * rows) + rng.normal(0, 3, (HEIGHT, WIDTH, 1)), 0, 255
    ).astype(np.uint8)
    look = type(drawn)(
        offset=drawn.offset * 0.7,
        second=second,
        mix=0.45,
        light=np.array((0.35, 0.3, 0.89)),
        light_gain=0.5,
        key_gain=0.25,
        tint=np.ones(3),
        furrow_gain=np.full(len(AU_NUMBERS), 0.8),
        teeth_bgr=np.array((180.0, 205, 215)),
        gums_bgr=np.array((70.0, 66, 130)),
        background=wall,
        camera_cm=90.0,
    )
    pixels_per_cm = 60 / 6.5
    camera = Camera(WIDTH, HEIGHT, fixed=np.array(((pixels_per_cm, 0, WIDTH / 2), (0, pixels_per_cm, HEIGHT / 2 + 24))))
    times, track = known_track()
    weights = track @ head.au_matrix()
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise OSError(f"{out}: OpenCV cannot write this video")
    gaps = []
    for i, t in enumerate(times):
        turn = np.array((0.05 * np.sin(0.9 * t), 0.16 * np.sin(0.55 * t), 0.03 * np.sin(0.7 * t + 1)))
        shot = render(head, first, look, weights[i], track[i], turn, camera)
        gaps.append(shot.lip_gap)
        writer.write(shot.image)
    writer.release()
    shown = track.copy()
    shown[:, ROW[25]] = np.clip(np.array(gaps) / 0.15, 0, 1)
    with out.with_name(f"{out.stem}_track.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["timestamp_s", *(f"AU{n}" for n in AU_NUMBERS)])
        for t, row in zip(times, shown, strict=True):
            table.writerow([f"{t:.3f}", *(f"{v:.3f}" for v in row)])
