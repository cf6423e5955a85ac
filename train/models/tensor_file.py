"""Files of tensors: written whole or not at all, read strictly; a full disk is an OSError like any other."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from train.models.config import ModelFileError

State = Mapping[str, Tensor]

COUNTER = "num_batches_tracked"


def write_tensors(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write contiguous CPU tensors and `metadata`; `path` is as before where that fails. With one entry of metadata the
    same content gives the same file; safetensors writes more of them in any order.

    Raises:
        OSError: what the system said (no space, no folder, no permission), with the path.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        save_file(dict(tensors), partial, metadata=dict(metadata) or None)
        partial.chmod(mode)  # safetensors' own is for the owner alone
        partial.replace(path)
    except SafetensorError as error:
        partial.unlink(missing_ok=True)
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a PyTorch checkpoint; a wrapping {"state_dict": ...} is taken off.

    Raises:
        FileNotFoundError: no such file.
        ModelFileError: neither of the two, an archive of TorchScript, or something that is no table of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights: expected a file at {path}, found none; check the path")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise ModelFileError(f"weights: expected a safetensors file, got {path}: {error}") from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ModelFileError(
                    f"weights: expected a state dict, got {path}, an archive of TorchScript, which holds code; "
                    "take the .pth.tar of the same model, or save torch.jit.load(...).state_dict() as safetensors"
                )
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(f"weights: expected a PyTorch state dict or safetensors, got {path}: {first}") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelFileError(f"weights: expected names and tensors in {path}, got {type(content).__name__}")
    return dict(content)


def load_exactly(module: nn.Module, state: State, origin: str) -> None:
    """Copy `state` into `module` by name, every tensor once; ModelFileError where one is missing, left over, of another
    shape or not finite. `origin` names the source in the message. A prefix common to all names is taken off."""
    own = module.state_dict()
    given = _without_prefix(state, own)
    counters = {name for name in own if name.endswith(COUNTER)}
    if counters.isdisjoint(given):
        own = {name: tensor for name, tensor in own.items() if name not in counters}
    problems = []
    for names, kind in ((own.keys() - given.keys(), "missing"), (given.keys() - own.keys(), "unknown")):
        if names:
            problems.append(f"{len(names)} {kind} ({_some(names)})")
    wrong = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & given.keys()
        if given[name].shape != own[name].shape
    ]
    if wrong:
        problems.append(f"{len(wrong)} of another shape ({_some(wrong)})")
    broken = [name for name in own.keys() & given.keys() if not bool(given[name].isfinite().all())]
    if broken:
        problems.append(f"{len(broken)} not finite ({_some(broken)})")
    if problems:
        raise ModelFileError(f"{origin}: expected {len(own)} tensors, got {len(given)}: {'; '.join(problems)}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(given[name])


def _some(names: Sequence[str] | set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")


def _without_prefix(state: State, own: State) -> State:
    """`state` without the prefix that all its names share ("module.", "feature.fan."), where that makes it fit."""
    first = next(iter(state), "")
    prefix = ""
    for part in first.split(".")[:-1]:
        if not all(name.startswith(f"{prefix}{part}.") for name in state):
            break
        prefix += f"{part}."
    if not prefix or first in own:
        return state
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
