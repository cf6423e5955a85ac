"""Jobs on a real clip: in two parts it has the rows of the whole, whatever the finder saw before the second begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from aunet_sdk.jobs import split

from ..aunet_sdk.jobs.joined import check_joined_parts


def test_a_real_clip_in_parts_is_the_clip(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "OVERLAP_S", 4.0)
    status = check_joined_parts(corpus / "clips" / "WolfgangLanger_Pexels.mp4", tmp_path / "out", 9, "auto")
    assert status.frames_with_face > 400
