"""The network: the paper's size, the exact split, names, files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.train.networks import randomised
from train.models.aunet_head import AUFANHead, AUNetHead
from train.models.complexity import complexity
from train.models.config import ModelConfig, ModelFileError
from train.models.fan import FAN
from train.models.model import Model

SMALL = ModelConfig(width=16, resolution=64)


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
