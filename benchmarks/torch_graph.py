"""The `stream` graph in PyTorch as one CUDA graph: what a GPU gives without TensorRT. For gpu.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from export.fuse import Stream, query_roles
from train.models.model import Model


class TorchGraph:
    """One live step for a fixed number of faces, replayed as a CUDA graph; run eagerly where `device` is "cpu".

    A step looks at one new crop per face and decides about the frame before it. Each ring has three blocks of `faces`
    rows: the former frame, the due one, and where the new one goes.
    """

    def __init__(self, model: Model, head: str, precision: str, faces: int, device: str) -> None:
        kind = "float16" if precision == "fp16" else "float32"
        stream = Stream(model, head, kind, kind).to(device).eval()
        resolution = model.config.resolution
        self.faces, self._device = faces, device
        self._host = torch.zeros(faces, 3, resolution, resolution)
        if device == "cuda":
            self._host = self._host.pin_memory()
        self.crops = self._host.numpy()
        """(faces, 3, R, R) float32 RGB in [0, 1], filled by the caller"""
        self._crop = self._host.to(device)
        self._rings = [
            torch.zeros(3 * faces, *s.shape, dtype=getattr(torch, s.dtype), device=device) for s in stream.specs
        ]
        rows = torch.arange(faces, device=device)
        of_role = {"former": rows, "due": faces + rows, "later": -1 - rows}
        indices = [of_role[role] for _, role in query_roles(stream.specs)]
        self._graph: Any = None

        def step() -> tuple[torch.Tensor, ...]:
            with torch.inference_mode():
                outputs: tuple[torch.Tensor, ...] = stream(self._crop, indices, self._rings)
                for ring, state in zip(self._rings, outputs[1:-1], strict=True):
                    ring[2 * faces :].copy_(state)
                return outputs[0], outputs[-1]

        self._step = step
        if device == "cuda":
            self._capture()

    def _capture(self) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._step()
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = self._step()

    def __call__(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops to the device, the step, heatmaps (faces, 68, R/4, R/4) and logits (faces, n) back on the host."""
        self._crop.copy_(self._host, non_blocking=True)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._outputs = self._step()
        heatmaps, logits = (output.cpu() for output in self._outputs)
        return heatmaps, logits

    def _next_frame(self) -> None:
        """The due frame becomes the former one, the newest one due."""
        with torch.inference_mode():
            for ring in self._rings:
                former, due, new = ring.split(self.faces)
                former.copy_(due)
                due.copy_(new)

    def logits(self, crops: np.ndarray) -> np.ndarray:
        """Logits (N, n) float32 of triplets (N, 3, 3, R, R) uint8, former, due, later; `faces` of them at once."""
        found = []
        for start in range(0, len(crops), self.faces):
            part = crops[start : start + self.faces].astype(np.float32) / np.float32(255)
            for k in range(3):
                if k:
                    self._next_frame()
                self.crops[: len(part)] = part[:, k]
                _, logits = self()
            found.append(logits[: len(part)].float().numpy())
        return np.concatenate(found)
