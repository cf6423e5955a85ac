"""From records and answers to results: the last step of a frame's way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from ..bundle import Bundle
from ..errors import InvalidInput
from ..options import DetectorOptions
from ..post.baseline import RestingFaces
from ..post.neutral import NeutralFaces
from ..post.smoothing import OneEuro
from ..post.validity import region_of
from ..results import Face, FrameResult
from .decisions import Ask
from .records import Answer, FrameRecord

__all__ = ["Emission", "Selection", "select"]


@dataclass(frozen=True)
class Selection:
    """Which AUs are reported, and from which probability on they are active."""

    columns: np.ndarray
    """(n,) int: columns of the engine's logits"""
    names: tuple[str, ...]
    thresholds: np.ndarray
    """(n,) float32"""


def select(bundle: Bundle, options: DetectorOptions) -> Selection:
    """The AUs and thresholds that the options ask for. Raises InvalidInput for an AU that the bundle does not have."""
    names = bundle.au_names
    wanted = options.aus if options.aus is not None else names
    given = options.thresholds if isinstance(options.thresholds, Mapping) else {}
    for name in (*wanted, *given):
        if name not in names:
            raise InvalidInput(f"expected AUs of the bundle {bundle.name} ({', '.join(names)}), got {name}")
    thresholds = dict(zip(names, bundle.thresholds, strict=True))
    if isinstance(options.thresholds, Real):
        thresholds = dict.fromkeys(names, float(options.thresholds))
    thresholds.update(given)
    columns = [names.index(name) for name in wanted]
    limits = np.array([thresholds[n] for n in wanted], np.float32)
    limits.flags.writeable = False
    return Selection(np.array(columns, np.intp), tuple(wanted), limits)


class Emission:
    """Makes the results of one stream.

    Args:
        selection: AUs to report.
        resting: learns the faces at rest; None: probabilities are as the network says.
        neutral: learns the points at rest; None: the network does not ask for them.
        smooth: the probabilities are smoothed over time, those of early results by themselves.
        count: AUs of the bundle; behind them come their intensities, where it has them.
    """

    def __init__(
        self,
        selection: Selection,
        resting: RestingFaces | None = None,
        neutral: NeutralFaces | None = None,
        count: int | None = None,
        smooth: bool = False,
    ) -> None:
        self._selection = selection
        self._resting = resting
        self._neutral = neutral
        self._count = count
        self._strengths = None if count is None else count + selection.columns
        self._final = OneEuro() if smooth else None
        self._early = OneEuro() if smooth else None
        self._regions = [region_of(name) for name in selection.names]

    def snapshot(self) -> Callable[[], None]:
        """What puts the smoothing back to where it is now."""
        undo = [smoothing.snapshot() for smoothing in (self._final, self._early) if smoothing is not None]

        def restore() -> None:
            for each in undo:
                each()

        return restore

    def final(self, record: FrameRecord, asks: Sequence[Ask]) -> FrameResult:
        """Of a frame that was due. A face whose state is gone has its early answer, or is left out."""
        answers = {ask.face_id: record.faces[ask.face_id].early if ask.answer is None else ask.answer for ask in asks}
        return self._result(record, answers, provisional=False)

    def early(self, record: FrameRecord, *, provisional: bool) -> FrameResult:
        """Of the newest frame, without its later neighbour."""
        answers = {face_id: face.early for face_id, face in record.faces.items()}
        return self._result(record, answers, provisional=provisional)

    def _result(self, record: FrameRecord, answers: dict[int, Answer | None], *, provisional: bool) -> FrameResult:
        faces = [
            self._face(face_id, record, answer, provisional=provisional)
            for face_id, answer in answers.items()
            if answer is not None
        ]
        return FrameResult(
            index=record.index,
            timestamp_s=record.timestamp_s,
            width=record.width,
            height=record.height,
            faces=tuple(faces),
            provisional=provisional,
            latency_ms=record.latency_ms,
            au_names=self._selection.names,
        )

    def _face(self, face_id: int, frame: FrameRecord, answer: Answer, *, provisional: bool) -> Face:
        record, logits = frame.faces[face_id], answer.logits[self._selection.columns].astype(np.float64)
        if self._resting is not None:
            logits = logits - self._resting.lowering(face_id, logits, frame.timestamp_s, learn=not provisional)
        probabilities = 1 / (1 + np.exp(-logits))
        smoothing = self._early if provisional else self._final
        if smoothing is not None:
            probabilities = smoothing.update(face_id, probabilities, frame.timestamp_s)
            inside = np.clip(probabilities, 1e-7, 1 - 1e-7)
            logits = np.log(inside / (1 - inside))
        intensities = None
        if self._count is not None and len(answer.logits) > self._count:
            intensities = answer.logits[self._strengths]
        if self._neutral is not None and record.normal is not None and not provisional:
            activity = float((1 / (1 + np.exp(-answer.logits[: self._count].astype(np.float64)))).sum())
            self._neutral.see(face_id, record.normal, activity, record.pose, frame.timestamp_s)
        return Face(
            id=face_id,
            box=record.box,
            score=record.score,
            landmarks=record.landmarks,
            landmark_confidence=record.confidences,
            pose=record.pose,
            au_names=self._selection.names,
            probabilities=probabilities,
            active=probabilities >= self._selection.thresholds,
            context=answer.context,
            provisional=provisional,
            logits=logits,
            thresholds=self._selection.thresholds,
            intensities=intensities,
            reasons=None if record.hidden is None else tuple(record.hidden[region] for region in self._regions),
        )
