"""Real training runs, small: the loss falls, a resumed run is the unbroken one, the commands hang together."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from train.cli.main import app, main
from train.configs.options import AUNetOptions, FanOptions, PointsOptions
from train.data.sequences import load_split
from train.engine.loader import batches
from train.engine.loop import RunError, Stopped, learning_rate, train
from train.evaluation.sequences import predict
from train.models.model import Model
from train.recipes.aunet_task import AUNetTask
from train.recipes.fan_task import FanTask
from train.recipes.points_task import PointsTask


def fan_options(data: Path, run: Path, samples: int = 480) -> FanOptions:
    return FanOptions(
        data=str(data), run=str(run), samples=samples, batch=16, lr=4e-3, width=16, resolution=64, ema=0.85, threads=1,
        precision="fp32", eval_every=100_000, eval_frames=16,
    )  # fmt: skip


def aunet_options(data: Path, run: Path, samples: int = 16, **values: object) -> AUNetOptions:
    return AUNetOptions(
        data=str(data), run=str(run), samples=samples, batch=4, threads=1, precision="fp32", eval_every=100_000,
        eval_frames=16, **values,  # type: ignore[arg-type]
    )  # fmt: skip


def same(first: Path, second: Path) -> bool:
    a, b = (Model.load(path / "model.safetensors").state_dict() for path in (first, second))
    return all(torch.equal(a[name], b[name]) for name in a)


def scalars(run: Path, name: str) -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run)).Reload()
    return [event.value for event in events.Scalars(name)]


@pytest.fixture(scope="module")
def fan_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "fan"
    options = fan_options(data, run, samples=960)
    train(FanTask(options), options)
    return run


def test_fan_learns(fan_run: Path, data: Path) -> None:
    losses = scalars(fan_run, "train/loss")
    assert len(losses) == 3 and losses[-1] < 0.7 * losses[0]
    results = json.loads((fan_run / "results.json").read_text())
    assert results["nme_inner"] < 0.45
    assert results["confidence_face"] > 1.1 * results["confidence_none"]
    model = Model.load(fan_run / "model.safetensors")
    entry = model.config.provenance["fan"]
    assert entry["samples"] == 960 and entry["options"]["seed"] == 1 and entry["revision"]
    config = json.loads((fan_run / "config.json").read_text())
    assert config["environment"]["torch"] == torch.__version__ and (fan_run / "train.log").read_text()
    assert torch.load(fan_run / "checkpoint.pt", weights_only=True)["step"] == 60
    found = predict(model, load_split(data, "val"), heads=False)
    assert np.nanmean(np.abs(found.points - found.truth)) < 9


def test_another_resolution_goes_on_from_the_same_weights(fan_run: Path, data: Path, tmp_path: Path) -> None:
    options = aunet_options(data, tmp_path / "run", samples=8, init=str(fan_run), joint=True, resolution=128)
    task = AUNetTask(options)
    assert task.make_batch(0)["crops"].shape[1:] == (128, 128, 3)
    first = Model.load(fan_run / "model.safetensors")
    torch.testing.assert_close(task.model.state_dict(), first.state_dict())
    train(task, options)
    assert (first.config.resolution, Model.load(tmp_path / "run" / "model.safetensors").config.resolution) == (64, 128)
    with pytest.raises(ValueError, match="expected a positive multiple of 64, got 96"):
        AUNetTask(aunet_options(data, tmp_path / "other", init=str(fan_run), resolution=96))


def stop_after(task: FanTask | AUNetTask, step: int) -> None:
    """Send this process a SIGTERM while the loss of a step is computed."""
    inner, count = task.loss, [0]

    def loss(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        count[0] += 1
        if count[0] == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(batch)

    task.loss = loss  # type: ignore[method-assign]


def test_a_resumed_fan_run_is_the_unbroken_one(data: Path, tmp_path: Path) -> None:
    options = fan_options(data, tmp_path / "whole", samples=96)
    train(FanTask(options), options)
    options = fan_options(data, tmp_path / "broken", samples=96)
    task = FanTask(options)
    stop_after(task, 2)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="step 2 of 6; continue with --resume"):
        train(task, options)
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(RunError, match="add --resume"):
        train(FanTask(options), options)
    other = FanOptions(**{**vars(options), "lr": 1.0})
    with pytest.raises(RunError, match=r"lr 0\.004 -> 1\.0"):
        train(FanTask(other), other, resume=True)
    train(FanTask(options), options, resume=True)
    assert same(tmp_path / "whole", tmp_path / "broken")


def test_a_run_is_told_of_other_shards_and_goes_on(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "set"
    (place / "shards").mkdir(parents=True)
    for file in ("dataset.json", *(f"shards/{shard.name}" for shard in (data / "shards").iterdir())):
        (place / file).symlink_to(data / file)
    options = fan_options(place, tmp_path / "run", samples=48)
    task = FanTask(options)
    stop_after(task, 1)
    with pytest.raises(Stopped):
        train(task, options)
    shard = next((place / "shards").iterdir())
    content = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(content)
    stop_after(task := FanTask(options), 1)
    with pytest.raises(Stopped, match="step 2 of 3"):
        train(task, options, resume=True)
    warning = f"{place} is not as it was at the last checkpoint"
    assert warning in caplog.text and warning in (tmp_path / "run" / "train.log").read_text()
    caplog.clear()
    train(FanTask(options), options, resume=True)
    assert warning not in caplog.text


@pytest.mark.parametrize("joint", [False, True])
def test_aunet_runs_resume_and_leave_or_move_fan(fan_run: Path, data: Path, tmp_path: Path, joint: bool) -> None:
    options = aunet_options(data, tmp_path / "whole", fan=str(fan_run), joint=joint)
    results = train(AUNetTask(options), options)
    assert {"nme_inner", "aunet_auc", "points_f1", "points_auc_none"} <= results.keys()
    options = aunet_options(data, tmp_path / "broken", fan=str(fan_run), joint=joint)
    task = AUNetTask(options)
    stop_after(task, 2)
    with pytest.raises(Stopped):
        train(task, options)
    train(AUNetTask(options), options, resume=True)
    assert same(tmp_path / "whole", tmp_path / "broken")
    before, after = Model.load(fan_run / "model.safetensors"), Model.load(tmp_path / "whole" / "model.safetensors")
    still = all(
        torch.equal(a, b)
        for a, b in zip(before.fan.state_dict().values(), after.fan.state_dict().values(), strict=True)
    )
    assert still is not joint
    assert set(after.config.provenance) == {"fan", "aunet"}


def test_heads_learn_from_sequences(fan_run: Path, data: Path, tmp_path: Path) -> None:
    options = aunet_options(data, tmp_path / "run", samples=400, fan=str(fan_run), lr=3e-3, ema=0.9)
    train(AUNetTask(options), options)
    losses = scalars(tmp_path / "run", "train/points")
    assert len(losses) == 4 and losses[-1] < losses[0] - 0.02


def test_contexts_are_drawn_within_the_sequence(fan_run: Path, data: Path, tmp_path: Path) -> None:
    task = AUNetTask(aunet_options(data, tmp_path, fan=str(fan_run)))
    own = torch.arange(16)
    seen = set()
    for step in range(20):
        batch = task.make_batch(step)
        assert torch.equal(batch["former"] // 4, own // 4) and torch.equal(batch["later"] // 4, own // 4)
        seen |= {(int(a), int(b)) for a, b in zip(batch["former"] - own, batch["later"] - own, strict=True)}
        repeated = task.make_batch(step)
        assert all(torch.equal(batch[k].nan_to_num(), repeated[k].nan_to_num()) for k in batch)
    assert seen == {(-1, 1), (-1, 0), (0, 1), (0, 0)}


def test_commands(fan_run: Path, data: Path, tmp_path: Path) -> None:
    runner = CliRunner()

    def run(*arguments: object) -> str:
        result = runner.invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    run("init", "--width", 16, "--resolution", 64, "--out", tmp_path / "m.safetensors")
    run(
        "calibrate",
        "--model",
        tmp_path / "m.safetensors",
        "--data",
        data,
        "--out",
        tmp_path / "c.safetensors",
        "--half",
        "--threads",
        1,
    )
    config = Model.load(tmp_path / "c.safetensors").config
    assert set(config.thresholds) == {"aunet", "points"} and set(config.thresholds["points"]) == {0.5}
    text = run(
        "evaluate", "--model", tmp_path / "c.safetensors", "--data", data, "--json", tmp_path / "r.json", "--threads", 1
    )
    assert "AU12" in text and "Groups" in text
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["thresholds"]["points"] == list(config.thresholds["points"])
    assert set(report["groups"]) == {"black", "white"} and report["identities"] == 3
    assert len(report["heads"]["aunet"]["full"]["auc"]) == 15 and report["landmarks"]["nme_inner"] > 0
    assert report["heads"]["points"]["full"]["known"][0] < report["heads"]["points"]["none"]["known"][0]
    (tmp_path / "card.md").write_text("Words.\n<!-- tables: begin -->\nthe former table\n<!-- tables: end -->\nMore.\n")
    run("card", tmp_path / "card.md", "--model", tmp_path / "c.safetensors", "--report", tmp_path / "r.json")
    card = (tmp_path / "card.md").read_text()
    assert card.startswith("Words.") and card.endswith("More.\n") and "former" not in card
    assert "--model train/checkpoints/c.safetensors" in card and "| AU12 |" in card
    assert "--joint" in run("aunet", "--help") and "--resume" in run("fan", "--help")


def test_ctrl_c_outside_the_loop_ends_with_130(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.data.sequences.load_split", interrupted)
    monkeypatch.setattr(sys, "argv", ["train", "evaluate", "--model", "absent", "--data", str(data)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130


def test_reordered_aus_are_refused(fan_run: Path, data: Path, tmp_path: Path) -> None:
    for file in ("dataset.json", "shards"):
        (tmp_path / file).symlink_to(data / file)
    info = json.loads((data / "dataset.json").read_text())
    (tmp_path / "dataset.json").unlink()
    (tmp_path / "dataset.json").write_text(json.dumps(info | {"au_numbers": [*info["au_numbers"][:-1], 27]}))
    with pytest.raises(ValueError, match="AUs of the model"):
        AUNetTask(aunet_options(tmp_path, tmp_path / "run", fan=str(fan_run)))
    with pytest.raises(ValueError, match="--fan"):
        AUNetTask(aunet_options(data, tmp_path / "run"))


def test_batches_come_in_order_and_errors_come_through() -> None:
    names = set()

    def make(step: int) -> int:
        names.add(threading.current_thread().name)
        if step == 7:
            raise ValueError("torn image")
        return step

    seen = []
    with pytest.raises(ValueError, match="torn image"):
        for value in batches(make, 2, 20):
            seen.append(value)
    assert seen == [2, 3, 4, 5, 6] and threading.current_thread().name not in names


def test_schedule_rises_and_falls() -> None:
    rates = [learning_rate(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == 1 and rates.index(1.0) in (9, 10) and rates[-1] < 0.01
    assert all(np.diff(rates[10:]) < 0)


def test_points_head_learns_on_pooled_features(fan_run: Path, data: Path, tmp_path: Path) -> None:
    options = PointsOptions(
        data=str(data), run=str(tmp_path / "points"), init=str(fan_run), samples=960, batch=4, passes=2, threads=1,
        precision="fp32", eval_every=100_000, eval_frames=16,
    )  # fmt: skip
    task = PointsTask(options)
    assert task.pooled.shape[0] == 2 and not torch.equal(task.pooled[0], task.pooled[1])  # augmented anew
    train(task, options)
    losses = scalars(tmp_path / "points", "train/points")
    assert losses[-1] < 0.9 * losses[0]
    before, after = Model.load(fan_run / "model.safetensors"), Model.load(tmp_path / "points" / "model.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(before.fan.parameters(), after.fan.parameters(), strict=True))
