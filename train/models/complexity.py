"""What a network costs: parameters and multiply-adds."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def complexity(module: nn.Module, *shapes: tuple[int, ...]) -> tuple[int, int]:
    """Parameters, and multiply-adds of the convolutions and linear layers in one forward pass on inputs of `shapes`.

    The paper's "FLOPs" are these multiply-adds; torch's counter takes each for two. Runs the module once on zeros in
    evaluation mode.
    """
    training = module.training
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            module.eval()(*(torch.zeros(shape) for shape in shapes))
    finally:
        module.train(training)
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2
