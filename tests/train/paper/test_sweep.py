"""Options chosen on held-out people: the grid, who is held out, the ranking, and that no test part is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from tests.train.paper_runs import changed, paper_options, write_fan
from train.cli.flags import flags
from train.cli.main import app
from train.configs.experiment import ExperimentError
from train.evaluation.predictions import Predictions
from train.paper import parts as paper_data
from train.paper import run as paper_run
from train.paper.parts import load_parts
from train.paper.run import run_paper
from train.paper.sweep import available, label, read_sweep
from train.paper.tables import build


def write_sweep(folder: Path, **values: Any) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({"title": "t", "of": "smoke", **values}))
    return path


def test_the_sweeps_that_come_with_the_project() -> None:
    assert available() == ["bp4d", "synthetic"]
    found = read_sweep("bp4d")
    assert len(found.points) == 14 and found.experiment.folds == (1, 2, 3)
    runs = found.runs("data", Path("out"))
    assert len({options.run for _, options in runs}) == 42 and {o.hold_out for _, o in runs} == {0.2}
    assert runs[0][1].run == "out/sweep-bp4d/gamma=0.3,vae_lambda=0.1/aunet-fold1-seed1"
    assert read_sweep("bp4d", None, "release").experiment.options.decay == 0.3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"grid": {"gama": [1.0]}}, "did you mean 'gamma'"),
        ({"grid": {"gamma": 1.0}}, "lists of values"),
        ({"grid": {"gamma": ["much"]}}, "expected float, got 'much'"),
        ({"grid": {"gamma": [1.0]}, "hold_out": 1}, r"hold_out: expected a share in \(0, 1\), got 1"),
        ({"grids": {}}, "expected title, of, grid"),
    ],
)
def test_bad_files(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ExperimentError, match=words):
        read_sweep(write_sweep(tmp_path, **values))


def test_a_point_has_a_name() -> None:
    assert label({"b": 0.5, "a": "mean"}) == "a=mean,b=0.5"


def test_who_is_held_out(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    inner = paper_data.load_split

    def load(folder: str, split: str) -> Any:
        opened.append(split)
        return inner(folder, split)

    monkeypatch.setattr(paper_data, "load_split", load)
    options = paper_options(data, write_fan(tmp_path), tmp_path, samples=0, test_frames=0, hold_out=0.25)
    parts = load_parts(options, 64)
    assert opened == ["train"] and parts.held_out and parts.validation is not None
    seen, apart = set(parts.train.subject.tolist()), set(parts.test.subject.tolist())
    assert seen and apart and not seen & apart and set(parts.validation.subject.tolist()) <= apart
    assert len(apart) == max(1, round(0.25 * len(seen | apart)))
    again = load_parts(changed(options, seed=5), 64)
    assert set(again.test.subject.tolist()) == apart  # the same people, whatever the seed
    with pytest.raises(ValueError, match="two and more subjects"):
        paper_data.held_out(parts.train.subset(parts.train.subject == min(seen)), 0.5)


def test_a_sweep_ranks_its_points(data: Path, tmp_path: Path) -> None:
    file = write_sweep(tmp_path, variants=["au-vae"], hold_out=0.25, grid={"gamma": [0.0, 1.0]})
    given = {
        "fan": write_fan(tmp_path), "samples": 16, "test_frames": 12, "batch": 8, "epochs": 1, "eval_every": 1,
        "threads": 1, "precision": "fp32", "eval_frames": 8, "vae_epochs": 1,
    }  # fmt: skip
    words = ["sweep", str(file), "--data", str(data), "--out", str(tmp_path)]
    words += flags(given)
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0 and "the best of them: --gamma " in done.output
    folder = tmp_path / "sweep-small"
    lines = (folder / "ranking.csv").read_text().splitlines()
    assert lines[0] == "options,f1,f1_spread,auc,runs" and {line.split(",")[0] for line in lines[1:]} == {
        "gamma=0.0", "gamma=1.0"
    }  # fmt: skip
    scores = [float(line.split(",")[1]) for line in lines[1:]]
    assert scores == sorted(scores, reverse=True)
    said = Predictions.load(folder / "gamma=1.0" / "au-vae-seed1")
    assert said.extra["part"] == "held-out"
    with pytest.raises(ValueError, match="held out of the training part"):
        build("VII", [said])


def test_val_is_never_the_test_part(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a validation part the scalars are of the training part, and are named so."""
    import dataclasses

    inner = paper_run.load_parts
    asked: list[Any] = []

    def load(*arguments: Any) -> Any:
        parts = dataclasses.replace(inner(*arguments), validation=None)
        crops = parts.test.crops
        monkeypatch.setattr(parts.test, "crops", lambda *a: asked.append(a) or crops(*a))
        return parts

    monkeypatch.setattr(paper_run, "load_parts", load)
    task_scalars: list[int] = []
    finish = paper_run.PaperTask.finish
    monkeypatch.setattr(
        paper_run.PaperTask,
        "finish",
        lambda *a: task_scalars.append(len(asked)) or finish(*a),  # type: ignore[func-returns-value]
    )
    options = paper_options(data, write_fan(tmp_path), tmp_path / "run", variant="au-fan", epochs=1)
    run_paper(options)
    names = EventAccumulator(options.run).Reload().Tags()["scalars"]
    assert {"seen/f1", "seen/auc"} <= set(names) and not any(name.startswith("val/") for name in names)
    assert task_scalars == [0] and len(asked) == 8  # the test part is looked at when all is done
