"""The training loop that all runs share: data thread, schedule, averaged weights, several processes, resume.

Every step is a pure function of (weights, optimiser state, seed, step): a run that was stopped and resumed ends with
the weights of one that was not. The run folder is train/rundir.py, what a run shows is train/meter.py.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import dataclasses
import math
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast, runtime_checkable

import cv2
import torch
from torch import Tensor, nn

from train.config import RunOptions
from train.distributed import Group, join, launched, local_rank, share_batch_norm
from train.meter import LOG, Meter, progress_bar
from train.model import Model
from train.rundir import BEST, CHECKPOINT, MODEL, RunError, RunFolder, Stopped, environment

__all__ = [
    "BEST", "CHECKPOINT", "LOG", "MODEL", "Plan", "PlannedTask", "RunError", "Stopped", "Task", "average", "batches",
    "decay_groups", "environment", "learning_rate", "pick_device", "pick_dtype", "train",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a training lasts, how its learning rate goes, and when it is looked at."""

    steps: int
    batch: int
    """Samples of a step, over all processes."""
    rate: Callable[[int], float]
    """Step -> factor of the learning rate."""
    evaluates: Callable[[int], bool]
    """Steps done -> whether to evaluate now; the end is always evaluated."""

    @classmethod
    def of(cls, options: RunOptions) -> Plan:
        """Linear rise and cosine; an evaluation every `eval_every` samples."""
        steps, batch, every = options.steps, options.batch, options.eval_every
        return cls(
            steps,
            batch,
            lambda step: learning_rate(step, steps, options.warmup),
            lambda done: done * batch // every > (done - 1) * batch // every,
        )


class Task(Protocol):
    """What a kind of training adds to the loop."""

    name: str
    model: Any
    frames_per_sample: int

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's groups; `lr_scale` beside `params`."""

    def train_mode(self) -> None:
        """Put `model` into training mode, as far as it is trained."""

    def make_batch(self, step: int) -> dict[str, Tensor]:
        """The batch of a step, a pure function of the seed and the step; called in another thread."""

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and scalars to report, of a batch on the model's device."""

    def evaluate(self, model: Any) -> dict[str, float]:
        """Measures on the validation split."""

    def score(self, results: dict[str, float]) -> float:
        """One number out of `evaluate`, the larger the better: what best.safetensors is chosen by."""


@runtime_checkable
class PlannedTask(Protocol):
    """A task with a plan of its own, whose batches fall into parts: for several processes and for accumulation.

    `loss` of a part is the part's share of the whole batch's loss: over the parts it adds up to the loss of the batch.
    """

    def plan(self) -> Plan:
        """Steps, schedule, evaluations."""

    def start(self, device: torch.device, group: Group, folder: Path, stop: threading.Event) -> None:
        """Called once, with `model` on the device, before the first step."""

    def make_part(self, step: int, part: int, parts: int) -> dict[str, Tensor]:
        """Part `part` of `parts` of the batch of a step; called in another thread."""

    def save_model(self, model: nn.Module, path: Path, entry: dict[str, Any]) -> None:
        """Write a model file; `entry`: its origin."""

    def finish(self, model: nn.Module, folder: Path, stop: threading.Event) -> None:
        """Called once with the last weights: what is to stand in the run folder beside them."""


def pick_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError("device: expected a CUDA device, found none; use --device cpu")
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        if launched():
            torch.cuda.set_device(local_rank())
            return torch.device("cuda", local_rank())
        return torch.device("cuda")
    return torch.device("cpu")


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """bfloat16 or float32; 'auto' asks the processor."""
    if precision == "auto":
        flags = Path("/proc/cpuinfo")
        text = flags.read_text(errors="ignore") if flags.is_file() else ""
        native = torch.cuda.is_bf16_supported() if device.type == "cuda" else "amx_bf16" in text
        precision = "bf16" if native else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def decay_groups(module: nn.Module, lr_scale: float, weight_decay: float) -> list[dict[str, Any]]:
    """Two AdamW groups of a module: weights of two and more dimensions with decay, the rest without."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "lr_scale": lr_scale, "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "lr_scale": lr_scale, "weight_decay": 0.0},
    ]


def learning_rate(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate: linear rise over the first part, then a cosine to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


@torch.no_grad()
def average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `ema` towards `model`: floating tensors by 1 - decay, the others all the way."""
    pairs = list(zip(ema.state_dict().values(), model.state_dict().values(), strict=True))
    floating = [(a, b) for a, b in pairs if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floating], [b for _, b in floating], 1 - decay)
    for a, b in pairs:
        if not a.is_floating_point():
            a.copy_(b)


