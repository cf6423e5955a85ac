"""The states of one stream of frames: a ring per state tensor, which no other stream writes to."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..errors import BackendUnavailable, EngineMismatch
from .base import Slot, StreamStates
from .ring import Ring

__all__ = ["RingStates", "read_states"]


def read_states(states: StreamStates, slot: Slot) -> tuple[np.ndarray, ...]:
    """`RingStates.read`; BackendUnavailable for an engine whose states cannot be read, such as one on a server."""
    read = getattr(states, "read", None)
    if read is None:
        raise BackendUnavailable(
            "expected states that can be read (engine onnxruntime or openvino), got those of another"
        )
    found: tuple[np.ndarray, ...] = read(slot)
    return found


class RingStates:
    """What `StreamEngine.open_states` of an engine with rings gives: see StreamStates (engines/base.py).

    rings: one per state of the bundle; empty after `close`

    Args:
        rings: belong to this object from now on.
        retire: takes the rings back, once, after `close` or when nobody holds this object any more; it may be called
            in any thread. None: there is nothing to give back but ordinary memory.
        settles: whether the engine itself settles the due slots of every query.
    """

    def __init__(
        self,
        rings: Sequence[Ring],
        retire: Callable[[tuple[Ring, ...]], object] | None = None,
        settles: bool = False,
    ) -> None:
        self.rings = tuple(rings)
        self.settles = settles
        self._give_back = weakref.finalize(self, retire, self.rings) if retire is not None else None
        if self._give_back is not None:
            self._give_back.atexit = False

    def holds(self, slot: Slot, role: str) -> bool:
        """Whether `slot` can still be used in this role ("former", "due" or "later") of a query."""
        return bool(self.rings) and all(
            ring.holds(slot, slot.rows[i]) for i, ring in enumerate(self.rings) if role in ring.spec.roles
        )

    def settle(self, slots: Iterable[Slot]) -> None:
        """These slots are no longer asked about as due or later: states that no former frame reads may go."""
        for slot in slots:
            slot.settled = True

    def read(self, slot: Slot) -> tuple[np.ndarray, ...]:
        """A copy of each state of a slot, in the order of `bundle.state`.

        Raises BackendUnavailable where the states do not lie in ordinary memory, EngineMismatch where they are gone."""
        if not self.holds(slot, "due"):
            raise EngineMismatch(f"states: expected a slot whose states are kept, got {slot}")
        return tuple(ring.values(slot.rows[i], 1)[0].copy() for i, ring in enumerate(self.rings))

    def restore(self, states: Sequence[np.ndarray]) -> list[Slot]:
        """Slots with states that were read before, of this set or another: one array (n, *shape) per state.

        Raises as `read`."""
        count = len(states[0])
        starts = [ring.take(count) for ring in self.rings]
        for ring, start, values in zip(self.rings, starts, states, strict=True):
            ring.values(start, count)[:] = values
        slots = [Slot(-1, row, tuple(start + row for start in starts)) for row in range(count)]
        for ring, start in zip(self.rings, starts, strict=True):
            ring.claim(start, slots)
        return slots

    def close(self) -> None:
        """Give the rings back; their slots are worthless then. May be called twice."""
        self.rings = ()
        if self._give_back is not None:
            self._give_back()
