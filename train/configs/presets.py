"""Presets of a run: what the paper says, and what the authors' released code does (docs/training.md lists both).

A preset gives the values of those options that neither the experiment nor the command line names.
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},  # the defaults of train.configs.options.PaperOptions
    "release": {
        "decay": 0.3,
        "vae_lambda": 0.3,
        "vae_drop_last": True,
        "alignment_reduction": "mean",
        "alignment_spread": "predicted-std",
        "augmentation": "release",
        "neighbours": "list",
        "interval_frames": 10,
        "flip_average": "logits",
        "keep_epochs": True,
        "precision": "fp32",
        "tf32": True,
    },
}
"""Name -> options that differ from the defaults. `tf32`: PyTorch's own default for convolutions, which the release
leaves as it is."""


def preset_values(name: str) -> dict[str, Any]:
    """The options of a preset, its name among them; ValueError for another name."""
    if name not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return {**PRESETS[name], "preset": name}
