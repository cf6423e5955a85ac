"""The stages of a recipe: what each needs, what decides about its outcome, and which commands it is made of."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from train.engine.run_folder import RunError, replacing
from train.recipes.index import source_facts, write_index
from train.recipes.options import RecipeOptions
from train.recipes.stamps import sha256

MODEL = "model.safetensors"
CARDS = Path(__file__).resolve().parents[2] / "aunet_sdk" / "models"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a stage runs: ``folder`` is its own."""

    options: RecipeOptions
    folder: Path

    def of(self, stage: str) -> Path:
        """The folder of another stage."""
        return self.folder.parent / stage

    @property
    def model(self) -> dict[str, Any]:
        """Options that every training shares."""
        options = self.options
        return {"seed": options.seed, "device": options.device, "threads": options.threads}


@dataclasses.dataclass(frozen=True)
class Stage:
    """``settings``: of the options, those that decide about the outcome; ``run`` returns the files that count as it;
    ``minutes`` that it takes at the size default on two cores, for the time left (an estimate until it is measured).
    """

    name: str
    needs: tuple[str, ...]
    settings: Callable[[RecipeOptions], dict[str, Any]]
    run: Callable[[Place], list[Path]]
    minutes: float


def _amounts(*names: str) -> Callable[[RecipeOptions], dict[str, Any]]:
    return lambda options: {"seed": options.seed, **{name: getattr(options.amounts, name) for name in names}}


def _index(place: Place) -> list[Path]:
    return [write_index(place.options.source, place.folder)]


def _render(place: Place) -> list[Path]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from train.synthetic.generate import Settings, generate
    from train.synthetic.rigs import wanted

    options, size = place.options, place.options.amounts
    settings = Settings(
        options.source, place.folder, size.sequences, options.seed, options.workers, size.hands, options.hand_mesh,
        size.morphs, wanted(options.source, options.rigs),
    )  # fmt: skip
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), transient=True) as bar:
        task = bar.add_task("fitting heads", total=None)
        for done, total in generate(settings):
            bar.update(task, description="rendering", completed=done, total=total)
    return [place.folder / "dataset.json", *sorted((place.folder / "shards").glob("*.npz"))]


def _fan(place: Place) -> list[Path]:
    target = place.folder / MODEL
    if place.options.fan != "train":
        with replacing(target) as partial:
            shutil.copyfile(place.options.fan, partial)
        return [target]
    from train.configs.options import AUNetOptions, FanOptions
    from train.engine.loop import train
    from train.recipes.aunet_task import AUNetTask
    from train.recipes.fan_task import FanTask

    size, data = place.options.amounts, str(place.of("render"))
    shared: dict[str, Any] = {**place.model, "data": data, "batch": size.batch, "eval_frames": size.eval_frames}
    fan = FanOptions(
        run=str(place.folder / "fan"), samples=size.fan_samples, width=size.width, resolution=size.resolution, **shared
    )
    train(FanTask(fan), fan, resume=True)
    head = AUNetOptions(run=str(place.folder / "aunet"), init=fan.run, samples=size.aunet_samples, **shared)
    train(AUNetTask(head), head, resume=True)
    with replacing(target) as partial:
        shutil.copyfile(Path(head.run) / MODEL, partial)
    return [target]


def _start(place: Place) -> list[Path]:
    import torch

    from train.models.checkpoint import load_model
    from train.models.extended import without_extra
    from train.recipes.two_paths import without_path

    target = place.folder / MODEL
    with replacing(target) as partial:
        without_path(without_extra(load_model(str(place.options.start)))).save(partial, torch.float16)
    return [target]


def _heads(place: Place) -> list[Path]:
    from train.configs.options import PointsOptions
    from train.data.sequences import DatasetInfo
    from train.engine.loop import train
    from train.models.checkpoint import load_model
    from train.models.model import grown, without_geometry
    from train.recipes.points_task import PointsTask

    size, first = place.options.amounts, place.folder / "start.safetensors"
    model = without_geometry(load_model(str(place.of("fan") / MODEL)))
    numbers = DatasetInfo.read(place.of("render")).au_numbers
    place.folder.mkdir(parents=True, exist_ok=True)
    grown(model, numbers).save(first)
    options = PointsOptions(
        data=str(place.of("render")), run=str(place.folder / "run"), init=str(first), passes=size.head_passes,
        samples=size.head_samples, batch=size.batch, eval_frames=size.eval_frames, **place.model,
    )  # fmt: skip
    train(PointsTask(options), options, resume=True)
    return [place.folder / "run" / MODEL]


