"""The folder of a run: config, environment, log, checkpoint, models. Every file is whole or it is the one before."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import io
import json
import logging
import math
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors import SafetensorError

from train.configs.options import RunOptions
from train.models.config import MODEL

LOG = logging.getLogger("train")
CHECKPOINT = "checkpoint.pt"
BEST = "best.safetensors"
CONFIG = "config.json"


class RunError(RuntimeError):
    """A run that cannot start or go on; the message says what to do."""


class Stopped(Exception):
    """The user asked the run to stop; a checkpoint is written."""


def environment() -> dict[str, str]:
    """Versions and machine, for the run folder."""

    def git(*arguments: str) -> str:
        try:
            where = Path(__file__).resolve().parent
            return subprocess.run(
                ["git", *arguments], cwd=where, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    return {
        "revision": git("rev-parse", "HEAD") or "unknown",
        "changed": ", ".join(line[3:] for line in git("status", "--porcelain", "--", "train").splitlines()[:20]),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "tf32": "allowed" if torch.backends.cudnn.allow_tf32 else "not allowed",
    }


def packages() -> str:
    """Installed packages, one `name==version` a line."""
    found = {f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to that takes the place of `path` at the end; where the writing fails, `path` is as before.

    Raises:
        RunError: no space, a quota, no permission: what failed, and what is still there.
        Whatever else is raised inside goes on as it is.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        _remove(partial)
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):
            raise  # not torch's writer: whatever was to be written could not be made
        kept = f"the former {path.name} is kept" if path.exists() else f"there is no former {path.name}"
        raise RunError(unwritten(path, error, kept)) from error
    except BaseException:
        _remove(partial)
        raise


def unwritten(path: Path, error: BaseException, kept: str = "") -> str:
    """The message about a file that cannot be written; `kept`: what is still there."""
    parts = [
        f"run: could not write {path}: {_reason(error)}",
        kept,
        "make room on the disk, then continue with --resume",
    ]
    return "; ".join(part for part in parts if part)


def _remove(partial: Path) -> None:
    for name in (partial, partial.with_name(partial.name + ".partial")):  # Model.save has one of its own
        with contextlib.suppress(OSError):
            name.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    """The system's own words where an exception (or the one behind it) has them, else its first line."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return (str(error) or type(error).__name__).splitlines()[0]


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all (RunError)."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_checkpoint(options: RunOptions, mapped: bool = False) -> dict[str, Any] | None:
    """State of the checkpoint in `options.run`; None where no checkpoint is there.

    Args:
        mapped: leave the tensors on the disk, where only the options count.

    Raises:
        RunError: it cannot be read, or belongs to other options.
    """
    path = Path(options.run) / CHECKPOINT
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        raise RunError(f"run: {path} cannot be read ({error}); remove it to start anew") from error
    changed = changed_options(json.loads(state["options"]), options)
    if changed:
        raise RunError(f"run: cannot resume {options.run} with other options: {', '.join(changed)}; use a new folder")
    return state


def check_finished(options: RunOptions, inputs: Callable[[], dict[str, str]] | None = None) -> None:
    """Check that the finished run in `options.run` has these options; a folder without config.json passes.

    Args:
        inputs: gives the digests of what the run would be made of now; called where the run knows its own.

    Raises:
        RunError: it had other options, or was made of other inputs; the message names the difference.
    """
    path = Path(options.run) / CONFIG
    if not path.is_file():
        LOG.warning("%s: finished, without %s: its options are not known", options.run, CONFIG)
        return
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        before, made_of = dict(config["options"]), dict(config.get("inputs", {}))
        made_of.pop("test part", None)  # follows from data and options
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"run: {path} cannot be read ({error}); remove the folder to train anew") from error
    changed = changed_options(before, options)
    if changed:
        raise RunError(
            f"run: {options.run} is finished, with other options: {', '.join(changed)}; name another --out, or remove "
            "the folder to train anew"
        )
    if not made_of:
        return
    other = changed_inputs(made_of, inputs() if inputs else made_of)
    if other:
        raise RunError(
            f"run: {options.run} is finished, with the same options, but of other contents: {', '.join(other)}; name "
            "another --out, or remove the folder to train anew"
        )


