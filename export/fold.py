"""A copy of a train.models.model.Model with less to compute: the same function but for rounding.

FAN is pre-activated (BN -> ReLU -> conv): a batch norm goes into a layer only where it follows a linear one, the others
become a plain scale and shift. What linear layers do one after the other becomes one layer:

    x + bl(t) + al(l(t))             of a stack's last features t: one 1x1 convolution, `carry`
    heatmaps summed over the points  a 1x1 convolution with the summed weights, `attention`
    reduce(cat(low, a * top, ...))   of the head "points": `low`(low) + a * (`tops[0]`(t0) + `tops[1]`(t1)), bl inside

All of it is computed in float64, so that running variances outside the FP16 range do no harm later.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.blocks import ConvBlock
from train.models.extra_head import Lids
from train.models.fan import FAN
from train.models.model import Model

__all__ = ["HEADS", "fold", "halve", "prepared"]

HEADS = ("aunet", "points")
LANES = 16
"""channels per block of the layout in which ONNX Runtime convolves with AVX-512 and NEON; tensors in whole blocks are
not laid out anew between the layers"""


class Affine(nn.Module):
    """x * weight + bias along the last axis: a batch norm of vectors whose statistics stand still."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


def _scale_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """float64 (C,) scale and shift of a batch norm in evaluation."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("expected a batch norm with running statistics, got one without; train it with them")
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def _into_linear(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Put the batch norm that follows `layer` into it."""
    scale, shift = _scale_shift(norm)
    weight = layer.weight.double() * scale.reshape(-1, *([1] * (layer.weight.ndim - 1)))
    bias = shift if layer.bias is None else layer.bias.double() * scale + shift
    layer.weight = nn.Parameter(weight.float(), requires_grad=False)
    layer.bias = nn.Parameter(bias.float(), requires_grad=False)


def _standard(norm: nn.BatchNorm2d) -> None:
    """Mean 0, variance 1, eps 0: a scale and a shift, and still one BatchNormalization, which runtimes fuse best."""
    scale, shift = _scale_shift(norm)
    norm.weight = nn.Parameter(scale.float(), requires_grad=False)
    norm.bias = nn.Parameter(shift.float(), requires_grad=False)
    norm.running_mean = torch.zeros_like(shift, dtype=torch.float32)
    norm.running_var = torch.ones_like(scale, dtype=torch.float32)
    norm.eps = 0.0


def _matrix(conv: nn.Module) -> tuple[Tensor, Tensor]:
    """float64 weight (outputs, inputs) and bias (outputs,) of a 1x1 convolution."""
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    return conv.weight.double()[:, :, 0, 0], conv.bias.double()


