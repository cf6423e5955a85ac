"""The network: the paper's size, the exact split, names, files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from train.model import (
    FAN,
    AUFANHead,
    AUNetHead,
    Model,
    ModelConfig,
    ModelFileError,
    PointsHead,
    complexity,
)

SMALL = ModelConfig(width=16, resolution=64)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Batch norms with statistics other than 0 and 1, so that an error in them shows."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, std=0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return module.eval()


def test_complexity_is_the_papers() -> None:
    parameters, multiply_adds = complexity(FAN(256), (1, 3, 256, 256))
    assert parameters == 12_106_504
    assert multiply_adds / 1e9 == pytest.approx(13.92, abs=0.005)
    shape = (1, 768, 64, 64)
    parameters, multiply_adds = complexity(AUNetHead(15, 256), shape, shape, shape)
    assert parameters == 2_657_423
    assert multiply_adds / 1e9 == pytest.approx(3.83, abs=0.005)


@pytest.mark.parametrize(("width", "resolution"), [(16, 64), (24, 128), (64, 128)])
def test_shapes_at_any_size(width: int, resolution: int) -> None:
    torch.manual_seed(0)
    heatmaps, features = FAN(width, pooling="avg").eval()(torch.rand(2, 3, resolution, resolution))
    side = resolution // 4
    assert [h.shape for h in heatmaps] == [(2, 68, side, side)] * 2
    assert features.shape == (2, 3 * width, side, side)
    assert AUFANHead(5, width).eval()(features).shape == (2, 5)


def test_attention_touches_only_the_last_two_sources() -> None:
    torch.manual_seed(0)
    fan = randomised(FAN(16))
    torch.nn.init.zeros_(fan.l1.weight)
    torch.nn.init.constant_(fan.l1.bias, 2.0 / 68)  # every attention value is 2
    crop = torch.rand(1, 3, 64, 64)
    kept: dict[str, torch.Tensor] = {}
    fan.conv4.register_forward_hook(lambda _m, _i, out: kept.update(low=out))
    fan.bl0.register_forward_hook(lambda _m, _i, out: kept.update(first=out))
    fan.bn_end1.register_forward_hook(lambda _m, _i, out: kept.update(second=out.relu()))
    low, first, second = fan(crop)[1].chunk(3, 1)
    assert torch.equal(low, kept["low"])
    torch.testing.assert_close(first, 2 * kept["first"])
    torch.testing.assert_close(second, 2 * kept["second"])


@pytest.mark.parametrize("width", [16, 64])
def test_split_equals_the_plain_forward(width: int) -> None:
    torch.manual_seed(0)
    head = randomised(AUNetHead(15, width))
    former, due, later = torch.randn(3, 2, 3 * width, 16, 16)
    with torch.no_grad():
        plain = head(former, due, later)
        (_, e_former, _), (s, e, late), (_, _, l_later) = map(head.split, (former, due, later))
        assert (head.combine(s, e_former, e, late, l_later) - plain).abs().max() < 1e-5
        assert (head.combine(s, e, e, late, late) - plain).abs().max() > 1e-4  # the motion path is heard


def test_state_dict_names_are_the_releases() -> None:
    names = set(FAN(16).state_dict())
    for name in (
        "conv1.bias", "bn1.running_var", "conv2.downsample.0.weight", "conv2.downsample.2.weight", "conv4.conv3.weight",
        "m0.b1_4.bn1.weight", "m1.b2_plus_1.conv2.weight", "m0.b3_1.bn3.bias", "top_m_1.conv1.weight",
        "conv_last0.weight", "bn_end1.weight", "l0.bias", "bl0.weight", "al0.weight",
    ):  # fmt: skip
        assert name in names
    assert not any(name.startswith(("conv3.downsample", "bl1", "al1")) or ".b2_plus_2" in name for name in names)
    tops = {".".join(name.split(".")[:2]) for name in AUNetHead(15, 16).state_dict()}
    assert tops == {
        "conv1x1.weight", "conv1x1.bias", "conv1x1_diff.weight", "conv1x1_diff.bias", "ConvNet_1.0", "ConvNet_diff.0",
        "ConvNet_2.0", "ConvNet_2.2", "ConvNet_2.4", "predictor.0", "predictor.1", "predictor.3",
    }  # fmt: skip


def spots(points: torch.Tensor, side: int = 32) -> torch.Tensor:
    """Heatmaps (B, 68, side, side) with a Gaussian at points (B, 68, 2) in cells."""
    grid = torch.arange(side, dtype=torch.float32)
    dx, dy = grid - points[..., :1], grid - points[..., 1:]
    return torch.exp(-(dx[:, :, None, :] ** 2 + dy[:, :, :, None] ** 2) / 2)


def test_points_are_normalised_by_the_eyes() -> None:
    torch.manual_seed(0)
    head = PointsHead(15, 16).eval()
    points = 8 + 16 * torch.rand(1, 68, 2)
    points[:, 36:42] = torch.tensor([10.0, 12.0])
    points[:, 42:48] = torch.tensor([20.0, 12.0])
    features, cos, sin = torch.randn(2, 48, 32, 32), math.cos(0.3), math.sin(0.3)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    turned = (points - 15) @ turn.T * 0.8 + 15
    with torch.no_grad():
        described = head.describe(features, spots(torch.cat((points, turned))))
    assert described.shape == (2, 68, 34) and described.dtype == torch.float32
    first, second = described[..., -2:]
    torch.testing.assert_close(first[36], torch.tensor([-5.0, 0.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(first[47], torch.tensor([5.0, 0.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(first[30], points[0, 30] - torch.tensor([15.0, 12.0]), atol=0.1, rtol=0)
    assert (first - second).abs().max() < 0.2  # a similarity changes nothing


def test_pooling_reads_the_features_under_the_point() -> None:
    head = PointsHead(15, 16).eval()
    torch.nn.init.ones_(head.reduce.weight)
    torch.nn.init.zeros_(head.reduce.bias)
    features = torch.arange(32.0).expand(1, 48, 32, 32).contiguous() / 48  # value = column
    points = torch.stack((torch.linspace(4, 27, 68), torch.full((68,), 15.0)), 1)[None]
    with torch.no_grad():
        described = head.describe(features, spots(points))
    torch.testing.assert_close(described[0, :, 0], points[0, :, 0], atol=0.1, rtol=0)


@pytest.mark.parametrize("heat", [0.0, -1.0, 1e-4, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_points_head_survives_empty_heatmaps(heat: float, dtype: torch.dtype) -> None:
    head = PointsHead(15, 16).eval().to(dtype)
    described = head.describe(torch.randn(2, 48, 16, 16).to(dtype), torch.full((2, 68, 16, 16), heat).to(dtype))
    assert described.isfinite().all()
    assert head.combine(described, described, described).isfinite().all()


def test_gradients_of_empty_heatmaps_are_finite() -> None:
    head = PointsHead(3, 16)
    heat = torch.zeros(4, 68, 16, 16, requires_grad=True)
    described = head.describe(torch.randn(4, 48, 16, 16), heat)
    head.combine(described, described.roll(1, 0), described).sum().backward()
    assert heat.grad is not None and heat.grad.isfinite().all()


def test_model_equals_its_parts() -> None:
    torch.manual_seed(0)
    model = randomised(Model(SMALL))
    crops = torch.rand(3, 2, 3, 64, 64)
    with torch.no_grad():
        heatmaps, logits = model(*crops)
        parts = [model.fan(crop) for crop in crops]
        torch.testing.assert_close(heatmaps, parts[1][0][1])
        torch.testing.assert_close(logits["aunet"], model.aunet(*(features for _, features in parts)))
    assert logits["points"].shape == (2, 15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_file_round_trip(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        width=16,
        resolution=64,
        au_numbers=(1, 12),
        thresholds={"points": (0.3, 0.6)},
        points3d=tuple((float(i), 0.5, 1.0) for i in range(68)),
        provenance={"seed": 1},
    )
    model = randomised(Model(config))
    model.save(tmp_path / "m.safetensors", dtype)
    read = Model.load(tmp_path / "m.safetensors")
    assert read.config == config and not read.training
    assert read.config.thresholds_of("points") == (0.3, 0.6) and read.config.thresholds_of("aunet") == (0.5, 0.5)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(
            read.state_dict()[name],
            tensor,
            rtol=0 if dtype == torch.float32 else 1e-3,
            atol=1e-4 if dtype == torch.float16 else 0,
        )
    assert torch.equal(read.fan.bn1.running_var, model.fan.bn1.running_var)


def test_strict_loading(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    Model(SMALL).save(path)
    tensors, metadata = load_file(path), {"config": SMALL.to_json()}

    def saved(change: dict[str, torch.Tensor], drop: str = "", metadata: dict[str, str] | None = metadata) -> Path:
        save_file({k: v for k, v in (tensors | change).items() if k != drop}, path, metadata=metadata)
        return path

    with pytest.raises(ModelFileError, match=r"1 missing \(fan.l0.bias\)"):
        Model.load(saved({}, drop="fan.l0.bias"))
    with pytest.raises(ModelFileError, match=r"1 unknown \(surplus\)"):
        Model.load(saved({"surplus": torch.zeros(1)}))
    with pytest.raises(ModelFileError, match=r"fan.l0.bias \(3,\) instead of \(68,\)"):
        Model.load(saved({"fan.l0.bias": torch.zeros(3)}))
    with pytest.raises(ModelFileError, match="metadata 'config'"):
        Model.load(saved({}, metadata=None))
    with pytest.raises(ModelFileError, match="does not fit"):
        Model.load(saved({}, metadata={"config": '{"breadth": 3}'}))
    path.write_bytes(b"no tensors here")
    with pytest.raises(ModelFileError, match="expected a safetensors file"):
        Model.load(path)
    with pytest.raises(FileNotFoundError, match="safetensors file at"):
        Model.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"resolution": 100}, "resolution"),
        ({"au_numbers": (2, 1)}, "au_numbers"),
        ({"template": ((0.0, 0.0),)}, "template"),
        ({"points3d": ((0.0, 0.0, 0.0),)}, "points3d"),
        ({"thresholds": {"points": (0.5,)}}, "thresholds"),
        ({"thresholds": {"other": (0.5,) * 15}}, "thresholds"),
    ],
)
def test_configuration_is_checked(values: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ModelConfig(**values)  # type: ignore[arg-type]


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        FAN(20)
    with pytest.raises(ValueError, match="pooling"):
        FAN(16, pooling="mean")


def test_pooled_description_equals_the_description() -> None:
    torch.manual_seed(0)
    head = PointsHead(15, 16).eval()
    features, heatmaps = torch.randn(3, 48, 32, 32), torch.rand(3, 68, 32, 32) ** 8
    with torch.no_grad():
        pooled = head.describe_pooled(*head.pool(features, heatmaps))
        torch.testing.assert_close(pooled, head.describe(features, heatmaps), atol=1e-5, rtol=1e-5)
