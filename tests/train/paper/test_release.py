"""The preset `release` against a transcription of the authors' training step: the same loss and the same gradient."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.train.paper_runs import changed, paper_options
from train.configs.experiment import ExperimentError, read_experiment
from train.configs.options import PaperOptions
from train.configs.presets import PRESETS, preset_values
from train.data.transforms.triplets import AUGMENTATIONS
from train.data.triplets import _in_list, _neighbour
from train.engine.distributed import Group
from train.losses.alignment import Alignment, alignment_loss
from train.models.aunet_head import AUNetHead
from train.models.config import ModelConfig
from train.models.label_vae import LabelVAE, VAEOptions
from train.models.model import Model
from train.paper.label_vaes import train_vae
from train.paper.run import PaperTask

State = dict[str, Tensor]


def conv_block(state: State, name: str, x: Tensor) -> Tensor:
    """The block of figure 5 by its tensors: batch norms look at the batch, as in training."""

    def normed(norm: str, value: Tensor) -> Tensor:
        return functional.relu(
            functional.batch_norm(value, None, None, state[f"{name}.{norm}.weight"], state[f"{name}.{norm}.bias"], True)
        )

    parts = [x]
    for k in (1, 2, 3):
        parts.append(functional.conv2d(normed(f"bn{k}", parts[-1]), state[f"{name}.conv{k}.weight"], padding=1))
    return torch.cat(parts[1:], 1) + x


def released_logits(state: State, due: Tensor, former: Tensor, later: Tensor) -> Tensor:
    """The released head in training mode: whole differences, pooled after they are taken; .9 and .1."""

    def plain(name: str, value: Tensor) -> Tensor:
        return functional.conv2d(value, state[f"{name}.weight"], state[f"{name}.bias"])

    motion = plain("conv1x1_diff", functional.avg_pool2d(torch.cat((due - former, later - due), 1), 2, 2))
    y = plain("conv1x1", due)
    y = 0.9 * y + 0.1 * functional.interpolate(motion, y.shape[2:])
    y = functional.max_pool2d(conv_block(state, "ConvNet_1.0", y), 2)
    motion = functional.max_pool2d(conv_block(state, "ConvNet_diff.0", motion), 2)
    y = 0.9 * y + 0.1 * functional.interpolate(motion, y.shape[2:])
    for k in (0, 2, 4):
        y = functional.max_pool2d(conv_block(state, f"ConvNet_2.{k}", y), 2)
    y = functional.avg_pool2d(y, y.shape[2]).flatten(1)
    y = functional.linear(y, state["predictor.0.weight"], state["predictor.0.bias"])
    y = functional.batch_norm(y, None, None, state["predictor.1.weight"], state["predictor.1.bias"], True)
    return functional.linear(functional.relu(y), state["predictor.3.weight"], state["predictor.3.bias"])


def released_loss(logits: Tensor, labels: Tensor, rates: Tensor, vae: State) -> Tensor:
    """Cross-entropy with weights of sum n, as a mean; beside it, with weight 1, mse of the codes and the mean standard
    deviation of the predictions' code."""
    inverse = 1 / rates
    weights = inverse / inverse.sum() * len(rates)
    classes = functional.binary_cross_entropy_with_logits(logits, labels, weight=weights[None])

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = functional.relu(functional.linear(x, vae["fc1.weight"], vae["fc1.bias"]))
        mean = functional.linear(hidden, vae["fc21.weight"], vae["fc21.bias"])
        return mean, torch.exp(0.5 * functional.linear(hidden, vae["fc22.weight"], vae["fc22.bias"]))

    mean_p, std_p = encode(torch.sigmoid(logits))
    mean_g, _ = encode(labels)
    return classes + functional.mse_loss(mean_p, mean_g) + std_p.mean()


@pytest.fixture
def task(data: Path, tmp_path: Path) -> PaperTask:
    torch.manual_seed(3)
    fan = tmp_path / "fan.safetensors"
    Model(ModelConfig(width=32, resolution=64)).save(fan)
    given = {**preset_values("release"), "keep_epochs": False, "augment": True, "cache": "never", "interval_frames": 0}
    options = paper_options(data, fan, tmp_path / "run", **given, aus=(1, 2, 4, 12))
    task = PaperTask(options)
    labels = task.parts.train.labels  # the release has no missing label
    labels[:] = (np.random.default_rng(0).random(labels.shape) < (0.2, 0.3, 0.5, 0.6)).astype(np.float32)
    task = with_labels(options, labels)
    Path(options.run).mkdir()
    task.start(torch.device("cpu"), Group(), Path(options.run), threading.Event())
    return task