def _keep_memory() -> None:
    """Let glibc keep freed memory: handing large tensors back and asking for pages again costs 10 % of a step."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def batches(
    make: Callable[[int], Any], start: int, stop: int, ahead: int = 3, workers: int = 1
) -> Generator[Any, None, None]:
    """Batches of steps start..stop in order, made in `workers` other threads, at most `ahead` of them in advance."""
    ahead = max(ahead, workers + 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="data") as pool:
        queue: deque[Future[Any]] = deque(pool.submit(make, step) for step in range(start, min(stop, start + ahead)))
        try:
            for step in range(start, stop):
                batch = queue.popleft().result()
                if step + ahead < stop:
                    queue.append(pool.submit(make, step + ahead))
                yield batch
        finally:
            for future in queue:
                future.cancel()


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event instead of ending the process; a second one ends it."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        LOG.info("%s: stopping as soon as what is being computed is safe", signal.Signals(number).name)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def train(task: Task, options: RunOptions, resume: bool = False) -> dict[str, float]:
    """Run a training to its end and return the last evaluation.

    Writes into `options.run`: config.json, packages.txt, train.log, tensorboard events, checkpoint.pt,
    model.safetensors (averaged weights, at every evaluation), results.json (the last evaluation), best.safetensors and
    best.json (the evaluation with the best score). Under torchrun the processes train one model together, where the
    task is a PlannedTask; the first of them writes.

    Raises:
        RunError: the folder holds another run; a loss that is not finite; a file that cannot be written.
        Stopped: Ctrl-C or SIGTERM; the checkpoint is written.
    """
    options.check()
    planned = isinstance(task, PlannedTask)
    if not planned and (launched() or options.accumulate > 1):
        raise RunError(f"{task.name}: expected one process and accumulate 1; start it without torchrun")
    _keep_memory()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    device = pick_device(options.device)
    group = join(device)
    run = RunFolder(options, task.name, resume, group.leads)
    try:
        group.barrier()
        with _scalar_writer(run) as writer, _stop_signals() as stop:
            return _Trainer(task, options, run, group, device, writer, stop).run()
    finally:
        run.close()


@contextlib.contextmanager
def _scalar_writer(run: RunFolder) -> Iterator[Callable[[str, float, int], None]]:
    """Tensorboard's add_scalar; one that does nothing in further processes."""
    if not run.leads:
        yield lambda name, value, at: None
        return
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run.folder))
    try:
        yield writer.add_scalar
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk has its message already
            writer.close()
        raise
    writer.close()


