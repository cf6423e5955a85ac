"""Networks for tests."""

from __future__ import annotations

import torch


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Batch norms with statistics other than 0 and 1, so that an error in them shows."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, std=0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return module.eval()