def changed_inputs(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Names of what differs; what the former run did not know of counts as the same."""
    return [name for name in sorted(before) if before[name] != now.get(name)]


def changed_options(before: dict[str, Any], options: RunOptions) -> list[str]:
    """Where `options` differ from those of an earlier run in what a run keeps (`RunOptions.fixed`), in words.

    Args:
        before: as JSON has them; an option that is younger than they are had its default.
    """
    now = json.loads(json.dumps(options.fixed()))
    defaults = json.loads(json.dumps(dataclasses.asdict(type(options)())))
    return [f"{k} {before.get(k, defaults[k])!r} -> {v!r}" for k, v in now.items() if before.get(k, defaults[k]) != v]


class _LogFile(logging.FileHandler):
    """train.log; it writes no more after an error, which it keeps for `RunFolder.check`."""

    failure: OSError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.failure is None:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self.failure = error
        else:
            super().handleError(record)


class RunFolder:
    """The files of one run.

    Args:
        options: those of the run; `options.run` is the folder.
        task: name of the kind of training.
        leads: False: a further process of the same run, which writes nothing.
        data: key of what the run is trained on; empty: not known.
        same_data: whether a run must go on with the data that it was begun with; otherwise other data is only logged.
        inputs: digests of what else it is made of, by name.

    Raises:
        RunError: the folder holds a run and `resume` is False, or one of other options or data; nothing is written
            then.
    """

    def __init__(
        self,
        options: RunOptions,
        task: str,
        resume: bool,
        leads: bool = True,
        data: str = "",
        same_data: bool = True,
        inputs: dict[str, str] | None = None,
    ) -> None:
        self.folder = Path(options.run)
        self.checkpoint = self.folder / CHECKPOINT
        if self.checkpoint.exists() and not resume:
            raise RunError(f"run: {self.folder} holds a run already; add --resume or name another folder")
        state = read_checkpoint(options, mapped=True) or {}
        former = state.get("data", "")
        other = bool(former and data and former != data)
        if other and same_data:
            raise RunError(
                f"run: cannot resume {self.folder}: the training part is not the one that it was begun with "
                f"({former}; now {data}); put the former data back, or remove the folder to train anew"
            )
        self.inputs = inputs or {}
        changed = changed_inputs(json.loads(state.get("inputs", "{}")), self.inputs)
        if changed:
            raise RunError(
                f"run: cannot resume {self.folder} with other contents of: {', '.join(changed)}; put the former ones "
                "back, or use a new folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.options, self.task, self.leads, self.data = options, task, leads, data
        self.environment = environment()
        self.handler: logging.Handler = logging.NullHandler()
        if not leads:
            return
        config = {"task": task, "options": dataclasses.asdict(options), "inputs": self.inputs, "command": sys.argv}
        write_text(self.folder / CONFIG, json.dumps(config | {"environment": self.environment}, indent=1))
        write_text(self.folder / "packages.txt", packages())
        self.handler = _LogFile(self.folder / "train.log")
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        LOG.addHandler(self.handler)
        LOG.setLevel(logging.INFO)
        if other:
            LOG.warning("data: %s is not as it was at the last checkpoint; going on with what is there", options.data)

    def check(self) -> None:
        """Raise RunError where the log cannot be written."""
        if isinstance(self.handler, _LogFile) and self.handler.failure is not None:
            raise RunError(unwritten(Path(self.handler.baseFilename), self.handler.failure))

    def close(self) -> None:
        LOG.removeHandler(self.handler)
        with contextlib.suppress(OSError):  # a full disk: the log was not the point
            self.handler.close()

    def load(self) -> dict[str, Any] | None:
        """State of the checkpoint; None where no checkpoint is there.

        Raises:
            RunError: it cannot be read, or belongs to other options.
        """
        return read_checkpoint(self.options)

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint: `state`, the options and the key of the data."""
        if self.leads:
            buffer = io.BytesIO()  # torch's own writer hides the reason of a failure
            about = {"options": json.dumps(self.options.fixed()), "inputs": json.dumps(self.inputs), "data": self.data}
            torch.save({**state, **about}, buffer)
            with replacing(self.checkpoint) as partial:
                partial.write_bytes(buffer.getbuffer())

    def save_model(
        self,
        save: Callable[[Path, dict[str, Any]], None],
        step: int,
        samples: int,
        results: dict[str, float],
        score: float,
    ) -> None:
        """Write model.safetensors and results.json, and best.safetensors and best.json where no score was better.

        Args:
            save: writes a model to a path, with what the run knows about its origin.
        """
        if not self.leads:
            return
        entry = {
            "options": {k: v for k, v in dataclasses.asdict(self.options).items() if v is not None},
            "command": " ".join(["python", "-m", "train", *sys.argv[1:]]),
            "steps": step,
            "samples": samples,
            "revision": self.environment["revision"],
            "torch": self.environment["torch"],
            "validation": {k: round(v, 5) for k, v in results.items()},
        }
        with replacing(self.folder / MODEL) as partial:
            save(partial, entry)
        write_text(self.folder / "results.json", json.dumps({"step": step, **results}, indent=1))
        record = self.folder / "best.json"
        score = -math.inf if math.isnan(score) else score
        before = json.loads(record.read_text())["score"] if record.is_file() else None
        if before is None or score >= before:
            with replacing(self.folder / BEST) as partial:
                save(partial, entry)
            kept = score if math.isfinite(score) else None  # JSON has no infinity
            write_text(record, json.dumps({"score": kept, "step": step, **results}, indent=1))
