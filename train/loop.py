"""The training loop that all runs share: run folder, data thread, schedule, averaged weights, checkpoints, resume.

Every step is a pure function of (weights, optimiser state, seed, step): a run that was stopped and resumed ends with
the weights of one that was not.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import dataclasses
import json
import logging
import math
import platform
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from train.config import RunOptions
from train.model import Model

LOG = logging.getLogger("train")
CHECKPOINT = "checkpoint.pt"
MODEL = "model.safetensors"
BEST = "best.safetensors"


class RunError(RuntimeError):
    """A run that cannot start or go on; the message says what to do."""


class Stopped(Exception):
    """The user asked the run to stop; a checkpoint is written."""


class Task(Protocol):
    """What a kind of training adds to the loop."""

    name: str
    model: Model
    frames_per_sample: int

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's groups; `lr_scale` beside `params`."""

    def train_mode(self) -> None:
        """Put `model` into training mode, as far as it is trained."""

    def make_batch(self, step: int) -> dict[str, Tensor]:
        """The batch of a step, a pure function of the seed and the step; called in another thread."""

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and scalars to report, of a batch on the model's device."""

    def evaluate(self, model: Model) -> dict[str, float]:
        """Measures on the validation split."""

    def score(self, results: dict[str, float]) -> float:
        """One number out of `evaluate`, the larger the better: what best.safetensors is chosen by."""