def with_labels(options: PaperOptions, labels: np.ndarray) -> PaperTask:
    """The task again, with these labels from its beginning."""
    from train.paper import run as paper_run

    inner = paper_run.load_parts

    def load(*arguments: Any) -> Any:
        parts = inner(*arguments)
        parts.train.labels[:] = labels
        return parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_run, "load_parts", load)
        return PaperTask(options)


def test_a_step_is_the_released_one(task: PaperTask) -> None:
    batch = task.make_part(0, 0, 1)
    assert batch["crops"].shape[:2] == (8, 3) and not batch["labels"].isnan().any()
    task.train_mode()
    loss, _ = task.loss(batch)
    loss.backward()
    head = task.model.get_submodule("head")
    ours = {name: parameter.grad.clone() for name, parameter in head.named_parameters() if parameter.grad is not None}
    assert len(ours) == len(list(head.parameters()))

    state = {name: tensor.detach().clone().requires_grad_() for name, tensor in head.named_parameters()}
    fan: Any = task.model.get_submodule("fan")
    with torch.no_grad():
        former, due, later = (fan(batch["crops"][:, k].permute(0, 3, 1, 2).float() / 255)[1].detach() for k in range(3))
    rates = torch.from_numpy(task.parts.train.labels).mean(0)
    vae = {name: tensor.detach() for name, tensor in task.vaes["synthetic"].state_dict().items()}
    theirs = released_loss(released_logits(state, due, former, later), batch["labels"], rates, vae)
    theirs.backward()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-4)
    scale = max(float(tensor.grad.abs().max()) for tensor in state.values() if tensor.grad is not None)
    for name, tensor in state.items():
        assert tensor.grad is not None
        torch.testing.assert_close(ours[name], tensor.grad, rtol=1e-4, atol=1e-4 * scale, msg=name)


def test_the_papers_step_is_another(task: PaperTask) -> None:
    """The comparison can fail: with equation 3 as printed the loss is not the release's."""
    batch = task.make_part(0, 0, 1)
    task.train_mode()
    release = task.loss(batch)[0].item()
    task.alignment = Alignment()
    assert abs(task.loss(batch)[0].item() - release) > 1e-2


@pytest.mark.parametrize("spread", ["std", "variance", "log-variance", "predicted-std"])
def test_equation_3_in_its_readings(spread: str) -> None:
    torch.manual_seed(0)
    vae = LabelVAE(4, 3).freeze()
    p, g = torch.rand(5, 4), torch.randint(0, 2, (5, 4)).float()
    (mp, lp), (mg, lg) = vae.encode(p), vae.encode(g)
    second = {
        "std": (lp.exp().sqrt() - lg.exp().sqrt()) ** 2,
        "variance": (lp.exp() - lg.exp()) ** 2,
        "log-variance": (lp - lg) ** 2,
        "predicted-std": lp.exp().sqrt(),
    }[spread]
    expected = (mp - mg) ** 2 + second
    torch.testing.assert_close(alignment_loss(vae, p, g, Alignment(spread=spread)), expected.sum(1).mean())
    torch.testing.assert_close(alignment_loss(vae, p, g, Alignment(spread=spread, reduction="mean")), expected.mean())


def test_presets_give_what_nothing_else_says(tmp_path: Path) -> None:
    release = read_experiment("synthetic", {"decay": 0.5}, "release")
    options = release.options
    assert (options.preset, options.decay, options.vae_lambda, options.lr) == ("release", 0.5, 0.3, 1e-3)
    assert options.alignment_spread == "predicted-std" and options.keep_epochs
    assert read_experiment("vae-lambda-2", None, "release").options.vae_lambda == 0.2
    assert Path(release.runs("d", tmp_path)[0].run).name == "au-fan-seed1-release"
    first = read_experiment("disfa", None, "release").runs("d", tmp_path)[0]
    assert first.init == str(tmp_path / "bp4d" / "au-fan-fold1-seed1-release")
    paper = read_experiment("synthetic", None, "paper").options
    assert paper == read_experiment("synthetic").options and paper.decay == 0.7
    with pytest.raises(ExperimentError, match="expected one of paper, release, got 'authors'"):
        read_experiment("synthetic", None, "authors")
    names = {field.name for field in dataclasses.fields(PaperOptions)}
    assert all(set(values) <= names for values in PRESETS.values())


