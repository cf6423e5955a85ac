"""`aunet detect`: from videos, images or folders of images to tables, annotated videos and plots."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..detector import Detector
from ..errors import OutputLost
from ..options import DetectorOptions
from ..view.timeline import check_plot, read_truth
from .ending import to_stdout
from .exits import Exit, code_of, message_of, tell, worst
from .plan import Plan
from .work import Work

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]


def run(plans: Sequence[Plan], quiet: bool = False, debug: bool = False) -> Exit:
    """Does what the plans say, shows the progress on stderr (on a terminal) and the summaries on stdout.

    Where an input or an output breaks, or on Ctrl-C, what was read until then is written, and the exit code says so.
    With one input, raises AUNetError before its first frame where the input, an output or the model cannot be used;
    with several, that is one line and the others are worked on, unless it is the model. The detector is opened once.
    """
    several = len(plans) > 1
    for plan in plans:
        if plan.plot is not None and not several:
            check_plot(plan.plot)
    truth = read_truth(plans[0].wishes.truth) if plans[0].wishes.truth is not None else None
    codes: list[Exit] = []
    with _Shared(plans[0].wishes.options) as detector:
        for plan in plans:
            try:
                if plan.problem is not None:
                    raise plan.problem
                work = Work(plan, detector.open, truth, make_folders=several)
                code = work.run(quiet, debug)
            except Exception as error:
                code = code_of(error)
                if not several or debug or code is Exit.MODEL:
                    raise
                tell(f"{plan.input}: {message_of(error)}")
            else:
                if not quiet:
                    try:
                        to_stdout(partial(_show, work, several))
                    except OutputLost as error:
                        tell(message_of(error))
                        code = worst([code, Exit.BROKEN])
                work.tell()
            codes.append(code)
            if code > 128:
                break
    return worst(codes)


def _show(work: Work, several: bool, console: Console) -> None:
    if several:
        console.print(f"{work.plan.input}", style="bold", markup=False, highlight=False, soft_wrap=True)
    work.show(console)
    if several:
        console.print()


class _Shared:
    """One detector for all inputs, opened when the first of them can be read."""

    def __init__(self, options: DetectorOptions) -> None:
        self._options = options
        self._detector: Detector | None = None

    def open(self) -> Detector:
        if self._detector is None:
            self._detector = Detector(self._options)
        return self._detector

    def __enter__(self) -> _Shared:
        return self

    def __exit__(self, *_: object) -> None:
        if self._detector is not None:
            self._detector.close()
