"""Every variant behind the one interface: what is trained, what counts, what it costs."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from train.models.config import ModelConfig, ModelFileError
from train.models.fan import FAN
from train.models.flow import CELL_PX, FlowHead, dense_flow, pack, unpack
from train.models.model import Model
from train.models.resnet import ResNet18
from train.models.variants import VARIANTS, FanNetwork, Network, build, costs, uses_vae

MOVING = ("au-tdn", "aunet", "au-flow", "resnet18-a")


def texture(side: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth uint8 RGB noise."""
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.integers(0, 256, (side, side, 3), np.uint8), (0, 0), 2.0)


def clip(batch: int = 2, shift_px: float = 3.0) -> Tensor:
    """(B, 3 frames, 3, 64, 64): a texture that moves to the right."""
    crops = []
    for i in range(batch):
        picture = texture(seed=i)
        moved = [
            cv2.warpAffine(picture, np.float64([[1, 0, dx], [0, 1, 0]]), (64, 64), borderMode=cv2.BORDER_REFLECT)
            for dx in (-shift_px, 0.0, shift_px)
        ]
        crops.append(np.stack(moved))
    return torch.from_numpy(np.stack(crops)).permute(0, 1, 4, 2, 3).float() / 255


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with torchvision's names, random weights."""
    torch.manual_seed(0)
    state = ResNet18().state_dict() | {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    torch.save(state, path := tmp_path_factory.mktemp("imagenet") / "resnet18.pth")
    return path


def make(variant: str, imagenet: Path, n_aus: int = 5) -> Network:
    torch.manual_seed(0)
    weights = imagenet if variant == "resnet18-imagenet" else None
    return build(variant, n_aus, width=16, resolution=64, weights=weights)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_interface(variant: str, imagenet: Path) -> None:
    network = make(variant, imagenet).train()
    crops = clip()
    logits = network(crops)
    assert logits.shape == (2, 5) and network.variant == variant
    assert network.contexts == (variant in MOVING)
    assert uses_vae(variant) == (variant in ("au-vae", "aunet", "resnet18-a"))
    logits.sum().backward()
    trained = list(network.trainable())
    assert trained and all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    chosen = {id(p) for p in trained}
    frozen = {name for name, p in network.named_parameters() if id(p) not in chosen}
    assert frozen == ({n for n, _ in network.named_parameters() if n.startswith("fan.")} if network.frozen else set())
    network.eval()
    with torch.no_grad():
        parts = [network.features(crops[:, i]) for i in range(3)]
        torch.testing.assert_close(network.decide(*parts), network(crops))
        stopped = network.decide(parts[1], parts[1], parts[1])
        assert ((stopped - network(crops)).abs().max() > 1e-6) == network.contexts
    copy.deepcopy(network)


@pytest.mark.parametrize("variant", ["au-fan", "aunet", "au-flow"])
def test_fan_stays_as_it_is(variant: str) -> None:
    torch.manual_seed(0)
    fan = FAN(16)
    before = {name: tensor.clone() for name, tensor in fan.state_dict().items()}
    network = build(variant, 3, fan=fan)
    assert isinstance(network, FanNetwork) and network.fan is fan
    network.train()
    assert not fan.training and network.head.training
    optimizer = torch.optim.AdamW(network.trainable(), lr=1e-2)
    head = {name: tensor.clone() for name, tensor in network.head.state_dict().items()}
    for _ in range(2):
        network(clip()).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in fan.state_dict().items())
    changed = {name for name, tensor in network.head.state_dict().items() if not torch.equal(tensor, head[name])}
    assert changed >= {name for name, _ in network.head.named_parameters() if name.endswith("weight")}
    assert not network.features(clip()[:, 1]).requires_grad


def test_tdn_is_the_models_head() -> None:
    """The variant is the network that export knows: same weights, same logits."""
    torch.manual_seed(0)
    model = Model(ModelConfig(width=16, resolution=64)).eval()
    network = build("aunet", 15, fan=model.fan)
    assert isinstance(network, FanNetwork)
    network.head.load_state_dict(model.aunet.state_dict())
    crops = clip()
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(crops), model(*crops.unbind(1))[1]["aunet"])


