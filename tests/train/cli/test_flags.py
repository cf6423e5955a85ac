"""Experiments on the command line: every option is a flag, typed, and what is not known is refused."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from train.cli.flags import FIELDS, ExperimentCommand, experiment_parameters, flags, said
from train.cli.main import app
from train.configs.experiment import GIVEN, Experiment, available, read_experiment
from train.configs.options import PaperOptions


def invoke(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "300", "TERM": "dumb"})
    return result.exit_code, result.output


def parsed(*words: str) -> dict[str, Any]:
    """What a command with these flags is told."""
    found: dict[str, Any] = {}
    inner = typer.Typer()

    def command(**values: Any) -> None:
        found.update(said(values))

    command.__signature__ = inspect.Signature(experiment_parameters())  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in experiment_parameters()}
    inner.command(cls=ExperimentCommand)(command)
    result = CliRunner().invoke(inner, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return found


def test_every_option_has_a_flag_with_help() -> None:
    inner = {f.name for f in dataclasses.fields(PaperOptions)} - set(GIVEN)
    own = {f.name for f in dataclasses.fields(Experiment)} - {"name", "options"}
    assert set(FIELDS) == inner | own
    code, text = invoke("run", "--help")
    assert code == 0
    for name, (_, field) in FIELDS.items():
        assert field.metadata["help"]
        assert flags({name: True if isinstance(field.default, bool) else "x"})[0] in text


def test_values_are_typed() -> None:
    words = "--epochs 4 --gamma .125 --variants au-fan au-vae --seeds 1 2 --no-augment --tf32 --alignment label"
    words += " --corpus-aus affwild2=1,2 bp4d=4 --corpus-frames affwild2=10"
    assert parsed(*words.split()) == {
        "epochs": 4, "gamma": 0.125, "variants": ["au-fan", "au-vae"], "seeds": [1, 2], "augment": False, "tf32": True,
        "alignment": "label", "corpus_aus": {"affwild2": [1, 2], "bp4d": [4]}, "corpus_frames": {"affwild2": 10},
    }  # fmt: skip
    assert parsed() == {}
    assert parsed("--seeds", "1", "--seeds", "2", "--epochs", "3") == {"seeds": [1, 2], "epochs": 3}


def test_flags_and_back(tmp_path: Path) -> None:
    """Whatever the experiments that come with the project say can be said in flags, and is the same then."""
    bare = tmp_path / "bare.yaml"
    bare.write_text("title: t\nvariants: [aunet]\noptions: {train_on: [bp4d]}")
    for name in available():
        found = read_experiment(name)
        given = {field.name: getattr(found.options, field.name) for field in dataclasses.fields(PaperOptions)}
        given = {key: value for key, value in given.items() if key not in GIVEN and value not in ("", (), {})}
        given |= {"variants": found.variants, "folds": found.folds, "seeds": found.seeds}
        again = read_experiment(bare, parsed(*flags(given)))
        same: dict[str, Any] = {"title": again.title, "name": again.name, "tables": again.tables, "after": again.after}
        assert dataclasses.replace(found, **same) == again, name


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--gama", "1"], "--gamma"),
        (["--epochs", "three"], "--epochs"),
        (["--seeds", "1", "two"], "--seeds"),
        (["--override", "seeds=[1, 2]"], "--seeds 1 2"),
        (["--override=epochs=3"], "--epochs 3"),
        (["--override", "augment=false"], "--no-augment"),
        (["--corpus-frames", "affwild2"], "affwild2=227000"),
        (["--corpus-frames", "affwild2=1,2"], "affwild2=227000"),
        (["--corpus-aus", "affwild2=one"], "affwild2=1,2,4"),
    ],
)
def test_what_is_refused(words: list[str], expected: str) -> None:
    for command in (("run", "smoke"), ("sweep", "synthetic")):
        code, text = invoke(*command, "--dry", *words)
        assert code == 2 and expected in text


def test_the_command_line_goes_before_file_and_preset(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("title: t\nvariants: [au-fan]\noptions: {train_on: [bp4d], decay: 0.5}")
    assert read_experiment(file, {"preset": "release"}).options.decay == 0.5
    assert read_experiment(file, {"preset": "release", "decay": 0.4}).options.decay == 0.4
    code, text = invoke("run", file, "--dry", "--preset", "release", "--variants", "aunet", "--folds", "1", "2")
    assert code == 0 and [Path(line).name for line in text.split()] == [
        "aunet-fold1-seed1-release", "aunet-fold2-seed1-release"
    ]  # fmt: skip
