"""One stream as the client of a Triton server sees it: which slots there are, and what the server has of them."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from ..base import Slot
from . import wire

__all__ = ["Ends", "TritonStates"]


class Ends(Protocol):
    """What a stream needs of its engine."""

    def end(self, states: TritonStates) -> None:
        """The stream is over."""


class TritonStates:
    """One stream: a sequence of the server. See StreamStates."""

    def __init__(self, engine: Ends) -> None:
        self._engine = weakref.ref(engine)
        self._numbers: dict[int, weakref.ref[Slot]] = {}
        self._left: dict[int, int] = {}
        self.sequence = 0
        """the sequence's number; 0: none yet"""
        self.begun = False
        """whether the server has answered the sequence's first step"""
        self.settled: list[int] = []
        self.released: list[int] = []

    def holds(self, slot: Slot, role: str) -> bool:
        """Whether the server has what `slot` needs in this role, as far as it has told."""
        number = slot.row
        known = self._numbers.get(number)
        return known is not None and known() is slot and bool(self._left[number] >> wire.ROLES.index(role) & 1)

    def settle(self, slots: Iterable[Slot]) -> None:
        """The server is told with the next step."""
        for slot in slots:
            slot.settled = True
            self.settled.append(slot.row)

    def close(self) -> None:
        """End the sequence, if the server can be reached. May be called twice."""
        engine = self._engine()
        if engine is not None:
            engine.end(self)
        self.forget()

    def add(self, numbers: Iterable[int], frame: int) -> list[Slot]:
        """Slots of a step that was done. A slot's row is its number here."""
        slots = []
        for number in numbers:
            slot = Slot(frame, number, ())
            self._numbers[number] = weakref.ref(slot, functools.partial(self._release, number))
            self._left[number] = (1 << len(wire.ROLES)) - 1
            slots.append(slot)
        return slots

    def told(self, held: np.ndarray) -> None:
        """What the server has given up, (k, 2) int64 as in wire.py."""
        for number, left in held.tolist():
            if number in self._left:
                self._left[number] = left

    def forget(self, number_too: bool = True) -> None:
        """The sequence has gone, and every slot with it. number_too: False: the next one is to take its place in the
        server, which may have begun it all the same."""
        if number_too:
            self.sequence = 0
        self.begun = False
        self._numbers.clear()
        self._left.clear()
        self.settled.clear()
        self.released.clear()

    def _release(self, number: int, _: object) -> None:
        if self._numbers.pop(number, None) is not None:
            self._left.pop(number, None)
            self.released.append(number)
