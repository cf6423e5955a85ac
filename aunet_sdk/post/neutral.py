"""The person's points at rest: the reference that tells a raised brow from brows that are set high.

Resting brow heights differ between people by as much as AU1 moves them. So the points of every face are sampled while
it is watched, and the median of those samples in which it is most at rest stands for the person (a bundle's input
`reference`, docs/architecture.md, "Bundle"). Faces are compared after a similarity on the eyes has been taken off, so
that distance and roll do not count; samples at unusual yaw or pitch count as less at rest.

What is kept is bounded: `MOST_SAMPLES` a face, taken five times a second at first and, when that place is full, more
seldom and over a longer time, down to one a second; then the oldest go.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..results import HeadPose

__all__ = ["SAMPLE_S", "NeutralFaces", "normalised"]

SAMPLE_S = 0.2
"""A face is sampled this often at first."""
SLOWEST_S = 1.0
"""And never more seldom than this."""
MOST_SAMPLES = 96
READY_S = 1.6
"""A face is known after so long: with its first samples, and the frames that wait for their later neighbour, 2 s."""
READY_SAMPLES = 8
RENEW_S = 0.5
"""The median is taken anew this often."""
CALIBRATION_SAMPLES = 5
"""`calibrate` takes the median of so many of the newest samples, about a second."""
FORGET_S = 300.0
"""A face that is away for longer is forgotten."""
MOST_FACES = 64
_YAW_DEG, _PITCH_DEG = 12.0, 8.0
"""A turn of the head by so much from the usual one counts as one AU."""
_EYE_DISTANCE = 10.0


def normalised(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """(68, 2) in any unit, y down -> float32 (68, 2) in tenths of the eye distance: the means of the points 36-41 and
    42-47 lie at (-5, 0) and (5, 0). As the network normalises them (train.models.points_head.PointsHead)."""
    x, y = points[36:48].T.tolist()  # plain numbers: for so few of them NumPy's calls take longer
    (right_x, left_x), (right_y, left_y) = ((sum(axis[:6]) / 6, sum(axis[6:]) / 6) for axis in (x, y))
    a, b = left_x - right_x, left_y - right_y
    scale = _EYE_DISTANCE / max(a * a + b * b, 1e-12)
    a, b, middle_x, middle_y = a * scale, b * scale, (left_x + right_x) / 2, (left_y + right_y) / 2
    away_x, away_y = points[:, 0] - middle_x, points[:, 1] - middle_y  # by column: broadcasting would take 3 KiB
    found = np.empty((68, 2), np.float32)
    found[:, 0] = away_x * a + away_y * b
    found[:, 1] = away_y * a - away_x * b
    return found.clip(-100.0, 100.0, out=found)


@dataclass(eq=False)
class _Person:
    first_s: float
    points: NDArray[np.float32] = field(default_factory=lambda: np.empty((MOST_SAMPLES, 68, 2), np.float32))
    facts: NDArray[np.float32] = field(default_factory=lambda: np.empty((MOST_SAMPLES, 4), np.float32))
    """time since `first_s`, activity, yaw, pitch of each sample"""
    count: int = 0
    oldest: int = 0
    """place of the oldest sample, where all are taken and the period is the slowest"""
    period_s: float = SAMPLE_S
    last_s: float = -np.inf
    renewed_s: float = -np.inf
    reference: NDArray[np.float32] | None = None
    stale: bool = False
    """the reference is to be made anew of the samples that are there, before it is read or another sample comes"""
    calibrated: bool = False

    def add(self, points: NDArray[np.float32], activity: float, pose: HeadPose, time_s: float) -> None:
        if self.count == MOST_SAMPLES and self.period_s < SLOWEST_S:
            kept = slice(None, None, 2)
            self.count = len(self.facts[kept])
            self.points[: self.count], self.facts[: self.count] = self.points[kept].copy(), self.facts[kept].copy()
            self.period_s = min(2 * self.period_s, SLOWEST_S)
        place = self.count
        if place == MOST_SAMPLES:
            place, self.oldest = self.oldest, (self.oldest + 1) % MOST_SAMPLES
        else:
            self.count += 1
        self.points[place] = points
        self.facts[place] = time_s - self.first_s, activity, pose.yaw_deg, pose.pitch_deg
        self.last_s = time_s

    def at_rest(self, scratch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Median of the half of the samples that is most at rest. scratch: (MOST_SAMPLES, 68, 2), written over: this is
        done twice a second, and no array is allocated for it."""
        facts = self.facts[: self.count]
        turn = np.abs(facts[:, 2:] - _middle(np.sort(facts[:, 2:], axis=0))) / (_YAW_DEG, _PITCH_DEG)
        chosen = np.argsort(facts[:, 1] + turn.sum(1), kind="stable")[: max(READY_SAMPLES, self.count // 2)]
        taken = np.take(self.points, chosen, axis=0, out=scratch[: len(chosen)], mode="clip")
        taken.sort(axis=0)
        return _frozen(_middle(taken))

    def newest(self) -> NDArray[np.float32]:
        order = np.argsort(self.facts[: self.count, 0], kind="stable")[-CALIBRATION_SAMPLES:]
        return _frozen(np.median(self.points[order], axis=0))


class NeutralFaces:
    """Of one stream, by face id. What is seen counts from `commit` on, so that a frame which fails leaves no trace.

    automatic: False: only faces that were calibrated have a reference.
    """

    def __init__(self, automatic: bool = True) -> None:
        self._automatic = automatic
        self._every_frame = False
        self._people: dict[int, _Person] = {}
        self._scratch = np.empty((MOST_SAMPLES, 68, 2), np.float32)
        self._asked: dict[int, float] = {}
        self._undo: dict[int, float | None] = {}
        self._seen: list[tuple[int, NDArray[np.float32], float, HeadPose, float]] = []

    def __len__(self) -> int:
        """Faces that are remembered."""
        return len(self._people)

    def wants(self, face_id: int, time_s: float) -> bool:
        """Whether a sample of this face is due in the frame of this time."""
        person, asked_s = self._people.get(face_id), self._asked.get(face_id)
        period_s = SAMPLE_S if person is None else person.period_s
        return self._every_frame or asked_s is None or time_s - asked_s >= period_s - 1e-6

    def only_watch(self) -> None:
        """Want a sample of every frame, for somebody else who keeps them, and learn nothing of it."""
        self._every_frame, self._automatic = True, False

    def take(self, face_id: int, time_s: float) -> None:
        """The face was there in the frame of this time, and it is a sample: the next one is due a period later."""
        self._undo.setdefault(face_id, self._asked.get(face_id))
        self._asked[face_id] = time_s

    def reference(self, face_id: int) -> NDArray[np.float32] | None:
        """(68, 2) float32, read-only, as `normalised`; None where it is not known yet."""
        person = self._people.get(face_id)
        return None if person is None else self._fresh(person).reference

    def see(self, face_id: int, points: NDArray[np.float32], activity: float, pose: HeadPose, time_s: float) -> None:
        """A sample of a face, at most one a frame, in the order of time.

        Args:
            points: (68, 2) float32 as `normalised`.
            activity: how much the face does; the sum of its AUs' probabilities.
        """
        self._seen.append((face_id, points, activity, pose, time_s))

    def discard(self) -> None:
        """What was taken and seen since the last `commit` does not count."""
        for face_id, asked_s in self._undo.items():
            if asked_s is None:
                del self._asked[face_id]
            else:
                self._asked[face_id] = asked_s
        self._undo.clear()
        self._seen.clear()

    def commit(self) -> None:
        """What was seen counts from now on."""
        for face_id, points, activity, pose, time_s in self._seen:
            if bool(np.isfinite(points).all()):
                person = self._fresh(self._people.get(face_id) or self._begin(face_id, time_s))
                person.add(points, activity, pose, time_s)
                self._renew(person, time_s)
        self._undo.clear()
        self._seen.clear()

    def calibrate(self, face_id: int) -> None:
        """Take how the face looks now, the median of its newest samples, for the face at rest; it stays so.

        Raises InvalidInput where the face was not seen for long enough.
        """
        person = self._people.get(face_id)
        if person is None or person.count < CALIBRATION_SAMPLES:
            known = ", ".join(str(i) for i, one in self._people.items() if one.count >= CALIBRATION_SAMPLES) or "none"
            raise InvalidInput(
                f"face_id: expected a face that was watched for about a second ({known}), got {face_id}; "
                "calibrate while the person looks at the camera, at rest"
            )
        person.reference, person.calibrated, person.stale = person.newest(), True, False

    def _begin(self, face_id: int, time_s: float) -> _Person:
        for other in [i for i, one in self._people.items() if time_s - one.last_s > FORGET_S]:
            del self._people[other]
        if len(self._people) >= MOST_FACES:
            del self._people[min(self._people, key=lambda i: self._people[i].last_s)]
        for other in [i for i in self._asked if i not in self._people and time_s - self._asked[i] > FORGET_S]:
            del self._asked[other]
        return self._people.setdefault(face_id, _Person(time_s))

    def _renew(self, person: _Person, time_s: float) -> None:
        ready = person.count >= READY_SAMPLES and time_s - person.first_s >= READY_S - 1e-6
        if self._automatic and ready and not person.calibrated and time_s - person.renewed_s >= RENEW_S - 1e-6:
            person.stale, person.renewed_s = True, time_s

    def _fresh(self, person: _Person) -> _Person:
        """At the beginning of a frame rather than at its end, when its results lie in memory, too."""
        if person.stale:
            person.reference, person.stale = person.at_rest(self._scratch), False
        return person


def _middle(ordered: NDArray[np.float32]) -> NDArray[np.float32]:
    """The median along the first axis, along which the array is sorted."""
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _frozen(array: NDArray[np.floating]) -> NDArray[np.float32]:
    result = array.astype(np.float32)
    result.flags.writeable = False
    return result
