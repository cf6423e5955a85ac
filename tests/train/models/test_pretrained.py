"""Import of published weights: every tensor once, in its place, with the pooling that belongs to it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from typer.testing import CliRunner

from aunet_sdk.commands import release as published
from train.cli.main import app, main
from train.models.aunet_head import AUFANHead, AUNetHead
from train.models.config import AU_NUMBERS, ModelFileError
from train.models.fan import FAN
from train.models.model import AUNet, Model
from train.models.pretrained import (
    PAPER_CROP_SCALE,
    PAPER_TEMPLATE,
    blob_id,
    compare_published,
    default_aus,
    from_face_alignment,
    from_release,
    load_fan,
    read_fan,
)
from train.models.tensor_file import read_state

WIDTH = 16
FAN_BLOB, HEAD_BLOB = "02738a66b9420dd15364d7d79f908f0627fb88b4", "19745a2ade2f5b8efa9e5dbc26ec44cad1792d96"
State = dict[str, Tensor]


def scrambled(module: torch.nn.Module, seed: int) -> State:
    """A state dict with every number drawn, batch-norm statistics included."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            state[name] = tensor.clone()
        elif name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            state[name] = 0.5 + torch.rand(tensor.shape, generator=generator)
        else:
            fan_in = max(1, tensor[0].numel()) if tensor.ndim > 1 else 25
            state[name] = 0.5 * torch.randn(tensor.shape, generator=generator) / fan_in**0.5
    return state


@pytest.fixture(scope="module")
def fan_state() -> State:
    return scrambled(FAN(WIDTH), 1)


@pytest.fixture(scope="module")
def head_state() -> State:
    return scrambled(AUNetHead(15, WIDTH), 2)


# ---------------------------------------------------------------------------------------------------------------------
# The release once more, in functions on its state dict alone
# ---------------------------------------------------------------------------------------------------------------------


def norm(s: State, name: str, x: Tensor) -> Tensor:
    return functional.batch_norm(
        x, s[f"{name}.running_mean"], s[f"{name}.running_var"], s[f"{name}.weight"], s[f"{name}.bias"]
    )


def conv(s: State, name: str, x: Tensor, **options: int) -> Tensor:
    return functional.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), **options)


def block(s: State, name: str, x: Tensor) -> Tensor:
    a = conv(s, f"{name}.conv1", norm(s, f"{name}.bn1", x).relu(), padding=1)
    b = conv(s, f"{name}.conv2", norm(s, f"{name}.bn2", a).relu(), padding=1)
    c = conv(s, f"{name}.conv3", norm(s, f"{name}.bn3", b).relu(), padding=1)
    if f"{name}.downsample.2.weight" in s:
        x = conv(s, f"{name}.downsample.2", norm(s, f"{name}.downsample.0", x).relu())
    return torch.cat((a, b, c), 1) + x


def hourglass(s: State, name: str, x: Tensor, level: int, pool: Callable[[Tensor, int], Tensor]) -> Tensor:
    low = block(s, f"{name}.b2_{level}", pool(x, 2))
    low = hourglass(s, name, low, level - 1, pool) if level > 1 else block(s, f"{name}.b2_plus_1", low)
    low = block(s, f"{name}.b3_{level}", low)
    return block(s, f"{name}.b1_{level}", x) + low.repeat_interleave(2, 2).repeat_interleave(2, 3)


def released_fan(s: State, crop: Tensor) -> Tensor:
    x = norm(s, "bn1", conv(s, "conv1", crop, stride=2, padding=3)).relu()
    x = functional.max_pool2d(block(s, "conv2", x), 2)
    low = x = block(s, "conv4", block(s, "conv3", x))
    tops = []
    for i in range(2):
        top = block(s, f"top_m_{i}", hourglass(s, f"m{i}", x, 4, functional.max_pool2d))
        top = norm(s, f"bn_end{i}", conv(s, f"conv_last{i}", top)).relu()
        maps = conv(s, f"l{i}", top)
        if i == 0:
            top = conv(s, "bl0", top)
            x = x + top + conv(s, "al0", maps)
        tops.append(top)
    return torch.cat((low, *(top * maps.sum(1, keepdim=True) for top in tops)), 1)


