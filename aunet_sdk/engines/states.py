"""The states of one stream of frames: a ring per state tensor, which no other stream writes to."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence

from .base import Slot
from .ring import Ring

__all__ = ["RingStates"]


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

    def close(self) -> None:
        """Give the rings back; their slots are worthless then. May be called twice."""
        self.rings = ()
        if self._give_back is not None:
            self._give_back()
