"""Ctrl-C that a compiled library turns into an error of its own is Ctrl-C all the same."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder

import pytest

from aunet_sdk import _native
from aunet_sdk._util.interrupt import raise_if_interrupted
from aunet_sdk.commands.ending import Ended
from aunet_sdk.engines.failures import foreign_failure
from aunet_sdk.engines.ort_wheel import import_runtime


class Interrupted(MetaPathFinder):
    """What pybind11 makes of Ctrl-C while a module is set up."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, *_: object) -> None:
        if name == self.name:
            raise ImportError("initialization failed") from KeyboardInterrupt()


@pytest.mark.parametrize(
    "name, load",
    [("onnxruntime", import_runtime), ("aunet_sdk._native.align", lambda: _native.load("align"))],
)
def test_an_import_that_ctrl_c_broke_off(
    name: str, load: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime was taken for missing, its choice for outdated, and the command went on to look for another."""
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(name), *sys.meta_path])
    with pytest.raises(KeyboardInterrupt):
        load()


def test_errors_of_other_causes_pass() -> None:
    error = ValueError("a")
    error.__cause__ = error.__context__ = error  # a ring must not hang
    raise_if_interrupted(error)
    assert "ValueError: a" in str(foreign_failure("X to run", error, "repeat it"))
    inner = RuntimeError("b")
    inner.__context__ = KeyboardInterrupt()
    error.__cause__ = inner
    assert "ValueError: a" in str(foreign_failure("X to run", error, "repeat it")), "Ctrl-C was handled before"


def test_the_signal_stays_what_it_was() -> None:
    """SIGTERM while a library was imported was taken for Ctrl-C, and the exit code was 130 instead of 143."""
    ended, error = Ended(signal.SIGTERM), RuntimeError("initialization failed")
    inner = ImportError("inner")
    inner.__cause__ = ended
    error.__cause__ = inner
    with pytest.raises(Ended) as raised:
        foreign_failure("X to run", error, "repeat it")
    assert raised.value is ended
