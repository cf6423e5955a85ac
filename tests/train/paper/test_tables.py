"""Tables III-XIV: the paper's figures as printed, ours in the right place, dashes elsewhere."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from train.cli.main import app
from train.evaluation import protocol
from train.evaluation.predictions import Predictions
from train.paper import published as paper
from train.paper import table as written
from train.paper import tables
from train.paper.f1_tables import COMMON

BP4D = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
N = 60


def run(
    variant: str,
    skill: float,
    corpus: str = "bp4d",
    au_numbers: tuple[int, ...] = BP4D,
    flipped: bool = False,
    **rest: object,
) -> Predictions:
    """Labels that alternate; of the positives the share `skill` is found, and nothing else: F1 = 2 s / (1 + s)."""
    labels = np.tile((np.arange(N) % 2 == 0).astype(np.float32)[:, None], (1, len(au_numbers)))
    found = np.zeros(N, bool)
    found[np.flatnonzero(labels[:, 0])[: round(skill * N / 2)]] = True
    probabilities = np.repeat(np.where(found, 0.9, 0.1)[:, None], len(au_numbers), 1)
    mirrored = np.where(labels > 0, 0.95, 0.05) if flipped else None
    names = [f"{corpus}{i % 7}" for i in range(N)]
    values = {"video": names, "frame": np.arange(N), "subject": names, "au_numbers": au_numbers, "corpus": corpus}
    return Predictions(probabilities, labels, **values, variant=variant, flipped=mirrored, **rest)  # type: ignore[arg-type]


def cell(table: written.Table, row: str, heading: str, whose: str = "ours") -> str:
    return next(r for r in table.rows if r[0] == row)[1 + table.columns.index((heading, whose))]


@pytest.mark.parametrize("number", paper.NUMBERS)
def test_without_runs_the_paper_stands_alone(number: str) -> None:
    table = tables.build(number, [])
    assert table.number == number and all(len(row) == 1 + len(table.columns) for row in table.rows)
    for row in table.rows:
        for (heading, whose), text in zip(table.columns, row[1:], strict=True):
            if whose != "paper" and number != "VI" and heading != "Model size (M)":
                assert text == written.DASH
    assert any(text != written.DASH for row in table.rows for text in row[1:])


def test_the_papers_own_averages() -> None:
    """A typing error in a column would show here; what is left are the paper's own contradictions."""
    assert {(number, name) for number, name, *_ in paper.mismatched_averages()} == {
        ("III", "JÄANet"), ("VII", "AU-FAN"), ("IX", "AU-TDN"), ("XIII", "DRML"), ("XIII", "JÄANet"),
        ("XIII", "SRERL"), ("XIV", "DRML"),
    }  # fmt: skip
    aunet = next(m for m in paper.F1_TABLES["XIII"].methods if m.name == "AUNet")
    assert aunet.average == 65.0 and aunet.f1[0] == 58.0
    assert sum(len(t.methods) for t in paper.F1_TABLES.values()) == 4 + 4 + 4 + 4 + 4 + 4 + 11 + 11


def test_ours_stands_beside_the_papers() -> None:
    runs = [run("au-fan", 0.5, fold=f) for f in (1, 2, 3)] + [run("resnet18", 1.0)]
    table = tables.build("III", runs)
    assert cell(table, "AU12", "AU-FAN", "paper") == "88.8" and cell(table, "AU12", "AU-FAN") == "66.7"
    assert cell(table, "Avg", "AU-FAN") == "66.7" and cell(table, "Avg", "ResNet18") == "100.0"
    assert cell(table, "folds x seeds", "AU-FAN") == "3 x 1" and cell(table, "± over folds", "AU-FAN") == "0.0"
    assert cell(table, "Avg", "ResNet18, ImageNet", "paper") == "61.5"
    assert ("JÄANet", "ours") not in table.columns and "ours:" not in table.heading
    assert cell(tables.build("IV", runs), "AU12", "AU-FAN") == written.DASH


def test_seeds_give_a_spread() -> None:
    table = tables.build("III", [run("au-fan", 0.5, seed=1), run("au-fan", 1.0, seed=2)])
    spread = 100 * np.std([2 / 3, 1], ddof=1)
    assert cell(table, "Avg", "AU-FAN") == f"{100 * 5 / 6:.1f}±{spread:.1f}"
    assert any("seeds" in note for note in table.notes)