def pick_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError("device: expected a CUDA device, found none; use --device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


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


def environment() -> dict[str, str]:
    """Versions and machine, for the run folder."""

    def git(*arguments: str) -> str:
        try:
            where = Path(__file__).resolve().parent
            return subprocess.run(
                ["git", *arguments], cwd=where, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    return {
        "revision": git("rev-parse", "HEAD") or "unknown",
        "changed": ", ".join(line[3:] for line in git("status", "--porcelain", "--", "train").splitlines()[:20]),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
    }


def batches(make: Callable[[int], Any], start: int, stop: int, ahead: int = 3) -> Generator[Any, None, None]:
    """Batches of steps start..stop in order, made in one other thread, at most `ahead` of them in advance."""
    with ThreadPoolExecutor(1, thread_name_prefix="data") as pool:
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
        LOG.info("%s: stopping after this step", signal.Signals(number).name)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Run:
    """The files of one run."""

    def __init__(self, options: RunOptions, task: Task, resume: bool) -> None:
        self.folder = Path(options.run)
        self.checkpoint = self.folder / CHECKPOINT
        if self.checkpoint.exists() and not resume:
            raise RunError(f"run: {self.folder} holds a run already; add --resume or name another folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.options, self.task = options, task
        self.environment = environment()
        config = {"task": task.name, "options": dataclasses.asdict(options), "command": sys.argv}
        (self.folder / "config.json").write_text(json.dumps(config | {"environment": self.environment}, indent=1))
        self.handler = logging.FileHandler(self.folder / "train.log")
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        LOG.addHandler(self.handler)
        LOG.setLevel(logging.INFO)

    def load(self) -> dict[str, Any] | None:
        if not self.checkpoint.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:
            raise RunError(f"run: {self.checkpoint} cannot be read ({error}); remove it to start anew") from error
        before, now = json.loads(state["options"]), self.options.fixed()
        changed = [f"{k} {before.get(k)!r} -> {v!r}" for k, v in now.items() if before.get(k) != v]
        if changed:
            raise RunError(
                f"run: cannot resume {self.folder} with other options: {', '.join(changed)}; use a new folder"
            )
        return state

    def save(self, step: int, model: Model, ema: Model, optimizer: torch.optim.Optimizer) -> None:
        state = {
            "step": step,
            "options": json.dumps(self.options.fixed()),
            "model": model.state_dict(),
            "ema": ema.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def save_model(self, step: int, ema: Model, results: dict[str, float]) -> None:
        entry = {
            "options": {k: v for k, v in dataclasses.asdict(self.options).items() if v is not None},
            "command": " ".join(["python", "-m", "train", *sys.argv[1:]]),
            "steps": step,
            "samples": step * self.options.batch,
            "revision": self.environment["revision"],
            "torch": self.environment["torch"],
            "validation": {k: round(v, 5) for k, v in results.items()},
        }
        provenance = {**self.task.model.config.provenance, self.task.name: entry}
        ema.config = dataclasses.replace(self.task.model.config, provenance=provenance)
        ema.save(self.folder / MODEL)
        (self.folder / "results.json").write_text(json.dumps({"step": step, **results}, indent=1))
        score, record = self.task.score(results), self.folder / "best.json"
        before = json.loads(record.read_text())["score"] if record.is_file() else -math.inf
        if score > before:
            ema.save(self.folder / BEST)
            record.write_text(json.dumps({"score": score, "step": step, **results}, indent=1))


def train(task: Task, options: RunOptions, resume: bool = False) -> dict[str, float]:
    """Run a training to its end and return the last evaluation.

    Writes into `options.run`: config.json, train.log, tensorboard events, checkpoint.pt, model.safetensors (averaged
    weights, at every evaluation), results.json (the last evaluation), best.safetensors and best.json (the evaluation
    with the best score).

    Raises:
        RunError: the folder holds another run; a loss that is not finite.
        Stopped: Ctrl-C or SIGTERM; the checkpoint is written.
    """
    from torch.utils.tensorboard import SummaryWriter

    options.check()
    _keep_memory()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    device = pick_device(options.device)
    dtype = pick_dtype(options.precision, device)
    run = _Run(options, task, resume)
    try:
        with SummaryWriter(str(run.folder)) as writer, _stop_signals() as stop:
            return _train(task, options, run, device, dtype, writer, stop)
    finally:
        LOG.removeHandler(run.handler)
        run.handler.close()


def _train(
    task: Task,
    options: RunOptions,
    run: _Run,
    device: torch.device,
    dtype: torch.dtype,
    writer: Any,
    stop: threading.Event,
) -> dict[str, float]:
    model = task.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(task.parameter_groups(), lr=options.lr, fused=True)
    first, steps = 0, options.steps
    state = run.load()
    if state is not None:
        first = int(state["step"])
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
    LOG.info("%s: steps %d to %d of %d samples, %s, %s", task.name, first, steps, options.batch, device, dtype)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    results: dict[str, float] = {}
    meter, progress = _Meter(first), _progress()
    task.train_mode()
    with progress:
        bar = progress.add_task(task.name, total=steps, completed=first, rate="", loss="")
        saved = time.monotonic()
        source = batches(task.make_batch, first, steps)
        with contextlib.closing(source):
            for step in range(first, steps):
                with meter.waiting():
                    batch = next(source)
                torch.manual_seed(options.seed * 1_000_003 + step)
                for group in optimizer.param_groups:
                    group["lr"] = options.lr * group["lr_scale"] * learning_rate(step, steps, options.warmup)
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                    loss, scalars = task.loss({name: tensor.to(device) for name, tensor in batch.items()})
                loss.backward()
                norm = nn.utils.clip_grad_norm_(parameters, 5.0)
                if not bool(torch.isfinite(norm)):
                    raise RunError(f"step {step}: the gradient is not finite (loss {loss.item()}); lower --lr")
                optimizer.step()
                average(ema, model, min(options.ema, (1 + step) / (10 + step)))
                done = step + 1
                meter.add(options.batch * task.frames_per_sample, {"loss": loss, "norm": norm, **scalars})
                if done % 25 == 0 or done == steps:
                    means = meter.read()
                    for name, value in means.items():
                        writer.add_scalar(f"train/{name}", value, done * options.batch)
                    progress.update(bar, rate=f"{means['images_per_s']:.0f} images/s", loss=f"loss {means['loss']:.3f}")
                    meter.report(done, steps, means, progress.console.is_terminal)
                progress.update(bar, completed=done)
                if (
                    done == steps
                    or done * options.batch // options.eval_every > step * options.batch // options.eval_every
                ):
                    results = task.evaluate(ema)
                    for name, value in results.items():
                        writer.add_scalar(f"val/{name}", value, done * options.batch)
                    LOG.info(
                        "sample %d: %s", done * options.batch, "  ".join(f"{k} {v:.4f}" for k, v in results.items())
                    )
                    run.save_model(done, ema, results)
                    meter.restart()
                if stop.is_set() or done == steps or time.monotonic() - saved > options.checkpoint_s:
                    run.save(done, model, ema, optimizer)
                    saved = time.monotonic()
                if stop.is_set() and done < steps:
                    LOG.info("stopped at step %d of %d; continue with --resume", done, steps)
                    raise Stopped(f"stopped at step {done} of {steps}; continue with --resume")
    if not results:  # resumed at its end
        results = task.evaluate(ema)
        run.save_model(steps, ema, results)
    return results


class _Meter:
    """Means of scalars, images per second, and the share of the time that went into waiting for data."""

    def __init__(self, step: int) -> None:
        self.reported = time.monotonic()
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.restart()

    def restart(self) -> None:
        self.sums, self.count = {}, 0
        self.images, self.waited, self.started = 0, 0.0, time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.waited += time.monotonic() - start

    def add(self, images: int, scalars: dict[str, Tensor]) -> None:
        self.images += images
        self.count += 1
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, torch.zeros(())) + value.detach().float().cpu()

    def read(self) -> dict[str, float]:
        elapsed = max(time.monotonic() - self.started, 1e-9)
        means = {name: float(value) / max(self.count, 1) for name, value in self.sums.items()}
        means |= {"images_per_s": self.images / elapsed, "data_wait": self.waited / elapsed}
        self.restart()
        return means

    def report(self, done: int, steps: int, means: dict[str, float], terminal: bool) -> None:
        """A line in the log every 20 s where no progress bar can be seen."""
        if terminal or (time.monotonic() - self.reported < 20 and done < steps):
            return
        self.reported = time.monotonic()
        LOG.info("step %d/%d  %s", done, steps, "  ".join(f"{k} {v:.4g}" for k, v in means.items()))


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} {task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
