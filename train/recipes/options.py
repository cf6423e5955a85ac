"""What a recipe can be told, and how large its sizes are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of everything one size of the recipe takes; trainings in samples."""

    width: int = 64
    resolution: int = 128
    sequences: int = 7680
    hands: float = 0.3
    morphs: int = 768
    fan_samples: int = 160_000
    aunet_samples: int = 40_000
    head_passes: int = 3
    head_samples: int = 600_000
    extra_passes: int = 2
    extra_samples: int = 50_000
    geometry_samples: int = 2_000_000
    geometry_hidden: int = 256
    acts: int = 20_000
    batch: int = 64
    eval_frames: int = 800
    kinds: str = "both"
    triplets: int = 32


SIZES = {
    "default": Size(),
    "nano": Size(resolution=64),
    "smoke": Size(
        width=16, resolution=64, sequences=12, hands=0.2, morphs=0, fan_samples=32, aunet_samples=16, head_passes=1,
        head_samples=64, extra_passes=1, extra_samples=64, geometry_samples=2048, geometry_hidden=16, acts=40, batch=8,
        eval_frames=40, kinds="stream", triplets=4,
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RecipeOptions:
    """``source``: folder with ict_facekit_light.npz, portraits/ and, where there are more people and pictures, faces/;
    ``out``: everything that is made. ``fan``: a model file whose FAN is used, "train", or "": that of train/checkpoints
    which belongs to the size. ``start``: a model file of which all stays but the geometry path it may have; a new one
    is added that counts where the person's points at rest are known (train.recipes.fusion.fit_where_known); None: the
    heads are trained, too. ``extra``: with a model to start from, AUs of the lids that it lacks, as "45": a part of
    their own is trained and added (train/models/extra_head.py); "": none. ``rigs``: expressions of the
    rigs in ``source``, too, rendered and drawn (train/synthetic/rigs.py); ICT's own alone where there are none.
    ``sequences`` to render, None: those of the
    size. ``device``, ``threads`` and ``workers`` may change when a recipe goes on, the others not.
    """

    source: Path
    out: Path
    size: str = "default"
    seed: int = 21
    fan: str = ""
    start: Path | None = None
    sequences: int | None = None
    hand_mesh: Path | None = None
    device: str = "auto"
    threads: int = 2
    workers: int = 2
    extra: str = ""
    rigs: bool = False

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"size: expected one of {', '.join(SIZES)}, got {self.size!r}")
        if not self.source.is_dir():
            raise ValueError(f"source: expected a folder, got {self.source}")
        if self.start is not None and self.fan:
            raise ValueError("start, fan: expected one of them, since a model to start from has a FAN, got both")
        if self.extra and self.start is None:
            raise ValueError(f"extra: expected a model to start from with it, got {self.extra!r} alone; give --start")
        if self.sequences is not None and self.sequences < 1:
            raise ValueError(f"sequences: expected a positive number, got {self.sequences}")
        if not self.fan and self.start is None and self.size == "smoke":
            raise ValueError("fan: expected a small model or train for the size smoke, got none")
        if not self.fan and self.start is None:
            object.__setattr__(self, "fan", str(CHECKPOINTS / f"{self.size}.safetensors"))
        for name in ("fan", "start", "hand_mesh"):
            file = getattr(self, name)
            if file not in (None, "", "train") and not Path(file).is_file():
                raise ValueError(f"{name}: expected a file{' or train' if name == 'fan' else ''}, got {file}")

    @property
    def amounts(self) -> Size:
        """Of the size that was asked for."""
        size = SIZES[self.size]
        return size if self.sequences is None else dataclasses.replace(size, sequences=self.sequences)

    @property
    def moving(self) -> dict[str, str]:
        """Empty, or ``rigs`` with the key of those that are mixed in."""
        from train.synthetic.rigs import available, rigs_key

        return {"rigs": rigs_key(self.source)} if self.rigs and available(self.source) else {}

    def fixed(self) -> dict[str, Any]:
        """What a recipe cannot go on with another value of; files by what is in them."""
        from train.recipes.stamps import sha256

        return {
            "size": self.size,
            "seed": self.seed,
            "fan": self.fan if self.fan in ("", "train") else sha256(Path(self.fan)),
            "start": sha256(self.start) if self.start else None,
            "sequences": self.sequences,
            "hand_mesh": sha256(self.hand_mesh) if self.hand_mesh else None,
            "extra": self.extra or None,
            "rigs": self.rigs or None,
        }


__all__ = ["CHECKPOINTS", "SIZES", "RecipeOptions", "Size"]
