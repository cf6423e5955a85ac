"""`aunet detect` on painted faces (painted.py), so that its tests do not depend on how good the model is."""

from __future__ import annotations

import pytest

from aunet_sdk.options import DetectorOptions

from ..painted import painted_detector


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`aunet detect` sees painted faces."""

    def make(options: DetectorOptions) -> object:
        return painted_detector(look_ahead=options.look_ahead, aus=options.aus, max_faces=options.max_faces)

    monkeypatch.setattr("aunet_sdk.commands.detect.Detector", make)
