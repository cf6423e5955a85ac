"""Connections that do what a script says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from aunet_sdk import SourceLost
from aunet_sdk.sources import LiveSource, SourceOptions
from aunet_sdk.sources.capture import Pulse, Shot
from aunet_sdk.sources.connection import StateListener

QUICK = SourceOptions(policy="all", retry_first_s=0.001, retry_most_s=0.004, open_timeout_s=0.05, read_timeout_s=0.1)


@dataclass
class Act:
    """What one attempt comes to: `opens` or not, so many frames, and then what `then` does (it may raise)."""

    frames: int = 0
    opens: bool = True
    then: Callable[[], None] | None = None
    ends: bool = False
    stream_s: Sequence[float] | None = None


@dataclass
class Script:
    """An opener. After the last act no attempt succeeds."""

    acts: list[Act]
    opened: int = 0
    attempts: int = 0
    closed: int = 0
    threads: set[str] = field(default_factory=set)

    def __call__(self) -> ScriptedCapture:
        self.attempts += 1
        self.threads.add(threading.current_thread().name)
        act = self.acts[self.attempts - 1] if self.attempts <= len(self.acts) else Act(opens=False)
        if not act.opens:
            raise SourceLost("cam cannot be opened: nobody answers")
        self.opened += 1
        return ScriptedCapture(self, act)

    def source(self, options: SourceOptions = QUICK, on_state: StateListener | None = None) -> LiveSource:
        return LiveSource(self, "cam", options, on_state=on_state)


class ScriptedCapture:
    fps = 25.0

    def __init__(self, script: Script, act: Act) -> None:
        self._script, self._act = script, act
        self.number = script.opened - 1
        self.ends = act.ends

    def shots(self, pulse: Pulse) -> Iterator[Shot]:
        for i in range(self._act.frames):
            pulse.expect(0.1)
            image = np.full((2, 3, 3), self.number, np.uint8)
            stream_s = None if self._act.stream_s is None else self._act.stream_s[i]
            yield Shot(lambda image=image: image, time.monotonic(), stream_s)  # type: ignore[misc]
        pulse.expect(0.1)
        if self._act.then is not None:
            self._act.then()

    def close(self) -> None:
        self._script.closed += 1