def released_head(s: State, former: Tensor, due: Tensor, later: Tensor, alpha: float, beta: float) -> Tensor:
    def up(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    d = conv(s, "conv1x1_diff", functional.avg_pool2d(torch.cat((due - former, later - due), 1), 2))
    y = alpha * conv(s, "conv1x1", due) + beta * up(d)
    y = functional.max_pool2d(block(s, "ConvNet_1.0", y), 2)
    y = alpha * y + beta * up(functional.max_pool2d(block(s, "ConvNet_diff.0", d), 2))
    for i in (0, 2, 4):
        y = functional.max_pool2d(block(s, f"ConvNet_2.{i}", y), 2)
    y = functional.linear(y.mean((2, 3)), s["predictor.0.weight"], s["predictor.0.bias"])
    return functional.linear(norm(s, "predictor.1", y).relu(), s["predictor.3.weight"], s["predictor.3.bias"])


@pytest.mark.parametrize(("alpha", "beta"), [(0.9, 0.1), (0.5, 0.5)])
def test_the_release_gives_what_it_gave(fan_state: State, head_state: State, alpha: float, beta: float) -> None:
    model = from_release(fan_state, head_state, AU_NUMBERS, alpha, beta)
    assert isinstance(model, AUNet) and not model.training
    crops = torch.rand(3, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        former, due, later = (released_fan(fan_state, crop) for crop in crops)
        expected = released_head(head_state, former, due, later, alpha, beta)
        assert expected.std() > 0.01
        torch.testing.assert_close(model.logits(*crops), expected, atol=1e-5, rtol=0)
        still = released_head(head_state, due, due, due, alpha, beta)
        assert (still - expected).abs().max() > 1e-4  # the motion path is in it


def test_face_alignments_class_gives_the_same_heatmaps(tmp_path: Path) -> None:
    models = pytest.importorskip("face_alignment.models", reason="face-alignment is not installed")
    torch.manual_seed(0)
    theirs = models.FAN(4)
    state = scrambled(theirs, 3)
    theirs.load_state_dict(state)
    torch.save(state, tmp_path / "2DFAN4.pth.tar")
    ours, pooling = load_fan(tmp_path / "2DFAN4.pth.tar")
    assert pooling == "avg" and ours.stacks == 2 and ours.width == 256
    crop = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, (first, second) = theirs.eval()(crop), ours(crop)[0]
        assert expected[1].std() > 0.1
        for got, wanted in ((first, expected[0]), (second, expected[1])):
            assert (got - wanted).abs().max() < 1e-5
        wrong = FAN(256, pooling="max").eval()
        wrong.load_state_dict(ours.state_dict())
        assert (wrong(crop)[0][1] - expected[1]).abs().max() > 1e-2  # the pooling is part of the weights


def test_au_order_of_the_file(fan_state: State, head_state: State) -> None:
    plain = from_release(fan_state, head_state, AU_NUMBERS)
    order = (*AU_NUMBERS[7:], *AU_NUMBERS[:7])
    turned = from_release(fan_state, head_state, order)
    assert turned.config.au_numbers == AU_NUMBERS
    crops = torch.rand(3, 1, 3, 64, 64)
    with torch.no_grad():
        a, b = plain.logits(*crops)[0], turned.logits(*crops)[0]
    for i, number in enumerate(order):
        torch.testing.assert_close(b[AU_NUMBERS.index(number)], a[i])


@pytest.mark.parametrize("prefix", ["module.", "predictor.", "module.predictor."])
def test_a_common_prefix_is_taken_off(fan_state: State, head_state: State, prefix: str) -> None:
    wrapped = {prefix + name: tensor for name, tensor in head_state.items()}
    fan = {"feature.fan." + name: tensor for name, tensor in fan_state.items()}
    model = from_release(fan, wrapped, AU_NUMBERS)
    assert torch.equal(model.aunet.state_dict()["ConvNet_2.4.conv3.weight"], head_state["ConvNet_2.4.conv3.weight"])
    assert torch.equal(model.fan.state_dict()["m1.b3_2.conv1.weight"], fan_state["m1.b3_2.conv1.weight"])


@pytest.mark.parametrize("counters", [True, False])
def test_other_names_by_order(fan_state: State, head_state: State, counters: bool) -> None:
    order = ("conv1x1", "ConvNet_1", "ConvNet_diff", "ConvNet_2", "predictor", "conv1x1_diff")  # the release's
    names = [n for part in order for n in head_state if n.split(".")[0] == part]
    if not counters:
        names = [n for n in names if not n.endswith("num_batches_tracked")]
    other = {f"layer.{i}.{name.rsplit('.', 1)[-1]}": head_state[name] for i, name in enumerate(names)}
    assert default_aus(other) == AU_NUMBERS
    with pytest.raises(ModelFileError, match="missing"):
        from_release(fan_state, other, AU_NUMBERS)
    model = from_release(fan_state, other, AU_NUMBERS, by_order=True)
    for name in names:
        assert torch.equal(model.aunet.state_dict()[name], head_state[name])


def without(state: State, *names: str) -> State:
    return {name: tensor for name, tensor in state.items() if name not in names}


def test_what_does_not_fit_is_named(fan_state: State, head_state: State) -> None:
    def fails(match: str, fan: State = fan_state, head: State = head_state) -> None:
        with pytest.raises(ModelFileError, match=match):
            from_release(fan, head, AU_NUMBERS)

    fails(r"head.*1 missing \(conv1x1.bias\)", head=without(head_state, "conv1x1.bias"))
    fails(r"head.*1 unknown \(surplus\)", head=head_state | {"surplus": torch.zeros(1)})
    fails(r"conv1x1.bias \(3,\) instead of \(16,\)", head=head_state | {"conv1x1.bias": torch.zeros(3)})
    fails("not finite", head=head_state | {"conv1x1.bias": torch.full((WIDTH,), float("nan"))})
    fails(r"FAN.*1 missing \(l0.bias\)", fan=without(fan_state, "l0.bias"))
    fails(r"1 missing \(bn1.num_batches_tracked\)", fan=without(fan_state, "bn1.num_batches_tracked"))  # one, not all
    fails("expected 2 hourglasses, got 0", fan=head_state)
    fails("expected 2 hourglasses, got 4.*import", fan=scrambled(FAN(WIDTH, stacks=4), 1))
    fails("expected 2 hourglasses, got 1", fan=scrambled(FAN(WIDTH, stacks=1), 1))
    fails("FAN's conv1.weight", fan=without(fan_state, "conv1.weight"))
    fails("head.*missing", head=scrambled(AUFANHead(15, WIDTH), 1))
    fails("of another shape", head=scrambled(AUNetHead(15, 24), 1))
    with pytest.raises(ValueError, match=r"expected 12 outputs.*got 15"):
        from_release(fan_state, head_state, range(1, 13))
    with pytest.raises(ValueError, match="each once"):
        from_release(fan_state, head_state, (1,) * 15)
    with pytest.raises(ValueError, match="got 5; name its AUs"):
        default_aus(scrambled(AUNetHead(5, WIDTH), 1))


def test_files_of_old_versions_have_no_counters(fan_state: State) -> None:
    old = {name: tensor for name, tensor in fan_state.items() if not name.endswith("num_batches_tracked")}
    fan = read_fan(old, "max", 2)
    assert int(fan.state_dict()["bn1.num_batches_tracked"]) == 0
    assert torch.equal(fan.state_dict()["bn1.running_var"], fan_state["bn1.running_var"])


def test_later_stacks_are_checked_too() -> None:
    whole = scrambled(FAN(WIDTH, stacks=4, pooling="avg"), 4)
    assert from_face_alignment(whole).stacks == 2
    with pytest.raises(ModelFileError, match=r"1 missing \(l3.bias\)"):
        from_face_alignment(without(whole, "l3.bias"))
    with pytest.raises(ModelFileError, match="unknown"):
        from_face_alignment(whole | {"m3.b1_9.conv1.weight": torch.zeros(1)})


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("touched"),))  # type: ignore[return-value]


