"""Run a recipe: stage after stage, those that are done left alone, everything finished kept whatever happens."""

from __future__ import annotations

import dataclasses
import errno
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta

from rich.console import Console
from rich.table import Table

from train.engine.run_folder import RunError, environment
from train.recipes.options import RecipeOptions
from train.recipes.stages import NAMES, Place, Stage, stages_of
from train.recipes.stamps import Stamp, begin, digest_of, read_stamp, write_stamp

BYTES_PER_SEQUENCE, BYTES_PER_PERSON, BYTES_BESIDE = 330_000, 8_000_000, 600_000_000


@dataclasses.dataclass(frozen=True)
class State:
    """Of one stage: ``key`` of its inputs, None where a stage before it is not done; ``stamp``, None where it is to be
    run; ``why`` that is."""

    stage: Stage
    key: str | None
    stamp: Stamp | None
    why: str


def states(options: RecipeOptions) -> Iterator[State]:
    """Where each stage stands, in their order."""
    stamps: dict[str, Stamp | None] = {}
    for stage in stages_of(options):
        waiting = [name for name in stage.needs if stamps[name] is None]
        key = None if waiting else _key(stage, options, {name: stamps[name] for name in stage.needs})
        stamp, folder = read_stamp(options.out / stage.name), options.out / stage.name
        why = ""
        if stamp is None:
            why = "not done"
        elif waiting:
            why = f"after {waiting[0]}"
        elif stamp.key != key:
            why = "its inputs have changed"
        else:
            why = stamp.wrong(folder)
        stamps[stage.name] = None if why else stamp
        yield State(stage, key, stamps[stage.name], why)


def _key(stage: Stage, options: RecipeOptions, needs: dict[str, Stamp | None]) -> str:
    came = {name: stamp.digest for name, stamp in needs.items() if stamp is not None}
    return digest_of({"stage": stage.name, "settings": stage.settings(options), "needs": came})


def show(options: RecipeOptions, until: str, console: Console) -> None:
    """A table of the stages: done, or to be run and why; nothing is run."""
    table = Table("stage", "state", "took", "expected", title=f"{options.out}: {options.size}, seed {options.seed}")
    for state in states(options):
        took = str(timedelta(seconds=round(state.stamp.seconds))) if state.stamp else ""
        expected = "" if state.stamp else str(timedelta(seconds=round(_expected(state.stage, options))))
        table.add_row(state.stage.name, state.why or "done", took, expected)
        if state.stage.name == until:
            break
    console.print(table)


def run(options: RecipeOptions, until: str = NAMES[-1], dry: bool = False, console: Console | None = None) -> None:
    """Run the stages up to `until`, as far as they are not done.

    Raises:
        RunError: the folder was begun with other options, named; too little room on the disk; a stage that failed. What
            is finished stays, and the same command goes on from there.
        Stopped: Ctrl-C or SIGTERM in a training.
    """
    names = tuple(stage.name for stage in stages_of(options))
    if until not in names:
        raise ValueError(f"until: expected one of {', '.join(names)}, got {until!r}")
    console = console or Console(stderr=True)
    if dry:
        show(options, until, console)
        return
    begin(options.out, options.fixed())
    revision, wanted = environment()["revision"], names[: names.index(until) + 1]
    for number, name in enumerate(wanted, 1):
        all_states = {state.stage.name: state for state in states(options)}
        state, ahead = all_states[name], [all_states[n] for n in wanted[number - 1 :] if all_states[n].why]
        label = f"[{number}/{len(wanted)}] {name}"
        if state.stamp:
            console.print(f"{label}: done", highlight=False)
            continue
        left = _left(ahead, list(all_states.values()), options)
        console.print(f"{label}: {state.why}; about {timedelta(seconds=round(left))} left", highlight=False)
        _run_one(state, options, revision)
    console.print(f"{options.out}: {until} is done", highlight=False)


def _run_one(state: State, options: RecipeOptions, revision: str) -> None:
    folder, stage = options.out / state.stage.name, state.stage
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stamp.json").unlink(missing_ok=True)  # from here on it is not done
    if stage.name == "render":
        _check_room(options)
    start = time.monotonic()
    try:
        files = stage.run(Place(options, folder))
        assert state.key is not None  # the stages before it are done
        write_stamp(folder, state.key, files, time.monotonic() - start, revision)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "make room on the disk" if full else "mend that"
        raise RunError(
            f"recipe: {stage.name}: {error}; what is finished is kept: {what}, then give the same command again"
        ) from error


def _check_room(options: RecipeOptions) -> None:
    people = len(list((options.source / "portraits").rglob("*.jpg")))
    need = options.amounts.sequences * BYTES_PER_SEQUENCE + people * BYTES_PER_PERSON
    need += 0 if options.size == "smoke" else BYTES_BESIDE
    have = sum(path.stat().st_size for path in (options.out / "render").rglob("*") if path.is_file())
    free = shutil.disk_usage(options.out).free
    if need - have > free:
        raise RunError(
            f"recipe: render: expected {(need - have) / 1e9:.1f} GB free for {options.out}, got {free / 1e9:.1f} GB; "
            "make room, or choose another folder"
        )


def _expected(stage: Stage, options: RecipeOptions) -> float:
    """Seconds of a stage, by the estimates for two cores."""
    share = {"default": 1.0, "nano": 0.4, "smoke": 0.001}[options.size]
    return 60 * stage.minutes * share


def _left(ahead: list[State], known: list[State], options: RecipeOptions) -> float:
    """Seconds that the stages ahead take, by their estimates and by how those that are done kept to theirs."""
    done = [state for state in known if state.stamp and state.stamp.seconds > 1]
    pace = 1.0
    if done:
        pace = sum(s.stamp.seconds for s in done if s.stamp) / sum(_expected(s.stage, options) for s in done)
    return pace * sum(_expected(state.stage, options) for state in ahead)


__all__ = ["State", "run", "show", "states"]