def test_neighbours_of_the_released_lists() -> None:
    numbers = np.array([3, 4, 5, 7, 8, 9, 10])
    own = np.arange(7)
    chosen = np.array([True, True, True, True, True, False, True])
    # In the list 3 4 5 7 8 10 two places and two numbers back: 5 -> 3 alone; 10 -> 7 is three numbers away.
    assert _in_list(chosen)(numbers, -2, own).tolist() == [0, 1, 0, 3, 4, 5, 6]
    assert _neighbour(numbers, -2, own).tolist() == [0, 1, 0, 2, 4, 3, 4]
    assert _in_list(chosen)(numbers, 1, own).tolist() == [1, 2, 2, 4, 4, 5, 6]


def test_the_released_augmentation_stays_in_its_ranges() -> None:
    augment, side = AUGMENTATIONS["release"], 256
    rng = np.random.default_rng(0)
    drawn = np.stack([augment.matrix(rng, side) for _ in range(2000)])
    linear = drawn[:, :, :2]
    angle = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    grown = np.sqrt(np.linalg.det(linear))
    centre = np.full(2, (side - 1) / 2)
    shift = drawn[:, :, 2] + linear @ centre - centre
    for values, limit in ((angle, 13.5), (shift, 12.8), (1 / grown - 1, 0.25)):
        assert 0.97 * limit < np.abs(values).max() <= limit * (1 + 1e-9) and abs(values.mean()) < 0.05 * limit
    steps = [type(step).__name__ for step in augment.content().transforms]
    assert steps == ["Blur", "ColorJitter", "ImageCompression", "CoarseDropout"]
    assert [type(step).__name__ for step in AUGMENTATIONS["paper"].content().transforms] == [
        "GaussianBlur", "ImageCompression", "CoarseDropout"
    ]  # fmt: skip


def test_a_vae_can_leave_out_the_last_batch() -> None:
    labels = (np.random.default_rng(0).random((20, 3)) < 0.5).astype(np.float32)
    said: list[dict[str, float]] = []
    whole, cut = (
        train_vae(
            labels, VAEOptions(latent=2, epochs=1, batch=16, drop_last=drop), progress=lambda _, m: said.append(m)
        )
        for drop in (False, True)
    )
    assert not torch.equal(whole.fc1.weight, cut.fc1.weight) and said[0]["loss"] == pytest.approx(said[1]["loss"], 0.5)
    few = train_vae(labels[:9], VAEOptions(latent=2, epochs=1, batch=16, drop_last=True))
    assert all(parameter.isfinite().all() for parameter in few.parameters())


def test_epochs_are_kept_and_predicted(data: Path, tmp_path: Path) -> None:
    from tests.train.paper_runs import write_fan
    from train.evaluation.predictions import Predictions
    from train.paper.run import epochs_folder, run_paper

    options = paper_options(data, write_fan(tmp_path), tmp_path / "run", variant="au-fan", keep_epochs=True, epochs=2)
    run_paper(changed(options, cache="never"))
    folder = Path(options.run)
    last = Predictions.load(folder)
    kept = [Predictions.load(path) for path in sorted(epochs_folder(folder).glob("predictions-*.npz"))]
    assert [one.extra["epoch"] for one in kept] == ["1", "2"]
    assert np.array_equal(kept[1].probabilities, last.probabilities)
    assert kept[0].flipped is not None and not np.array_equal(kept[0].probabilities, last.probabilities)


def test_differences_are_taken_in_float32() -> None:
    """Under autocast features are bfloat16: a difference taken in it loses what neighbours differ by."""
    torch.manual_seed(0)
    head = AUNetHead(3, 8).eval()
    seen: list[Tensor] = []
    head.conv1x1_diff.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    due = (100 + torch.rand(2, 24, 16, 16)).bfloat16()
    former, later = (due + step for step in (0.5, -0.5))
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        head(former, due, later)
        head.from_means(functional.avg_pool2d(former.float(), 2), due, functional.avg_pool2d(later.float(), 2))
    exact = [functional.avg_pool2d(x.double(), 2) for x in (former, due, later)]
    expected = torch.cat((exact[1] - exact[0], exact[2] - exact[1]), 1)
    for found in seen:
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)
