"""What a measurement found: frozen, as JSON, and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .timers import Summary

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Comparison", "Profile"]


@dataclass(frozen=True)
class Profile:
    """One detector, measured over many frames. Times in milliseconds, warm-up left out."""

    engine: str
    providers: tuple[str, ...]
    """what really ran the network, first choice first"""
    model: str
    precision: str
    threads: int | None
    """asked for; None: the engine's own choice"""
    width: int
    height: int
    """of the frames, px"""
    frames: int
    warm_up: int
    """frames before, not counted"""
    fps: float
    """frames over the time that they took, all stages"""
    faces: float
    """median number followed"""
    lookahead_ms: float
    """by which a result is late on purpose, on top of `age`"""
    stages: Mapping[str, Summary]
    """per frame; `other`: what no stage counts"""
    frame: Summary
    """from the end of one frame to the end of the next"""
    age: Summary
    """from capture to the end of the frame's own computing; for a file: from the moment when it was fetched"""
    network_ms_per_face: float | None
    """median over frames of the network's time over the number of faces; None without a face"""
    dropped: int
    """frames that the source dropped"""
    faces_left_out: int
    """faces seen but not followed (max_faces)"""
    peak_memory_mb: float | None
    """of the whole process, MiB; None where the system does not report it"""
    peak_gpu_memory_mb: float | None = None
    """largest sample of the GPU memory that this process held, MiB, by NVML; of all processes where a note says so;
    None where nothing answers or nothing is held"""
    wall_s: float | None = None
    """from asking for the first frame to the last result, warm-up and `flush` included; None in a comparison"""
    power: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """by sensor: mean_w, max_w; empty where the device reports none"""
    device: Mapping[str, str] = field(default_factory=dict)
    """processor, clocks, governor, load"""
    timeline_ms: tuple[float, ...] = ()
    """`frame` of every frame, thinned out to at most 1000, for the plot"""
    notes: tuple[str, ...] = ()
    """what speaks against the figures"""

    def share(self, stage: str) -> float:
        """Of the mean time of a frame, 0..1."""
        return self.stages[stage].mean_ms / self.frame.mean_ms if self.frame.mean_ms else 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts; docs/profiling.md describes them."""
        return {
            "engine": self.engine,
            "providers": list(self.providers),
            "model": self.model,
            "precision": self.precision,
            "threads": self.threads,
            "size": [self.width, self.height],
            "frames": self.frames,
            "warm_up": self.warm_up,
            "fps": round(self.fps, 2),
            "faces": self.faces,
            "lookahead_ms": round(self.lookahead_ms, 1),
            "network_ms_per_face": None if self.network_ms_per_face is None else round(self.network_ms_per_face, 4),
            "dropped": self.dropped,
            "faces_left_out": self.faces_left_out,
            "peak_memory_mb": None if self.peak_memory_mb is None else round(self.peak_memory_mb, 1),
            "peak_gpu_memory_mb": None if self.peak_gpu_memory_mb is None else round(self.peak_gpu_memory_mb, 1),
            "wall_s": None if self.wall_s is None else round(self.wall_s, 4),
            "stages": {name: {**_numbers(s), "share": round(self.share(name), 4)} for name, s in self.stages.items()},
            "frame": _numbers(self.frame),
            "age": _numbers(self.age),
            "power": {name: {key: round(w, 3) for key, w in watts.items()} for name, watts in self.power.items()},
            "device": dict(self.device),
            "notes": list(self.notes),
        }

    def show(self, console: Console) -> None:
        """The table."""
        from rich.markup import escape
        from rich.table import Table

        on = ", ".join(name.removesuffix("ExecutionProvider") for name in self.providers)
        console.print(
            escape(
                f"{self.model} ({self.precision}) by {self.engine} on {on}, {self.frames} frames of "
                f"{self.width}x{self.height}, {self.faces:g} face{'' if self.faces == 1 else 's'}"
            )
        )
        table = Table(box=None, pad_edge=False)
        table.add_column("ms per frame")
        for name in ("min", "mean", "median", "p90", "p95", "p99", "max", "share"):
            table.add_column(name, justify="right")
        for name, s in {**self.stages, "frame": self.frame, "age": self.age}.items():
            values = (s.min_ms, s.mean_ms, s.median_ms, s.p90_ms, s.p95_ms, s.p99_ms, s.max_ms)
            share = f"{self.share(name):.1%}" if name in self.stages else ""
            table.add_row(name.replace("_", " "), *(f"{value:.3f}" for value in values), share)
        console.print(table)
        for line in self.lines():
            console.print(escape(line), highlight=False)

    def lines(self) -> list[str]:
        """What the table does not hold, in words."""
        per_face = "" if self.network_ms_per_face is None else f", network {self.network_ms_per_face:.2f} ms per face"
        lines = [f"{self.fps:.1f} frames/s{per_face}; look-ahead {self.lookahead_ms:.0f} ms on top of the age"]
        memory = "not known" if self.peak_memory_mb is None else f"{self.peak_memory_mb:.0f} MiB"
        if self.peak_gpu_memory_mb is not None:
            memory += f", on the GPU {self.peak_gpu_memory_mb:.0f} MiB"
        left_out = f"; faces left out: {self.faces_left_out}" if self.faces_left_out else ""
        lines.append(f"peak memory of the process {memory}; frames dropped: {self.dropped}{left_out}")
        for name, watts in self.power.items():
            lines.append(f"power {name}: {watts['mean_w']:.2f} W, at most {watts['max_w']:.2f} W")
        if not self.power:
            lines.append("power: this device reports none")
        if self.device:
            lines.append("; ".join(f"{name} {value}" for name, value in self.device.items()))
        return lines + [f"note: {note}" for note in self.notes]


@dataclass(frozen=True)
class Comparison:
    """Several engines on the same frames, in turns."""

    profiles: Mapping[str, Profile]
    """by the name that was asked for; the first is the one that the others are compared with"""
    ratios: Mapping[str, Mapping[str, float]]
    """by name: `frame` and `network`, the time over the first one's; medians over the turns"""

    def as_json(self) -> dict[str, Any]:
        """The first profile's JSON, with `compare` (all of them) and `ratios`."""
        every = {name: profile.as_json() for name, profile in self.profiles.items()}
        ratios = {name: {key: round(v, 4) for key, v in values.items()} for name, values in self.ratios.items()}
        return {**next(iter(every.values())), "compare": every, "ratios": ratios}

    def show(self, console: Console) -> None:
        """A table per engine, and the ratios."""
        from rich.table import Table

        for profile in self.profiles.values():
            profile.show(console)
            console.print()
        table = Table(box=None, pad_edge=False)
        for name in ("engine", "frames/s", "network ms per face", "time", "network"):
            table.add_column(name, justify="left" if name == "engine" else "right")
        for name, profile in self.profiles.items():
            face = profile.network_ms_per_face
            ratio = self.ratios[name]
            cells = (f"{profile.fps:.1f}", "-" if face is None else f"{face:.2f}")
            table.add_row(name, *cells, f"{ratio['frame']:.2f}x", f"{ratio['network']:.2f}x")
        console.print(table)
        console.print(f"time over that of {next(iter(self.profiles))}: medians over turns on the same frames")


def _numbers(s: Summary) -> dict[str, float]:
    values = {
        "min_ms": s.min_ms,
        "mean_ms": s.mean_ms,
        "p50_ms": s.median_ms,
        "p90_ms": s.p90_ms,
        "p95_ms": s.p95_ms,
        "p99_ms": s.p99_ms,
        "max_ms": s.max_ms,
    }
    return {name: round(value, 4) for name, value in values.items()}
