"""Sweeps: options of a paper run, chosen on people who are held out of the training part.

    title: lambda and gamma of AUNet on BP4D
    of: bp4d                  # an experiment (train/configs/experiments/) or a file: what holds where nothing is said
    variants: [aunet]         # optional, as folds and seeds
    hold_out: 0.2             # share of the training subjects that decide; the test part is not opened
    grid:                     # every combination; or a list of such grids, one after the other
      vae_lambda: [0.1, 0.2, 0.3]
      gamma: [0.3, 1.0]

The files that come with the project are in train/configs/sweeps/ and can be named without folder and `.yaml`.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.configs.experiment import Experiment, ExperimentError, read_experiment, read_yaml
from train.configs.options import PaperOptions

LOG = logging.getLogger("train")
FOLDER = Path(__file__).parents[1] / "configs" / "sweeps"
KEYS = ("title", "of", "variants", "folds", "seeds", "hold_out", "grid")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A grid of options over an experiment's runs."""

    name: str
    title: str
    experiment: Experiment
    """Its options have `hold_out` above 0."""
    points: tuple[dict[str, Any], ...]
    """Options of each point of the grid."""

    def runs(self, data: str, out: Path) -> list[tuple[dict[str, Any], PaperOptions]]:
        """Every run with its point; folders `out`/sweep-NAME/POINT/variant-foldF-seedS."""
        found = []
        for point in self.points:
            options = dataclasses.replace(self.experiment.options, **point)
            one = dataclasses.replace(self.experiment, name=label(point), options=options)
            found += [(point, run) for run in one.runs(data, out / f"sweep-{self.name}")]
        return found


@dataclasses.dataclass(frozen=True)
class Place:
    """A point of the grid, measured on the held-out people."""

    point: dict[str, Any]
    f1: float
    """Mean over AUs, folds and seeds, at .5."""
    spread: float
    """Standard deviation over folds and seeds; NaN with one run."""
    auc: float
    runs: int


def label(point: dict[str, Any]) -> str:
    """A point in words, good as a folder's name: gamma=0.3,vae_lambda=0.1."""
    return ",".join(f"{name}={value}" for name, value in sorted(point.items())) or "as it is"


def available() -> list[str]:
    """Names of the sweeps that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_sweep(source: str | Path, given: Mapping[str, Any] | None = None, preset: str | None = None) -> Sweep:
    """Sweep of a file, or of a name in train/configs/sweeps/.

    Args:
        given, preset: as in `read_experiment`.

    Raises:
        FileNotFoundError: no such file or name.
        ExperimentError: no YAML, an unknown key, a value that no run can have.
    """
    path = Path(source)
    if not path.is_file() and (FOLDER / f"{source}.yaml").is_file():
        path = FOLDER / f"{source}.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"sweep: found no {source}; expected a .yaml file or one of {', '.join(available())}")
    raw = read_yaml(path)
    unknown = sorted(set(raw) - set(KEYS))
    if unknown or not {"title", "of", "grid"} <= set(raw):
        raise ExperimentError(f"{path}: expected title, of, grid and some of {', '.join(KEYS)}, got {sorted(raw)}")
    share = raw.get("hold_out", 0.2)
    if not isinstance(share, float) or not 0 < share < 1:
        raise ExperimentError(f"{path}: hold_out: expected a share in (0, 1), got {share!r}")
    named: dict[str, Any] = {name: raw[name] for name in ("variants", "folds", "seeds") if name in raw}
    values = {**named, "hold_out": share, **(given or {})}
    base = read_experiment(raw["of"], values, preset)
    points = []
    for point in _grid(raw["grid"], path):
        options = read_experiment(raw["of"], {**values, **point}, preset).options
        points.append({name: getattr(options, name) for name in point})
    return Sweep(path.stem, str(raw["title"]), base, tuple(points))


def _grid(grids: Any, path: Path) -> list[dict[str, Any]]:
    """The points, each once, in order."""
    points: list[dict[str, Any]] = []
    for grid in grids if isinstance(grids, list) else [grids]:
        if not isinstance(grid, dict) or not all(isinstance(values, list) and values for values in grid.values()):
            raise ExperimentError(f"{path}: grid: expected options with lists of values, got {grid!r}")
        for values in itertools.product(*grid.values()):
            point = dict(zip(grid, values, strict=True))
            if point not in points:
                points.append(point)
    return points


def judge(sweep: Sweep, data: str, out: Path) -> list[Place]:
    """The points of a finished sweep, the best first."""
    import numpy as np

    from train.evaluation.metrics import nanmean
    from train.evaluation.predictions import Predictions
    from train.evaluation.protocol import measure

    found = []
    for point, members in itertools.groupby(sweep.runs(data, out), key=lambda pair: pair[0]):
        measured = [measure(Predictions.load(options.run)) for _, options in members]
        f1 = np.array([one.average for one in measured])
        spread = float(f1.std(ddof=1)) if len(f1) > 1 else float("nan")
        found.append(Place(point, nanmean(f1), spread, nanmean(np.array([nanmean(m.auc) for m in measured])), len(f1)))
    return sorted(found, key=lambda place: -place.f1)


def write_ranking(places: Sequence[Place], target: Path) -> None:
    """A CSV file, a point a line: its options, mean F1 and AUC of its runs, the spread of F1, how many runs."""
    with target.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["options", "f1", "f1_spread", "auc", "runs"])
        writer.writerows([label(p.point), f"{p.f1:.5f}", f"{p.spread:.5f}", f"{p.auc:.5f}", p.runs] for p in places)
