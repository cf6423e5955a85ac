"""Which packets of a video became a picture: gives every picture its number, and counts those that are missing."""

from __future__ import annotations

import heapq


class Ledger:
    """Kept while a video is decoded. A packet and its picture have the same key: their time, in the video's own ticks.

    A decoder gives pictures in the order of their times, later than it took their packets, and may leave some out. A
    picture that is left out takes a number, and counts as lost, where there is a reason: the decoder raised an error
    after the last key frame, or the packet was damaged. Without one it was never meant to be shown.
    """

    def __init__(self) -> None:
        self.lost = 0
        self.first_lost = 0
        """number of the first picture that was lost, where there is one"""
        self.count = 0
        """pictures so far, lost ones included"""
        self.gap = 0
        """pictures that were lost just before the last one"""
        self.last_key: int | None = None
        self._pending: list[int] = []
        self._broken: set[int] = set()
        self._sent_key: int | None = None
        self._suspect_until: int | None = None
        self._unkeyed_errors = 0
        self._next = 0

    @property
    def is_damaged(self) -> bool:
        """Whether an error is known that a later key frame has not mended."""
        return self._suspect_until is not None

    @property
    def waits(self) -> bool:
        """Whether pictures are outstanding."""
        return bool(self._pending)

    def sent(self, key: int | None, broken: bool = False) -> None:
        """A packet goes into the decoder, and a picture is expected of it; not of a broken one."""
        if key is None:
            return
        heapq.heappush(self._pending, key)
        self._sent_key = key if self._sent_key is None else max(self._sent_key, key)
        if broken:
            self._broken.add(key)
            self.failed()

    def passed(self) -> None:
        """A packet is not decoded, since nobody wants its picture; it takes its number all the same."""
        self.count += 1
        self._next = self.count

    def failed(self) -> None:
        """The decoder raised an error, for one of the packets that it was sent."""
        if self._sent_key is None:
            self._unkeyed_errors += 1  # of packets without times: each error is one picture
        else:
            self._suspect_until = self._sent_key

    def received(self, key: int | None, is_key_frame: bool = False, broken: bool = False) -> int | None:
        """The number of a picture that the decoder gave; None where it is broken and is to be left out."""
        if key is None or self._sent_key is None:
            self._lose(self._unkeyed_errors)
            self._unkeyed_errors = 0
        else:
            while self._pending and self._pending[0] < key:
                self._settle(heapq.heappop(self._pending))
            if self._pending and self._pending[0] == key:
                heapq.heappop(self._pending)
            if key in self._broken or broken:
                self._broken.discard(key)
                self._lose(1)
                return None
            self.last_key = key
            if is_key_frame and self._suspect_until is not None and key > self._suspect_until:
                self._suspect_until = None
        self.gap = self.count - self._next
        self.count += 1
        self._next = self.count
        return self.count - 1

    def ended(self) -> None:
        """The decoder has given everything."""
        while self._pending:
            self._settle(heapq.heappop(self._pending))
        self._lose(self._unkeyed_errors)
        self._unkeyed_errors = 0

    def _settle(self, key: int) -> None:
        if key in self._broken or self.is_damaged:
            self._broken.discard(key)
            self._lose(1)

    def _lose(self, count: int) -> None:
        if count and not self.lost:
            self.first_lost = self.count
        self.lost += count
        self.count += count