def _extra(place: Place) -> list[Path]:
    import torch

    from train.configs.options import ExtraOptions
    from train.data.sequences import load_split
    from train.engine.loop import train
    from train.models.checkpoint import load_model
    from train.recipes.extra_task import ExtraTask, calibrate_extra

    size, target = place.options.amounts, place.folder / MODEL
    options = ExtraOptions(
        data=str(place.of("render")), run=str(place.folder / "run"), init=str(_plain(place)), aus=place.options.extra,
        passes=size.extra_passes, samples=size.extra_samples, batch=size.batch, eval_frames=size.eval_frames,
        **place.model,
    )  # fmt: skip
    train(ExtraTask(options), options, resume=True)
    trained = calibrate_extra(load_model(options.run), load_split(options.data, "val"))
    with replacing(target) as partial:
        trained.save(partial, torch.float16)
    return [target]


def _geometry(place: Place) -> list[Path]:
    from train.configs.options import GeometryOptions
    from train.engine.loop import train
    from train.recipes.geometry_task import GeometryTask

    size = place.options.amounts
    options = GeometryOptions(
        source=str(place.options.source), data=str(place.of("render")), run=str(place.folder / "run"),
        init=str(_plain(place)), samples=size.geometry_samples, hidden=size.geometry_hidden,
        acts=size.acts, batch=8 * size.batch, eval_frames=size.eval_frames,
        rigs=bool(place.options.moving), **place.model,
    )  # fmt: skip
    train(GeometryTask(options), options, resume=True)
    return [place.folder / "run" / MODEL]


def _plain(place: Place) -> Path:
    """The model to which the geometry path is added."""
    return place.of("calibrate" if place.options.start is None else "start") / MODEL


def _calibrate(place: Place) -> list[Path]:
    from train.recipes.steps import calibrate

    target = place.folder / MODEL
    with replacing(target) as partial:
        calibrate(str(place.of("heads") / "run"), str(place.of("render")), out=partial, threads=place.options.threads)
    return [target]


def _fuse(place: Place) -> list[Path]:
    from train.recipes.steps import fuse

    target, options = place.folder / MODEL, place.options
    with replacing(target) as partial:
        careful, run = options.start is not None, place.of("geometry") / "run"
        fuse(
            str(_plain(place) if careful else run), str(place.of("render")), source=options.source, out=partial,
            geometry=run if careful else None, where_known=careful, half=True, threads=options.threads,
        )  # fmt: skip
        if options.extra:
            _extend(partial, place.of("extra") / MODEL)
        _sign(partial, place)
    return [target]


def _extend(path: Path, other: Path) -> None:
    """Give a model file the part for more AUs of another one."""
    import torch

    from train.models.extended import with_extra_of
    from train.models.model import Model

    with_extra_of(Model.load(path), Model.load(other)).save(path, torch.float16)


def _sign(path: Path, place: Place) -> None:
    """Write the command that makes it into a model file, and take the names of folders out: they do not matter."""
    import torch

    from train.models.model import Model

    model, options, given = Model.load(path), place.options, ""
    if options.start is not None:
        given = f" --start FILE of SHA-256 {sha256(_plain(place))[:12]} without its geometry path"
    elif options.fan == "train":
        given = " --fan train"
    elif Path(options.fan).parent.name != "checkpoints":
        given = f" --fan FILE of SHA-256 {options.fixed()['fan'][:12]}"
    given += f" --extra {options.extra}" if options.extra else ""
    given += " --rigs" if options.rigs else ""
    given += f" --sequences {options.sequences}" if options.sequences is not None else ""
    hand = " --hand-mesh FILE" if options.hand_mesh else ""
    command = (
        f"python -m train recipe default --source FOLDER --out FOLDER --size {options.size} --seed {options.seed}"
        f"{given}{hand}"
    )
    told = json.dumps({**model.config.provenance, "recipe": {"command": command}})
    for folder, name in ((options.out, "OUT"), (options.source, "FOLDER")):
        told = told.replace(json.dumps(str(folder))[1:-1], name)
    model.config = dataclasses.replace(model.config, provenance=json.loads(told))
    model.save(path, torch.float16)


