"""Whether intensities keep the order of the movement: scripted ramps of each AU on rendered people of the test split.

    python benchmarks/ramps.py CHECKPOINT --source FOLDER --data SET [--people 6] [--steps 8] [--seed 5]

Each person does each AU alone, from nothing to full strength in equal steps, at one turn of the head that trembles by
0.02 rad, rendered as the training set is (glasses, hands and beards left out). CHECKPOINT is a model file or a run
folder with intensities; SET the synthetic set, whose fitted people are taken. Per AU, with the person's points at rest
and without: `rho`, Spearman's rank correlation of the intensity with the step, mean over the people; `least`, that of
the worst person; `rest`, `half`, `full`, the mean intensity at the first, at both middle and at the last step. The
last line is one JSON object.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import cv2
import numpy as np
import torch
from common import finish, machine, parser_of, run

from aunet_sdk import InvalidInput
from export.cli import checkpoint_file
from train.data.transforms.sequences import centre_crops
from train.models.model import Model
from train.recipes.looks import see
from train.synthetic import choreography, scene, taking
from train.synthetic.crop import CROP, MARGIN, SIZE
from train.synthetic.ict import AU_NUMBERS
from train.synthetic.material import read_material
from train.synthetic.native import load_raster
from train.synthetic.render import landmarks, render

TREMBLE_RAD = 0.02


@dataclass(frozen=True, eq=False)
class Ramp:
    """One person, one AU: images (steps, S, S, 3) uint8 RGB, points (steps, 68, 2), rest (68, 2) in tenths of the eye
    distance."""

    au: int
    images: np.ndarray
    points: np.ndarray
    rest: np.ndarray


def ramps(source: Path, cache: Path, au_numbers: Sequence[int], people: int, steps: int, seed: int) -> Iterator[Ramp]:
    """Render them; `cache`: folder of the fitted people of a set of this source."""
    load_raster()
    material = read_material(source)
    crowd, head, matrix = material.people(cache), material.head, material.head.au_matrix()
    rng = np.random.default_rng(seed)
    names = [name for name in sorted(crowd) if material.of[name] == "test"]
    chosen = [names[i] for i in rng.choice(len(names), min(people, len(names)), replace=False)]
    mates = [crowd[name] for name in chosen]
    for person in mates:
        for number in au_numbers:
            row = AU_NUMBERS.index(number)
            look, how = scene.draw_look(head, mates, rng, SIZE), taking.draw_taking(rng)
            own = choreography.at_rest(head.shape_names, rng)
            full = matrix[row] * rng.uniform(0.85, 1.1, matrix[row].shape)
            turn = rng.normal(0, (0.1, 0.2, 0.03))
            images, points = [], []
            for step in range(steps):
                intensity = np.zeros(len(AU_NUMBERS))
                intensity[row] = step / (steps - 1)
                weights, way = own + intensity[row] * full, turn + rng.normal(0, TREMBLE_RAD, 3)
                shot = render(head, person, look, weights, intensity, way, CROP)
                images.append(taking.taken(shot.image, how, step)[..., ::-1])
                points.append(shot.points)
            rest = landmarks(head, person, look, own, 0.5 * turn)
            yield Ramp(number, np.stack(images), np.stack(points), rest)


@torch.inference_mode()
def intensities(model: Model, ramp: Ramp) -> tuple[np.ndarray, np.ndarray]:
    """(steps,) each: of the AU of the ramp with the points at rest and without them, every frame alone."""
    head, column = model.points, model.config.aus_of("points").index(ramp.au)
    looks = see(model, centre_crops(ramp.images, ramp.points.astype(np.float32), model.config.resolution, MARGIN)[0])
    described = looks.described(model)
    rest = torch.from_numpy(ramp.rest).float().expand(len(ramp.images), 68, 2)
    found = []
    for reference in (rest, torch.zeros_like(rest)):
        strength = head.decide(described, described, described, reference)[1]
        assert strength is not None  # `main` has looked
        found.append(strength[:, column].numpy())
    return found[0], found[1]


def spearman(values: np.ndarray) -> float:
    """Of values (steps,) with their place."""
    order = np.argsort(np.argsort(values, kind="stable"))
    return float(np.corrcoef(order, np.arange(len(values)))[0, 1])


def figures(courses: np.ndarray) -> dict[str, float]:
    """Of courses (people, steps)."""
    rho, steps = [spearman(course) for course in courses], courses.shape[1]
    middle = courses[:, (steps - 1) // 2 : steps // 2 + 1].mean()
    rows = {"rho": np.mean(rho), "least": min(rho), "rest": courses[:, 0].mean(), "half": middle}
    return {name: round(float(value), 3) for name, value in {**rows, "full": courses[:, -1].mean()}.items()}


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--source", type=Path, required=True, help="folder with portraits/ and the head")
    parser.add_argument("--data", type=Path, required=True, help="a synthetic set of that source")
    parser.add_argument("--people", type=int, default=6, help="of the test split (default: 6)")
    parser.add_argument("--steps", type=int, default=8, help="of a ramp (default: 8)")
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    for name, least in (("people", 1), ("steps", 3)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name}: expected {least} or more, got {getattr(arguments, name)}")

    def body() -> int:
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        try:
            model = Model.load(checkpoint_file(arguments.checkpoint)).eval()
        except ValueError as error:
            raise InvalidInput(str(error)) from error
        if not model.config.intensity:
            raise InvalidInput(f"expected a model with intensities, got {arguments.checkpoint}, which has none")
        numbers = [number for number in model.config.aus_of("points") if number in AU_NUMBERS]
        courses: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {number: [] for number in numbers}
        for ramp in ramps(
            arguments.source, arguments.data / "people", numbers, arguments.people, arguments.steps, arguments.seed
        ):
            courses[ramp.au].append(intensities(model, ramp))
        rows: dict[str, Any] = {}
        for number, found in courses.items():
            table = np.array(found)  # (people, 2, steps)
            rows[f"AU{number}"] = {"at rest known": figures(table[:, 0]), "not known": figures(table[:, 1])}
        print(f"{'':6}{'with the points at rest':^40}{'without':^40}")
        for name, row in rows.items():
            cells = "".join(f"{key} {value:.2f}  " for part in row.values() for key, value in part.items())
            print(f"{name:6}{cells}")
        return finish(
            {"benchmark": "ramps", "machine": machine(), "people": arguments.people, "aus": rows}, arguments.json
        )

    return run("ramps", body)


if __name__ == "__main__":
    sys.exit(main())
