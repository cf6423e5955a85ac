"""The experiments of the paper on miniature trees of its data sets: one after the other, as a laboratory runs them."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.train.data import trees
from tests.train.data.lab import call, said
from train.cli.main import app
from train.configs.experiment import ExperimentError, available, read_experiment
from train.configs.options import PaperOptions
from train.data.corpora.corpus import DatasetError
from train.data.corpora.registry import CORPORA
from train.evaluation.predictions import Predictions
from train.evaluation.protocol import read_runs
from train.models.checkpoint import load_network, save_network
from train.models.config import ModelConfig
from train.models.label_vae import LabelVAE
from train.models.model import Model
from train.models.parser import FaceParser
from train.models.variants import build
from train.paper import figure_run, tables
from train.paper.activations import Interval, open_subject
from train.paper.figure_run import open_data
from train.paper.parts import load_parts
from train.paper.run import PaperTask
from train.paper.table import DASH


def test_disfa_starts_from_the_weights_of_bp4d(root: Path) -> None:
    with pytest.raises(ValueError, match="run that experiment first"):
        call(root, "disfa", "au-fan")
    first = Predictions.load(call(root, "bp4d", "au-fan"))
    assert (
        len(first) == 5 and set(first.subject.tolist()) == {"F007"} and first.fold == 1 and len(first.au_numbers) == 12
    )
    run = call(root, "disfa", "au-fan")
    second = Predictions.load(run)
    assert second.au_numbers == (1, 2, 4, 6, 9, 12, 25, 26) and second.extra["train_corpus"] == "disfa"
    assert load_network(run)[1].provenance["paper"]["options"]["init"].endswith("bp4d/au-fan-fold1-seed1")


def test_the_mixture_has_a_vae_for_each(root: Path) -> None:
    run = call(root, "mixture", "aunet")
    found = Predictions.load(run)
    assert set(found.corpus.tolist()) == {"bp4d", "disfa", "affwild2"} and len(found) == 15
    assert found.au_numbers == (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26)
    of_disfa = found.labels[found.corpus == "disfa"]
    assert np.isnan(of_disfa[:, found.au_numbers.index(7)]).all() and not np.isnan(of_disfa[:, 0]).any()
    sizes = {name: LabelVAE.load(run / f"vae-{name}.safetensors").latent for name in ("bp4d", "disfa", "affwild2")}
    assert sizes == {"bp4d": 8, "disfa": 6, "affwild2": 5}
    assert load_network(run)[1].crop_scale == pytest.approx(200 / 130)


def test_the_mixture_by_both_presets_runs_to_a_table(root: Path) -> None:
    paper = call(root, "mixture", "aunet")  # what another test has run is passed over
    release = call(root, "mixture", "aunet", "release")
    found = Predictions.load(release)
    assert found.extra["preset"] == "release" and found.keys() == Predictions.load(paper).keys()
    options = load_network(release)[1].provenance["paper"]["options"]
    assert (options["decay"], options["neighbours"], options["augmentation"]) == (0.3, "list", "release")
    assert LabelVAE.load(release / "vae-bp4d.safetensors").provenance["options"]["kl_weight"] == 0.3
    for preset, epoch in (("paper", "last"), ("release", "last"), ("release", "best")):
        runs = [release] if epoch == "best" else [release, paper]
        shown = said("tables", *runs, "--table", "VII", "--preset", preset, "--epoch", epoch)
        average = next(line for line in shown.splitlines() if line.lstrip(" │").startswith("Avg"))
        assert sum(char.isdigit() for char in average) > 15 and ("best on the test part" in shown) is (epoch == "best")


def test_other_data_sets_are_tested_whole(root: Path) -> None:
    found = Predictions.load(call(root, "cross-database", "au-fan", test_frames=0))
    subjects = {name: set(found.subject[found.corpus == name].tolist()) for name in ("bp4d", "disfa")}
    assert subjects == {"bp4d": {"F007"}, "disfa": {"SN002", "SN013", "SN003"}}
    assert len(found.au_numbers) == 12 and (found.corpus == "affwild2").any()


def test_au_fp_has_its_column_on_all_three_data_sets(root: Path, tmp_path: Path) -> None:
    """Tables III to V, from one run whose crops a device cut and processes prepared."""
    torch.manual_seed(4)
    FaceParser(8, config=ModelConfig(width=8, resolution=64)).save(tmp_path / "parser.safetensors")
    given = {"parser": tmp_path / "parser.safetensors", "augment_on": "device", "loader": "processes"}
    run = call(root, "face-parser", "au-fp", **given)
    for number in ("III", "IV", "V"):
        table = tables.build(number, read_runs([run]))
        column = 1 + table.columns.index(("AU-FP", "ours"))
        average = next(row for row in table.rows if row[0] == "Avg")
        assert average[column] != DASH, number


def paper_options(root: Path, **values: Any) -> PaperOptions:
    return PaperOptions(
        data=str(root), run=str(root / "none"), fan=str(root / "fan.safetensors"), variant="au-tdn", **values
    )


def test_fold_lists_from_a_folder(root: Path, tmp_path: Path) -> None:
    options = paper_options(root, train_on=("bp4d", "disfa"), fold=1, lists=str(tmp_path))
    with pytest.raises(DatasetError, match=r"expected BP4D_tr1_path\.txt and BP4D_ts1_path\.txt in"):
        load_parts(options, 64)
    for name in ("bp4d", "disfa"):
        (tmp_path / name).mkdir()
        for file in (root / name / "splits").iterdir():
            lines = file.read_text().splitlines(keepends=True)
            (tmp_path / name / file.name).write_text("".join(lines[:-2]))  # the lists of the data set, less two frames
    apart = load_parts(options, 64)
    assert (len(apart.train), len(apart.test)) == (2 * 2 * 13 - 2 + 2 * 12, 2 * 13 - 2 + 12)
    opened = open_data(str(root), 64, "disfa", 1, lists=str(tmp_path))
    assert len(opened) == 12 and len(open_data(str(root), 64, "disfa", 1)) == 14
    for name in ("bp4d", "disfa"):
        for file in (tmp_path / name).iterdir():
            file.rename(tmp_path / file.name)
        (tmp_path / name).rmdir()
    together = load_parts(options, 64)
    assert np.array_equal(together.train.frame, apart.train.frame)


def test_the_interval_in_frames(root: Path) -> None:
    options = paper_options(root, train_on=("bp4d", "disfa", "affwild2"), fold=1)
    # In rows; frame 2 of an AffWild2 video has no picture, so that 12 frames from 1 on are 11 rows, and 10 are 9.
    for frames, expected in (
        (0, {"bp4d": {0, 10}, "disfa": {0, 8}, "affwild2": {0, 11}}),
        (10, {"bp4d": {0, 10}, "disfa": {0, 10}, "affwild2": {0, 9, 10}}),
    ):
        parts = load_parts(dataclasses.replace(options, interval_frames=frames), 64)
        for part in (parts.train, parts.test):
            apart = np.diff(part.rows, axis=1)
            assert {name: set(np.unique(apart[part.corpus == name])) for name in CORPORA} == expected
    task = PaperTask(dataclasses.replace(options, train_on=("disfa",), interval_frames=10))
    assert task.config.interval_s == pytest.approx(0.5) and PaperTask(options).config.interval_s == 0.4
    with pytest.raises(ValueError, match="no negative number"):
        dataclasses.replace(options, interval_frames=-1).check()


def test_the_papers_experiments_have_ten_frames(root: Path) -> None:
    """T = 10 (section V-E), in every experiment on licensed data."""
    licensed = [one for one in map(read_experiment, available()) if set(one.options.train_on) & set(CORPORA)]
    assert {one.name for one in licensed} >= {"bp4d", "cross-database", "disfa", "imagenet", "mixture", "motion"}
    assert {one.name: one.options.interval_frames for one in licensed} == dict.fromkeys([o.name for o in licensed], 10)
    for experiment in licensed:
        options = dataclasses.replace(experiment.options, data=str(root), fold=1, variant="au-tdn")
        parts = load_parts(options, 64)
        for part in (parts.train, parts.test):
            frame_at = dict(zip(part.rows[:, 1].tolist(), part.frame.tolist(), strict=True))
            numbers = np.array([[frame_at.get(r, -1) for r in row] for row in part.rows.tolist()])
            known = (numbers >= 0).all(1)
            assert set(np.unique(np.diff(numbers[known], axis=1))) == {0, 10}
        # The model says T in seconds, at the median rate of what it is trained on: 25, 20 or 30 Hz.
        rate = {"bp4d": 25.0, "disfa": 20.0, "affwild2": 30.0}
        assert parts.interval_s == pytest.approx(10 / np.median([rate[name] for name in parts.train.corpus.tolist()]))


def test_an_exported_model_says_its_interval(root: Path) -> None:
    run = call(root, "disfa", "au-tdn", after="")
    assert load_network(run)[1].interval_s == pytest.approx(0.5) and open_subject(run).interval.frames == 10
    assert Model.load(run / "model.safetensors").config.interval_s == pytest.approx(0.5)  # what export reads


def test_opening_for_a_run_tells_the_gaps(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "prepared").symlink_to(root / "prepared")
    (tmp_path / "affwild2").symlink_to(root / "affwild2")
    shutil.copytree(root / "bp4d", tmp_path / "bp4d")
    with (tmp_path / "bp4d" / "AUCoding" / "AU_OCC" / "M011_T1.csv").open("a") as file:
        file.write("657" + ",0" * len(trees.BP4D_AUS) + "\n")
    caplog.set_level(logging.INFO)
    load_parts(paper_options(tmp_path, train_on=("bp4d", "affwild2"), fold=1), 64)
    for words in (
        "bp4d: expected 328 videos, found 6; missing: F001_T3, F001_T4, F001_T5 and 319 more",
        "bp4d: expected 41 subjects, found 3",
        "bp4d: M011_T1: 1 of 15 coded frames have no picture, the first is 657",
        "affwild2: whether the copy is complete cannot be checked",
        "training: bp4d: 52 frames, 2 subjects: F001, M011",
        "training: affwild2: 24 frames, 2 subjects: video1-video2",
        "test: bp4d: 26 frames, 1 subjects: F007",
    ):
        assert words in caplog.text
    assert "affwild2: expected" not in caplog.text


def test_predictions_of_a_model_have_its_own_interval(root: Path) -> None:
    network = build("au-tdn", 15, width=8, resolution=64)
    entry = {"options": {"interval_frames": 10}}
    for config, step in (
        (ModelConfig(width=8, resolution=64), 8),
        (ModelConfig(width=8, resolution=64, interval_s=0.3), 6),
        (ModelConfig(width=8, resolution=64, provenance={"paper": entry}), 10),
    ):
        save_network(network, config, root / "interval.safetensors")
        subject = open_subject(root / "interval.safetensors")
        part = open_data(str(root), 64, "disfa", 1, interval=subject.interval)
        assert set(np.unique(np.diff(part.rows, axis=1))) == {0, step}


def test_the_commands_take_lists_and_the_models_interval(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def opened(*arguments: Any) -> Any:
        seen.append(arguments[5:7])
        raise DatasetError("seen")

    monkeypatch.setattr(figure_run, "open_data", opened)
    config = ModelConfig(width=8, resolution=64, provenance={"paper": {"options": {"interval_frames": 10}}})
    save_network(build("au-tdn", 15, width=8, resolution=64), config, tmp_path / "ten.safetensors")
    words = ["--model", str(tmp_path / "ten.safetensors"), "--data", str(root), "--out", str(tmp_path / "out")]
    words += ["--corpus", "disfa", "--fold", "1", "--lists", "mine"]
    for command in ("predict", "figures"):
        CliRunner().invoke(app, [command, *words])
    assert seen == [(Interval(0.4, 10), "mine")] * 2
    save_network(
        build("au-tdn", 15, width=8, resolution=64), ModelConfig(width=8, resolution=64), tmp_path / "s.safetensors"
    )
    refused = CliRunner().invoke(app, ["figures", *words, "--model", str(tmp_path / "s.safetensors")])
    assert "expected one interval" in str(refused.exception)


def test_a_data_set_that_is_not_prepared(root: Path, tmp_path: Path) -> None:
    for name in ("bp4d", "fan.safetensors"):
        (tmp_path / name).symlink_to(root / name)
    with pytest.raises(DatasetError, match="are not ready"):
        call(tmp_path, "bp4d", "au-fan")


def test_a_list_that_names_a_missing_frame(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("prepared", "fan.safetensors"):
        (tmp_path / name).symlink_to(root / name)
    shutil.copytree(root / "bp4d", tmp_path / "bp4d")
    with (tmp_path / "bp4d" / "splits" / "BP4D_ts1_path.txt").open("a") as file:
        file.write("F007_T1_0999.jpg\n")
    with pytest.raises(DatasetError, match=r"ts1_path\.txt:27: names F007_T1 frame 999.*--skip-missing"):
        call(tmp_path, "bp4d", "au-fan")
    found = Predictions.load(call(tmp_path, "bp4d", "au-fan", skip_missing=True, test_frames=0))
    assert len(found) == 26 and "F007_T1 frame 999" in caplog.text and "left out" in caplog.text


def test_aus_and_frames_of_a_data_set_can_be_bounded(root: Path) -> None:
    plain = paper_options(root, train_on=("bp4d", "affwild2"), fold=1)
    options = dataclasses.replace(
        plain, corpus_aus={"affwild2": (1, 2, 12)}, corpus_frames={"affwild2": 7, "bp4d": 999}
    )
    parts, whole = load_parts(options, 64), load_parts(plain, 64)
    for part, before in ((parts.train, whole.train), (parts.test, whole.test)):
        of_wild = part.corpus == "affwild2"
        known = ~np.isnan(part.labels[of_wild]).all(0)
        assert [au for au, there in zip(part.au_numbers, known, strict=True) if there] == [1, 2, 12]
        ours, theirs = part.labels[~of_wild], before.labels[before.corpus == "bp4d"]
        wanted = [before.au_numbers.index(au) for au in part.au_numbers]
        assert np.array_equal(ours, theirs[:, wanted], equal_nan=True)
    assert (parts.train.corpus == "affwild2").sum() == 7 and len(parts.test) == len(whole.test)
    assert set(whole.train.au_numbers) - set(parts.train.au_numbers) == {25, 26}
    for values, words in (
        ({"corpus_aus": {"disfa": (1,)}}, "corpus_aus: expected data sets of train_on"),
        ({"corpus_frames": {"bp4d": 0}}, "positive numbers of frames"),
        ({"corpus_aus": {"affwild2": (9,)}}, "got \\[9\\] beside"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong = dataclasses.replace(plain, **values)
            wrong.check()
            load_parts(wrong, 64)
    mixture = read_experiment("mixture").options
    assert mixture.corpus_aus == {"affwild2": (1, 2, 4, 6, 12, 15, 25)} and mixture.corpus_frames == {
        "affwild2": 227000
    }
    with pytest.raises(ExperimentError, match="corpus_frames: affwild2: expected int, got 'many'"):
        read_experiment("mixture", {"corpus_frames": {"affwild2": "many"}})


def test_neighbours_out_of_the_list_alone(root: Path, tmp_path: Path) -> None:
    """The release steps through its list: a frame that is missing there between two takes both of their neighbours."""
    (tmp_path / "bp4d").mkdir()
    for file in (root / "bp4d" / "splits").iterdir():
        lines = [line for line in file.read_text().splitlines(keepends=True) if "T1_0648" not in line]
        (tmp_path / "bp4d" / file.name).write_text("".join(lines))
    options = paper_options(root, train_on=("bp4d",), fold=1, lists=str(tmp_path), interval_frames=10)
    video, listed = (load_parts(dataclasses.replace(options, neighbours=name), 64).test for name in ("video", "list"))
    assert np.array_equal(video.frame, listed.frame)
    apart = {name: np.diff(part.rows, axis=1) for name, part in (("video", video), ("list", listed))}
    of_first = video.video == "F007_T1"
    assert (apart["video"][of_first] == 10).any() and not apart["list"][of_first].any()  # 648 lies between all pairs
    assert (apart["list"][~of_first] == 10).any()
