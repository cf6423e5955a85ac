"""The label VAE: the equations, missing labels, what it learns, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.distributions import Normal, kl_divergence
from typer.testing import CliRunner

from train.cli.main import app
from train.losses.alignment import Alignment, alignment_loss, mixture_alignment_loss, vae_loss
from train.models.config import ModelFileError
from train.models.label_vae import LATENT, LabelVAE, VAEOptions
from train.paper.label_vaes import train_vae

AUS = (1, 2, 6, 12)


def linked_labels(n: int = 1500, seed: int = 0) -> NDArray[np.float32]:
    """AU1 with AU2, AU6 with AU12, the pairs independent of each other."""
    rng = np.random.default_rng(seed)
    pairs = rng.random((n, 2)) < (0.3, 0.4)
    return np.repeat(pairs, 2, 1).astype(np.float32)


@pytest.fixture(scope="module")
def trained() -> LabelVAE:
    return train_vae(linked_labels(600), VAEOptions(latent=4, epochs=20, batch=32, lr=1e-2), AUS)


def test_equation_2() -> None:
    torch.manual_seed(0)
    vae = LabelVAE(4, 3).eval()
    labels = torch.from_numpy(linked_labels(8))
    loss, parts = vae_loss(vae, labels, kl_weight=0.3, noise=0.0)
    mean, log_variance = vae.encode(labels)
    y = vae.decode(mean).sigmoid()
    bce = -(labels * y.log() + (1 - labels) * (1 - y).log()).sum(1).mean()
    kl = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(parts["bce"], bce)
    torch.testing.assert_close(parts["kl"], kl)
    torch.testing.assert_close(loss, bce + 0.3 * kl)


def test_the_encoder_sees_noisy_labels_the_loss_clean_ones() -> None:
    seen: list[torch.Tensor] = []
    vae = LabelVAE(4, 3).eval()
    vae.fc1.register_forward_hook(lambda _m, given, _o: seen.append(given[0]))
    labels = torch.from_numpy(linked_labels(2000))
    vae_loss(vae, labels, noise=0.2)
    noise = seen[0] - labels
    assert 0.19 < noise.max() < 0.2 + 1e-6 and -0.2 - 1e-6 < noise.min() < -0.19
    assert abs(float(noise.mean())) < 0.01 and float(noise.std()) == pytest.approx(0.2 / 3**0.5, rel=0.03)


def test_training_draws_codes_evaluation_does_not() -> None:
    vae = LabelVAE(4, 3)
    labels = torch.from_numpy(linked_labels(4))
    assert not torch.equal(vae.train()(labels)[0], vae(labels)[0])
    assert torch.equal(vae.eval()(labels)[0], vae(labels)[0])


def test_it_learns_what_occurs_together(trained: LabelVAE) -> None:
    """A row that breaks a link is mended towards the link."""
    labels = torch.from_numpy(linked_labels(400, 5))
    with torch.no_grad():
        said = trained(labels)[0].sigmoid()
        assert ((said > 0.5) == (labels > 0.5)).float().mean() > 0.97
        torch.testing.assert_close(said[:, 0], said[:, 1], atol=0.35, rtol=0)
    good, bad = torch.tensor([[1.0, 1, 0, 0]]), torch.tensor([[1.0, 0, 0, 0]])
    assert alignment_loss(trained, bad, good) > 10 * alignment_loss(trained, good * 0.98 + 0.01, good)


def test_same_seed_same_weights_and_the_global_state_stays() -> None:
    options = VAEOptions(latent=2, epochs=2, seed=3)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first = train_vae(linked_labels(200), options)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(5)
    second = train_vae(linked_labels(200), options)
    other = train_vae(linked_labels(200), VAEOptions(latent=2, epochs=2, seed=4))
    assert torch.equal(first.fc1.weight, second.fc1.weight)
    assert not torch.equal(first.fc1.weight, other.fc1.weight)
    assert not first.training and not any(p.requires_grad for p in first.parameters())


def test_equation_3(trained: LabelVAE) -> None:
    p = torch.rand(6, 4, requires_grad=True)
    g = torch.from_numpy(linked_labels(6))
    loss = alignment_loss(trained, p, g)
    (mp, lp), (mg, lg) = trained.encode(p), trained.encode(g)
    expected = ((mp - mg) ** 2).sum(1) + (((lp / 2).exp() - (lg / 2).exp()) ** 2).sum(1)
    torch.testing.assert_close(loss, expected.mean())
    loss.backward()
    assert p.grad is not None and p.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in trained.parameters())
    assert alignment_loss(trained, g.clone(), g) == 0
    label = alignment_loss(trained, p, g, Alignment(space="label"))
    with torch.no_grad():
        apart = trained.decode(mp).sigmoid() - trained.decode(mg).sigmoid()
    torch.testing.assert_close(label, (apart**2).sum(1).mean())
    with pytest.raises(ValueError, match="space"):
        Alignment(space="other")
    with pytest.raises(ValueError, match=r"expected \(B, 4\)"):
        alignment_loss(trained, p[:, :3], g[:, :3])


@settings(max_examples=25)
@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6), st.integers(0, 999))
@pytest.mark.parametrize(
    "how", [Alignment(), Alignment("label"), Alignment(reduction="mean", spread="predicted-std")], ids=str
)
def test_missing_labels_pull_at_nothing(how: Alignment, known: list[list[bool]], seed: int) -> None:
    torch.manual_seed(seed)
    vae = LabelVAE(4, 3).freeze()
    mask = torch.tensor(known)
    p = torch.rand(mask.shape, requires_grad=True)
    y = torch.where(mask, torch.randint(0, 2, mask.shape).float(), torch.nan)
    loss = alignment_loss(vae, p, y, how)
    loss.backward()
    assert loss.isfinite() and p.grad is not None and p.grad.isfinite().all()
    assert (p.grad[~mask] == 0).all()
    some = mask.any(1)
    if not some.any():
        assert loss == 0
    else:  # rows without a label change nothing
        with torch.no_grad():
            torch.testing.assert_close(alignment_loss(vae, p[some], y[some], how), loss)


def test_the_mixture_takes_each_row_through_its_own_vae(trained: LabelVAE) -> None:
    numbers = (1, 2, 4, 6, 12)
    other = train_vae(linked_labels()[:, :3], VAEOptions(latent=2, epochs=1), (4, 6, 12))
    p, y = torch.rand(5, 5), torch.from_numpy(np.pad(linked_labels(5), ((0, 0), (0, 1))))
    corpora = np.array(["a", "b", "a", "b", "b"])
    y[0, 2] = y[2, 2] = torch.nan  # AU4 is not labelled in a
    y[1, :2] = y[3, :] = y[4, :2] = torch.nan
    loss = mixture_alignment_loss({"a": trained, "b": other}, numbers, corpora, p, y)
    a = alignment_loss(trained, p[[0, 2]][:, [0, 1, 3, 4]], y[[0, 2]][:, [0, 1, 3, 4]])
    b = alignment_loss(other, p[[1, 4]][:, 2:], y[[1, 4]][:, 2:])
    torch.testing.assert_close(loss, (2 * a + 2 * b) / 4)  # row 3 has no label
    with pytest.raises(ValueError, match="none for 'b'"):
        mixture_alignment_loss({"a": trained}, numbers, corpora, p, y)
    with pytest.raises(ValueError, match="say its AUs"):
        mixture_alignment_loss({"a": trained, "b": other}, (1, 2, 6, 12, 20), corpora, p, y)
    with pytest.raises(ValueError, match="5 names"):
        mixture_alignment_loss({"a": trained, "b": other}, numbers, corpora[:2], p, y)


def test_rows_with_missing_labels_are_left_out_of_training() -> None:
    labels = linked_labels(50)
    labels[:20, 1] = np.nan
    vae = train_vae(labels, VAEOptions(latent=2, epochs=1))
    assert vae.provenance["rows"] == 30 and vae.provenance["left_out"] == 20
    assert all(p.isfinite().all() for p in vae.parameters())


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (np.zeros(4), r"\(N, n\)"),
        (np.full((3, 2), np.nan), "without a missing label"),
        (np.full((3, 2), -1.0), "other values"),
        (np.full((3, 2), 0.5), "other values"),
    ],
)
def test_bad_labels(labels: NDArray[np.float64], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        train_vae(labels)


def test_defaults_are_the_papers() -> None:
    options = VAEOptions()
    assert (options.noise, options.lr, options.epochs) == (0.2, 1e-3, 100)
    assert LATENT == {"bp4d": 8, "disfa": 6, "affwild2": 5}
    assert LabelVAE(12, 8).hidden == 8
    with pytest.raises(ValueError, match="epochs"):
        VAEOptions(epochs=0)


def test_file_round_trip(trained: LabelVAE, tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    trained.save(path)
    read = LabelVAE.load(path)
    assert read.au_numbers == AUS and read.provenance == json.loads(json.dumps(trained.provenance))
    labels = torch.from_numpy(linked_labels(4))
    assert torch.equal(read(labels)[0], trained(labels)[0])
    assert not any(p.requires_grad for p in read.parameters())
    save_file({"fc1.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match="label_vae"):
        LabelVAE.load(path)
    path.write_text("nothing")
    with pytest.raises(ModelFileError, match="expected a safetensors file"):
        LabelVAE.load(path)
    with pytest.raises(FileNotFoundError, match="train vae"):
        LabelVAE.load(tmp_path / "absent.safetensors")


def test_the_command(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "made" / "vae.safetensors"
    np.savez(tmp_path / "labels.npz", labels=linked_labels(100), au_numbers=np.array(AUS))
    runner = CliRunner()
    shared = ["vae", "--out", str(out), "--epochs", "1"]
    result = runner.invoke(app, [*shared, "--labels", str(tmp_path / "labels.npz"), "--corpus", "disfa"])
    assert result.exit_code == 0, result.output
    vae = LabelVAE.load(out)
    assert vae.latent == 6 and vae.au_numbers == AUS and vae.provenance["corpus"] == "disfa"
    assert "100 rows, 4 AUs, latent 6" in result.output
    result = runner.invoke(app, [*shared, "--data", str(data), "--latent", "3", "--lambda", "0.2"])
    assert result.exit_code == 0, result.output
    assert LabelVAE.load(out).provenance["options"]["kl_weight"] == 0.2
    for arguments, words in (
        ([], "one of --labels, --data and --root"),
        (["--labels", str(tmp_path / "none.npz")], "found none"),
        (["--data", str(data), "--corpus", "other"], "bp4d, disfa, affwild2"),
    ):
        error = runner.invoke(app, [*shared, *arguments]).exception
        assert isinstance(error, ValueError | OSError) and words in str(error)
