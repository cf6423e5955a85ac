"""The training loop that all runs share: data thread, schedule, averaged weights, several processes, resume.

Every step is a pure function of (weights, optimiser state, seed, step): a run that was stopped and resumed ends with
the weights of one that was not. The run folder is train/engine/run_folder.py, what a run shows is
train/engine/meter.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast, runtime_checkable

import cv2
import torch
from torch import Tensor, nn

from train.configs.options import RunOptions
from train.data.sequences import set_key
from train.engine.distributed import Group, join, launched, local_rank, share_batch_norm
from train.engine.loader import batches, pinned, process_batches
from train.engine.meter import LOG, AddScalar, Meter, ScalarFile, progress_bar
from train.engine.run_folder import BEST, CHECKPOINT, RunError, RunFolder, Stopped, environment
from train.engine.step import Stepper, average, pick_dtype
from train.models.config import MODEL
from train.models.model import Model

__all__ = [
    "BEST", "CHECKPOINT", "LOG", "MODEL", "Plan", "PlannedTask", "RunError", "Stopped", "Task", "average",
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
        """Measures on the validation split; what is measured on other data has a name with a slash, 'seen/f1'."""

    def score(self, results: dict[str, float]) -> float:
        """One number out of `evaluate`, the larger the better: what best.safetensors is chosen by."""


@runtime_checkable
class PlannedTask(Protocol):
    """A task with a plan of its own, whose batches fall into parts: for several processes and for accumulation.

    `loss` of a part is the part's share of the whole batch's loss: over the parts it adds up to the loss of the batch.
    """

    def plan(self) -> Plan:
        """Steps, schedule, evaluations."""

    def data_key(self) -> str:
        """What the run is trained on, in a few characters: a run is not resumed with data of another key."""

    def inputs(self) -> dict[str, str]:
        """Digests of what else decides about the run, by name: a run is not resumed where one has changed."""

    def start(
        self, device: torch.device, group: Group, folder: Path, stop: threading.Event, add_scalar: AddScalar
    ) -> None:
        """Called once, with `model` on the device, before the first step."""

    def compile(self) -> None:
        """Called once before the first step where the options ask for torch.compile."""

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


def _keep_memory() -> None:
    """Let glibc keep freed memory: handing large tensors back and asking for pages again costs 10 % of a step."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


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
        RunError: the folder holds another run; a gradient that is not finite; a file that cannot be written.
        Stopped: Ctrl-C or SIGTERM.

    Before Stopped and any error outside the computation of a step goes out, the checkpoint is written, if it can be.
    """
    options.check()
    planned = isinstance(task, PlannedTask)
    if not planned and (launched() or options.accumulate > 1):
        raise RunError(f"{task.name}: expected one process and accumulate 1; start it without torchrun")
    _keep_memory()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32
    cv2.setNumThreads(1)
    device = pick_device(options.device)
    group = join(device)
    key = cast(PlannedTask, task).data_key() if planned else _set_key(options.data)
    inputs = cast(PlannedTask, task).inputs() if planned else {}
    run = RunFolder(options, task.name, resume, group.leads, data=key, same_data=planned, inputs=inputs)
    try:
        group.barrier()
        with _scalars(run) as add_scalar, _stop_signals() as stop:
            return _Trainer(task, options, run, group, device, add_scalar, stop).run()
    finally:
        run.close()


def _set_key(folder: str) -> str:
    """Key of a synthetic set; empty where the folder holds none, or is being changed."""
    try:
        return set_key(folder)
    except OSError:
        return ""


@contextlib.contextmanager
def _scalars(run: RunFolder) -> Iterator[AddScalar]:
    """What adds a scalar to the run's events; it does nothing in further processes."""
    if not run.leads:
        yield lambda name, value, at: None
        return
    with contextlib.closing(ScalarFile(run.folder)) as file:
        yield file.add


