"""Several processes that train as one: `torchrun --nproc-per-node N -m train run ...`.

Every process computes its rows of the same batch. Losses are shares of the whole batch's loss, gradients are summed,
batch norm looks at the rows of all processes: the weights are those of one process, up to the order of summation.
"""

from __future__ import annotations

import atexit
import dataclasses
import os
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Group:
    """The processes of a training; alone: rank 0 of 1, and nothing is sent."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def sum_gradients(
        self, parameters: list[nn.Parameter], scalars: dict[str, Tensor], stop: bool
    ) -> tuple[dict[str, Tensor], bool]:
        """Add up gradients in place, and return the sums of the scalars and whether any process is to stop.

        All of it travels in one tensor; a gradient that is None on one process is None on all.
        """
        if self.size == 1:
            return scalars, stop
        gradients = [p.grad for p in parameters if p.grad is not None]
        device = parameters[0].device
        extra = [value.detach().float().reshape(1).to(device) for value in scalars.values()]
        flat = torch.cat(
            [*(g.detach().float().flatten() for g in gradients), *extra, torch.tensor([float(stop)], device=device)]
        )
        dist.all_reduce(flat)
        sizes = [g.numel() for g in gradients]
        parts = flat.split([*sizes, *(1 for _ in extra), 1])
        for gradient, part in zip(gradients, parts, strict=False):
            gradient.copy_(part.view_as(gradient))
        sums = parts[len(gradients) : -1]
        return {name: value[0] for name, value in zip(scalars, sums, strict=True)}, bool(parts[-1].item() > 0)

    def gather(self, tensor: Tensor) -> Tensor:
        """Rows of all processes on the CPU, rank 0's first; row counts may differ."""
        tensor = tensor.detach().cpu()
        if self.size == 1:
            return tensor
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, tensor)
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        return bool(self.gather(torch.tensor([flag])).any())


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    """Which of the machine's devices is this process's."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def leads() -> bool:
    """Whether this process is the first of those that torchrun started, or alone."""
    return int(os.environ.get("RANK", "0")) == 0


def join(device: torch.device) -> Group:
    """The group that torchrun's environment describes, for the life of the process: NCCL between GPUs, gloo between
    CPUs."""
    if not launched():
        return Group()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_end)
    return Group(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """At the end of a good run: nobody takes the group down while another process still uses it."""
    if launched() and dist.is_initialized():
        dist.barrier()
        _end()


def _end() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class _Sum(torch.autograd.Function):
    """Sum over the processes, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the rows of all processes, on any device; torch's own SyncBatchNorm needs a GPU.

    (B, C) or (B, C, h, w); the mean first and then the variance, as one process computes them.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"batch norm: expected (B, C) or (B, C, h, w), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        axes = [0, *range(2, input.dim())]
        shape = [1, -1, *(1 for _ in axes[1:])]
        x = input.float()
        count = _Sum.apply(torch.tensor(float(x.numel() // x.shape[1]), device=x.device))
        mean = _Sum.apply(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                seen = cast(Tensor, self.num_batches_tracked).add_(1)
                factor = self.momentum if self.momentum is not None else 1.0 / float(seen)
                self.running_mean.lerp_(mean, factor)
                self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), factor)
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(input.dtype)


def share_batch_norm(module: nn.Module, group: Group) -> nn.Module:
    """Let the batch norms of a module look at the rows of all processes; names and parameters stay."""
    if group.size == 1:
        return module
    if next(module.parameters()).is_cuda:
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(module))
    _replace_batch_norm(module)
    return module


def _replace_batch_norm(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and not isinstance(child, SharedBatchNorm):
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            shared.weight, shared.bias = child.weight, child.bias
            for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(shared, buffer, getattr(child, buffer))
            setattr(module, name, shared.train(child.training))
        else:
            _replace_batch_norm(child)


def rows_of(count: int, part: int, parts: int) -> slice:
    """Rows of part `part` when `count` rows are dealt out to `parts` in order; sizes differ by one at most."""
    return slice(count * part // parts, count * (part + 1) // parts)
