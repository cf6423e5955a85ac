"""The work on one input: source, detector, outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AUNetError, InvalidInput, OutputLost
from ..post.events import AUEvent, EventTracker
from ..sinks import CsvSink, ImageSink, Sink, VideoSink
from ..sinks.events import EventLines, EventTable, open_events
from ..sources import Frame, ImageFile, ImageFolder, VideoFile, open_path
from ..view import draw
from ..view.timeline import Truth, check_plot, read_tracks, timeline
from .exits import Exit, code_of, message_of, tell
from .plan import Plan
from .record import Record
from .summary import Tally, show

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from ..detector import Detector
    from ..results import FrameResult

    Item = tuple[FrameResult, np.ndarray | None, str | None]


class Work:
    """One input's way to its outputs. `run` once; then `show` and `tell` say what became of it."""

    def __init__(self, plan: Plan, detector: Callable[[], Detector], truth: Truth | None, make_folders: bool) -> None:
        self.plan = plan
        self.problems: list[str] = []
        self._open_detector = detector
        self._truth = truth
        self._make_folders = make_folders
        self._code = Exit.OK
        self._wall_s = 0.0
        self._written: list[str] = []
        self._pictures: VideoSink | ImageSink | None = None
        self._drawable = True
        self._tracker = EventTracker()
        self._events: EventTable | EventLines | None = None

    def run(self, quiet: bool, debug: bool) -> Exit:
        """Raises AUNetError before the first frame where the input, an output or the model cannot be used: nothing of
        an earlier run is lost then. Later errors end the work; what was read until then is written."""
        plan = self.plan
        with ExitStack() as stack:
            source = stack.enter_context(self._open_source())
            first, frames = self._first_of(source, stack)
            self._detector = detector = self._open_detector()
            self._tally = Tally(detector.au_names)
            self._open_outputs(stack, source, first)
            progress = stack.enter_context(_progress(quiet))
            task = progress.add_task(plan.input.name, total=source.frame_count, fps="")
            start_s = time.perf_counter()
            try:
                for result, image, file in self._results(frames):
                    self._table.put(result, None, file if plan.with_file else None)
                    if result.provisional:
                        continue
                    self._tell_events(self._tracker.update(result) if self._events is not None else ())
                    self._draw(result, image, file)
                    self._tally.add(result, None if plan.timed else file)
                    speed = self._tally.frames / (time.perf_counter() - start_s)
                    progress.update(task, advance=1, fps=f"{speed:.0f} fps")
            except (Exception, KeyboardInterrupt) as error:
                if debug and not isinstance(error, (AUNetError, KeyboardInterrupt)):
                    raise
                self._broken(error)
            self._wall_s = time.perf_counter() - start_s
            self._end(self._table)
            self._written.append(f"{plan.table} ({self._table.rows} rows)")
            self._end_events()
            self._end_pictures()
            self._plot()
        if self.problems and self._code is Exit.OK:
            self._code = Exit.BROKEN  # images that were passed over
        self._finish_record()
        return self._code

    def show(self, console: Console) -> None:
        """The summary."""
        show(console, self.plan, self._tally, self._wall_s, self._written, self.problems)

    def tell(self) -> None:
        """What went wrong, on stderr."""
        for text in self.problems:
            tell(f"{text}; {self._table.rows} rows are kept in {self.plan.table}")

    def _open_source(self) -> VideoFile | ImageFile | ImageFolder:
        def passed_over(path: Path, error: InvalidInput) -> None:
            self.problems.append(message_of(error))

        plan = self.plan
        return open_path(plan.input, as_video=plan.kind == "sequence", fps=plan.fps, on_error=passed_over)

    def _first_of(self, source: VideoFile | ImageFile | ImageFolder, stack: ExitStack) -> tuple[Frame, Iterator[Frame]]:
        """The first frame, and all frames. Only what gives one is an input: a decoder may be missing for a container
        that can be read."""
        frames = iter(source)
        stack.callback(getattr(frames, "close", lambda: None))  # and a thread that reads ahead
        first = next(frames, None)
        if first is None:
            why = f": {self.problems[0]}" if self.problems else ""
            raise InvalidInput(f"input: {self.plan.input} has no frame that can be read{why}")
        return first, chain([first], frames)

    def _open_outputs(self, stack: ExitStack, source: VideoFile | ImageFile | ImageFolder, first: Frame) -> None:
        """The table is the last one: what cannot be used shall not cost that of an earlier run."""
        plan = self.plan
        if self._make_folders:
            for path in (plan.table, plan.plot, plan.video, plan.events):
                if path is not None:
                    _make_folder(path.parent)
        if plan.plot is not None:
            check_plot(plan.plot)
        if plan.video is not None:
            if plan.timed:
                self._pictures = VideoSink(plan.video, source.fps if isinstance(source, VideoFile) else plan.fps)
            else:
                self._pictures = ImageSink(plan.video, folder=plan.kind == "folder")
            stack.enter_context(self._pictures)
        if plan.events is not None:
            self._events = stack.enter_context(open_events(plan.events))
        detector, wishes = self._detector, plan.wishes
        self._table = stack.enter_context(
            CsvSink(
                plan.table,
                detector.au_names,
                wishes.landmarks,
                plan.with_file,
                provisional=wishes.options.look_ahead == "both" and plan.timed,
                validity=wishes.validity,
                intensity=wishes.intensity,
            )
        )
        outputs: dict[str, Any] = {"table": str(plan.table)}
        if plan.video is not None:
            outputs["video"] = str(plan.video)
        if plan.plot is not None:
            outputs["plot"] = str(plan.plot)
        if plan.events is not None:
            outputs["events"] = str(plan.events)
        if isinstance(self._pictures, VideoSink):
            outputs["video_codec"] = self._pictures.codec
        height, width = first.image.shape[:2]
        facts: dict[str, Any] = {"width": width, "height": height, "frame_count": source.frame_count}
        if plan.timed:
            facts["fps"] = source.fps if isinstance(source, VideoFile) else plan.fps
        self._record = Record(plan, detector, facts, outputs)

    def _results(self, frames: Iterator[Frame]) -> Iterator[Item]:
        """Results with their pictures and the names of their files; these wait here until the result is there (0.4 s
        with look-ahead)."""
        detector, keep = self._detector, self._pictures is not None
        if not self.plan.timed:
            for frame in frames:
                result = replace(detector.detect(frame.image), index=frame.index)
                yield result, frame.image if keep else None, _name(frame)
            return
        waiting: dict[int, tuple[np.ndarray | None, str | None]] = {}

        def remembered() -> Iterator[Frame]:
            for frame in frames:
                waiting[frame.index] = frame.image if keep else None, _name(frame)
                yield frame

        for result in detector.stream(remembered()):
            if result.provisional:
                yield result, *waiting.get(result.index, (None, None))
            else:
                yield result, *waiting.pop(result.index, (None, None))
                for index in [index for index in waiting if index < result.index]:
                    del waiting[index]  # a frame that was passed over has no result

    def _draw(self, result: FrameResult, image: np.ndarray | None, file: str | None) -> None:
        """The annotated picture. Where its output is lost, the table goes on without it."""
        if self._pictures is not None and image is not None and self._drawable:
            try:
                self._pictures.put(result, draw(image, result), file)
            except OutputLost as error:
                self._drawable = False
                self._broken(error)

    def _tell_events(self, events: Sequence[AUEvent]) -> None:
        """Where their output is lost, the table goes on without it."""
        try:
            for event in events:
                if self._events is not None:
                    self._events.event(event)
        except OutputLost as error:
            self._events = None
            self._broken(error)

    def _end_events(self) -> None:
        if self._events is not None:
            self._tell_events(self._tracker.flush())
        if self._events is not None and self._end(self._events):
            unit = "events" if isinstance(self._events, EventTable) else "lines"
            self._written.append(f"{self.plan.events} ({self._events.lines} {unit})")

    def _broken(self, error: BaseException) -> None:
        code = code_of(error)
        self.problems.append(message_of(error))
        if self._code is Exit.OK:
            self._code = Exit.BROKEN if code is Exit.INPUT else code  # the input was good enough for some frames

    def _end(self, sink: Sink) -> bool:
        try:
            sink.close()
        except OutputLost as error:
            self._broken(error)
            return False
        return True

    def _end_pictures(self) -> None:
        pictures = self._pictures
        if pictures is None or not self._end(pictures) or not self._drawable or not pictures.frames:
            return
        left_out = f", {pictures.left_out} left out" if isinstance(pictures, VideoSink) and pictures.left_out else ""
        unit = "frames" if self.plan.timed else "images"
        self._written.append(f"{self.plan.video} ({pictures.frames} {unit}{left_out})")

    def _plot(self) -> None:
        plan = self.plan
        if plan.plot is None or not self._tally.frames:
            return
        try:
            span_s = (min(0.0, self._tally.first_s), self._tally.last_s)
            timeline(read_tracks(plan.table), plan.plot, title=plan.input.name, span_s=span_s, truth=self._truth)
        except AUNetError as error:
            self._broken(error)
        else:
            self._written.append(str(plan.plot))

    def _finish_record(self) -> None:
        tally = self._tally
        try:
            self._record.finish(
                self._code,
                problems=self.problems,
                frames=tally.frames,
                frames_with_face=tally.frames_with_face,
                rows=self._table.rows,
            )
        except OutputLost as error:
            self._broken(error)
        else:
            self._written.append(str(self._record.path))


def _name(frame: Frame) -> str | None:
    return frame.path.name if frame.path is not None else None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"output: cannot make the folder {path}: {error.strerror or error}") from error


def _progress(quiet: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
