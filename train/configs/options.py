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
    precision: str = _option("auto", "fp32, bf16, fp16, or auto: bf16 where the processor has matrix units for it.")
    device: str = _option("auto", "cpu, cuda, or auto.")
    eval_every: int = _option(10_000, "Samples between evaluations on the validation split.")
    eval_frames: int = _option(800, "Frames that an evaluation looks at.")
    checkpoint_s: float = _option(60.0, "Seconds between checkpoints.")
    photo_share: float = _option(0.0, "Share of photographs in what is drawn; 0: as in the set.")
    workers: int = _option(1, "Threads that prepare data.")
    clip: float = _option(5.0, "Largest norm of the gradient; 0: any.")
    accumulate: int = _option(1, "Parts that a batch is computed in, one after the other; `run` only.")
    tf32: bool = _option(False, "In fp32, let a GPU that has TF32 compute in it.", "--tf32/--no-tf32")

    @property
    def steps(self) -> int:
        return max(1, self.samples // self.batch)

    @property
    def least(self) -> dict[str, int]:
        """Least values that are not 1."""
        return {}

    def check(self) -> None:
        """Raises ValueError for a value that no run can have."""
        for name in ("batch", "threads", "eval_every", "eval_frames", "workers", "accumulate", "samples"):
            if getattr(self, name) < self.least.get(name, 1):
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise ValueError(f"precision: expected auto, fp32, bf16 or fp16, got {self.precision!r}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device: expected auto, cpu or cuda, got {self.device!r}")
        if not 0 <= self.photo_share < 1:
            raise ValueError(f"photo_share: expected a number in [0, 1), got {self.photo_share}")
        if not 0 <= self.ema < 1 or not 0 <= self.warmup < 1:
            raise ValueError(f"ema, warmup: expected numbers in [0, 1), got {self.ema}, {self.warmup}")

    def fixed(self) -> dict[str, Any]:
        """The options that must not change when a run is resumed."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in self.free()}

    @staticmethod
    def free() -> set[str]:
        """Names of the options that may."""
        machine = {"run", "data", "threads", "workers", "device", "checkpoint_s"}
        return machine | {"eval_every", "eval_frames", "fan", "parser", "init"}


@dataclasses.dataclass(frozen=True)
class FanOptions(RunOptions):
    """Training of FAN alone."""

    width: int = _option(64, "Channels of an hourglass, a multiple of 8; the paper: 256.")
    resolution: int = _option(128, "Side of the crop in pixels, a multiple of 64; the paper: 256.")
    pooling: str = _option("max", "max (the authors' release) or avg.")
    coordinate_weight: float = _option(0.1, "Weight of the loss on decoded points beside that on heatmaps.")
    init: str | None = _option(None, "Model file or run folder whose weights are the first.")


@dataclasses.dataclass(frozen=True)
class ParserOptions(FanOptions):
    """Training of a face parser on the part masks of renders: the features of AU-FP."""

    samples: int = _option(60_000, "Frames to see.")
    coordinate_weight: float = _option(0.0, "Not used: a parser finds no points.")


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
    resolution: int = _option(0, "Side of the crop in pixels, a multiple of 64; 0: that of the model to start from.")
    joint: bool = _option(False, "Train FAN too, the heatmap loss kept on; or only the heads.", "--joint/--frozen")
    fan_lr: float = _option(0.3, "Learning rate of FAN over that of the heads, in joint training.")
    fan_bn_eval: bool = _option(False, "Keep FAN's batch-norm statistics, in joint training.")
    heatmap_weight: float = _option(1.0, "Weight of FAN's loss beside that on AUs, in joint training.")
    coordinate_weight: float = _option(0.1, "Within FAN's loss, weight of the loss on decoded points.")
    context_dropout: float = _option(0.25, "Probability that a former, and that a later frame is left out.")
    positive_weight: float = _option(1.0, "Weight of what speaks for an AU against what speaks against it.")
    consensus: float = _option(0.0, "Weight of the loss of each head against the mean answer of both.")


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
    outputs: bool = _option(
        False,
        "Train the outputs that the model to start from lacks, AUs and intensities; all else stays as it is.",
        "--outputs-only/--whole",
    )
    context_dropout: float = _option(0.25, "Probability that a former, and that a later frame is left out.")
    positive_weight: float = _option(2.0, "Weight of what speaks for an AU against what speaks against it.")


@dataclasses.dataclass(frozen=True)
class ExtraOptions(RunOptions):
    """Training of a part for AUs of the lids; everything that the model says stays as it is, to the bit."""

    samples: int = _option(50_000, "Sequences to see.")
    batch: int = _option(64, "Sequences per step.")
    lr: float = _option(3e-3, "Highest learning rate.")
    ema: float = _option(0.995, "Decay of the averaged weights, which are evaluated and saved.")
    weight_decay: float = _option(2e-2, "AdamW's, on weights of two and more dimensions.")
    init: str = _option("", "Model file or run folder to start from; a part for more AUs that it has is left out.")
    passes: int = _option(2, "Differently laid copies of the training split to cut eyes out of.")
    context_dropout: float = _option(0.25, "Probability that a former, and that a later frame is left out.")
    eval_every: int = _option(1_000_000, "Sequences between evaluations on the validation split.")
    precision: str = _option("fp32", "fp32, bf16, fp16, or auto: bf16 where the processor has matrix units for it.")
    photo_share: float = _option(0.4, "Share of photographs in what is drawn; 0: as in the set.")
    aus: str = _option("45", "FACS numbers of the AUs, with commas; the model has none of them.")

    @property
    def numbers(self) -> tuple[int, ...]:
        """`aus`, ascending. ValueError where it is no list of numbers."""
        parts = [part.strip() for part in self.aus.split(",")]
        if not all(part.isdigit() and int(part) > 0 for part in parts) or len(set(parts)) != len(parts):
            raise ValueError(f"aus: expected different FACS numbers with commas, such as 5,45, got {self.aus!r}")
        return tuple(sorted(int(part) for part in parts))

    def check(self) -> None:
        """Raises ValueError for a value that no run can have."""
        super().check()
        assert self.numbers


@dataclasses.dataclass(frozen=True)
class GeometryOptions(RunOptions):
    """Training of the geometry path of the points head on drawn landmarks; `fuse` is what comes after it."""

    source: str = _option("", "Folder with ict_facekit_light.npz, portraits/ and faces/.")
    samples: int = _option(4_000_000, "Faces to see.")
    batch: int = _option(1024, "Faces per step.")
    lr: float = _option(3e-3, "Highest learning rate.")
    weight_decay: float = _option(1e-2, "AdamW's, on weights of two and more dimensions.")
    eval_every: int = _option(1_000_000, "Faces between evaluations on the validation split.")
    threads: int = _option(1, "Threads of the computation; one more prepares the data.")
    precision: str = _option("fp32", "fp32, bf16, fp16, or auto: bf16 where the processor has matrix units for it.")
    init: str = _option("", "Model file or run folder whose FAN is used and whose points head gets the path.")
    hidden: int = _option(256, "Units of either hidden layer.")
    acts: int = _option(30_000, "Acts of four frames to draw expressions from.")
    rigs: bool = _option(False, "Draw expressions of the rigs in the source folder, too.")
    render_share: float = _option(0.2, "Share of faces that FAN found on renders.")
    picture_share: float = _option(0.15, "Share of faces that FAN found on pictures and portraits.")
    positive_weight: float = _option(2.0, "Weight of what speaks for an AU against what speaks against it.")

    @staticmethod
    def free() -> set[str]:
        """Names of the options that may change when a run is resumed."""
        return RunOptions.free() | {"source"}

    def check(self) -> None:
        """Raises ValueError for a value that no run can have."""
        super().check()
        if min(self.render_share, self.picture_share) < 0 or self.render_share + self.picture_share >= 1:
            raise ValueError(
                f"render_share, picture_share: expected shares with a sum below 1, got {self.render_share} and "
                f"{self.picture_share}"
            )
        for name in ("acts", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")


CHOICES = {
    "preset": ("paper", "release"),
    "flow": ("dis", "raft"),
    "cache": ("auto", "always", "never"),
    "alignment": ("latent", "label"),
    "alignment_reduction": ("sum", "mean"),
    "alignment_spread": ("std", "variance", "log-variance", "predicted-std"),
    "neighbours": ("video", "list"),
    "augmentation": ("paper", "release"),
    "store": ("auto", "always", "never"),
    "augment_on": ("cpu", "device"),
    "loader": ("threads", "processes"),
    "flip_average": ("probabilities", "logits"),
}
"""Options of PaperOptions that are one of a few words."""


@dataclasses.dataclass(frozen=True)
class PaperOptions(RunOptions):
    """Training of one network of the paper on triplets (section V-C); the defaults are the paper's.

    What the authors' release does otherwise is the preset `release` (train/configs/presets.py).
    """

    preset: str = _option("paper", "What the other options are where nothing is said: paper or release.")
    variant: str = _option(
        "aunet", "au-fan, au-vae, au-tdn, aunet, au-flow, au-fp, resnet18, ... (train/models/variants.py)."
    )
    train_on: tuple[str, ...] = _option((), "Data sets: bp4d, disfa, affwild2, or synthetic alone.")
    test_on: tuple[str, ...] = _option((), "Data sets whose test parts are predicted; empty: those of train_on.")
    fold: int = _option(0, "Fold of a data set that has folds, 1 to 3; 0: none.")
    aus: tuple[int, ...] = _option((), "AUs to train, ascending; empty: all of train_on.")
    corpus_aus: dict[str, tuple[int, ...]] = dataclasses.field(
        default_factory=dict, metadata={"help": "By data set, the AUs whose labels count; the others: all it labels."}
    )
    corpus_frames: dict[str, int] = dataclasses.field(
        default_factory=dict, metadata={"help": "By data set, the most triplets to train on, evenly spaced."}
    )
    samples: int = _option(0, "Triplets of the training part that are used, evenly spaced; 0: all.")
    test_frames: int = _option(0, "Frames of each test part that are predicted, evenly spaced; 0: all.")
    skip_missing: bool = _option(
        False, "Leave out what a fold list names and the copy lacks; or it is an error.", "--skip-missing/--complete"
    )
    epochs: int = _option(12, "Passes over the training part.")
    batch: int = _option(64, "Triplets per step, over all processes.")
    lr: float = _option(1e-4, "First learning rate.")
    decay: float = _option(0.7, "Factor of the learning rate every `decay_every` epochs.")
    decay_every: int = _option(4, "Epochs.")
    weight_decay: float = _option(0.0, "AdamW's.")
    warmup: float = _option(0.0, "Not used: the learning rate falls in steps.")
    ema: float = _option(0.0, "Decay of averaged weights; 0: the weights themselves.")
    clip: float = _option(0.0, "Largest norm of the gradient; 0: any.")
    eval_every: int = _option(1, "Epochs between evaluations.")
    eval_frames: int = _option(2000, "Frames that such an evaluation looks at; the predictions look at all.")
    alpha: float = _option(0.9, "Weight of the static features, for variants with motion.")
    beta: float = _option(0.1, "Weight of the motion features, for variants with motion.")
    gamma: float = _option(1.0, "Weight of equation 3, for variants with a VAE.")
    alignment: str = _option("latent", "Space in which predictions and labels are aligned: latent or label.")
    alignment_reduction: str = _option("sum", "Equation 3 over the dimensions of the code: sum (as printed) or mean.")
    alignment_spread: str = _option(
        "std", "Second term of equation 3: std, variance or log-variance of both; predicted-std: the release's."
    )
    vae_lambda: float = _option(0.1, "Weight of the divergence in equation 2: .1, .2 or .3.")
    vae_epochs: int = _option(100, "Epochs of the VAE.")
    vae_drop_last: bool = _option(
        False, "Leave out what is left of the labels at the end of the VAE's epoch.", "--vae-drop-last/--vae-all"
    )
    fan: str = _option("", "Model file or run folder whose FAN is used; its width and resolution hold.")
    parser: str = _option("", "Of au-fp: file or run folder of a face parser; its width and resolution hold.")
    weights: str = _option("", "ImageNet weights of a ResNet18.")
    flow: str = _option("dis", "Of au-flow: OpenCV's DIS, or raft, torchvision's RAFT small, frozen.")
    flow_weights: str = _option("", "Of au-flow with raft: file of its weights, with torchvision's names.")
    init: str = _option("", "Run folder or file of the same variant to start from; AUs are matched by number.")
    width: int = _option(256, "Channels, where no FAN decides.")
    resolution: int = _option(256, "Side of the crop in pixels, where no FAN decides.")
    interval_s: float = _option(0.4, "Time between the frames of a triplet: T = 10 frames at 25 Hz.")
    interval_frames: int = _option(0, "T in frames whatever a video's rate, the paper's is 10; 0: by interval_s.")
    neighbours: str = _option(
        "video",
        "Where the former and the later frame are taken from: video, or list: only out of the part's own frames.",
    )
    lists: str = _option("", "Folder of the fold lists, or of a folder per data set; empty: searched beside the data.")
    store: str = _option(
        "auto", "Read the crops that `python -m train store` cut: always, never, auto: where all videos have them."
    )
    hold_out: float = _option(
        0.0, "Share of the training subjects that stand in for the test part, which is not opened then; 0: none."
    )
    augment: bool = _option(True, "Augment the training triplets.", "--augment/--no-augment")
    augmentation: str = _option("paper", "Ranges of the augmentation: paper or release.")
    augment_on: str = _option(
        "cpu", "Where crops are cut and augmented: cpu, or device, in batches; the geometry is the same to the draw."
    )
    loader: str = _option("threads", "What prepares data: threads, or processes, which cores do not wait for Python.")
    compile: bool = _option(False, "Compile FAN and head with torch.compile.", "--compile/--eager")
    draws: int = _option(0, "Different augmentations of a triplet, used in turn; 0: new ones in every epoch.")
    cache: str = _option(
        "auto", "Keep features of a frozen FAN on disk: always, never, auto: where nothing is augmented."
    )
    cache_folder: str = _option("", "Folder of kept features; empty: `features` in the run's folder.")
    flip: bool = _option(True, "Predict mirrored crops, too, for flip averaging.", "--flip/--no-flip")
    flip_average: str = _option("probabilities", "What flip averaging is the mean of: probabilities or logits.")
    keep_epochs: bool = _option(
        False,
        "Predict with the weights of every epoch, too: epochs/ in the run's folder.",
        "--keep-epochs/--last-epoch",
    )

    @property
    def steps(self) -> int:
        raise TypeError("the steps of a paper run follow from its data; ask PaperTask.plan")

    @property
    def least(self) -> dict[str, int]:
        return {"samples": 0}

    def check(self) -> None:
        """Raises ValueError for a value that no run can have."""
        super().check()
        for name in ("epochs", "decay_every", "vae_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        if not self.train_on:
            raise ValueError("train_on: expected at least one data set, got none")
        if self.fold not in (0, 1, 2, 3):
            raise ValueError(f"fold: expected 0 (none), 1, 2 or 3, got {self.fold}")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("corpus_aus", "corpus_frames"):
            unknown = sorted(set(getattr(self, name)) - {*self.train_on, *self.test_on})
            if unknown:
                raise ValueError(f"{name}: expected data sets of train_on and test_on, got {', '.join(unknown)} beside")
        if any(not aus for aus in self.corpus_aus.values()) or any(n < 1 for n in self.corpus_frames.values()):
            raise ValueError("corpus_aus, corpus_frames: expected at least one AU, and positive numbers of frames")
        if self.variant == "au-flow" and self.flow == "raft" and not self.flow_weights:
            raise ValueError(
                "flow_weights: expected a file of RAFT's weights for --flow raft, got none (--flow-weights)"
            )
        if not 0 <= self.hold_out < 1:
            raise ValueError(f"hold_out: expected a share in [0, 1), got {self.hold_out}")
        if self.draws < 0 or self.samples < 0 or self.test_frames < 0 or self.gamma < 0 or self.interval_frames < 0:
            raise ValueError("draws, samples, test_frames, gamma, interval_frames: expected no negative number")
        if self.augment_on == "device" and self.cache == "always":
            raise ValueError("augment_on: kept features are of crops that the CPU augmented; take --cache never")
        if self.cache == "always" and self.augment and not self.draws:
            raise ValueError(
                "cache: features of crops that are augmented anew in every epoch cannot be kept; set --draws"
            )

    @staticmethod
    def free() -> set[str]:
        """Names of the options that may change when a run is resumed."""
        return RunOptions.free() | {"cache", "cache_folder", "weights", "flow_weights", "loader", "compile"}
