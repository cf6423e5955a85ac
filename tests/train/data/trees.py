"""Miniature copies of the three data sets in their published layouts, with a real face (NASA's, public domain)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 160
FRAMES = 14
DISFA_AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
AFFWILD2_AUS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
BP4D_AUS = tuple(range(1, 29))


@functools.cache
def _face() -> NDArray[np.uint8]:
    from skimage import data

    image: Any = data.astronaut()[20:260, 100:340, ::-1]
    return np.ascontiguousarray(image)


def picture(frame: int, side: int = SIDE) -> NDArray[np.uint8]:
    """Frame number `frame`: the face drifts to the right, a twelfth of the picture over the clip."""
    scale = side / 240
    matrix = np.array([[scale, 0, side * (frame % FRAMES) / FRAMES / 12], [0, scale, 0]])
    image: Any = cv2.warpAffine(_face(), matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(image, np.uint8)


def write_pictures(folder: Path, names: Iterable[str], side: int = SIDE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), picture(i, side))


def write_video(path: Path, pictures: Iterable[NDArray[np.uint8]], fps: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    for image in pictures:
        if writer is None:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, image.shape[1::-1])
        writer.write(image)
    assert writer is not None
    writer.release()


def bp4d(root: Path) -> Path:
    """Three subjects, one of each fold, two tasks; frame numbers of four and of three digits; AU7 of T2 not coded."""
    coding = root / "AUCoding" / "AU_OCC"
    coding.mkdir(parents=True)
    listed: dict[str, list[str]] = {}
    for subject in ("F007", "M011", "F001"):
        for task, first, digits in (("T1", 643, 4), ("T2", 87, 3)):
            numbers = range(first, first + FRAMES)
            write_pictures(root / "BP4D-training" / subject / task, [f"{n:0{digits}d}.jpg" for n in numbers])
            rows = ["0," + ",".join(map(str, BP4D_AUS))]
            for i, n in enumerate(numbers):
                codes = [9 if task == "T2" and au == 7 else int((i + au) % 3 == 0) for au in BP4D_AUS]
                rows.append(f"{n}," + ",".join(map(str, codes)))
            (coding / f"{subject}_{task}.csv").write_text("\n".join(rows) + "\n")
            # The lists leave out the first frame of each video: they name what was coded and found.
            listed.setdefault(subject, []).extend(f"{subject}_{task}_{n:0{digits}d}.jpg" for n in numbers[1:])
    lists = root / "splits"
    lists.mkdir()
    for fold, test in enumerate(("F007", "M011", "F001"), 1):
        train = [line for subject, lines in listed.items() if subject != test for line in lines]
        (lists / f"BP4D_tr{fold}_path.txt").write_text("\n".join(train) + "\n")
        (lists / f"BP4D_ts{fold}_path.txt").write_text("\n".join(listed[test]) + "\n")
    return root


def disfa(root: Path, form: str = "video") -> Path:
    """Three subjects, one of each part. form: video, or flat or split frames."""
    for subject in ("SN002", "SN013", "SN003"):
        labels = root / "ActionUnit_Labels" / subject
        labels.mkdir(parents=True)
        for au in DISFA_AUS:
            rows = [f"{i + 1},{(i + au) % 6}" for i in range(FRAMES)]
            (labels / f"{subject}_au{au}.txt").write_text("\n".join(rows) + "\n")
        if form == "video":
            path = root / "Video_LeftCamera" / f"LeftVideo{subject}_comp.avi"
            write_video(path, (picture(i) for i in range(FRAMES)), 20)
        elif form == "flat":
            write_pictures(root / "DISFA_frames", [f"LeftVideo{subject}_comp_{i:08d}.jpg" for i in range(FRAMES)])
        else:
            write_pictures(root / "img" / subject, [f"{i}.png" for i in range(FRAMES)])
    (root / "splits").mkdir()
    for part, subject in enumerate(("SN002", "SN013", "SN003"), 1):
        lines = [f"DISFA/{subject}/{i}.jpg" for i in range(FRAMES)]
        (root / "splits" / f"DISFA_part{part}_path.txt").write_text("\n".join(lines) + "\n")
    return root


def affwild2(root: Path, form: str = "frames", aus: tuple[int, ...] = AFFWILD2_AUS) -> Path:
    """Two videos to train, one to validate. The second frame of each has no picture, the third no label at all, AU4 is
    unlabelled. form: frames, or video, where the second video has two people."""
    sets = {"Train_Set": ["video1", "video2_left", "video2_right"] if form == "video" else ["video1", "video2"],
            "Validation_Set": ["video3"]}  # fmt: skip
    for folder, names in sets.items():
        annotation = root / "annotations" / "AU_Detection_Challenge" / folder
        annotation.mkdir(parents=True)
        for name in names:
            rows = [",".join(f"AU{au}" for au in aus)]
            for i in range(FRAMES):
                rows.append(",".join("-1" if i == 2 or au == 4 else str((i + au) % 2) for au in aus))
            (annotation / f"{name}.txt").write_text("\n".join(rows) + "\n")
            if form == "frames":
                frames = root / "cropped_aligned" / name
                write_pictures(frames, [f"{i + 1:05d}.jpg" for i in range(FRAMES)], 112)
                (frames / "00002.jpg").unlink()
    if form == "video":
        write_video(root / "batch1" / "video1.avi", (picture(i) for i in range(FRAMES)), 30)
        write_video(root / "batch1" / "video2.avi", (_pair(i) for i in range(FRAMES)), 30)
        write_video(root / "batch2" / "video3.avi", (picture(i) for i in range(FRAMES)), 15)
    return root


def _pair(frame: int) -> NDArray[np.uint8]:
    """Two people side by side; the right one is the smaller."""
    image = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    image[:, :SIDE] = picture(frame)
    image[20:148, SIDE + 16 : SIDE + 144] = picture(frame, 128)
    return image
