"""Options that make a run faster and leave its result as it is: who prepares the crops, who cuts them, the compiler."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.train.paper_runs import changed, paper_options, same, started
from train.configs.options import PaperOptions
from train.data.sequences import DatasetError
from train.data.transforms.device import unpack
from train.engine.loader import process_batches
from train.engine.loop import RunError, Stopped
from train.engine.meter import Meter
from train.evaluation.predictions import Predictions
from train.paper.run import PaperTask, run_paper


@pytest.fixture
def options(data: Path, fan: Path, tmp_path: Path) -> PaperOptions:
    return paper_options(data, fan, tmp_path / "run", augment=True, epochs=1)


def test_processes_give_the_run_that_threads_give(options: PaperOptions) -> None:
    other = changed(options, run=f"{options.run}-processes", loader="processes", workers=2)
    run_paper(options)
    run_paper(other)
    assert same(options.run, other.run)


def test_what_fails_in_a_process_comes_out_as_it_was() -> None:
    def make(step: int) -> dict[str, torch.Tensor]:
        if step == 3:
            raise DatasetError(f"{os.getpid()}: no picture")
        return {"step": torch.tensor(step)}

    seen = []
    with pytest.raises(DatasetError, match=r"^\d+: no picture$") as error:
        for batch in process_batches(make, 1, 9, workers=2):
            seen.append(int(batch["step"]))
    assert seen == [1, 2] and not str(error.value).startswith(str(os.getpid()))


def test_a_process_that_dies_is_an_error_that_says_what_to_do() -> None:
    def make(step: int) -> dict[str, torch.Tensor]:
        if step == 2:
            os._exit(9)
        return {"step": torch.tensor(step)}

    with pytest.raises(RunError, match=r"loader: .* one ended .*take fewer workers, or --loader threads"):
        list(process_batches(make, 0, 6, workers=1))


def test_ctrl_c_is_the_first_process_business(options: PaperOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    options = changed(options, loader="processes", workers=2, epochs=2)
    inner = PaperTask.loss

    def loss(self: PaperTask, batch: dict[str, torch.Tensor]) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return inner(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(PaperTask, "loss", loss)
        with pytest.raises(Stopped, match="step 1 of 4"):
            run_paper(options)
    run_paper(options, resume=True)
    whole = changed(options, run=f"{options.run}-whole", loader="threads")
    run_paper(whole)
    assert same(options.run, whole.run)


def test_a_run_on_crops_that_the_device_cuts(options: PaperOptions) -> None:
    options = changed(options, augment_on="device", samples=8, batch=4)
    task = started(options)
    batch = task.make_part(1, 0, 1)
    assert "crops" not in batch and batch["pixels"].shape[:2] == (4, 3)
    again = unpack(task.make_part(1, 0, 1), 64)
    assert torch.equal(unpack(batch, 64), again) and again.shape == (4, 3, 64, 64, 3)
    run_paper(options)
    assert np.isfinite(Predictions.load(options.run).probabilities).all()
    with pytest.raises(ValueError, match="--cache never"):
        changed(options, cache="always", draws=1).check()


def test_without_augmentation_the_device_cuts_the_same_crops(options: PaperOptions) -> None:
    plain = changed(options, augment=False, cache="never")
    wanted = started(plain).make_part(0, 0, 1)["crops"].int()
    got = unpack(started(changed(plain, augment_on="device")).make_part(0, 0, 1), 64).int()
    assert (got - wanted).abs().max() <= 2


def test_a_compiled_network_says_the_same(options: PaperOptions) -> None:
    """By the back end that runs the graph as it is: what is compiled, and that weights keep their names."""
    task = started(options)
    names, batch = list(task.model.state_dict()), task.make_part(0, 0, 1)
    task.model.eval()
    expected = task.loss(batch)[0]
    task.compile(backend="eager")
    torch.testing.assert_close(task.loss(batch)[0], expected)
    assert list(task.model.state_dict()) == names
    assert all(module._compiled_call_impl is not None for module in task.model.children())


def test_scalars_are_read_when_they_are_asked_for() -> None:
    """They stay tensors of their device until then: each would make the host wait for the step."""
    meter = Meter()
    for value in (1.0, 2.0, 6.0):
        meter.add(4, {"loss": torch.tensor(value, dtype=torch.float16, requires_grad=True)})
    held = meter.sums["loss"]
    assert isinstance(held, torch.Tensor) and held.dtype == torch.float32 and not held.requires_grad
    assert meter.read()["loss"] == 3.0 and not meter.sums