class _Trainer:
    """One call of `train`."""

    def __init__(
        self,
        task: Task,
        options: RunOptions,
        run: RunFolder,
        group: Group,
        device: torch.device,
        add_scalar: Callable[[str, float, int], None],
        stop: threading.Event,
    ) -> None:
        self.task, self.options, self.folder, self.group = task, options, run, group
        self.device, self.add_scalar, self.stop = device, add_scalar, stop
        self.dtype = pick_dtype(options.precision, device)
        self.planned = cast(PlannedTask, task) if isinstance(task, PlannedTask) else None
        self.plan = self.planned.plan() if self.planned else Plan.of(options)
        model = task.model.to(device, memory_format=torch.channels_last)
        self.model: Any = share_batch_norm(model, group)
        if self.planned:
            self.planned.start(device, group, run.folder, stop)
        self.ema: Any = self.model
        if options.ema > 0:
            self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(task.parameter_groups(), lr=options.lr, fused=True)
        self.parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        self.first = self._restore()

    def _restore(self) -> int:
        state = self.folder.load()
        if state is None:
            return 0
        self.model.load_state_dict(state["model"])
        if self.ema is not self.model:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def _save(self, step: int) -> None:
        state = {"step": step, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.ema is not self.model:
            state["ema"] = self.ema.state_dict()
        self.folder.save(state)

    def _parts(self, step: int) -> list[dict[str, Tensor]]:
        if self.planned is None:
            return [self.task.make_batch(step)]
        count, rank = self.options.accumulate, self.group.rank
        return [self.planned.make_part(step, rank * count + i, count * self.group.size) for i in range(count)]

    def _step(self, step: int, parts: list[dict[str, Tensor]]) -> tuple[dict[str, Tensor], bool]:
        """One step of the optimiser: scalars of the whole batch, and whether to stop after it."""
        options = self.options
        torch.manual_seed(options.seed * 1_000_003 + step)
        for entry in self.optimizer.param_groups:
            entry["lr"] = options.lr * entry["lr_scale"] * self.plan.rate(step)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for part in parts:
            batch = {name: tensor.to(self.device) for name, tensor in part.items()}
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                loss, scalars = self.task.loss(batch)
            loss.backward()
            for name, value in {"loss": loss, **scalars}.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        sums, stop = self.group.sum_gradients(self.parameters, sums, self.stop.is_set())
        norm = nn.utils.clip_grad_norm_(self.parameters, options.clip or math.inf)
        if not bool(torch.isfinite(norm)):
            raise RunError(f"step {step}: the gradient is not finite (loss {float(sums['loss'])}); lower --lr")
        self.optimizer.step()
        if self.ema is not self.model:
            average(self.ema, self.model, min(options.ema, (1 + step) / (10 + step)))
        return {**sums, "norm": norm}, stop

    def _evaluate(self, done: int) -> dict[str, float]:
        results = self.task.evaluate(self.ema)
        samples = done * self.plan.batch
        for name, value in results.items():
            self.add_scalar(f"val/{name}", value, samples)
        if self.group.leads:
            LOG.info("sample %d: %s", samples, "  ".join(f"{k} {v:.4f}" for k, v in results.items()))
        self.folder.save_model(self._write_model, done, samples, results, self.task.score(results))
        self.task.train_mode()
        return results

    def _write_model(self, path: Path, entry: dict[str, Any]) -> None:
        if self.planned is not None:
            self.planned.save_model(self.ema, path, entry)
            return
        config = self.task.model.config
        self.ema.config = dataclasses.replace(config, provenance={**config.provenance, self.task.name: entry})
        cast(Model, self.ema).save(path)

    def run(self) -> dict[str, float]:
        task, options, plan, group = self.task, self.options, self.plan, self.group
        steps, results = plan.steps, cast("dict[str, float]", {})
        if group.leads:
            LOG.info(
                "%s: steps %d to %d of %d samples, %s, %s%s", task.name, self.first, steps, plan.batch, self.device,
                self.dtype, f", {group.size} processes" if group.size > 1 else "",
            )  # fmt: skip
        meter, progress = Meter(), progress_bar(group.leads)
        task.train_mode()
        with progress:
            bar = progress.add_task(task.name, total=steps, completed=self.first, rate="", loss="")
            saved = time.monotonic()
            with contextlib.closing(batches(self._parts, self.first, steps, workers=options.workers)) as source:
                for step in range(self.first, steps):
                    with meter.waiting():
                        parts = next(source)
                    scalars, stop = self._step(step, parts)
                    done = step + 1
                    meter.add(plan.batch * task.frames_per_sample, scalars)
                    if done % 25 == 0 or done == steps:
                        means = meter.read()
                        for name, value in means.items():
                            self.add_scalar(f"train/{name}", value, done * plan.batch)
                        rate = f"{means['images_per_s']:.0f} images/s"
                        progress.update(bar, rate=rate, loss=f"loss {means['loss']:.3f}")
                        if group.leads:
                            meter.report(done, steps, means, progress.console.is_terminal)
                    progress.update(bar, completed=done)
                    if done == steps or plan.evaluates(done):
                        results = self._evaluate(done)
                        meter.restart()
                    if stop or done == steps or time.monotonic() - saved > options.checkpoint_s:
                        self._save(done)
                        saved = time.monotonic()
                    if stop and done < steps:
                        message = f"stopped at step {done} of {steps}; continue with --resume"
                        LOG.info(message)
                        raise Stopped(message)
        if not results:  # resumed at its end
            results = self._evaluate(steps)
        if self.planned is not None:
            self.planned.finish(self.ema, self.folder.folder, self.stop)
        return results
