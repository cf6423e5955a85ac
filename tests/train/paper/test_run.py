"""Runs of the paper, small: all four variants, the loss in parts, kept features, label VAEs, the YAML."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from tests.train.paper_runs import changed, same, started, weights
from train.cli.flags import flags
from train.cli.main import app
from train.configs.experiment import ExperimentError, available, read_experiment
from train.configs.options import PaperOptions
from train.data.sequences import set_key
from train.engine import loop
from train.engine.features_cache import FeatureCache, Layout
from train.engine.loop import RunError
from train.engine.step import PRECISIONS
from train.evaluation.inference import logits_of
from train.evaluation.predictions import Predictions
from train.models import label_vae as vae
from train.models.checkpoint import load_network
from train.models.model import Model
from train.paper import run as paper_run
from train.paper.run import PaperTask, run_paper


@pytest.mark.parametrize("variant", ["au-fan", "au-vae", "au-tdn", "aunet"])
def test_every_variant_learns_and_predicts(options: PaperOptions, fan: Path, variant: str) -> None:
    options = changed(options, variant=variant, epochs=6, lr=2e-2, eval_every=6)
    before = started(options)
    batch = before.make_part(0, 0, 1)
    first = before.loss(batch)[0].item()
    run_paper(options)
    folder = Path(options.run)
    found = Predictions.load(folder)
    assert (len(found), found.variant, found.seed, found.au_numbers) == (8, variant, 1, before.au_numbers)
    assert found.flipped is not None and not np.allclose(found.flipped, found.probabilities)
    assert found.extra["train_corpus"] == "synthetic" and ("alignment_space" in found.extra) is (
        variant in ("au-vae", "aunet")
    )
    network, config = load_network(folder)
    assert network.variant == variant and config.provenance["paper"]["options"]["variant"] == variant
    after = Model.load(fan).fan.state_dict()
    assert all(torch.equal(t, after[n]) for n, t in network.get_submodule("fan").state_dict().items())
    before.model.load_state_dict(network.state_dict())
    before.train_mode()
    assert before.loss(batch)[0].item() < 0.98 * first
    assert (folder / "packages.txt").read_text() and json.loads((folder / "config.json").read_text())["environment"]
    again = before._predict([network], before.parts.test, np.arange(8))[0][0]
    np.testing.assert_allclose(again, found.probabilities, atol=1e-5)


def test_the_schedule_is_the_papers(data: Path, fan: Path, tmp_path: Path) -> None:
    options = PaperOptions(data=str(data), run=str(tmp_path), train_on=("synthetic",), fan=str(fan), samples=20)
    assert (options.lr, options.batch, options.epochs, options.weight_decay, options.gamma) == (1e-4, 64, 12, 0.0, 1.0)
    task = PaperTask(changed(options, batch=4, variant="au-tdn"))
    plan = task.plan()
    assert plan.steps == 60 and plan.batch == 4
    rates = [plan.rate(step) for step in (0, 19, 20, 39, 40, 59)]
    assert rates == pytest.approx([1, 1, 0.7, 0.7, 0.49, 0.49])
    assert [done for done in range(1, 61) if plan.evaluates(done)] == list(range(5, 61, 5))
    seen = np.concatenate([task.make_part(step, 0, 1)["labels"].numpy() for step in range(5)])
    assert np.array_equal(
        np.sort(np.nan_to_num(seen, nan=-1), 0), np.sort(np.nan_to_num(task.parts.train.labels, nan=-1), 0)
    )  # an epoch has every triplet once
    torch.manual_seed(0)
    task.train_mode()
    assert task.model.training and not task.model.get_submodule("fan").training
    assert not any(p.requires_grad for p in task.model.get_submodule("fan").parameters())


def test_the_parts_of_a_batch_add_up(options: PaperOptions) -> None:
    task = started(changed(options, cache="never"))
    labels = task.parts.train.labels
    labels[::3, 1:5] = np.nan
    labels[1::3, 3:] = np.nan  # parts with few and with many known labels
    task.model.eval()
    whole = task.make_part(0, 0, 1)
    loss, scalars = task.loss(whole)
    parts = [task.make_part(0, k, 3) for k in range(3)]
    assert [len(part["labels"]) for part in parts] == [2, 3, 3]
    assert torch.equal(torch.cat([part["crops"] for part in parts]), whole["crops"])
    shares = [task.loss(part) for part in parts]
    assert sum(share.item() for share, _ in shares) == pytest.approx(loss.item(), rel=1e-5)
    for name, value in scalars.items():
        assert sum(s[name].item() for _, s in shares) == pytest.approx(value.item(), rel=1e-5)
    assert scalars["alignment"].item() > 0


def test_kept_features_decide_as_fresh_ones(options: PaperOptions) -> None:
    fresh, kept = started(changed(options, cache="never")), started(options)
    assert fresh.batches.cache is None and kept.batches.cache is not None and not len(kept.batches.cache.missing())
    a, b = (task.make_part(1, 0, 1) for task in (fresh, kept))
    assert "crops" in a and "crops" not in b and torch.equal(a["labels"].nan_to_num(), b["labels"].nan_to_num())
    for task in (fresh, kept):
        task.model.eval()
    kept.model.load_state_dict(fresh.model.state_dict())
    torch.testing.assert_close(logits_of(fresh.model, a), logits_of(kept.model, b), rtol=2e-3, atol=2e-3)
    stamp = (kept.batches.cache.folder / "due.f16").stat().st_mtime_ns
    again = started(options)
    assert (
        again.batches.cache is not None and (again.batches.cache.folder / "due.f16").stat().st_mtime_ns == stamp
    )  # not computed anew
    other = started(changed(options, augment=True, draws=2, cache="always"))
    assert (
        other.batches.cache is not None
        and other.batches.cache.folder != again.batches.cache.folder
        and other.batches.cache.layout.rows == 32
    )
    first, second = other.make_part(0, 0, 1), other.make_part(2, 0, 1)
    assert not torch.equal(first["due"].sort(0).values, second["due"].sort(0).values)  # epochs 0 and 1: two draws
    assert started(changed(options, augment=True)).batches.cache is None  # by default not with augmentation


def test_a_cache_that_does_not_fit_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"expected room for .* GB"):
        FeatureCache(tmp_path, "key", Layout(10**9, 768, 64, True))
    assert not list(tmp_path.rglob("*.f16"))


def test_gamma_0_is_the_network_without_vae(options: PaperOptions) -> None:
    for variant, gamma in (("aunet", 0.0), ("au-tdn", 1.0), ("aunet", 1.0)):
        run_paper(changed(options, variant=variant, gamma=gamma, run=f"{options.run}-{variant}-{gamma}", epochs=1))
    run = options.run
    assert same(f"{run}-aunet-0.0", f"{run}-au-tdn-1.0") and not same(f"{run}-aunet-0.0", f"{run}-aunet-1.0")


def test_kept_features_are_those_of_the_faces_and_the_set(options: PaperOptions, data: Path, tmp_path: Path) -> None:
    def folder(task: PaperTask) -> Path:
        return task._kept_features(Path(options.run), threading.Event()).folder

    options = changed(options, variant="au-fan", samples=4, batch=4)
    task = PaperTask(options)
    first = folder(task)
    assert folder(PaperTask(options)) == first
    task.parts.train.table.points[task.parts.train.rows[0, 1]] += 1.0  # another finder's
    moved = folder(task)
    task.parts.train.rows[0, 0] = task.parts.train.rows[1, 1]  # another neighbour
    other = folder(task)
    table = task.parts.train.table
    table._margin = 1.2  # type: ignore[attr-defined]  # another square
    assert len({first, moved, other, folder(task)}) == 4
    before = set_key(data)
    (tmp_path / "set" / "shards").mkdir(parents=True)
    (tmp_path / "set" / "dataset.json").write_bytes((data / "dataset.json").read_bytes())
    for shard in (data / "shards").iterdir():
        (tmp_path / "set" / "shards" / shard.name).symlink_to(shard)
    assert set_key(tmp_path / "set") == before
    changed_shard = next((tmp_path / "set" / "shards").iterdir())
    content = changed_shard.read_bytes()
    changed_shard.unlink()
    changed_shard.write_bytes(content)
    assert set_key(tmp_path / "set") != before


def test_a_vae_of_other_labels_or_options_is_trained_anew(
    options: PaperOptions, caplog: pytest.LogCaptureFixture
) -> None:
    options = changed(options, cache="never")
    file = Path(options.run) / "vae-synthetic.safetensors"
    folder, event = Path(options.run), threading.Event()
    folder.mkdir()
    task = PaperTask(options)
    task._label_vaes(folder, event)
    stamp = file.stat().st_mtime_ns
    task._label_vaes(folder, event)
    assert file.stat().st_mtime_ns == stamp and "trained anew" not in caplog.text
    for other in (changed(options, vae_lambda=0.2), changed(options, seed=2)):
        PaperTask(other)._label_vaes(folder, event)
        assert file.stat().st_mtime_ns != stamp and "trained anew" in caplog.text
        stamp = file.stat().st_mtime_ns
        caplog.clear()
    task._label_vaes(folder, event)
    trained = vae.LabelVAE.load(file)
    labels = task.parts.train.labels
    labels[0] = np.where(np.isnan(labels[0]), labels[0], 1 - labels[0])  # another fold
    task._label_vaes(folder, event)
    assert "trained anew" in caplog.text
    assert vae.LabelVAE.load(file).provenance["labels"] != trained.provenance["labels"]
    caplog.clear()
    old = vae.LabelVAE.load(file)
    del old.provenance["labels"]  # as files once were
    old.save(file)
    task._label_vaes(folder, event)
    assert "does not say" in caplog.text and "labels" in vae.LabelVAE.load(file).provenance


def test_a_vae_shows_how_far_it_is(options: PaperOptions, capsys: pytest.CaptureFixture[str]) -> None:
    options = changed(options, cache="never", vae_epochs=3)
    seen: list[tuple[str, float, int]] = []
    Path(options.run).mkdir()
    PaperTask(options)._label_vaes(Path(options.run), threading.Event(), lambda *point: seen.append(point))
    assert [at for name, _, at in seen if name == "vae/synthetic/loss"] == [1, 2, 3]
    assert {name for name, _, _ in seen} == {f"vae/synthetic/{part}" for part in ("loss", "bce", "kl")}
    shown = capsys.readouterr().err
    assert "label VAE of synthetic" in shown and "3/3" in shown


def test_the_scalars_of_a_run(options: PaperOptions) -> None:
    run_paper(changed(options, cache="never", epochs=1))
    events = EventAccumulator(options.run).Reload()
    assert [point.step for point in events.Scalars("vae/synthetic/loss")] == [1, 2]
    assert [point.step for point in events.Scalars("train/alignment")] == [16]
    assert np.isfinite(events.Scalars("val/auc")[0].value)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_run_in_half_precision(options: PaperOptions, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(loop, "pick_dtype", lambda *_: PRECISIONS[precision])
    exact, half = (changed(options, cache="never", run=f"{options.run}-{name}") for name in ("fp32", "half"))
    run_paper(half)
    monkeypatch.undo()
    run_paper(exact)
    state = torch.load(Path(half.run) / "checkpoint.pt", weights_only=True)
    assert ("scaler" in state) is (precision == "fp16")
    a, b = (Predictions.load(run.run).probabilities for run in (exact, half))
    assert not np.array_equal(a, b) and np.abs(a - b).max() < 0.05
    assert {tensor.dtype for tensor in weights(half.run).values() if tensor.is_floating_point()} == {torch.float32}


def test_the_fan_of_the_working_directory_comes_first(
    options: PaperOptions, fan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "train")
    name = "train/checkpoints/default.safetensors"
    assert paper_run._fan(changed(options, fan=name))[1].width == 64
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(fan.read_bytes())
    assert paper_run._fan(changed(options, fan=name))[1].width == 8
    assert f"{tmp_path / name}, SHA-256 {hashlib.sha256(fan.read_bytes()).hexdigest()}" in caplog.text


def test_rare_aus_weigh_as_in_equation_1(options: PaperOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = paper_run.load_parts

    def rare(*arguments: Any) -> Any:
        parts = inner(*arguments)
        labels = np.tile(parts.train.labels[:1], (200, 1))
        labels[:, :2] = 0
        labels[:20, 0] = labels[0, 1] = 1
        parts.train.labels = labels
        return parts

    monkeypatch.setattr(paper_run, "load_parts", rare)
    weights = PaperTask(changed(options, variant="au-fan")).weights
    assert weights[1] / weights[0] == pytest.approx(20)


def test_a_run_starts_from_the_weights_of_another(options: PaperOptions) -> None:
    first = changed(options, variant="au-fan", aus=(1, 2, 12), run=f"{options.run}-first", epochs=1)
    run_paper(first)
    task = PaperTask(changed(options, variant="au-fan", aus=(2, 12, 26), init=first.run))
    before, after = load_network(first.run)[0].state_dict(), task.model.state_dict()
    last = "head.predictor.3.weight"
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("head.predictor.3"))
    assert torch.equal(after[last][:2], before[last][1:])
    with pytest.raises(ValueError, match="expected a run of au-tdn"):
        PaperTask(changed(options, variant="au-tdn", init=first.run))


def test_every_experiment_can_be_read() -> None:
    names = available()
    assert {"bp4d", "cross-database", "mixture", "disfa", "motion", "smoke", "synthetic"} <= set(names)
    tables = set()
    for name in names:
        found = read_experiment(name)
        tables |= set(found.tables)
        runs = found.runs("data", Path("out"))
        assert len({run.run for run in runs}) == len(runs) == len(found.variants) * len(found.folds) * len(found.seeds)
        if found.after:
            earlier = {run.run for run in read_experiment(found.after).runs("data", Path("out"))}
            assert {run.init for run in runs} <= earlier
    assert tables == {"III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV"}


def test_what_is_given_and_its_errors(tmp_path: Path) -> None:
    given = {"epochs": 2, "variants": ["aunet"], "lr": "1e-3", "seeds": [1, 2], "augment": False}
    found = read_experiment("mixture", given)
    assert (found.options.epochs, found.options.lr, found.variants, found.seeds) == (2, 1e-3, ("aunet",), (1, 2))
    assert not found.options.augment
    file = tmp_path / "own.yaml"
    for text, message in (
        ("title: t\nvariants: [aunet]\noptions: {train_on: [bp4d], epoch: 3}", "did you mean 'epochs'"),
        ("title: t\nvariants: [aunet]\noptions: {train_on: [bp4d], epochs: three}", "expected int, got 'three'"),
        ("title: t\nvariants: [aunet]\noptions: {train_on: bp4d}", "expected a list"),
        ("title: t\nvariants: [aunet]\noptions: {train_on: [bp4d], seed: 3}", "follows from the grid"),
        ("title: t\nvariant: [aunet]\noptions: {train_on: [bp4d]}", "did you mean 'variants'"),
        ("variants: [aunet]\noptions: {train_on: [bp4d]}", "title: expected it"),
        ("title: [", "no YAML"),
        ("title: t\nvariants: [aunet]\noptions: {train_on: [bp4d], epochs: 0}", "expected a positive number"),
    ):
        file.write_text(text)
        with pytest.raises(ExperimentError, match=message):
            read_experiment(file)
    with pytest.raises(ExperimentError, match="did you mean 'gamma'"):
        read_experiment("mixture", {"gama": 1})
    with pytest.raises(FileNotFoundError, match=r"expected a \.yaml file or one of"):
        read_experiment("nothing")


def test_the_command_passes_over_what_is_finished(data: Path, fan: Path, tmp_path: Path) -> None:
    given = {
        "fan": fan, "variants": ["au-fan", "au-tdn"], "samples": 16, "test_frames": 8, "batch": 8, "epochs": 1,
        "threads": 1, "precision": "fp32", "eval_frames": 8,
    }  # fmt: skip
    words = ["run", "smoke", "--data", data, "--out", tmp_path]
    words += flags(given)
    runner = CliRunner()

    def call(*more: object) -> Any:
        return runner.invoke(app, [str(word) for word in (*words, *more)])

    listed = call("--dry").output.split()
    assert [Path(line).name for line in listed] == ["au-fan-seed1", "au-tdn-seed1"]
    assert call().exit_code == 0
    runs = [tmp_path / "smoke" / name for name in ("au-fan-seed1", "au-tdn-seed1")]
    stamps = [(run / "predictions.npz").stat().st_mtime_ns for run in runs]
    repeated = read_experiment(runs[0] / "experiment.yaml")
    assert repeated.variants == ("au-fan",) and repeated.options.samples == 16 and repeated.options.fan == str(fan)
    (runs[1] / "predictions.npz").unlink()
    refused = call()
    assert isinstance(refused.exception, RunError) and "--resume" in str(refused.exception)
    assert call("--resume").exit_code == 0
    assert (runs[0] / "predictions.npz").stat().st_mtime_ns == stamps[0] and (runs[1] / "predictions.npz").exists()
    assert "mixture" in runner.invoke(app, ["run"]).output


def test_the_smoke_experiment(data: Path, tmp_path: Path) -> None:
    """All four variants of train/configs/experiments/smoke.yaml on a quarter of its data, with the FAN that ships, and
    their table."""
    runner = CliRunner()
    words = ["run", "smoke", "--data", str(data), "--out", str(tmp_path)]
    words += ["--samples", "8", "--batch", "8", "--test-frames", "4", "--eval-frames", "4", "--epochs", "1"]
    words += ["--eval-every", "1", "--no-flip"]
    done = runner.invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    runs = sorted(path.name for path in (tmp_path / "smoke").iterdir())
    assert runs == ["au-fan-seed1", "au-tdn-seed1", "au-vae-seed1", "aunet-seed1"]
    shown = runner.invoke(app, ["tables", str(tmp_path), "--table", "VII"], catch_exceptions=False).output
    average = next(line for line in shown.splitlines() if "Avg" in line)
    assert sum(char.isdigit() for char in average) > 8 and "not comparable with the paper" in " ".join(shown.split())
