"""`aunet detect`: from a video, an image or a folder of images to a table, an annotated video and a plot."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..detector import Detector
from ..errors import AUNetError, InvalidInput, SourceLost
from ..sinks import CsvSink, ImageSink, VideoSink
from ..sources import Frame, ImageFile, ImageFolder, VideoFile, read_image
from ..view import draw
from ..view.timeline import check_plot, read_tracks, read_truth, timeline
from .exits import Exit, message_of
from .plan import Plan
from .summary import Tally, show

if TYPE_CHECKING:
    import numpy as np
    from rich.progress import Progress

    from ..results import FrameResult

    Item = tuple[FrameResult, np.ndarray | None, str | None]


def run(plan: Plan, quiet: bool = False) -> Exit:
    """Does what the plan says, shows the progress on stderr (on a terminal) and the summary on stdout.

    Where the input breaks, or on Ctrl-C, what was read until then is written, and the exit code tells. Raises
    AUNetError before the first frame where the input, an output or the model cannot be used.
    """
    from rich.console import Console

    if plan.plot is not None:
        check_plot(plan.plot)
    truth = read_truth(plan.truth) if plan.truth is not None else None
    problems: list[str] = []
    code = Exit.OK
    with ExitStack() as stack:
        source = stack.enter_context(_open(plan, problems))
        detector = stack.enter_context(Detector(plan.options))
        pictures = _picture_sink(plan.video, source) if plan.video is not None else None
        if pictures is not None:
            stack.enter_context(pictures)
        # last: what cannot be used shall not cost the table of an earlier run
        table = stack.enter_context(CsvSink(plan.table, detector.au_names, plan.landmarks, plan.kind == "folder"))
        tally = Tally(detector.au_names)
        results = _video(detector, source, pictures is not None) if plan.kind == "video" else _images(detector, source)
        progress = stack.enter_context(_progress(quiet))
        task = progress.add_task(plan.input.name, total=source.frame_count, fps="")
        start_s = time.perf_counter()
        try:
            for result, image, file in results:
                table.write(result, file if table.with_file else None)
                if pictures is not None and image is not None:
                    annotated = draw(image, result)
                    if isinstance(pictures, VideoSink):
                        pictures.write(annotated, result.timestamp_s)
                    else:
                        pictures.write(annotated, file)
                tally.add(result, file)
                progress.update(task, advance=1, fps=f"{tally.frames / (time.perf_counter() - start_s):.0f} fps")
        except (SourceLost, KeyboardInterrupt) as error:
            problems.append(message_of(error))
            code = Exit.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Exit.BROKEN
        wall_s = time.perf_counter() - start_s
        drawn = pictures is not None and pictures.frames > 0
        try:
            if pictures is not None:
                pictures.close()
        except AUNetError as error:
            problems.append(message_of(error))
            drawn = False
    if problems and code is Exit.OK:
        code = Exit.BROKEN
    outputs = [f"{plan.table} ({table.rows} rows)"]
    if pictures is not None and drawn:
        outputs.append(f"{plan.video} ({pictures.frames} {'frames' if plan.kind == 'video' else 'images'})")
    if plan.plot is not None and tally.frames:
        timeline(read_tracks(plan.table), plan.plot, title=plan.input.name, span_s=(0.0, tally.last_s), truth=truth)
        outputs.append(str(plan.plot))
    if not quiet:
        show(Console(), plan, tally, wall_s, outputs, problems)
    for text in problems:
        sys.stderr.write(f"aunet: {text}; {table.rows} rows are kept in {plan.table}\n")
    return code


def _open(plan: Plan, problems: list[str]) -> VideoFile | ImageFile | ImageFolder:
    if plan.kind == "video":
        return VideoFile(plan.input)
    if plan.kind == "image":
        read_image(plan.input)  # an image that cannot be read shall leave no empty table
        return ImageFile(plan.input)

    def passed_over(path: Path, error: InvalidInput) -> None:
        problems.append(message_of(error))

    return ImageFolder(plan.input, on_error=passed_over)


def _picture_sink(path: Path, source: VideoFile | ImageFile | ImageFolder) -> VideoSink | ImageSink:
    if isinstance(source, VideoFile):
        return VideoSink(path, source.fps)
    return ImageSink(path, folder=isinstance(source, ImageFolder))


def _video(detector: Detector, source: VideoFile, keep_images: bool) -> Iterator[Item]:
    """Results of a video with their pictures, which wait here until the result is there (0.4 s with look-ahead)."""
    waiting: dict[int, np.ndarray] = {}

    def frames() -> Iterator[Frame]:
        for frame in source:
            if keep_images:
                waiting[frame.index] = frame.image
            yield frame

    for result in detector.stream(frames()):
        yield result, waiting.pop(result.index, None), None


def _images(detector: Detector, source: ImageFile | ImageFolder) -> Iterator[Item]:
    for frame in source:
        result = replace(detector.detect(frame.image), index=frame.index)
        yield result, frame.image, frame.path.name if frame.path is not None else str(frame.index)


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
