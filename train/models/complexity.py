"""What a network costs: parameters and multiply-adds."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def complexity(module: nn.Module, *shapes: tuple[int, ...]) -> tuple[int, int]:
    """Parameters, and multiply-adds of the convolutions and linear layers in one forward pass on inputs of `shapes`.

    The paper's "FLOPs" are these multiply-adds. Runs the module once on zeros in evaluation mode.
    """
    total = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features

    handles = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    training = module.training
    try:
        with torch.inference_mode():
            module.eval()(*(torch.zeros(shape) for shape in shapes))
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    return sum(p.numel() for p in module.parameters()), total