def test_files_that_are_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fan_state: State) -> None:
    monkeypatch.chdir(tmp_path)

    def fails(name: str, match: str) -> None:
        with pytest.raises(ModelFileError, match=match):
            read_state(tmp_path / name)

    torch.save({"model": Evil()}, "evil.pth")
    fails("evil.pth", "expected a PyTorch state dict")
    assert not Path("touched").exists()
    Path("text.pth").write_text("no weights")
    fails("text.pth", "expected a PyTorch state dict")
    Path("text.safetensors").write_text("no weights")
    fails("text.safetensors", "expected a safetensors file")
    torch.save([torch.zeros(1)], "list.pth")
    fails("list.pth", "names and tensors.*list")
    torch.save({}, "empty.pth")
    fails("empty.pth", "names and tensors")
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        read_state("none.pth")
    torch.save({"epoch": 3, "state_dict": fan_state}, "wrapped.pth")
    assert read_state("wrapped.pth").keys() == fan_state.keys()
    save_file(fan_state, "same.safetensors")
    assert load_fan("same.safetensors")[1] == "max"


def test_torchscript_is_refused_with_a_way_out(tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.zip"))
    with pytest.raises(ModelFileError, match=r"TorchScript.*\.pth\.tar"):
        read_state(tmp_path / "script.zip")


def test_the_paper_crop_is_the_default_drawn_out() -> None:
    assert pytest.approx(1.53846, abs=1e-5) == PAPER_CROP_SCALE
    eye, nose = PAPER_TEMPLATE[0], PAPER_TEMPLATE[2]
    assert eye[0] == pytest.approx(0.3735, abs=1e-3) and nose[0] == 0.5
    assert pytest.approx(0.5 + (0.5471 - 0.5) / 1.12, abs=1e-4) == nose[1]


def test_blob_id_is_gits(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"what is up, doc?")
    assert blob_id(tmp_path / "a") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"  # the example of Pro Git, chapter 10.2


@pytest.fixture
def files(tmp_path: Path, fan_state: State, head_state: State) -> Path:
    torch.save(fan_state, tmp_path / "2dfan2.pth")
    torch.save(head_state, tmp_path / "cross_model.pth")
    return tmp_path


def test_import_release_writes_what_export_takes(files: Path, fan_state: State) -> None:
    names = ["--fan", str(files / "2dfan2.pth"), "--head", str(files / "cross_model.pth"), "--out", str(files)]
    result = CliRunner().invoke(app, ["import-release", *names])
    assert result.exit_code == 0, result.output
    model = Model.load(files / "cross_model.safetensors")
    assert model.config.heads == ("aunet",) and model.config.au_numbers == AU_NUMBERS
    assert (model.config.alpha, model.config.beta, model.config.crop_scale) == (0.9, 0.1, PAPER_CROP_SCALE)
    assert model.config.provenance["imported"]["fan"]["git_blob"] == blob_id(files / "2dfan2.pth")
    assert len(model.config.points3d) == 68
    assert torch.equal(model.fan.state_dict()["conv1.weight"], fan_state["conv1.weight"])
    with pytest.raises(ValueError, match=r"weights for, \('aunet',\), got 'points'"):
        model.config.thresholds_of("points")
    logits = model(*torch.rand(3, 1, 3, 64, 64))[1]
    assert list(logits) == ["aunet"]


def test_a_file_is_compared_with_the_published_one(
    files: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    names = ["--fan", str(files / "2dfan2.pth"), "--head", str(files / "cross_model.pth"), "--out", str(files)]
    assert CliRunner().invoke(app, ["import-release", *names]).exit_code == 0
    own = {name: blob_id(files / name) for name in ("2dfan2.pth", "cross_model.pth")}
    for name, expected in (("2dfan2.pth", FAN_BLOB), ("cross_model.pth", HEAD_BLOB)):
        assert f"(expected git blob {expected}, got {own[name]})" in caplog.text
    assert caplog.text.count("is not the published file") == 2
    assert Model.load(files / "cross_model.safetensors").config.provenance["imported"]["head"]["published"] is False
    caplog.clear()
    monkeypatch.setattr(published, "FAN", dataclasses.replace(published.FAN, blob=own["2dfan2.pth"]))
    head = dataclasses.replace(published.HEADS["cross_model"], blob=own["cross_model.pth"])
    monkeypatch.setitem(published.HEADS, "cross_model", head)
    (files / "renamed.pth").write_bytes((files / "cross_model.pth").read_bytes())
    names[3] = str(files / "renamed.pth")
    assert CliRunner().invoke(app, ["import-release", *names]).exit_code == 0
    assert "is the published file models/2dfan2.pth" in caplog.text
    assert "renamed.pth is the published file checkpoints/cross_model.pth" in caplog.text
    assert "is not the" not in caplog.text
    assert Model.load(files / "renamed.safetensors").config.provenance["imported"]["fan"]["published"] is True
    caplog.clear()
    assert "published" not in compare_published(files / "2dfan2.pth") and "no published id is known" in caplog.text
    (files / "mine.pth").write_bytes(b"another")
    assert compare_published(files / "mine.pth", "head")["published"] is False
    assert "is not one of the published heads" in caplog.text


def test_import_makes_a_fan_to_train_heads_on(files: Path, fan_state: State) -> None:
    arguments = ["import", "--fan", str(files / "2dfan2.pth"), "--out", str(files / "fan.safetensors")]
    result = CliRunner().invoke(app, [*arguments, "--resolution", "128"])
    assert result.exit_code == 0, result.output
    model = Model.load(files / "fan.safetensors")
    assert model.config.pooling == "max" and model.config.resolution == 128
    assert model.config.provenance["heads"] == "not trained"
    fan, pooling = load_fan(files / "fan.safetensors")  # our own file is read too
    assert pooling == "max" and torch.equal(fan.state_dict()["al0.weight"], fan_state["al0.weight"])


def test_errors_are_one_line(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "bad.pth").write_text("nothing")
    arguments = ["--fan", str(files / "bad.pth"), "--head", str(files / "cross_model.pth"), "--out", str(files)]
    monkeypatch.setattr(sys, "argv", ["train", "import-release", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: weights: expected") and error.count("\n") == 1


def test_complexity_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["complexity", "--json", str(tmp_path / "c.json")])
    assert result.exit_code == 0, result.output
    assert "12.11 M" in result.output and "3.83 G" in result.output
    for name, figures in (("JÄANet, cited", ("25.00 M", "8.38 G")), ("MEGraph, cited", ("31.67 M", "10.29 G"))):
        line = next(line for line in result.output.splitlines() if name in line)
        assert all(figure in line for figure in figures)
    rows = {row["part"]: row for row in json.loads((tmp_path / "c.json").read_text())}
    assert rows["FAN, frozen"]["parameters"] == 12_106_504
    assert rows["head of AU-TDN, AUNet"]["parameters"] == 2_657_423
    assert rows["AUNet with FAN"]["parameters"] == 12_106_504 + 2_657_423
    assert rows["AUNet with FAN"]["paper_parameters"] == pytest.approx(14.77e6)
    for row in rows.values():
        if row["paper_parameters"] and "flow" not in row["part"]:
            assert row["parameters"] == pytest.approx(row["paper_parameters"], rel=0.01)
            assert row["multiply_adds"] == pytest.approx(row["paper_multiply_adds"], rel=0.01)
