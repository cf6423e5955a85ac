"""The model card's generated part."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.recipes import card


def test_false_activations_at_rest_are_named_or_said_to_be_none() -> None:
    pooled = {"calm_s": 12.0, "false_per_minute": {"AU1": 0.0, "AU26": 5.04}}
    (line, _) = card._at_rest(pooled)
    assert "AU26 5.0" in line and "AU1 " not in line and "12.0 s" in line
    assert "none" in card._at_rest({"calm_s": 12.0, "false_per_minute": {"AU1": 0.0}})[0]
    assert card._at_rest({"calm_s": 0.0, "false_per_minute": {}}) == []


def test_a_card_without_marks_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    file.write_text("words", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the marks"):
        card.write_card(file, tmp_path / "no.safetensors", tmp_path / "no.json", None)
    assert file.read_text(encoding="utf-8") == "words"
