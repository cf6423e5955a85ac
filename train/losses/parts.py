"""Loss of a face parser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def part_loss(logits: Sequence[Tensor], masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross entropy over the stacks; a part weighs by the root of how rare it is in the batch, so that eyes and
    lips, which are few cells, count beside skin and background.

    Args:
        logits: (B, P, h, h) of every stack.
        masks: (B, h, h) index of the part, any integer type.

    Returns:
        the loss, and it as the scalar "parts".
    """
    target = masks.long()
    parts = logits[0].shape[1]
    share = torch.bincount(target.flatten(), minlength=parts).float() / target.numel()
    weight = torch.where(share > 0, share.clamp(min=1e-4).rsqrt(), 0.0)
    losses = [functional.cross_entropy(one.float(), target, weight) for one in logits]
    loss = torch.stack(losses).mean()
    return loss, {"parts": loss.detach()}
