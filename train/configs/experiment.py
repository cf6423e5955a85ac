"""Experiments of the paper as YAML: what is trained on what, for which tables; one file is a grid of runs.

    title: the ablation on the mixture
    tables: [VII, VIII, IX]
    variants: [au-fan, au-vae, au-tdn, aunet]
    folds: [1]
    seeds: [1]
    after: bp4d          # optional: an experiment whose run of the same variant, fold and seed gives the first weights
    options:             # of every run: the fields of train.configs.options.PaperOptions
      train_on: [bp4d, disfa, affwild2]

The files that come with the project are in train/configs/experiments/ and can be named without folder and `.yaml`.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from train.configs.options import PaperOptions
from train.configs.presets import preset_values

FOLDER = Path(__file__).with_name("experiments")
GIVEN = ("variant", "fold", "seed", "run", "data")
"""Options that follow from the grid and the command line."""


class ExperimentError(ValueError):
    """A file or values that make no experiment; the message says where, what was expected and what came."""


def _field(text: str, default: Any = dataclasses.MISSING) -> Any:
    """A field with its help text; without a default it must be given."""
    return dataclasses.field(default=default, metadata={"help": text, "names": ()})


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A grid of runs: variants x folds x seeds."""

    name: str
    title: str = _field("What the runs are, in words.")
    variants: tuple[str, ...] = _field("Networks to train: au-fan, au-vae, au-tdn, aunet, ... (docs/training.md).")
    tables: tuple[str, ...] = _field("Roman numbers of the paper's tables that the runs are for.", ())
    folds: tuple[int, ...] = _field("Folds of a data set that has folds, 1 to 3; 0: none.", (0,))
    seeds: tuple[int, ...] = _field("Seeds; a run for each.", (1,))
    after: str | None = _field("Name of the experiment whose runs give the first weights; empty: none.", None)
    options: PaperOptions = dataclasses.field(default_factory=PaperOptions)
    """What all runs share."""

    def runs(self, data: str, out: Path) -> list[PaperOptions]:
        """The options of every run, in order; folders `out`/name/variant-foldF-seedS[-release]."""
        grid = itertools.product(self.seeds, self.folds, self.variants)
        preset = self.options.preset
        return [
            dataclasses.replace(
                self.options,
                variant=variant,
                fold=fold,
                seed=seed,
                data=data,
                run=str(run_folder(out, self.name, variant, fold, seed, preset)),
                init=(
                    str(run_folder(out, self.after, variant, fold, seed, preset)) if self.after else self.options.init
                ),
            )
            for seed, fold, variant in grid
        ]


def run_folder(out: Path, experiment: str, variant: str, fold: int, seed: int, preset: str = "paper") -> Path:
    """The folder of a run of an experiment; that of the paper's preset does not name it."""
    name = f"{variant}-fold{fold}-seed{seed}" if fold else f"{variant}-seed{seed}"
    return out / experiment / (name if preset == "paper" else f"{name}-{preset}")


def available() -> list[str]:
    """Names of the experiments that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_experiment(
    source: str | Path, given: Mapping[str, Any] | None = None, preset: str | None = None
) -> Experiment:
    """Experiment of a file, or of a name in train/configs/experiments/, with what is given beside it.

    An option has the value that is given, else that of the file, else that of the preset, else its default.

    Args:
        given: values of the experiment's fields (`variants`, `seeds`, ...) or of its options (`epochs`, ...), by name.
        preset: of train.configs.presets.PRESETS; None: the one that is given or that the file names, else `paper`.

    Raises:
        FileNotFoundError: no such file or name.
        ExperimentError: no YAML, an unknown key, a value of another type.
    """
    path = Path(source)
    if not path.is_file() and (FOLDER / f"{source}.yaml").is_file():
        path = FOLDER / f"{source}.yaml"
    if not path.is_file():
        raise FileNotFoundError(
            f"experiment: found no {source}; expected a .yaml file or one of {', '.join(available())}"
        )
    raw = read_yaml(path)
    options = raw.get("options") or {}
    if not isinstance(options, dict):
        raise ExperimentError(f"{path}: options: expected keys and values, got {options!r}")
    options = dict(options)
    own = {f.name for f in dataclasses.fields(Experiment)} - {"options", "name"}
    inner = {f.name for f in dataclasses.fields(PaperOptions)} - set(GIVEN)
    for key, value in (given or {}).items():
        if key not in own | inner:
            raise ExperimentError(f"{path}: {_unknown(key, own | inner)}")
        (raw if key in own else options)[key] = value
    fields = _typed(Experiment, {k: v for k, v in raw.items() if k != "options"}, str(path), {"name", "options"})
    for required in ("title", "variants"):
        if not fields.get(required):
            raise ExperimentError(f"{path}: {required}: expected it, found none")
    if preset is not None:
        options["preset"] = preset
    values = _typed(PaperOptions, options, f"{path}: options", set(GIVEN))
    try:
        values = {**preset_values(values.get("preset", "paper")), **values}
    except ValueError as error:
        raise ExperimentError(f"{path}: options: {error}") from error
    experiment = Experiment(name=path.stem, **fields, options=PaperOptions(**values))
    try:
        experiment.options.check()
    except ValueError as error:
        raise ExperimentError(f"{path}: options: {error}") from error
    return experiment


def read_yaml(path: Path) -> dict[str, Any]:
    """Keys and values of a file; ExperimentError where it holds something else."""
    raw = _yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(raw, dict):
        raise ExperimentError(f"{path}: expected keys and values, got {type(raw).__name__}")
    return dict(raw)


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ExperimentError(f"{where}: no YAML: {' '.join(str(error).split())}") from error


def _unknown(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, sorted(known), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"unknown key {key!r}; {hint}"


def _typed(kind: type, values: Mapping[Any, Any], where: str, withheld: set[str]) -> dict[str, Any]:
    """The values as the dataclass has them: ints for floats and lists for tuples are taken; all else is refused."""
    hints = typing.get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)} - withheld
    found = {}
    for key, value in values.items():
        if key not in known:
            reason = f"{key!r} follows from the grid and the command line" if key in withheld else _unknown(key, known)
            raise ExperimentError(f"{where}: {reason}")
        found[key] = _value(hints[key], value, f"{where}: {key}")
    return found


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ExperimentError(f"{where}: expected a list, got {value!r}")
        return tuple(_value(inner[0], item, where) for item in value)
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ExperimentError(f"{where}: expected names and values, got {value!r}")
        return {key: _value(inner[1], item, f"{where}: {key}") for key, item in value.items()}
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _value(inner[0], value, where)
    if hint is float and isinstance(value, str):  # YAML reads 1e-4 as text
        try:
            return float(value)
        except ValueError:
            pass
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ExperimentError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value
