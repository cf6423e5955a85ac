"""The work on an archive: what is left to do, who does it, and what became of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace

from .._util.uris import without_credentials
from ..errors import BackendUnavailable, InvalidInput, ModelError, OutputLost
from ..sources import VideoFile, source_kind
from .dataset import DataSet, Status
from .items import Item, is_address
from .joining import discard, joined_of
from .pools import Pool, WorkerDied
from .split import Part, parts_of
from .worker import Task

__all__ = ["ATTEMPTS", "Progress", "run"]

ATTEMPTS = 3
"""so often a file is begun that kills its worker"""
ROUNDS = 4
"""a worker that works on several files together gets so many times as many"""
LOOK_S = 0.5


@dataclass
class Progress:
    """Where the work is. frames: of all files, with those that are being worked on."""

    total: int
    passed_over: int = 0
    done: list[Status] = field(default_factory=list)
    frames: int = 0
    began_s: float = field(default_factory=time.monotonic)


@dataclass
class _Joint:
    """A file in parts: those that are done, by their beginning."""

    item: Item
    parts: list[Part]
    done: dict[int, Status] = field(default_factory=dict)
    began_s: float = field(default_factory=time.perf_counter)


def run(
    items: Sequence[Item],
    data: DataSet,
    pool: Pool,
    au_names: Sequence[str],
    split_s: float | None = None,
    learns_rest: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[Status]:
    """Work on all files that are not finished; the statuses of all, in the order of the items.

    learns_rest: the workers learn the faces at rest, which is done for all parts of a split file at its end.

    A file that fails is one status, and the rest goes on. A worker that dies is replaced, its file is begun again, up
    to `ATTEMPTS` times. Raises OutputLost, ModelError and BackendUnavailable as a worker does, since they would hit
    every file; what was finished until then is kept.
    """
    known = {item.key: status for item in items if (status := data.status_of(item)) is not None}
    progress = Progress(len(items), passed_over=len(known))
    left = deque(task for item in items if item.key not in known for task in _tasks(item, split_s))
    joints = {task.item.key: _Joint(task.item, []) for task in left if task.part is not None}
    for task in left:
        if task.part is not None:
            joints[task.item.key].parts.append(task.part)
    running: dict[Future[Status], Task] = {}

    def finished(status: Status) -> None:
        known[status.key] = status
        progress.done.append(status)

    while left or running:
        while left and (free := pool.free) > 0:
            tasks = _next(left, pool.together, free)
            running.update(zip(pool.submit(tasks), tasks, strict=True))
        ended: set[Future[Status]] = set()
        if running:
            ended, _ = wait(running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        else:
            time.sleep(LOOK_S)  # until a worker is there
        for future in ended:
            task = running.pop(future)
            try:
                status = future.result()
            except (OutputLost, ModelError, BackendUnavailable):
                raise
            except WorkerDied as error:
                before = data.status_of(task.item) if task.part is None else None
                if before is not None:  # it was done already, with others in that worker's hand
                    finished(before)
                    continue
                if task.attempt < ATTEMPTS:
                    left.appendleft(replace(task, attempt=task.attempt + 1))
                    continue
                status = _failed(task, f"its worker died {ATTEMPTS} times: {error}")
            except Exception as error:  # of one file: the others go on
                status = _failed(task, f"{type(error).__name__}: {error}")
            joint = joints.get(task.item.key)
            if task.part is not None and joint is None:
                continue  # another part of the file has failed, and so has the file
            if task.part is None or joint is None:
                if status.state == "failed":
                    data.finish(status, None)
                finished(status)
            elif status.state == "failed":
                left = deque(each for each in left if each.item.key != task.item.key)
                del joints[task.item.key]
                data.finish(status, None)
                finished(status)
            else:
                joint.done[task.part.begin] = replace(status, attempts=task.attempt)
                if len(joint.done) == len(joint.parts):
                    outcome = _join(joint, data, au_names, learns_rest)
                    if isinstance(outcome, Status):
                        finished(outcome)
                    else:
                        left.appendleft(outcome)
        progress.frames = sum(status.frames for status in progress.done) + sum(_told(data))
        on_progress(progress)
    return [known[item.key] for item in items]


def _next(left: deque[Task], together: int, free: int) -> list[Task]:
    """What one of `free` workers gets: where it works on several files together, more of them, as long as there is
    enough for all, so that a short one makes room for another. What has ended a worker before goes alone, and so do the
    faces at rest of a video, which have the engine to themselves."""
    count = 1 if together == 1 else max(together, min(ROUNDS * together, len(left) // free))
    tasks = [left.popleft()]
    while left and len(tasks) < count and _joins(tasks[0]) and _joins(left[0]):
        tasks.append(left.popleft())
    return tasks


def _joins(task: Task) -> bool:
    return task.attempt == 1 and task.joined is None


def _tasks(item: Item, split_s: float | None) -> list[Task]:
    """The file as a whole, or in parts where it is a long video of this machine."""
    if split_s is not None and not is_address(item.uri):
        with suppress(InvalidInput, OSError):  # a worker says so
            if source_kind(item.uri) == "video":
                video = VideoFile(item.uri, read_ahead=0)
                try:
                    parts = parts_of(video.frame_count or 0, video.fps, split_s)
                finally:
                    video.close()
                if len(parts) > 1:
                    return [Task(item, part) for part in parts]
    return [Task(item)]


def _join(joint: _Joint, data: DataSet, au_names: Sequence[str], learns_rest: bool) -> Status | Task:
    """The status of the joined file, or what is left to do: two parts that never agree, as one, or the faces at rest
    of all."""
    key, parts = joint.item.key, joint.parts
    joined = joined_of(data, key, parts, joint.done, au_names)
    if isinstance(joined, int):
        both = parts[joined].with_next(parts[joined + 1])
        for part in parts[joined : joined + 2]:
            discard(data.work / part.place(key))
            del joint.done[part.begin]
        joint.parts[joined : joined + 2] = [both]
        return Task(joint.item, both)
    if learns_rest:
        return Task(joint.item, joined=joined)
    return joined.finish(data, key, joined.status, joined.table(data.work, key))


def _failed(task: Task, problem: str) -> Status:
    item = task.item
    problem = without_credentials(problem)
    return Status(item.shown, item.key, "failed", problem, item.size, item.stamp, attempts=task.attempt)


def _told(data: DataSet) -> Iterable[int]:
    for path in data.work.glob("*.frames"):
        with suppress(OSError, ValueError):
            yield int(path.read_text(encoding="utf-8"))
