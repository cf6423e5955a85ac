"""`profile`: a detector, measured frame by frame; `compare`: several of them in turns on the same frames."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidInput, SourceLost
from ..pipeline.stage_timer import DETAILS
from ..sources.base import Frame
from .device import device_facts, forget_peak_memory, peak_memory_mb
from .power import GpuMemory, PowerMeter
from .report import Comparison, Profile
from .timers import summarise

if TYPE_CHECKING:
    from ..detector import Detector
    from ..results import FrameResult

__all__ = ["compare", "profile"]

WARM_UP = 30
TURN_FRAMES = 25
TIMELINE_POINTS = 1000
BUSY_LOAD = 0.6

Sink = Callable[["FrameResult"], None]


class _Run:
    """One detector on its way through the frames."""

    def __init__(self, detector: Detector, sink: Sink | None, warm_up: int) -> None:
        self.detector = detector
        self._stream = detector.open_stream()
        self._sink = sink
        self._warm_up = warm_up
        self.seen = 0
        self.size = 0, 0
        self.stages: dict[str, list[float]] = {name: [] for name in (*DETAILS, "sinks", "other")}
        self.frame_ms: list[float] = []
        self.age_ms: list[float] = []
        self.faces: list[int] = []

    def feed(self, frame: Frame, start_s: float, live: bool) -> None:
        """One frame, whose fetching began at `start_s` (time.perf_counter) and is over."""
        fetched_s = time.perf_counter()
        results = self._stream.push_frame(frame, 1e3 * (fetched_s - start_s))
        done_s = time.perf_counter()
        age_s = time.monotonic() - frame.timestamp_s if live else done_s - fetched_s
        if self._sink is not None:
            for result in results:
                self._sink(result)
        end_s = time.perf_counter()
        self.seen += 1
        self.size = frame.image.shape[1], frame.image.shape[0]
        if self.seen <= self._warm_up:
            return
        spent = dict(self._stream.session.details_ms, sinks=1e3 * (end_s - done_s))
        spent["other"] = max(0.0, 1e3 * (end_s - start_s) - sum(spent.values()))
        for name, ms in spent.items():
            self.stages[name].append(ms)
        self.frame_ms.append(1e3 * (end_s - start_s))
        self.age_ms.append(1e3 * age_s)
        self.faces.append(len(self._stream.session.tracker.live))

    def flush(self) -> None:
        """The results that still waited for a later frame go to the sink."""
        results = self._stream.flush()
        if self._sink is not None:
            for result in results:
                self._sink(result)

    def network_ms(self, last: int = 0) -> list[float]:
        """Of every frame, or the last ones, copies to the device and back included."""
        parts = (self.stages[name][-last:] for name in ("copy_in", "network", "copy_out"))
        return [sum(each) for each in zip(*parts, strict=True)]

    def profile(
        self,
        dropped: int,
        meter: PowerMeter,
        device: Mapping[str, str],
        notes: Iterable[str],
        wall_s: float | None = None,
    ) -> Profile:
        """What came of it. Raises InvalidInput where no frame is left after the warm-up."""
        if not self.frame_ms:
            raise InvalidInput(
                f"profile: expected more frames than the {self._warm_up} of the warm-up, got {self.seen}; "
                "give a longer input"
            )
        engine, bundle, options = self.detector.engine, self.detector.bundle, self.detector.options
        per_face = [ms / faces for ms, faces in zip(self.network_ms(), self.faces, strict=True) if faces]
        gpu = _gpu_memory(meter.gpu_memory(), engine.providers)
        thin = np.linspace(0, len(self.frame_ms) - 1, min(len(self.frame_ms), TIMELINE_POINTS)).astype(int)
        return Profile(
            engine=engine.name,
            providers=tuple(engine.providers),
            model=bundle.name,
            precision=str(getattr(engine, "precision", bundle.arithmetic)),
            threads=options.threads,
            width=self.size[0],
            height=self.size[1],
            frames=len(self.frame_ms),
            warm_up=self._warm_up,
            fps=1e3 * len(self.frame_ms) / sum(self.frame_ms),
            faces=float(statistics.median(self.faces)),
            lookahead_ms=0.0 if options.look_ahead == "none" else 1e3 * bundle.interval_s,
            stages={name: summarise(values) for name, values in self.stages.items()},
            frame=summarise(self.frame_ms),
            age=summarise(self.age_ms),
            network_ms_per_face=statistics.median(per_face) if per_face else None,
            dropped=dropped,
            faces_left_out=self._stream.faces_left_out,
            peak_memory_mb=peak_memory_mb(),
            peak_gpu_memory_mb=None if gpu is None else gpu.peak_mb,
            wall_s=wall_s,
            power=meter.result(),
            device=device,
            timeline_ms=tuple(self.frame_ms[i] for i in thin),
            notes=(*notes, *_doubts(device, self.faces, gpu)),
        )


def profile(
    detector: Detector,
    frames: Iterable[Frame],
    *,
    duration_s: float | None = None,
    warm_up: int = WARM_UP,
    sink: Sink | None = None,
    flush: bool = False,
) -> Profile:
    """Measure a detector on frames, in a stream of its own.

    Args:
        detector: open; its options hold, also `look_ahead`.
        frames: a source, or any iterable of Frame. One with `live = True` has timestamps of time.monotonic(), and the
            age counts from them; one with `dropped` says how many frames it left out.
        duration_s: stop after this many seconds (warm-up not counted); None: when the frames end.
        warm_up: frames that are not counted, at least 0.
        sink: called with every result; its time is the stage `sinks`.
        flush: at the end the results that waited for a later frame go to the sink, too. That belongs to no frame and to
            no stage; `wall_s` holds it.

    Returns:
        Profile. Where the source breaks off on the way, what was measured until then, with a note.

    Raises InvalidInput (no more frames than the warm-up, a wrong duration), AUNetError of detector and source.
    """
    _check(duration_s, warm_up)
    run = _Run(detector, sink, warm_up)
    live = bool(getattr(frames, "live", False))
    notes: list[str] = []
    forget_peak_memory()
    coming = iter(frames)
    stop_s = None
    with _timed([detector]), PowerMeter() as meter:
        begun_s = time.perf_counter()
        try:
            while True:
                start_s = time.perf_counter()
                if run.seen == warm_up and duration_s is not None:
                    stop_s = start_s + duration_s
                if stop_s is not None and start_s >= stop_s:
                    break
                frame = next(coming, None)
                if frame is None:
                    break
                run.feed(frame, start_s, live)
        except SourceLost as error:
            if not run.frame_ms:
                raise
            notes.append(str(error))
        finally:
            if coming is not frames and hasattr(coming, "close"):
                coming.close()
        if flush:
            run.flush()
        wall_s = time.perf_counter() - begun_s
    return run.profile(_dropped(frames), meter, device_facts(), notes, wall_s)


def _dropped(frames: object) -> int:
    """As a source counts them: a number, or numbers by reason."""
    dropped = getattr(frames, "dropped", 0)
    return sum(dropped.values()) if isinstance(dropped, Mapping) else int(dropped)


def compare(
    detectors: Mapping[str, Detector],
    frames: Iterable[Frame],
    *,
    duration_s: float | None = None,
    warm_up: int = WARM_UP,
    turn_frames: int = TURN_FRAMES,
) -> Comparison:
    """Measure several detectors on the same frames in turns of `turn_frames`, so that whatever else the machine does
    slows all of them. The order changes from turn to turn; frames are fetched before and not measured.

    Args:
        detectors: two or more by name; the others are compared with the first.
        duration_s: in all, for all of them together, warm-up included; None: until the frames end.

    Raises as `profile`; with fewer than two detectors InvalidInput.
    """
    _check(duration_s, warm_up)
    if len(detectors) < 2 or turn_frames < 1:
        raise InvalidInput(f"compare: expected two detectors or more, and turns, got {len(detectors)}, {turn_frames}")
    runs = {name: _Run(detector, None, warm_up) for name, detector in detectors.items()}
    names = list(runs)
    turns: list[dict[str, dict[str, float]]] = []
    forget_peak_memory()
    coming = iter(frames)
    begun_s = time.perf_counter()
    with _timed(detectors.values()), PowerMeter() as meter:
        while (part := list(islice(coming, turn_frames))) and (
            duration_s is None or time.perf_counter() - begun_s < duration_s or len(turns) < 1
        ):
            for name in names:
                run = runs[name]
                for frame in part:
                    run.feed(frame, time.perf_counter(), live=False)
            counted = min(len(part), len(runs[names[0]].frame_ms))
            if counted:
                turns.append({name: _tail(run, counted) for name, run in runs.items()})
            names = names[1:] + names[:1]
    first = next(iter(runs))
    device = device_facts()
    notes = ["the engines took turns: power and peak memory are those of all of them together"]
    profiles = {name: run.profile(0, meter, device, notes) for name, run in runs.items()}
    ratios = {
        name: {
            key: statistics.median(turn[name][key] / turn[first][key] if turn[first][key] else 1.0 for turn in turns)
            for key in ("frame", "network")
        }
        for name in runs
    }
    return Comparison(profiles, ratios)


@contextmanager
def _timed(detectors: Iterable[Detector]) -> Iterator[None]:
    """Inside, engines measure their copies also where that costs something; those that cannot are left as they are."""
    engines = [detector.engine for detector in detectors if hasattr(detector.engine, "timed")]
    before = [engine.timed for engine in engines]
    try:
        for engine in engines:
            engine.timed = True
        yield
    finally:
        for engine, timed in zip(engines, before, strict=True):
            engine.timed = timed


def _gpu_memory(found: GpuMemory | None, providers: Iterable[str]) -> GpuMemory | None:
    """That of the whole device says nothing of an engine on the CPU."""
    if found is None or found.of_process:
        return found
    return None if all(name.upper().startswith("CPU") for name in providers) else found


def _tail(run: _Run, count: int) -> dict[str, float]:
    """Median times of the last frames."""
    return {
        "frame": statistics.median(run.frame_ms[-count:]),
        "network": statistics.median(run.network_ms(count)),
    }


def _check(duration_s: float | None, warm_up: int) -> None:
    if duration_s is not None and not 0 < duration_s < 1e6:
        raise InvalidInput(f"duration_s: expected seconds above 0, got {duration_s!r}")
    if isinstance(warm_up, bool) or not isinstance(warm_up, int) or warm_up < 0:
        raise InvalidInput(f"warm_up: expected a whole number of frames from 0 on, got {warm_up!r}")


def _doubts(device: Mapping[str, str], faces: list[int], gpu: GpuMemory | None) -> list[str]:
    """Notes on what makes the figures say less."""
    notes = []
    governor = device.get("governor", "not known")
    if governor not in ("not known", "performance"):
        notes.append(f"the processor's governor is {governor}: its clock follows the load")
    load, cores = float(device.get("load", 0)), int(device.get("cores", 1))
    if load > BUSY_LOAD * cores + 1:
        notes.append(f"the machine was busy: load {load:.1f} on {cores} cores")
    without = sum(not count for count in faces) / len(faces)
    if without > 0.1:
        notes.append(f"{without:.0%} of the frames had no face: the network hardly ran there")
    if gpu is not None and not gpu.of_process:
        notes.append("NVML does not list this process: the GPU memory is what all processes on that GPU hold")
    return notes