def test_the_training_set_decides_the_table() -> None:
    mixture = run("aunet", 0.5, extra={"train_corpus": "mixture"})
    label = run("aunet", 1.0, extra={"train_corpus": "mixture", "alignment_space": "label"})
    seventh = tables.build("VII", [mixture, label])
    assert cell(seventh, "Avg", "AUNet") == "66.7" and cell(seventh, "Avg", "AUNet, label space") == "100.0"
    assert cell(tables.build("XIII", [mixture]), "Avg", "AUNet") == written.DASH
    cross = run("au-fan", 1.0, "disfa", (1, 2, 4, 6, 12), extra={"train_corpus": "bp4d"})
    assert cell(tables.build("IV", [cross]), "AU6", "AU-FAN") == "100.0"


def test_the_average_over_the_aus_of_both() -> None:
    """AffWild2 in its annotation of 12 AUs has AUs that Table IX lacks."""
    twelve = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
    one = run("au-fan", 1.0, "affwild2", twelve, extra={"train_corpus": "mixture"})
    one.probabilities[:, 4:6] = 0.1  # AU7 and AU10, which the paper does not have, are never found
    other = run("aunet", 1.0, "affwild2", twelve, extra={"train_corpus": "mixture"})
    other.labels[:, 10] = 0  # no AU25: it has no F1, and the paper's 0.0 is left out, too
    ninth = tables.build("IX", [one, other])
    assert cell(ninth, "Avg", "AU-FAN") == "83.3" and cell(ninth, COMMON, "AU-FAN") == "100.0"
    assert cell(ninth, "Avg", "AU-FAN", "paper") == "36.7"
    assert cell(ninth, COMMON, "AU-FAN", "paper") == f"{(74.8 + 0 + 65.9 + 12 + 45.4 + 59) / 6:.1f}"
    assert cell(ninth, COMMON, "AU-VAE") == written.DASH
    assert any("over AU1, AU2, AU4, AU6, AU12, AU15, which" in note for note in ninth.notes)
    same = tables.build("III", [run("au-fan", 1.0)])
    assert COMMON not in [row[0] for row in same.rows]
    mixture = {"train_corpus": "mixture"}
    seeds = [run("au-fan", s, "affwild2", twelve, seed=k, extra=mixture) for k, s in ((1, 1.0), (2, 0.5))]
    assert "±" in cell(tables.build("IX", seeds), COMMON, "AU-FAN")


def test_flip_averaging_has_a_column_of_its_own() -> None:
    table = tables.build("XIII", [run("aunet", 0.5, flipped=True)])
    assert cell(table, "Avg", "AUNet") == "66.7" and cell(table, "Avg", "AUNet", "ours, flip") == "100.0"
    assert cell(tables.build("III", [run("au-fan", 0.5, flipped=True)], flip=True), "Avg", "AU-FAN") == "100.0"


def test_the_synthetic_set_stands_in_and_says_so() -> None:
    fifteen = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26)
    runs = [run("au-fan", 0.5, "synthetic", fifteen), run("aunet", 1.0, "synthetic", fifteen)]
    table = tables.build("VII", runs)
    assert "not comparable" in table.heading and "synthetic" in table.heading
    assert cell(table, "AU26", "AU-FAN", "ours, synthetic") == "66.7"
    assert cell(table, "AU26", "AU-FAN", "paper") == written.DASH
    assert cell(table, "AU1", "AU-FAN", "paper") == "54.9"
    fourth = tables.build("IV", runs)  # one data set is no cross-data-set test
    assert all(
        text == written.DASH
        for row in fourth.rows
        for (_, w), text in zip(fourth.columns, row[1:], strict=True)
        if w != "paper"
    )
    mixed = tables.build("VII", [*runs, run("au-fan", 0.5, extra={"train_corpus": "mixture"})])
    assert "not comparable" not in mixed.heading and cell(mixed, "AU1", "AU-FAN") == "66.7"
    asked = tables.build("VII", [*runs, run("au-fan", 0.5)], data_set="synthetic")
    assert cell(asked, "AU1", "AUNet", "ours, synthetic") == "100.0"


