"""Whether a model knows an AU or one artist's idea of it: the same acts of held-out people, made by ICT's own shapes
and by those of two other rigs.

    python benchmarks/rigs.py CHECKPOINT... --source FOLDER --data SET [--sequences 200] [--seed 5]

CHECKPOINTs are model files or run folders; FOLDER holds the rigs (docs/data.md), SET is a synthetic set of it, whose
fitted people are taken. Each sequence of four frames is drawn three times, with the same person, act, pose, light and
furrows, and all movements made by one artist; what a rig lacks is ICT's. Every frame is read by itself. Per AU, the AUC
of each artist's frames by the picture, and with the person's points at rest. The last line is one JSON object.
"""

from __future__ import annotations

import sys
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
from train.evaluation import metrics
from train.models.model import Model
from train.recipes.looks import see
from train.synthetic.artists import MAKERS
from train.synthetic.crop import MARGIN
from train.synthetic.generate import render_sequence
from train.synthetic.ict import AU_NUMBERS
from train.synthetic.material import read_material
from train.synthetic.native import load_raster
from train.synthetic.rigs import available, with_rigs

PEOPLE = 40


def draw(source: Path, data: Path, sequences: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """maker -> arrays of `render_sequence`, stacked."""
    load_raster()
    material = read_material(source)
    head, crowd = with_rigs(material.head, source, data / "rigs"), material.people(data / "people")
    matrix, rng = head.au_matrix(), np.random.default_rng(seed)
    names = [name for name in sorted(crowd) if material.of[name] == "test"]
    people = [crowd[names[i]] for i in rng.choice(len(names), min(PEOPLE, len(names)), replace=False)]
    found: dict[str, list[dict[str, np.ndarray]]] = {maker: [] for maker in MAKERS}
    for number in range(sequences):
        person = people[number % len(people)]
        for maker in MAKERS:
            rng = np.random.default_rng((seed, number))
            found[maker].append(render_sequence(head, person, people, matrix, rng, hands=0.0, maker=maker))
    return {maker: {key: np.stack([row[key] for row in rows]) for key in rows[0]} for maker, rows in found.items()}


@torch.inference_mode()
def probabilities(model: Model, rows: dict[str, np.ndarray]) -> list[np.ndarray]:
    """(frames, n_aus) by the picture, and with the points at rest."""
    said: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for images, points, rest in zip(rows["images"], rows["points"], rows["rest"], strict=True):
        crops = centre_crops(images, points.astype(np.float32), model.config.resolution, MARGIN)[0]
        looks = see(model, crops)
        described = model.points.describe_pooled(
            torch.from_numpy(looks.pooled).float(), torch.from_numpy(looks.coordinates)
        )
        at_rest = torch.from_numpy(rest[0]).float().expand(len(images), 68, 2)
        for part, reference in zip(said, (torch.zeros_like(at_rest), at_rest), strict=True):
            part.append(model.points.decide(described, described, described, reference)[0].sigmoid().numpy())
    return [np.concatenate(part) for part in said]


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--source", type=Path, required=True, help="folder with portraits/, the head and rigs/")
    parser.add_argument("--data", type=Path, required=True, help="a synthetic set of that source")
    parser.add_argument("--sequences", type=int, default=200, help="per artist (default: 200)")
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.sequences < 1:
        parser.error(f"--sequences: expected 1 or more, got {arguments.sequences}")

    def body() -> int:
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        if not available(arguments.source):
            raise InvalidInput(f"expected the rigs in {arguments.source / 'rigs'} (docs/data.md), got none or a part")
        try:
            models = [Model.load(checkpoint_file(path)).eval() for path in arguments.checkpoints]
        except ValueError as error:
            raise InvalidInput(str(error)) from error
        made = draw(arguments.source, arguments.data, arguments.sequences, arguments.seed)
        results: dict[str, Any] = {}
        for path, model in zip(arguments.checkpoints, models, strict=True):
            numbers = model.config.aus_of("points")
            columns = [AU_NUMBERS.index(number) for number in numbers]
            table: dict[str, dict[str, float]] = {f"AU{number}": {} for number in numbers}
            for maker, rows in made.items():
                labels = rows["labels"].reshape(-1, len(AU_NUMBERS))[:, columns]
                for way, said in zip(("picture", "rest"), probabilities(model, rows), strict=True):
                    auc = metrics.per_au(said, labels, np.full(len(numbers), 0.5))["auc"]
                    for number, value in zip(numbers, auc, strict=True):
                        table[f"AU{number}"][f"{maker} {way}"] = round(float(value), 3)
            results[str(path)] = table
            print(f"{path}\n{'':6}" + "".join(f"{key:>20}" for key in next(iter(table.values()))))
            for name, row in table.items():
                print(f"{name:6}" + "".join(f"{value:20.3f}" for value in row.values()))
            print(f"{'mean':6}" + "".join(f"{np.nanmean([r[k] for r in table.values()]):20.3f}" for k in row))
        return finish(
            {"benchmark": "rigs", "machine": machine(), "sequences": arguments.sequences, "models": results},
            arguments.json,
        )

    return run("rigs", body)


if __name__ == "__main__":
    sys.exit(main())
