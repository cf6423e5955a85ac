"""Weights on the disk: whole or not at all, readable by whoever the folder's other files are for."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train.models.tensor_file import write_tensors


def test_a_full_disk_keeps_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_tensors({"a": torch.ones(2)}, path, {"k": "v"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: .*m\.safetensors") as caught:
            write_tensors({"a": torch.ones(5000)}, path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno is not None
    assert torch.equal(load_file(path)["a"], torch.ones(2)) and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_tensors({"a": torch.ones(2)}, tmp_path / "nowhere" / "m.safetensors", {})


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.safetensors" for i in range(8)]
    for path in files:
        write_tensors({"b": torch.ones(2), "a": torch.zeros(3)}, path, {"config": "{}"})
    assert len({path.read_bytes() for path in files}) == 1


def test_the_mode_is_that_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_tensors({"a": torch.ones(2)}, tmp_path / "m.safetensors", {})
    assert (tmp_path / "m.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
