from __future__ import annotations

import importlib.metadata
import sys
import types

import onnxruntime as ort
import pytest

from aunet_sdk.engines import ort_wheel
from aunet_sdk.engines.ort_wheel import import_runtime, wheels
from aunet_sdk.errors import BackendUnavailable


def test_the_wheel_that_is_installed() -> None:
    assert import_runtime() is ort
    assert [line.split()[1] for line in wheels()] == [ort.__version__]


@pytest.fixture
def both_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.31.0")


@pytest.mark.usefixtures("both_wheels")
def test_both_wheels_are_an_error_for_a_gpu() -> None:
    with pytest.raises(BackendUnavailable, match=r"got onnxruntime 1.31.0 and onnxruntime-gpu 1.31.0, which overwrite"):
        import_runtime()


@pytest.mark.usefixtures("both_wheels")
def test_both_wheels_are_a_warning_for_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    ort_wheel._warn.cache_clear()
    assert import_runtime(gpu=False) is ort and import_runtime(gpu=False) is ort
    assert caplog.text.count("pip uninstall onnxruntime onnxruntime-gpu") == 1


def test_the_rest_of_an_uninstalled_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    with pytest.raises(BackendUnavailable, match="got the rest of one; pip uninstall"):
        import_runtime(gpu=False)


def test_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailable, match=r"install one of \"aunet_sdk\[cpu\]\""):
        import_runtime(gpu=False)