def test_dependencies_motion_and_t_tests() -> None:
    mixture = {"extra": {"train_corpus": "mixture"}}
    runs = [run("au-fan", 0.5, **mixture), run("au-vae", 1.0, **mixture), run("au-tdn", 0.8, **mixture)]
    tenth = tables.build("X", runs)
    # Found halves: every AU pair still goes together, precision 1, recall .5.
    assert cell(tenth, "Dependency F1, AU-FAN", "BP4D") == "66.7"
    assert cell(tenth, "Dependency F1, AU-VAE more than AU-FAN by (points)", "BP4D") == "33.3"
    assert cell(tenth, "Dependency F1, AU-VAE more than AU-FAN by (points)", "DISFA", "paper") == "3.1"
    eleventh = tables.build("XI", runs)
    assert eleventh.rows[0][3:] == ("64.9", "88.9") and eleventh.rows[1][4] == written.DASH
    assert eleventh.rows[0][1:3] == ("2.66", "2.66")  # our AU-TDN has the paper's parameters
    twelfth = tables.build("XII", runs)
    assert cell(twelfth, "AU-VAE", "t", "paper") == "-26.78" and float(cell(twelfth, "AU-VAE", "t")) < -1
    assert cell(twelfth, "AU-VAE", "pairs") == str(N * 12) and cell(twelfth, "AUNet", "t") == written.DASH
    assert cell(twelfth, "AU-VAE", "p, F1 of subjects (n)").endswith("(7)")


def test_dependencies_on_the_synthetic_set_have_a_column_of_their_own() -> None:
    runs = [run("au-fan", 0.5, "synthetic"), run("au-vae", 1.0, "synthetic")]
    for asked in (None, "synthetic"):
        tenth = tables.build("X", runs, data_set=asked)
        assert cell(tenth, "Dependency F1, AU-FAN", "synthetic") == "66.7"
        assert cell(tenth, "Dependency F1, AU-VAE more than AU-FAN by (points)", "synthetic") == "33.3"
        assert cell(tenth, "Dependency F1, AU-FAN", "BP4D") == written.DASH


def test_table_six_asks_our_networks() -> None:
    for row in tables.build("VI", []).rows:
        assert row[1::2] == row[2::2]


def test_unknown_tables_and_ambiguous_runs() -> None:
    with pytest.raises(ValueError, match="III, IV"):
        tables.build("II", [])
    with pytest.raises(ValueError, match="several of seed 0"):
        tables.build("III", [run("au-fan", 0.5), run("au-fan", 0.6)])


def test_experiments_that_hold_the_same_run_twice() -> None:
    """bp4d and cross-database both train AU-FAN on BP4D: each table takes its own."""

    def of(experiment: str, skill: float, **extra: str) -> Predictions:
        return run("au-fan", skill, fold=1, seed=1, extra={"train_corpus": "bp4d", "experiment": experiment, **extra})

    runs = [of("bp4d", 1.0), of("cross-database", 0.5), of("vae-lambda-2", 0.1, vae_lambda="0.2")]
    assert cell(tables.build("III", runs), "Avg", "AU-FAN") == "66.7"
    assert cell(tables.build("XIII", runs), "Avg", "AU-FAN") == "100.0"
    with pytest.raises(ValueError, match="mine, yours"):
        tables.build("III", [of("mine", 1.0), of("yours", 0.5)])
    other_fold = run("au-fan", 0.5, fold=2, seed=1, extra={"experiment": "yours"})
    assert cell(tables.build("III", [of("mine", 1.0), other_fold]), "folds x seeds", "AU-FAN") == "2 x 1"