class _Trainer:
    """One call of `train`."""

    def __init__(
        self,
        task: Task,
        options: RunOptions,
        run: RunFolder,
        group: Group,
        device: torch.device,
        add_scalar: AddScalar,
        stop: threading.Event,
    ) -> None:
        self.task, self.options, self.folder, self.group = task, options, run, group
        self.device, self.add_scalar, self.stop = device, add_scalar, stop
        self.planned = cast(PlannedTask, task) if isinstance(task, PlannedTask) else None
        self.plan = self.planned.plan() if self.planned else Plan.of(options)
        model: Any = share_batch_norm(task.model.to(device, memory_format=torch.channels_last), group)
        if self.planned:
            self.planned.start(device, group, run.folder, stop, add_scalar)
            if getattr(options, "compile", False):
                self.planned.compile()
        dtype = pick_dtype(options.precision, device)
        self.stepper = Stepper(model, task.parameter_groups(), options, device, dtype, group)
        self.done = 0
        """Steps."""
        self.due = False
        """Whether the weights of `done` are still to be evaluated."""
        self.between = True
        """False in the middle of a step, whose weights no checkpoint may have."""
        self._restore()
        self.kept = self.done
        """Steps done at the last attempt to write the checkpoint."""

    def _restore(self) -> None:
        state = self.folder.load()
        if state is not None:
            self.stepper.load(state)
            self.done, self.due = int(state["step"]), bool(state.get("due", False))

    def _save(self) -> None:
        self.kept = self.done
        self.folder.save({"step": self.done, "due": self.due, **self.stepper.state()})

    def _rescue(self) -> None:
        """Write the checkpoint before an error goes out. A failure of that is logged and does not replace the error."""
        if not self.between or self.kept == self.done:
            return
        try:
            self._save()
        except (RunError, OSError, RuntimeError) as error:
            LOG.warning("%s", error)
            return
        if self.group.leads:
            LOG.info("the checkpoint of step %d is written; continue with --resume", self.done)

    def _parts(self, step: int) -> list[dict[str, Tensor]]:
        if self.planned is None:
            return [self.task.make_batch(step)]
        count, rank = self.options.accumulate, self.group.rank
        return [self.planned.make_part(step, rank * count + i, count * self.group.size) for i in range(count)]

    def _step(self, step: int, parts: list[dict[str, Tensor]]) -> tuple[dict[str, Tensor], bool]:
        """One step of the optimiser: scalars of the whole batch, and whether to stop after it."""
        self.between = False
        found = self.stepper(step, parts, self.task.loss, self.plan.rate(step), self.stop)
        self.done, self.between = step + 1, True
        self.due = self.done == self.plan.steps or self.plan.evaluates(self.done)
        return found

    def _evaluate(self) -> dict[str, float]:
        results = self.task.evaluate(self.stepper.ema)
        samples = self.done * self.plan.batch
        for name, value in results.items():
            self.add_scalar(name if "/" in name else f"val/{name}", value, samples)
        if self.group.leads:
            LOG.info("sample %d: %s", samples, "  ".join(f"{k} {v:.4f}" for k, v in results.items()))
        self.folder.save_model(self._write_model, self.done, samples, results, self.task.score(results))
        self.task.train_mode()
        self.due = False
        return results

    def _write_model(self, path: Path, entry: dict[str, Any]) -> None:
        if self.planned is not None:
            self.planned.save_model(self.stepper.ema, path, entry)
            return
        config = self.task.model.config
        self.stepper.ema.config = dataclasses.replace(config, provenance={**config.provenance, self.task.name: entry})
        cast(Model, self.stepper.ema).save(path)

    def run(self) -> dict[str, float]:
        plan, group = self.plan, self.group
        if group.leads:
            LOG.info(
                "%s: steps %d to %d of %d samples, %s, %s%s", self.task.name, self.done, plan.steps, plan.batch,
                self.device, self.stepper.dtype, f", {group.size} processes" if group.size > 1 else "",
            )  # fmt: skip
        self.folder.check()
        self.task.train_mode()
        try:
            results = self._train() or self._evaluate()  # none: resumed at its end
        except Exception:
            self._rescue()
            raise
        if self.planned is not None:
            self.planned.finish(self.stepper.ema, self.folder.folder, self.stop)
        return results

    def _source(self) -> Generator[list[dict[str, Tensor]], None, None]:
        """The parts of the batches that are left, in pinned memory for a GPU."""
        stop, workers, gpu = self.plan.steps, self.options.workers, self.device.type == "cuda"
        if getattr(self.options, "loader", "threads") == "processes":
            return process_batches(self._parts, self.done, stop, workers, gpu)
        make = (lambda step: pinned(self._parts(step))) if gpu else self._parts
        return batches(make, self.done, stop, workers=workers)

    def _train(self) -> dict[str, float]:
        """The steps that are left; the last evaluation."""
        task, options, plan = self.task, self.options, self.plan
        meter, progress = Meter(), progress_bar(self.group.leads)
        source = self._source()
        with progress, contextlib.closing(source):
            bar = progress.add_task(task.name, total=plan.steps, completed=self.done, rate="", loss="")
            saved = time.monotonic()
            results = self._evaluate() if self.due else {}
            for step in range(self.done, plan.steps):
                with meter.waiting():
                    parts = next(source)
                scalars, stop = self._step(step, parts)
                meter.add(plan.batch * task.frames_per_sample, scalars)
                if self.done % 25 == 0 or self.done == plan.steps:
                    self._report(meter, progress, bar)
                progress.update(bar, completed=self.done)
                if self.due:
                    results = self._evaluate()
                    meter.restart()
                if stop or self.done == plan.steps or time.monotonic() - saved > options.checkpoint_s:
                    self._save()
                    saved = time.monotonic()
                self.folder.check()
                if stop and self.done < plan.steps:
                    message = f"stopped at step {self.done} of {plan.steps}; continue with --resume"
                    LOG.info(message)
                    raise Stopped(message)
        return results

    def _report(self, meter: Meter, progress: Any, bar: Any) -> None:
        means = meter.read()
        for name, value in means.items():
            self.add_scalar(f"train/{name}", value, self.done * self.plan.batch)
        progress.update(bar, rate=f"{means['images_per_s']:.0f} images/s", loss=f"loss {means['loss']:.3f}")
        if self.group.leads:
            meter.report(self.done, self.plan.steps, means, progress.console.is_terminal)
