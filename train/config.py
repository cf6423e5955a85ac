"""Options of the training runs: the command line, config.json of a run folder and the check on resuming share them."""

from __future__ import annotations

import dataclasses
from typing import Any


def _option(default: Any, text: str, *names: str) -> Any:
    """A field with its help text; `names`: the flags, where they are not those that the field's name gives."""
    return dataclasses.field(default=default, metadata={"help": text, "names": names})


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What every training run has."""

    data: str = _option("", "Folder of the synthetic set.")
    run: str = _option("", "Folder of the run: config, log, tensorboard scalars, checkpoint, model.safetensors.")
    samples: int = _option(100_000, "Frames (fan) or sequences (aunet) to see.")
    batch: int = _option(32, "Frames (fan) or sequences (aunet) per step.")
    lr: float = _option(2e-3, "Highest learning rate.")
    weight_decay: float = _option(1e-3, "AdamW's, on weights of two and more dimensions.")
    warmup: float = _option(
        0.03, "Fraction of the steps in which the learning rate rises; then it falls with a cosine."
    )
    ema: float = _option(0.998, "Decay of the averaged weights, which are evaluated and saved.")
    seed: int = _option(1, "Seed of the first weights and of every draw.")
    threads: int = _option(2, "Threads of the computation; one more prepares the data.")
    precision: str = _option("auto", "fp32, bf16, or auto: bf16 where the processor has matrix units for it.")
    device: str = _option("auto", "cpu, cuda, or auto.")
    eval_every: int = _option(10_000, "Samples between evaluations on the validation split.")
    eval_frames: int = _option(800, "Frames that an evaluation looks at.")
    checkpoint_s: float = _option(60.0, "Seconds between checkpoints.")
    photo_share: float = _option(0.0, "Share of photographs in what is drawn; 0: as in the set.")
    workers: int = _option(1, "Threads that prepare data.")
    clip: float = _option(5.0, "Largest norm of the gradient; 0: any.")
    accumulate: int = _option(1, "Parts that a batch is computed in, one after the other; `run` only.")

    @property
    def steps(self) -> int:
        return max(1, self.samples // self.batch)

    def check(self) -> None:
        """Raises ValueError for a value that no run can have."""
        for name in ("samples", "batch", "threads", "eval_every", "eval_frames", "workers", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision: expected auto, fp32 or bf16, got {self.precision!r}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device: expected auto, cpu or cuda, got {self.device!r}")
        if not 0 <= self.photo_share < 1:
            raise ValueError(f"photo_share: expected a number in [0, 1), got {self.photo_share}")
        if not 0 <= self.ema < 1 or not 0 <= self.warmup < 1:
            raise ValueError(f"ema, warmup: expected numbers in [0, 1), got {self.ema}, {self.warmup}")

    def fixed(self) -> dict[str, Any]:
        """The options that must not change when a run is resumed."""
        free = {
            "run",
            "data",
            "threads",
            "workers",
            "device",
            "eval_every",
            "eval_frames",
            "checkpoint_s",
            "fan",
            "init",
        }
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in free}


@dataclasses.dataclass(frozen=True)
class FanOptions(RunOptions):
    """Training of FAN alone."""

    width: int = _option(64, "Channels of an hourglass, a multiple of 8; the paper: 256.")
    resolution: int = _option(128, "Side of the crop in pixels, a multiple of 64; the paper: 256.")
    pooling: str = _option("max", "max (the authors' release) or avg.")
    coordinate_weight: float = _option(0.1, "Weight of the loss on decoded points beside that on heatmaps.")
    init: str | None = _option(None, "Model file or run folder whose weights are the first.")


@dataclasses.dataclass(frozen=True)
class AUNetOptions(RunOptions):
    """Training of both AU heads, on a frozen FAN or jointly with it."""

    samples: int = _option(20_000, "Sequences to see.")
    batch: int = _option(8, "Sequences per step.")
    lr: float = _option(1e-3, "Highest learning rate of the heads.")
    weight_decay: float = _option(1e-2, "AdamW's, on weights of two and more dimensions.")
    eval_every: int = _option(4000, "Sequences between evaluations on the validation split.")
    fan: str | None = _option(None, "Model file or run folder whose FAN is used; the heads start anew.")
    init: str | None = _option(None, "Model file or run folder to start from, heads included.")
    joint: bool = _option(False, "Train FAN too, the heatmap loss kept on; or only the heads.", "--joint/--frozen")
    fan_lr: float = _option(0.3, "Learning rate of FAN over that of the heads, in joint training.")
    fan_bn_eval: bool = _option(False, "Keep FAN's batch-norm statistics, in joint training.")
    heatmap_weight: float = _option(1.0, "Weight of FAN's loss beside that on AUs, in joint training.")
    coordinate_weight: float = _option(0.1, "Within FAN's loss, weight of the loss on decoded points.")
    context_dropout: float = _option(0.25, "Probability that a former, and that a later frame is left out.")
    positive_weight: float = _option(1.0, "Weight of what speaks for an AU against what speaks against it.")


@dataclasses.dataclass(frozen=True)
class PointsOptions(RunOptions):
    """Training of the points head alone, on features around the landmarks that are computed once."""

    samples: int = _option(400_000, "Sequences to see.")
    batch: int = _option(64, "Sequences per step.")
    lr: float = _option(2e-3, "Highest learning rate.")
    weight_decay: float = _option(2e-2, "AdamW's, on weights of two and more dimensions.")
    eval_every: int = _option(100_000, "Sequences between evaluations on the validation split.")
    init: str = _option("", "Model file or run folder whose FAN is used and whose points head is the first.")
    passes: int = _option(3, "Differently augmented copies of the training split to compute features of.")
    context_dropout: float = _option(0.25, "Probability that a former, and that a later frame is left out.")
    positive_weight: float = _option(2.0, "Weight of what speaks for an AU against what speaks against it.")