def test_weights_of_a_model_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Model(ModelConfig(width=16, resolution=64))
    model.save(tmp_path / "m.safetensors")
    network = build("au-tdn", 4, weights=tmp_path / "m.safetensors")
    assert isinstance(network, FanNetwork)
    assert torch.equal(network.fan.state_dict()["bl0.weight"], model.fan.state_dict()["bl0.weight"])


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        (("au-net", 5), {}, "au-fan, au-vae"),
        (("aunet", 0), {}, "n_aus"),
        (("aunet", 5), {"resolution": 100}, "multiple of 64"),
        (("resnet18", 5), {"fan": FAN(8)}, "no FAN"),
        (("resnet18", 5), {"weights": "x.pth"}, "from scratch"),
        (("resnet18-imagenet", 5), {}, "ImageNet"),
        (("aunet", 5), {"fan": FAN(8), "weights": "x.pth"}, "got both"),
    ],
)
def test_what_does_not_go_together(arguments: tuple[str, int], options: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build(*arguments, **options)  # type: ignore[arg-type]


def test_crops_are_checked() -> None:
    with pytest.raises(ValueError, match="3 frames"):
        build("au-fan", 2, width=16)(torch.zeros(2, 3, 64, 64))


def test_imagenet_weights_fit_strictly(imagenet: Path, tmp_path: Path) -> None:
    state = torch.load(imagenet, weights_only=True)
    network = build("resnet18-a", 5, weights=imagenet)
    own = network.state_dict()
    assert torch.equal(own["trunk.layer2.0.downsample.0.weight"], state["layer2.0.downsample.0.weight"])
    assert torch.equal(own["motion.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    names = set(state)
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.bn2.bias", "layer3.0.downsample.1.weight"} <= names
    for change, match in (
        ({"layer1.0.bn2.bias": None}, "1 missing"),
        ({"fc.bias": None}, "classifier"),
        ({"fc.weight": torch.zeros(10, 2048), "layer1.0.conv3.weight": torch.zeros(1)}, "classifier"),
        ({"layer1.0.conv3.weight": torch.zeros(1)}, "1 unknown"),
    ):
        other = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
        torch.save(other, tmp_path / "other.pth")
        with pytest.raises(ModelFileError, match=match):
            build("resnet18-imagenet", 5, weights=tmp_path / "other.pth")


def test_resnet_is_resnet18() -> None:
    """Against a plain evaluation of the published architecture's first stage, and its size."""
    trunk = ResNet18()
    assert sum(p.numel() for p in trunk.parameters()) == 11_176_512  # torchvision's 11,689,512 without fc
    assert trunk(torch.rand(1, 3, 64, 64)).shape == (1, 512, 2, 2)
    assert trunk.early(torch.rand(1, 3, 64, 64)).shape == (1, 128, 8, 8)


def test_packing_keeps_the_crop() -> None:
    crops = torch.rand(2, 3, 64, 64)
    packed = pack(crops)
    assert packed.shape == (2, 16, 16, 16)
    grey = crops[:, 0] * 0.299 + crops[:, 1] * 0.587 + crops[:, 2] * 0.114
    assert np.array_equal(unpack(packed), (grey * 255).round().to(torch.uint8).numpy())
    assert np.abs(unpack(packed.half()).astype(int) - unpack(packed)).max() <= 1  # kept features may be FP16


def test_flow_measures_the_motion() -> None:
    crops = clip(1, 3.0)
    former, due, later = (pack(crops[:, i]) for i in range(3))
    flow = FlowHead(2, 16).flow(former, due, later)[0] * CELL_PX
    assert flow.shape == (4, 8, 8)
    inner = flow[:, 2:6, 2:6].mean((1, 2))
    torch.testing.assert_close(inner, torch.tensor([-3.0, 0.0, 3.0, 0.0]), atol=0.4, rtol=0)
    grey = unpack(due)[0]
    assert not dense_flow(grey, grey).any()


def test_flow_replaces_the_feature_differences() -> None:
    torch.manual_seed(0)
    network = build("au-flow", 3, width=16).eval()
    assert isinstance(network, FanNetwork) and isinstance(network.head, FlowHead)
    former, due, later = (network.features(frame) for frame in clip().unbind(1))
    assert due.shape == (2, 3 * 16 + 16, 16, 16)
    with torch.no_grad():
        logits = network.decide(former, due, later)
        former[:, :48] += 1.0  # FAN's features of the neighbours count for nothing
        torch.testing.assert_close(network.decide(former, due, later), logits)
    with pytest.raises(NotImplementedError, match="flow"):
        network.head.split(due)


def test_costs_count_what_is_trained(imagenet: Path) -> None:
    rows = {row.part: row for row in costs(5, 16, 64)}
    for variant, part in (
        ("au-vae", "head of AU-FAN, AU-VAE"),
        ("aunet", "head of AU-TDN, AUNet"),
        ("au-flow", "head of AU-flow"),
        ("resnet18-imagenet", "ResNet18 (both)"),
        ("resnet18-a", "ResNet18-A"),
    ):
        assert sum(p.numel() for p in make(variant, imagenet).trainable()) == rows[part].parameters
    assert rows["FAN, frozen"].parameters == sum(p.numel() for p in FAN(16).parameters())


@pytest.mark.parametrize("variant", ["au-fan", "aunet"])
def test_kept_features_decide_as_whole_ones(variant: str) -> None:
    torch.manual_seed(0)
    network = build(variant, 3, width=16, resolution=64).eval()
    former, due, later = torch.randn(3, 2, 48, 16, 16)
    near = functional.avg_pool2d(torch.cat((former, later)), 2).unflatten(0, (2, 2)).transpose(0, 1)
    with torch.no_grad():
        kept = network.decide_kept(due, near if network.contexts else None)
        torch.testing.assert_close(kept, network.decide(former, due, later), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_kept_says_so() -> None:
    due, near = torch.randn(2, 64, 16, 16), torch.randn(2, 2, 64, 8, 8)
    for variant in ("au-flow", "resnet18-a"):
        with pytest.raises(NotImplementedError, match=variant):
            build(variant, 3, width=16, resolution=64).decide_kept(due, near)
    with pytest.raises(ValueError, match="aunet"):
        build("aunet", 3, width=16, resolution=64).decide_kept(due[:, :48], None)
