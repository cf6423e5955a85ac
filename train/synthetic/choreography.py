"""What the face does: which AUs, how strongly, over the frames of a short sequence; the head's turn; everything that
is no AU (gaze, drowsy lids, pucker, jaw).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.data.visibility import hidden_aus, not_shown
from train.synthetic import artists
from train.synthetic.ict import AU_NUMBERS, AU_SHAPES

ROW = {number: i for i, number in enumerate(AU_NUMBERS)}

# Plausible together (Table II of the paper and what people do), then pairs that contradict each other.
TEMPLATES = (
    (1,),
    (2,),
    (4,),
    (5,),
    (6,),
    (7,),
    (9,),
    (10,),
    (12,),
    (14,),
    (15,),
    (17,),
    (20,),
    (23,),
    (24,),
    (25,),
    (26,),
    (1, 2),
    (1, 4),
    (1, 2, 4),
    (1, 2, 25, 26),
    (1, 4, 15),
    (1, 4, 15, 17),
    (2, 12),
    (4, 7),
    (4, 9),
    (4, 7, 23),
    (4, 7, 24),
    (4, 17),
    (4, 9, 10),
    (6, 7),
    (6, 12),
    (6, 12, 25),
    (6, 12, 25, 26),
    (6, 7, 12),
    (6, 9),
    (7, 12),
    (9, 10, 25),
    (9, 17),
    (9, 10),
    (10, 25),
    (10, 12, 25),
    (10, 17),
    (12, 14),
    (12, 25),
    (12, 25, 26),
    (1, 2, 12),
    (14, 17),
    (14, 23),
    (14, 24),
    (15, 17),
    (17, 23),
    (17, 24),
    (23, 24),
    (7, 23),
    (25, 26),
    (1, 25),
    (2, 25, 26),
    (4, 25),
    (7, 25, 26),
    (4, 6, 7, 9),
    (4, 6, 7, 10, 25),
    (1, 2, 17),
    (4, 6, 7, 12),
    (4, 7, 12, 25),
    (1, 4, 12),
    (6, 7, 12, 25, 26),
    (1, 2, 5),
    (1, 2, 5, 25, 26),
    (4, 5),
    (5, 25, 26),
    (1, 4, 20),
    (1, 2, 4, 5, 20, 25),
    (20, 25),
    (15, 20),
)
RARE = (5, 14, 15, 20, 23, 24, 26)
JAW_AT_FULL_AU26, JAW_AT_FULL_AU25 = (dict(AU_SHAPES[number])["jawOpen"] for number in (26, 25))
CONTRADICTIONS = (
    *((23, 25), (23, 26), (24, 25), (24, 26), (12, 15), (10, 24), (17, 26)),
    *((5, 45), (12, 20), (20, 23), (20, 24)),
)
DROWSY, SHUT = 0.35, 0.95
"""How far lids come down, 1 being shut, before it is a blink at all (AU45), and where it is one in full."""


@dataclass(frozen=True)
class Act:
    """``intensity`` (frames, n) in [0, 1]; ``weights`` (frames, shapes) blendshape weights; ``turn`` (frames, 3)
    radians; ``mask`` (frames, n) True where the label is not to be trusted.
    """

    intensity: np.ndarray
    weights: np.ndarray
    turn: np.ndarray
    mask: np.ndarray


def _choose(rng: np.random.Generator) -> list[int]:
    """AUs of one sequence: one to three templates, or a few at random; the rare ones of the templates come alone, too,
    so that every AU is on in 8 to 25 per cent of the frames.
    """
    if rng.random() < 0.07:
        chosen = {int(x) for x in rng.choice(AU_NUMBERS, rng.integers(2, 6), replace=False)}
    else:
        chosen = set()
        for _ in range(rng.choice((1, 2, 3), p=(0.25, 0.4, 0.35))):
            chosen |= set(TEMPLATES[rng.integers(len(TEMPLATES))])
        if rng.random() < 0.5:
            chosen.add(int(rng.choice(RARE)))
    for i in rng.permutation(len(CONTRADICTIONS)):
        a, b = CONTRADICTIONS[i]
        if a in chosen and b in chosen:
            chosen.discard(a if rng.random() < (0.8 if b in RARE else 0.2 if a in RARE else 0.5) else b)
    return sorted(chosen)


def _course(frames: int, rng: np.random.Generator) -> np.ndarray:
    """(frames,) in [0, 1]: onset, offset, onset-apex-offset, held, or from frame to frame another (speech)."""
    kind = rng.choice(5, p=(0.27, 0.23, 0.18, 0.22, 0.1))
    if kind == 3:
        return np.ones(frames)
    if kind == 4:
        return rng.random(frames)
    time = np.arange(frames) + rng.uniform(-0.4, 0.4)
    length = rng.uniform(0.4, 2.0)
    start = rng.uniform(-0.3, frames - 1.2)
    rise = np.clip((time - start) / length, 0, 1)
    if kind == 0:
        return rise
    if kind == 1:
        return 1 - rise
    return np.clip(1.6 * np.sin(np.pi * np.clip((time - start + 0.7) / rng.uniform(2.0, 3.5), 0, 1)), 0, 1)


def act(
    shape_names: tuple[str, ...], au_matrix: np.ndarray, frames: int, rng: np.random.Generator, maker: str = ""
) -> Act:
    """Draw one sequence; ``maker``: whose shapes make it, where rigs are among them (`artists.MAKERS`)."""
    intensity = np.zeros((frames, len(AU_NUMBERS)))
    if rng.random() > 0.14:  # else a calm face that only moves its head, blinks and looks around
        shared = _course(frames, rng)
        for number in _choose(rng):
            course = shared if rng.random() < 0.7 else _course(frames, rng)
            intensity[:, ROW[number]] = rng.uniform(0.25, 1.0) ** 0.7 * course
    intensity = np.clip(intensity * rng.normal(1, 0.04, intensity.shape), 0, 1)
    if rng.random() < 0.25:  # traces below what counts
        intensity = np.maximum(intensity, rng.uniform(0, 0.12, len(AU_NUMBERS)) * (rng.random(len(AU_NUMBERS)) < 0.4))

    own = artists.own_shapes(shape_names)
    gain = rng.uniform(0.85, 1.1, (len(au_matrix), own))  # each face moves in its own way, and not quite symmetrically
    weights = artists.weights_of(intensity, au_matrix, gain, shape_names, rng, maker)
    name = {n: i for i, n in enumerate(shape_names)}
    mask = np.zeros_like(intensity, bool)
    frame = np.arange(frames)

    def both(shape: str, value: np.ndarray | float) -> None:
        weights[:, name[f"{shape}_L"]] += value
        weights[:, name[f"{shape}_R"]] += value

    def doubtful(numbers: tuple[int, ...], when: np.ndarray) -> None:
        """Mask these AUs: under such a movement nobody can say how strong they are. Where they are off, it must not
        look like them."""
        for number in numbers:
            mask[:, ROW[number]] |= when & (intensity[:, ROW[number]] > 0.05)

    if rng.random() < 0.6:  # a smile bares the teeth far more than its lips part otherwise, the jaw hardly moved
        bared = np.minimum(intensity[:, ROW[12]], intensity[:, ROW[25]])
        raised = rng.uniform(0, 0.8) * bared
        both("mouthUpperUp", raised)
        both("mouthLowerDown", rng.uniform(-0.4, 0.8) * bared)
        mask[:, ROW[10]] |= raised > 0.1

    closed = intensity[:, ROW[45]].copy()
    if rng.random() < 0.5:  # a blink on a frame or two, eyes closed throughout, or drowsy lids
        kind = rng.choice(3, p=(0.65, 0.15, 0.2))
        blink = np.where(np.isin(frame, rng.integers(frames, size=2)), rng.uniform(0.2, 1) ** 0.5, 0.0)
        if kind > 0:
            blink = np.full(frames, rng.uniform(0.85, 1) if kind == 1 else rng.uniform(0.1, 0.5))
        both("eyeBlink", blink)
        closed = np.clip(closed + blink, 0, 1)
    doubtful((6, 7), closed > 0.15)
    opened = np.clip(1 - 2 * closed, 0, 1)  # a lid that comes down is raised no more
    intensity[:, ROW[5]] *= opened
    weights[:, [name["eyeWide_L"], name["eyeWide_R"], *artists.columns(shape_names, 5)]] *= opened[:, None]
    intensity[:, ROW[45]] = np.clip((closed - DROWSY) / (SHUT - DROWSY), 0, 1)
    doubtful((7,), intensity[:, ROW[5]] > 0.2)
    gaze = rng.normal(0, 0.3, 2) + rng.normal(0, 0.1, (frames, 2))
    weights[:, name["eyeLookIn_L"]] += np.clip(gaze[:, 0], 0, 1)
    weights[:, name["eyeLookOut_R"]] += np.clip(gaze[:, 0], 0, 1)
    weights[:, name["eyeLookOut_L"]] += np.clip(-gaze[:, 0], 0, 1)
    weights[:, name["eyeLookIn_R"]] += np.clip(-gaze[:, 0], 0, 1)
    both("eyeLookUp", np.clip(gaze[:, 1], 0, 0.6))
    both("eyeLookDown", np.clip(-gaze[:, 1], 0, 0.8))
    if rng.random() < 0.07:
        pucker = rng.uniform(0.3, 1) * _course(frames, rng)
        weights[:, name["mouthPucker" if rng.random() < 0.6 else "mouthFunnel"]] += pucker
        doubtful((10, 17, 23, 24), pucker > 0.15)
    if rng.random() < 0.12:
        side = rng.uniform(0.1, 0.5)
        weights[:, name[str(rng.choice(("jawLeft", "jawRight", "mouthLeft", "mouthRight")))]] += side
    if rng.random() < 0.05:
        both("cheekPuff", rng.uniform(0.2, 0.7))
        doubtful((14, 23, 24), np.ones(frames, bool))
    if rng.random() < 0.15:  # wide open (AU27 and beyond) where AU26 is on
        weights[:, name["jawOpen"]] += 0.5 * intensity[:, ROW[26]]
    if rng.random() < 0.2:  # the jaw hangs a little, behind closed lips or not
        hanging = rng.uniform(0, 0.3) * _course(frames, rng)
        weights[:, name["jawOpen"]] += hanging
        weights[:, name["mouthClose"]] += hanging * float(rng.choice((0, rng.uniform(0, 1), 1)))
    jaw = weights[:, name["jawOpen"]]  # AU25 lowers it, too
    for number, most in ((26, JAW_AT_FULL_AU26), (25, JAW_AT_FULL_AU25)):
        for shape in artists.columns(shape_names, number):
            jaw = jaw + most * weights[:, shape]
    intensity[:, ROW[26]] = np.clip(jaw / JAW_AT_FULL_AU26, 0, 1)
    if rng.random() < 0.3:  # lopsided
        weights *= np.where(np.char.endswith(np.array(shape_names), "_L"), rng.uniform(0.75, 1), 1)
    weights = np.clip(weights, 0, 1.8)
    for half in ("_L", "_R"):
        lid, others = name[f"eyeBlink{half}"], artists.columns(shape_names, 45, half)
        weights[:, others] = np.minimum(weights[:, others], 1.0)
        rest = 1.0 - weights[:, others].sum(1)  # beyond 1 they would go through each other
        weights[:, lid] = np.minimum(weights[:, lid], np.maximum(rest, 0))

    yaw = np.clip(rng.normal(0, 0.29), -0.8, 0.8) + np.cumsum(rng.normal(0, 0.05, frames))
    pitch = np.clip(rng.normal(0, 0.14), -0.4, 0.4) + np.cumsum(rng.normal(0, 0.03, frames))
    return Act(intensity, weights, np.stack([pitch, yaw, rng.normal(0, 0.04, frames)], axis=1), mask)


def at_rest(shape_names: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """(shapes,) blendshape weights that are the person's own and no AU: brows that lie low or arched, lids, lips that
    part a little, corners of the mouth that turn up or down by themselves. Some are below 0.
    """
    weights = np.zeros(len(shape_names))

    def both(shape: str, value: float) -> None:
        for i, name in enumerate(shape_names):
            if name in (shape, f"{shape}_L", f"{shape}_R"):
                weights[i] += value

    if rng.random() < 0.5:
        both("browInnerUp", np.clip(rng.normal(0, 0.22), -0.5, 0.5))
        both("browOuterUp", np.clip(rng.normal(0, 0.18), -0.4, 0.4))
        both("browDown", np.clip(rng.normal(0, 0.18), -0.3, 0.45))
    if rng.random() < 0.35:
        both("eyeSquint", rng.uniform(0, 0.4))
        both(str(rng.choice(("eyeBlink", "eyeWide"))), rng.uniform(0, 0.22))
    if rng.random() < 0.3:
        both(str(rng.choice(("mouthFrown", "mouthSmile"))), rng.uniform(0.03, 0.3) * rng.uniform(0.3, 1))
    if rng.random() < 0.2:
        both("mouthLowerDown", rng.uniform(0.05, 0.3))
        both("mouthUpperUp", rng.uniform(0, 0.15))
    return weights


def labels(
    intensity: np.ndarray, mask: np.ndarray, hidden: np.ndarray, lip_gap: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and hard labels of rendered frames.

    AU25 is what the lips show (AU9 and AU10 part them too): gap over .06 inter-ocular distances is on, under .03 off.
    Others: on from .3, off up to .15, between them masked (NaN).
    Where an AU is out of sight, ``hidden`` (frames, 68) being the points behind something, it has no hard label, and
    no intensity if nothing else shows it (`train.data.visibility`).
    Returns intensity (frames, n) float32, NaN where ``mask`` says that nobody can know, and labels (frames, n)
    float32 of 0, 1, NaN.
    """
    intensity = intensity.copy()
    intensity[:, ROW[25]] = np.clip(lip_gap / 0.15, 0, 1)
    hard = np.where(intensity >= 0.3, 1.0, np.where(intensity <= 0.15, 0.0, np.nan))
    hard[:, ROW[25]] = np.where(lip_gap > 0.06, 1.0, np.where(lip_gap < 0.03, 0.0, np.nan))
    hard[mask | hidden_aus(hidden, AU_NUMBERS)] = np.nan
    intensity[mask] = np.nan
    intensity[not_shown(hidden, AU_NUMBERS) & ~mask] = 0
    return intensity.astype(np.float32), hard.astype(np.float32)