def test_the_commands(tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / "paper" / "mine" / f"au-fan-seed{seed}").mkdir(parents=True)
        run("au-fan", 0.5, "synthetic", seed=seed, flipped=True).save(tmp_path / "paper/mine" / f"au-fan-seed{seed}")
    runner = CliRunner()
    out, markdown = tmp_path / "csv", tmp_path / "tables.md"
    result = runner.invoke(
        app,
        [
            "tables",
            str(tmp_path / "paper"),
            "--table",
            "III",
            "--table",
            "X",
            "--csv",
            str(out),
            "--markdown",
            str(markdown),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "Table III" in result.output and "[ours: trained on synthetic" in " ".join(result.output.split())
    with (out / "table_III.csv").open(newline="") as file:
        rows = {row[0]: row for row in csv.reader(file)}
    assert rows["AU1"][rows[""].index("AU-FAN (ours, synthetic)")] == "66.7±0.0"
    assert rows["AU1"][rows[""].index("ResNet18 (ours, synthetic)")] == ""
    lines = markdown.read_text().splitlines()
    assert (
        lines[0].startswith("**Table III") and len({line.count("|") for line in lines if line.startswith("| AU")}) == 1
    )
    report = tmp_path / "report.json"
    result = runner.invoke(app, ["score", str(tmp_path / "paper" / "mine"), "--flip", "--json", str(report)])
    assert result.exit_code == 0 and "au-fan: synthetic -> synthetic" in result.output
    read = json.loads(report.read_text())
    assert (
        read[0]["group"]["experiment"] == "mine"
        and read[0]["average"] == 1.0
        and read[0]["seeds"] == [1, 2]
        and read[0]["fold_spread"] is None
    )
    assert read[0]["dependency_f1"] == 1.0


def test_presets_are_not_mixed() -> None:
    both = [run("aunet", 0.5, seed=1), run("aunet", 0.8, seed=1, extra={"preset": "release", "vae_lambda": "0.3"})]
    with pytest.raises(ValueError, match="got paper and release; choose one"):
        tables.build("XIII", both)
    assert cell(tables.build("XIII", both, preset="paper"), "Avg", "AUNet") == f"{100 * 1 / 1.5:.1f}"
    release = tables.build("XIII", both, preset="release")
    assert cell(release, "Avg", "AUNet") == f"{100 * 1.6 / 1.8:.1f}" and "Ours: preset release." in release.notes


def test_folds_pooled_beside_their_mean() -> None:
    folds = [run("aunet", skill, fold=fold) for fold, skill in ((1, 0.2), (2, 1.0))]
    table = tables.build("XIII", folds)
    found, wanted = 0.6, 1.0  # of the positives of both folds, 6 of 10 are found, and nothing else
    assert cell(table, "F1, folds pooled", "AUNet") == f"{100 * 2 * found / (found + wanted):.1f}"
    assert cell(table, "Avg", "AUNet") == f"{100 * (0.4 / 1.2 + 1.0) / 2:.1f}"


def test_table_twelve_has_all_folds_of_every_variant() -> None:
    rng = np.random.default_rng(0)
    runs = []
    for variant in ("au-fan", "au-vae", "au-tdn", "aunet"):
        for fold in (1, 2, 3):
            one = run(variant, 0.5, fold=fold, extra={"train_corpus": "mixture"})
            names = np.array([f"{fold}{name}" for name in one.video])
            drawn = np.clip(one.probabilities + 0.05 * rng.random(one.probabilities.shape), 0, 1)
            runs.append(dataclasses.replace(one, video=names, subject=names, probabilities=drawn))
    table = tables.build("XII", runs)
    assert [row[0] for row in table.rows] == ["AU-VAE", "AU-TDN", "AUNet"]
    assert {cell(table, row[0], "pairs") for row in table.rows} == {str(3 * N * len(BP4D))}
    assert any("folds 1, 2, 3 together" in note for note in table.notes)


def test_the_best_epoch_is_that_of_the_test_part(tmp_path: Path) -> None:
    folder = tmp_path / "bp4d" / "aunet-fold1-seed1-release"
    (folder / "epochs").mkdir(parents=True)
    last = run("aunet", 0.4, fold=1, extra={"preset": "release"})
    last.save(folder)
    with pytest.raises(ValueError, match="expected runs with kept epochs for best"):
        protocol.read_runs([folder], "best")
    for epoch, skill in ((1, 0.2), (2, 0.8), (3, 0.4)):
        kept = run("aunet", skill, fold=1, extra={"preset": "release", "epoch": str(epoch)})
        kept.save(folder / "epochs" / f"predictions-{epoch:03d}.npz")
    (best,) = protocol.read_runs([folder], "best")
    other = tmp_path / "bp4d" / "resnet18-fold1-seed1-release"
    other.mkdir()
    run("resnet18", 0.4, fold=1, extra={"preset": "release"}).save(other)
    assert [one.extra.get("chosen_epoch") for one in protocol.read_runs([folder, other], "best")] == ["best", None]
    assert best.extra["epoch"] == "2" and best.extra["experiment"] == "bp4d"
    table = tables.build("XIII", [best])
    assert cell(table, "Avg", "AUNet") == f"{100 * 1.6 / 1.8:.1f}" and "best on the test part" in table.notes[-1]
    assert cell(tables.build("XIII", protocol.read_runs([folder])), "Avg", "AUNet") == f"{100 * 0.8 / 1.4:.1f}"
    with pytest.raises(ValueError, match="expected last or best"):
        protocol.read_runs([folder], "first")
