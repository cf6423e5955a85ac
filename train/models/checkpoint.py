"""Files of the paper's networks: one safetensors file per network, its configuration in the metadata.

AU-TDN and AUNet are written as `train.models.model.AUNet`, which `python -m export` turns into a bundle; the others,
which are for comparison, as tensors with a configuration of their own. `load_network` reads both.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from train.models.aunet_head import AUNetHead
from train.models.config import MODEL, ModelConfig, ModelFileError
from train.models.fan import FAN
from train.models.flow import FlowHead
from train.models.model import AUNet, Model
from train.models.parser import FaceParser
from train.models.raft import raft_small
from train.models.tensor_file import load_exactly, write_tensors
from train.models.variants import FanNetwork, Network, build

KEY = "network"
_EXPORTED = ("au-tdn", "aunet")


def save_network(network: Network, config: ModelConfig, path: str | Path) -> None:
    """Write a network; `config` as for train.models.model.Model, its provenance says the rest."""
    if network.variant in _EXPORTED:
        with torch.device("meta"):
            shell = AUNet(config)
        shell.fan, shell.aunet = cast(FAN, network.fan), cast(AUNetHead, network.head)
        config = dataclasses.replace(shell.config, alpha=shell.aunet.alpha, beta=shell.aunet.beta)
        shell.config = dataclasses.replace(config, provenance={**config.provenance, "variant": network.variant})
        shell.save(path)
        return
    head = getattr(network, "head", None)
    flow = {"flow": "raft"} if isinstance(head, FlowHead) and head.learned is not None else {}
    text = json.dumps({"variant": network.variant, **flow, **dataclasses.asdict(config)})
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    write_tensors(tensors, path, {KEY: text})


def load_network(place: str | Path) -> tuple[Network, ModelConfig]:
    """Network of a file of `save_network` or of a run folder, in evaluation mode, and its configuration.

    Raises:
        FileNotFoundError: no such file.
        ModelFileError: something else, or tensors that do not fit.
        BackendUnavailable: a network with RAFT, and no torchvision.
    """
    path = Path(place)
    path = path / MODEL if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"network: expected a .safetensors file or a run folder at {place}, found none")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors: dict[str, Tensor] = {}
            if KEY in metadata:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ModelFileError(f"network: expected a safetensors file, got {path}: {error}") from error
    if KEY not in metadata:
        model = Model.load(path)
        variant = str(model.config.provenance.get("variant", "aunet"))
        return FanNetwork(variant, model.fan, model.aunet).eval(), model.config
    values: dict[str, Any] = json.loads(metadata[KEY])
    variant, flow = str(values.pop("variant")), values.pop("flow", "dis")
    config = ModelConfig.from_json(json.dumps(values))
    fan = None
    if not variant.startswith("resnet18"):
        fan = (FaceParser if variant == "au-fp" else FAN)(config.width, pooling=config.pooling)
    plain = "resnet18" if variant == "resnet18-imagenet" else variant  # the weights are in the file
    network = build(
        plain,
        len(config.au_numbers),
        width=config.width,
        resolution=config.resolution,
        fan=fan,
        alpha=config.alpha,
        beta=config.beta,
        flow=raft_small() if flow == "raft" else None,
    )
    network.variant = variant
    load_exactly(network, tensors, str(path))
    return network.eval(), config


def warm_start(network: Network, au_numbers: tuple[int, ...], place: str | Path) -> list[str]:
    """Copy the weights of an earlier run of the same variant; the last layer by AU number.

    Returns:
        the AUs whose outputs start from random weights, as 'AU9'.

    Raises:
        ValueError: another variant, or layers of other sizes.
    """
    other, config = load_network(place)
    if other.variant != network.variant:
        raise ValueError(f"init: expected a run of {network.variant}, got one of {other.variant} in {place}")
    own, given = network.state_dict(), other.state_dict()
    last = _last_layer(network)
    for name, tensor in own.items():
        if name in (f"{last}.weight", f"{last}.bias"):
            continue
        if name not in given or given[name].shape != tensor.shape:
            got = tuple(given[name].shape) if name in given else "none"
            raise ValueError(f"init: expected {name} {tuple(tensor.shape)} in {place}, got {got}; use the same FAN")
        tensor.copy_(given[name])
    with torch.no_grad():
        for row, number in enumerate(au_numbers):
            if number in config.au_numbers:
                for part in ("weight", "bias"):
                    own[f"{last}.{part}"][row] = given[f"{last}.{part}"][config.au_numbers.index(number)]
    return [f"AU{number}" for number in au_numbers if number not in config.au_numbers]


def _last_layer(network: Network) -> str:
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]


def load_model(place: str | Path) -> Model:
    """Model of a file, or of a run folder."""
    path = Path(place)
    return Model.load(path / MODEL if path.is_dir() else path)
