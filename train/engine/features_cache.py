"""Features of a frozen FAN, kept on disk: the network runs once per triplet and augmentation, not once per epoch.

What is kept of a triplet: the due frame's features whole, and the 2x2 means of the other two frames'. The motion path
begins with that mean of differences, so the decision is the one from whole features, up to FP16, at half the space and
with less to compute: 9 MB for a triplet at width 256 (6 MB without neighbours).

A folder per key holds `due.f16`, `near.f16` (memory maps, laid out before the first write, so that a full disk is
found at once) and `done.u8`, one byte per row: a stopped pass goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from train.engine.run_folder import RunError


def model_key(network: nn.Module) -> str:
    """Hash of the names, shapes and values of a network's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def key_of(**facts: Any) -> str:
    """Short name for what the features depend on; facts in any order, each one that JSON can write."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def amount(size: int) -> str:
    """Bytes in words."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes of one cache."""

    rows: int
    """Triplets times augmentations."""
    channels: int
    side: int
    """Of a feature map, even."""
    near: bool
    """Whether the former and the later frame are kept."""

    @property
    def due_shape(self) -> tuple[int, ...]:
        return (self.rows, self.channels, self.side, self.side)

    @property
    def near_shape(self) -> tuple[int, ...]:
        return (self.rows if self.near else 0, 2, self.channels, self.side // 2, self.side // 2)

    @property
    def size(self) -> int:
        """Bytes."""
        return 2 * (int(np.prod(self.due_shape)) + int(np.prod(self.near_shape))) + self.rows


class FeatureCache:
    """Memory-mapped features of `layout.rows` triplets.

    Args:
        folder: parent of all caches.
        key: `key_of` everything that the features depend on.

    Raises:
        RunError: no room for it; the message has the sizes.
    """

    def __init__(self, folder: str | Path, key: str, layout: Layout) -> None:
        if layout.side % 2:
            raise ValueError(f"features: expected an even side, got {layout.side}")
        self.layout, self.folder = layout, Path(folder) / key
        self.folder.mkdir(parents=True, exist_ok=True)
        self._reserve()
        self._due = self._map("due.f16", np.float16, layout.due_shape)
        self._near = self._map("near.f16", np.float16, layout.near_shape) if layout.near else None
        self._done = self._map("done.u8", np.uint8, (layout.rows,))

    def _reserve(self) -> None:
        layout = self.layout
        sizes = {"due.f16": 2 * int(np.prod(layout.due_shape)), "done.u8": layout.rows}
        if layout.near:
            sizes["near.f16"] = 2 * int(np.prod(layout.near_shape))
        for name, size in sizes.items():
            path = self.folder / name
            if path.exists() and path.stat().st_size == size:
                continue
            try:
                with path.open("wb") as file:
                    if hasattr(os, "posix_fallocate"):
                        os.posix_fallocate(file.fileno(), 0, size)
                    else:
                        file.truncate(size)
            except OSError as error:
                path.unlink(missing_ok=True)
                free = shutil.disk_usage(self.folder).free
                raise RunError(
                    f"features: expected room for {amount(layout.size)} in {self.folder.parent}, "
                    f"{amount(free)} are free ({error.strerror}); take --cache never, or another --cache-folder"
                ) from error

    def _map(self, name: str, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
        return np.memmap(self.folder / name, dtype=dtype, mode="r+", shape=shape)

    def missing(self) -> NDArray[np.int64]:
        """Rows that are not there yet, ascending."""
        return np.flatnonzero(np.asarray(self._done) == 0)

    def write(self, rows: Iterable[int], due: Tensor, near: Tensor | None) -> None:
        """Keep rows: due (B, C, h, w), near (B, 2, C, h, w) or None where neighbours are not kept; any device."""
        index = list(rows)
        limit = float(torch.finfo(torch.float16).max)
        self._due[index] = due.float().clamp(-limit, limit).half().cpu().numpy()
        if self._near is not None and near is not None:
            pooled = functional.avg_pool2d(near.float().flatten(0, 1), 2).unflatten(0, near.shape[:2])
            self._near[index] = pooled.clamp(-limit, limit).half().cpu().numpy()
        self._done[index] = 1

    def read(self, rows: Iterable[int]) -> dict[str, Tensor]:
        """`due` (B, C, h, w) and, where kept, `near` (B, 2, C, h/2, w/2), float16."""
        index = list(rows)
        found = {"due": torch.from_numpy(self._due[index])}
        if self._near is not None:
            found["near"] = torch.from_numpy(self._near[index])
        return found

    def flush(self) -> None:
        """Hand everything to the disk."""
        for kept in (self._due, self._near, self._done):
            if isinstance(kept, np.memmap):
                kept.flush()