def _evaluate(place: Place) -> list[Path]:
    from train.recipes.steps import evaluate

    target = place.folder / "report.json"
    with replacing(target) as partial:
        model, data, threads = str(place.of("fuse") / MODEL), str(place.of("render")), place.options.threads
        evaluate(model, data, split="test", json_file=partial, ablation=True, threads=threads)
    return [target]


def _export(place: Place) -> list[Path]:
    options, size = place.options, place.options.amounts
    command = [
        sys.executable, "-m", "export", str(place.of("fuse") / MODEL), "--head", "points", "--kind", size.kinds,
        "--precision", "fp16", "--storage", "--out", str(place.folder), "--name", options.size,
        "--crops", str(place.of("render")), "--limit", str(size.triplets),
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=CARDS.parents[1], check=False)
    if ended.returncode:
        raise RunError(f"export: {' '.join(command[1:])} ended with {ended.returncode}; its report says why")
    return sorted(place.folder.glob("*.onnx"))


def _card(place: Place) -> list[Path]:
    from train.recipes.card import write_card

    target = place.folder / ("MODEL_CARD_NANO.md" if place.options.size == "nano" else "MODEL_CARD.md")
    with replacing(target) as partial:
        shutil.copyfile(CARDS / target.name, partial)
        write_card(partial, place.of("fuse") / MODEL, place.of("evaluate") / "report.json", None)
    return [target]


STAGES = (
    Stage("index", (), lambda options: {"source": source_facts(options.source)}, _index, 1),
    Stage("render", ("index",), lambda options: {**_amounts("sequences", "hands", "morphs")(options),
          "hand_mesh": options.fixed()["hand_mesh"], **options.moving}, _render, 60),
    Stage("fan", (), lambda options: {"fan": options.fixed()["fan"]}, _fan, 1),
    Stage("heads", ("render", "fan"), _amounts("head_passes", "head_samples", "batch"), _heads, 90),
    Stage("calibrate", ("render", "heads"), lambda options: {}, _calibrate, 5),
    Stage("geometry", ("index", "render", "calibrate"),
          lambda options: {**_amounts("geometry_samples", "geometry_hidden", "acts", "batch")(options),
          **options.moving}, _geometry, 60),
    Stage("fuse", ("index", "render", "geometry"), lambda options: {}, _fuse, 10),
    Stage("evaluate", ("render", "fuse"), lambda options: {}, _evaluate, 10),
    Stage("export", ("render", "fuse"), _amounts("kinds", "triplets"), _export, 5),
    Stage("card", ("fuse", "evaluate"), lambda options: {}, _card, 1),
)  # fmt: skip
"""In their order. `calibrate` comes before `geometry` and `fuse`: it sets `min_confidence`, by which they leave out
pictures without a face, and `fuse` decides last where .5 lies.
"""
NAMES = tuple(stage.name for stage in STAGES)
START = Stage("start", (), lambda options: {"start": options.fixed()["start"]}, _start, 1)
EXTRA = Stage("extra", ("render", "start"), lambda options: {"aus": options.extra,
              **_amounts("extra_passes", "extra_samples", "batch")(options)}, _extra, 6)  # fmt: skip


def stages_of(options: RecipeOptions) -> tuple[Stage, ...]:
    """Those of a recipe: FAN needs renders only where it is trained; with a model to start from neither FAN nor heads
    are trained, and AUs that it lacks may get a part of their own."""
    if options.start is not None:
        added = (START, EXTRA) if options.extra else (START,)
        fused = ("index", "render", *(stage.name for stage in added), "geometry")
        replaced = {"geometry": ("index", "render", "start"), "fuse": fused}
        kept = [stage for stage in STAGES if stage.name not in ("fan", "heads", "calibrate")]
        later = [dataclasses.replace(stage, needs=replaced.get(stage.name, stage.needs)) for stage in kept]
        return (*later[:2], *added, *later[2:])
    if options.fan != "train":
        return STAGES
    trained = Stage(
        "fan", ("render",), _amounts("fan_samples", "aunet_samples", "width", "resolution", "batch"), _fan, 600
    )
    return tuple(trained if stage.name == "fan" else stage for stage in STAGES)


__all__ = ["EXTRA", "MODEL", "NAMES", "STAGES", "START", "Place", "Stage", "stages_of"]