def _conv1x1(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """A 1x1 convolution of a weight (outputs, inputs) and a bias (outputs,) of any floating type."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=1, bias=bias is not None)
    conv.weight = nn.Parameter(weight[:, :, None, None].float(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.float(), requires_grad=False)
    return conv


class WholeBlocks(nn.Module):
    """A ConvBlock whose quarters are half a block of LANES channels wide, in whole blocks: the two quarters lie side by
    side in one tensor, zeros where the other one is, and their sum takes the place of their concatenation."""

    def __init__(self, block: ConvBlock) -> None:
        super().__init__()
        quarter = block.conv2.out_channels
        self.bn1, self.conv1, self.bn2, self.conv2, self.bn3, self.conv3 = (
            block.bn1, block.conv1, block.bn2, block.conv2, block.bn3, block.conv3,
        )  # fmt: skip
        self.downsample = block.downsample
        _pad(self.conv2.weight, (0, 0, 0, 0, 0, 0, 0, quarter))
        _pad(self.conv3.weight, (0, 0, 0, 0, 0, quarter, quarter, 0))
        for name, value in (("weight", 0.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            _pad(getattr(self.bn3, name), (0, quarter), value)

    @staticmethod
    def fits(block: ConvBlock) -> bool:
        return block.conv1.out_channels % LANES == 0 and block.conv2.out_channels == LANES // 2

    def forward(self, x: Tensor) -> Tensor:
        half = self.conv1(functional.relu(self.bn1(x)))
        quarter = self.conv2(functional.relu(self.bn2(half)))
        quarters = quarter + self.conv3(functional.relu(self.bn3(quarter)))
        residual = x if self.downsample is None else self.downsample(x)
        return torch.cat((half, quarters), 1) + residual


def _pad(tensor: Tensor, widths: tuple[int, ...], value: float = 0.0) -> None:
    """functional.pad in place of what the tensor holds."""
    tensor.data = functional.pad(tensor.data, widths, value=value)


def _fold_fan(fan: FAN, planes: int) -> None:
    """In place. `attention` gives the plane `planes` times over, one for each channel that it is multiplied with."""
    _into_linear(fan.conv1, fan.bn1)
    fan.bn1 = nn.Identity()  # type: ignore[assignment]
    for i in range(fan.stacks):
        conv, norm = fan.get_submodule(f"conv_last{i}"), fan.get_submodule(f"bn_end{i}")
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        _into_linear(conv, norm)
        delattr(fan, f"bn_end{i}")
    for i in range(fan.stacks - 1):  # the heatmaps between the stacks are not asked for
        maps, maps_bias = _matrix(fan.get_submodule(f"l{i}"))
        back, back_bias = _matrix(fan.get_submodule(f"al{i}"))
        on, on_bias = _matrix(fan.get_submodule(f"bl{i}"))
        fan.add_module(f"carry{i}", _conv1x1(on + back @ maps, on_bias + back @ maps_bias + back_bias))
        delattr(fan, f"l{i}")
        delattr(fan, f"al{i}")
    maps, maps_bias = _matrix(fan.get_submodule(f"l{fan.stacks - 1}"))
    fan.add_module("attention", _conv1x1(maps.sum(0).expand(planes, -1), maps_bias.sum(0).expand(planes)))


def _fold_points(model: Model) -> None:
    """In place: `reduce` of the head "points" split by what it reads, together with `bl`."""
    points, fan = model.points, model.fan
    weight, bias = _matrix(points.reduce)
    low, *tops = weight.split(fan.width, 1)
    readers: list[nn.Module] = []
    for i, part in enumerate(tops):
        if i < fan.stacks - 1:
            on, on_bias = _matrix(fan.get_submodule(f"bl{i}"))
            readers.append(_conv1x1(part @ on, part @ on_bias))
            delattr(fan, f"bl{i}")
        else:
            readers.append(_conv1x1(part))
    points.add_module("low", _conv1x1(low, bias))
    points.add_module("tops", nn.ModuleList(readers))
    delattr(points, "reduce")


def _fold_lids(part: Lids) -> None:
    """In place: batch norms into the convolutions before them."""
    layers = list(part.layers)
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.BatchNorm2d):
            conv = layers[i - 1]
            assert isinstance(conv, nn.Conv2d)
            _into_linear(conv, layer)
            part.layers[i] = nn.Identity()


@torch.no_grad()
def fold(model: Model, head: str) -> Model:
    """A copy of `model` for inference with one head ("aunet" | "points"), equal to it but for rounding."""
    if head not in HEADS:
        raise ValueError(f"head: expected one of {HEADS}, got {head!r}")
    model = copy.deepcopy(model).float().eval().requires_grad_(False)
    _fold_fan(model.fan, planes=1 if head == "aunet" else model.points.reduce.out_channels)
    for predictor in (model.aunet.predictor, model.points.predictor):
        # The largest weight stays as it was trained and stored; a scale of a few numbers costs nothing behind it.
        assert isinstance(predictor[1], nn.BatchNorm1d)
        scale, shift = _scale_shift(predictor[1])
        predictor[1] = Affine(scale.float(), shift.float())
    scale, shift = _scale_shift(model.points.norm)
    model.points.norm = Affine(scale.float(), shift.float())  # type: ignore[assignment]
    if model.points.geometry is not None:
        scale, shift = _scale_shift(model.points.geometry.norm)
        model.points.geometry.norm = Affine(scale.float(), shift.float())  # type: ignore[assignment]
    if model.points.extra is not None:
        _fold_lids(model.points.extra)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            _standard(module)
    diff = model.aunet.conv1x1_diff
    for name, weight in zip(("early", "late"), diff.weight[:, :, 0, 0].chunk(2, 1), strict=True):
        model.aunet.add_module(name, _conv1x1(weight.clone()))
    for module in model.modules():
        for name, block in list(module.named_children()):
            if isinstance(block, ConvBlock) and WholeBlocks.fits(block):
                setattr(module, name, WholeBlocks(block))
    if head == "points":
        _fold_points(model)
    delattr(model, "points" if head == "aunet" else "aunet")
    return model


class Island(nn.Module):
    """A part that computes in FP32 inside a half-precision graph."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.inner(x.float()))


@torch.no_grad()
def halve(model: Model) -> Model:
    """A folded model, in place, in half precision but for the islands. ValueError where a weight is out of range."""
    delattr(model.fan, "attention")  # its sum of weights has no place in FP16: the heatmaps are summed, in FP32
    for name, tensor in model.named_parameters():
        if float(tensor.abs().max()) > torch.finfo(torch.float16).max:
            raise ValueError(
                f"{name}: expected weights up to 65504 for FP16, got {float(tensor.abs().max()):g}; "
                "export with --precision fp32"
            )
    model.fan.half()
    if hasattr(model, "aunet"):
        model.aunet.half()
        model.aunet.predictor = Island(model.aunet.predictor.float())  # type: ignore[assignment]
    if hasattr(model, "points"):
        model.points.get_submodule("low").half()
        model.points.get_submodule("tops").half()
    return model


def prepared(model: Model, head: str, compute: str) -> Model:
    """`fold`, and `halve` for compute "float16"."""
    if compute not in ("float32", "float16"):
        raise ValueError(f"compute: expected float32 or float16, got {compute!r}")
    folded = fold(model, head)
    return halve(folded) if compute == "float16" else folded
