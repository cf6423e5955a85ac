"""The errors of aunet_sdk. Every message says what was expected, what came, and what to do."""

from __future__ import annotations

__all__ = [
    "AUNetError",
    "BackendUnavailable",
    "BundleMismatch",
    "EngineMismatch",
    "InvalidInput",
    "ModelError",
    "OutputLost",
    "SourceLost",
]


class AUNetError(Exception):
    """Base class of every error that aunet_sdk raises on purpose."""


class InvalidInput(AUNetError, ValueError):
    """The caller handed over something that cannot be used: a wrong shape, dtype, time or path."""


class ModelError(AUNetError):
    """The model file cannot be used."""


class BundleMismatch(ModelError):
    """The file is no bundle of aunet_sdk, is damaged, or has a schema that this version does not know."""


class BackendUnavailable(AUNetError):
    """An engine or a library that was asked for cannot run here."""


class EngineMismatch(AUNetError):
    """A built engine does not fit this bundle, this device or this library version."""


class SourceLost(AUNetError):
    """A video source ended before its end, or stopped to deliver."""


class OutputLost(AUNetError):
    """An output could not be written any further: the disk is full, or its folder has gone. What it had is kept."""
