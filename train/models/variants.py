"""The networks that the paper compares (Table VI, sections V-D to V-F), behind one interface.

    variant             features of a frame                 motion          trained                  VAE loss
    au-fan              FAN, frozen                         -               head                     -
    au-vae              FAN, frozen                         -               head                     yes
    au-tdn              FAN, frozen                         differences     head                     -
    aunet               FAN, frozen                         differences     head                     yes
    au-flow             FAN, frozen, and the crop           optical flow    head                     -
    au-fp               face parser, frozen                 -               head                     -
    resnet18            ResNet18                            -               all, from scratch        -
    resnet18-imagenet   ResNet18 with ImageNet weights      -               all                      -
    resnet18-a          ResNet18 up to layer2               differences     all                      yes

The VAE is part of the loss alone (train/models/label_vae.py): au-vae is au-fan, and aunet is au-tdn, as networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from train.models.aunet_head import AUFANHead, AUNetHead
from train.models.complexity import complexity
from train.models.fan import FAN
from train.models.flow import FlowHead
from train.models.parser import FaceParser
from train.models.raft import LearnedFlow
from train.models.resnet import MotionTrunk, ResNet18

VARIANTS = ("au-fan", "au-vae", "au-tdn", "aunet", "au-flow", "au-fp", "resnet18", "resnet18-imagenet", "resnet18-a")
_VAE = ("au-vae", "aunet", "resnet18-a")


class Network(nn.Module):
    """One variant: `features` per frame, `decide` per decision, `forward` both.

    variant: its name. contexts: whether the former and the later frame count. frozen: whether `features` is fixed, so
    that what it gives may be kept between epochs.
    """

    variant: str
    contexts: bool
    frozen: bool

    def features(self, crops: Tensor) -> Tensor:
        """Crops (B, 3, R, R) RGB float in [0, 1] -> (B, C, h, w). Where `frozen`: without gradient, in evaluation."""
        raise NotImplementedError

    def decide(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        """Features of three frames -> logits (B, n). Without `contexts` only `due` is looked at."""
        raise NotImplementedError

    def decide_kept(self, due: Tensor, near: Tensor | None) -> Tensor:
        """`decide` from kept features (train/engine/features_cache.py), where `frozen`: due (B, C, h, w); near (B, 2,
        C, h/2, w/2), the 2x2 means of the former and the later frame, or None without `contexts`."""
        raise NotImplementedError(f"the features of {self.variant} are not kept")

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (B, 3 frames, 3, R, R), former, due, later -> logits (B, n)."""
        if crops.ndim != 5 or crops.shape[1:3] != (3, 3):
            raise ValueError(f"crops: expected (B, 3 frames, 3, R, R), got {tuple(crops.shape)}")
        if not self.contexts:
            due = self.features(crops[:, 1])
            return self.decide(due, due, due)
        stacked = self.features(crops.flatten(0, 1)).unflatten(0, crops.shape[:2])
        return self.decide(stacked[:, 0], stacked[:, 1], stacked[:, 2])

    def trainable(self) -> Iterator[nn.Parameter]:
        """The parameters that training changes."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)


class FanNetwork(Network):
    """A frozen FAN and a head on its features: AU-FAN, AU-TDN, with optical flow AU-flow; on a face parser AU-FP."""

    frozen = True

    def __init__(self, variant: str, fan: FAN, head: AUFANHead | AUNetHead) -> None:
        super().__init__()
        self.variant = variant
        self.contexts = isinstance(head, AUNetHead)
        self.fan = fan.requires_grad_(False).eval()
        self.head = head

    def train(self, mode: bool = True) -> FanNetwork:
        super().train(mode)
        self.fan.eval()
        return self

    def features(self, crops: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = self.fan(crops)[1]
            if isinstance(self.head, FlowHead):
                found = torch.cat((found, self.head.pack_crops(crops).to(found.dtype)), 1)
        return found

    def decide(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        if isinstance(self.head, AUNetHead):
            return cast(Tensor, self.head(former, due, later))
        return cast(Tensor, self.head(due))

    def decide_kept(self, due: Tensor, near: Tensor | None) -> Tensor:
        if isinstance(self.head, FlowHead):
            return super().decide_kept(due, near)  # its features hold pixels, whose means are not those of their flow
        if isinstance(self.head, AUNetHead):
            if near is None:
                raise ValueError(f"near: expected the other frames' features for {self.variant}, got None")
            return self.head.from_means(near[:, 0], due, near[:, 1])
        return cast(Tensor, self.head(due))


class ResNetNetwork(Network):
    """ResNet18, all of it trained; with `motion` it is ResNet18-A."""

    frozen = False

    def __init__(
        self, variant: str, n_aus: int, trunk: ResNet18, motion: bool, alpha: float = 0.9, beta: float = 0.1
    ) -> None:
        super().__init__()
        self.variant, self.contexts = variant, motion
        self.trunk = trunk
        self.motion: MotionTrunk | None = None
        if motion:
            self.motion = MotionTrunk(trunk, alpha, beta)  # owns layer3 and layer4
            del trunk.layer3, trunk.layer4
        self.predictor = nn.Sequential(
            nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Linear(256, n_aus)
        )

    def features(self, crops: Tensor) -> Tensor:
        return self.trunk.early(crops) if self.motion is not None else cast(Tensor, self.trunk(crops))

    def decide(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        y = due if self.motion is None else self.motion(former, due, later)  # (B, 512, 8, 8)
        return cast(Tensor, self.predictor(y.mean((2, 3))))


def uses_vae(variant: str) -> bool:
    """Whether the variant is trained with the consistency loss (equation 3)."""
    _check(variant)
    return variant in _VAE


def build(
    variant: str,
    n_aus: int,
    *,
    width: int = 256,
    resolution: int = 256,
    fan: FAN | None = None,
    weights: str | Path | None = None,
    alpha: float = 0.9,
    beta: float = 0.1,
    flow: LearnedFlow | None = None,
) -> Network:
    """One of VARIANTS, freshly made, in training mode.

    Args:
        n_aus: AUs.
        width: channels of FAN and head; that of `fan` where one is given. The ResNets have none.
        resolution: side of the crop in px, a multiple of 64.
        fan: the FAN of a FAN variant, of au-fp a FaceParser; it is frozen in place. Without it and without `weights` it
            has random weights.
        weights: file. FAN variants: a model of ours, or a FAN that train.models.pretrained.load_fan reads. au-fp: a
            face parser. ResNets: a ResNet18 classifier of ImageNet with torchvision's names; resnet18-imagenet must
            have one.
        alpha, beta: weights of the static and the motion features, for variants with motion.
        flow: of au-flow, a learned flow; without it DIS.

    Raises:
        ValueError: an unknown variant, or options that do not go together.
        FileNotFoundError, ModelFileError: the file.
    """
    _check(variant)
    if flow is not None and variant != "au-flow":
        raise ValueError(f"flow: expected none for {variant}, which has no optical flow")
    if n_aus < 1:
        raise ValueError(f"n_aus: expected a positive number, got {n_aus}")
    if resolution < 64 or resolution % 64:
        raise ValueError(f"resolution: expected a positive multiple of 64, got {resolution}")
    if variant.startswith("resnet18"):
        if fan is not None:
            raise ValueError(f"fan: expected none for {variant}, which has no FAN")
        trunk = ResNet18()
        if weights is not None:
            if variant == "resnet18":
                raise ValueError(
                    "weights: expected none for resnet18, which starts from scratch; see resnet18-imagenet"
                )
            trunk.load_imagenet(weights)
        elif variant == "resnet18-imagenet":
            raise ValueError("weights: expected a ResNet18 classifier of ImageNet for resnet18-imagenet, got none")
        return ResNetNetwork(variant, n_aus, trunk, motion=variant == "resnet18-a", alpha=alpha, beta=beta)
    if fan is not None and weights is not None:
        raise ValueError("fan, weights: expected one of them, got both")
    if fan is not None and isinstance(fan, FaceParser) != (variant == "au-fp"):
        wanted = "a face parser" if variant == "au-fp" else "a FAN with landmarks"
        raise ValueError(f"fan: expected {wanted} for {variant}, got {type(fan).__name__}")
    if weights is not None:
        from train.models.pretrained import load_fan

        fan = FaceParser.load(weights) if variant == "au-fp" else load_fan(weights)[0]
    if fan is None:
        fan = FaceParser(width) if variant == "au-fp" else FAN(width)
    head: AUFANHead | AUNetHead
    if variant == "au-flow":
        head = FlowHead(n_aus, fan.width, alpha, beta, flow)
    elif variant in ("au-tdn", "aunet"):
        head = AUNetHead(n_aus, fan.width, alpha, beta)
    else:
        head = AUFANHead(n_aus, fan.width)
    return FanNetwork(variant, fan, head)


def _check(variant: str) -> None:
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")


@dataclasses.dataclass(frozen=True)
class Cost:
    """One row of the complexity table. Numbers of the paper are None where it states none.

    parameters: of the part that is named. multiply_adds: of its convolutions and linear layers for one decision, the
    features of each frame computed once.
    """

    part: str
    parameters: int
    multiply_adds: int
    paper_parameters: float | None = None
    paper_multiply_adds: float | None = None
    note: str = ""


def costs(n_aus: int = 15, width: int = 256, resolution: int = 256) -> list[Cost]:
    """Parameters and multiply-adds of every variant, the paper's beside them (section V-F, Table XI).

    The paper's "flops" are multiply-adds.
    """
    from train.models.label_vae import LATENT, LabelVAE

    crop = (1, 3, resolution, resolution)
    side = resolution // 4
    frame = (1, 3 * width, side, side)
    with torch.device("meta"):  # shapes alone; nothing is computed
        fan = complexity(FAN(width), crop)
        parser = complexity(FaceParser(width), crop)
        au_fan = complexity(AUFANHead(n_aus, width), frame)
        aunet = complexity(AUNetHead(n_aus, width), frame, frame, frame)
        flow = complexity(_FromFlow(FlowHead(n_aus, width)), frame, (1, 4, side // 2, side // 2))
        resnet = complexity(build("resnet18", n_aus), (1, 3, *crop[1:]))
        resnet_a = build("resnet18-a", n_aus)
        per_frame = complexity(_Features(resnet_a), crop)[1]
        early = (1, 128, resolution // 8, resolution // 8)
        per_decision = complexity(_Decision(resnet_a), early, early, early)[1]
        vae = complexity(LabelVAE(12, LATENT["bp4d"]), (1, 12))
    return [
        Cost("FAN, frozen", *fan, 12.11e6, 13.97e9, "2 hourglasses, in every FAN variant, once per frame"),
        Cost("face parser, frozen", *parser, note="the same for 10 parts, in AU-FP in place of FAN"),
        Cost("head of AU-FAN, AU-VAE", *au_fan, 1.86e6, 3.02e9, "and of AU-FP"),
        Cost("head of AU-TDN, AUNet", *aunet, 2.66e6, 3.84e9),
        Cost("head of AU-flow", *flow, 187.75e6, None, "the paper's with FlowNet; the flow of ours is not counted"),
        Cost("ResNet18 (both)", *resnet, 11.38e6, 2.35e9),
        Cost(
            "ResNet18-A",
            sum(parameter.numel() for parameter in resnet_a.parameters()),
            per_frame + per_decision,
            note=f"{per_frame / 1e9:.2f} G of it once per frame",
        ),
        Cost("label VAE", *vae, note="12 AUs, latent 8; in training alone"),
    ]


class _FromFlow(nn.Module):
    def __init__(self, head: FlowHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, due: Tensor, flow: Tensor) -> Tensor:
        return self.head.from_flow(due, flow)


class _Features(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        return self.network.features(crops)


class _Decision(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        return self.network.decide(former, due, later)
