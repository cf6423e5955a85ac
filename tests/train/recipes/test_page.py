"""The page on a model: its tables are what was measured, and its pictures are there."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.train.painted import write_faces
from train.cli.main import app
from train.data.sequences import load_split
from train.evaluation.metrics import auc
from train.evaluation.sequences import evenly
from train.models.config import ModelConfig
from train.models.model import Model
from train.recipes.page import Page, Scored, _rows, write_page


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return Model(ModelConfig(width=16, resolution=64)).eval()


def agreement(place: Path) -> Path:
    """As benchmarks/agreement.py writes it, of one clip."""
    clear = {"AU12": {"on": 20, "found": 0.95, "off": 30, "calm": 0.9}}
    column = {"r": {"AU12": 0.91, "AU4": None}, "clear": clear}
    place.write_text(json.dumps({"clips": {"some.mp4": column}, "pooled": column}))
    return place


def test_the_page_of_a_small_model(data: Path, model: Model, tmp_path: Path) -> None:
    faces = tmp_path / "source" / "faces"
    write_faces(faces, np.random.default_rng(0))
    codes = [f"interfaces,{i:03d}.jpg,{i % 2}," for i in range(12)]
    (faces / "coded_by_eye.csv").write_text("\n".join(["source,file,AU12,AU1", *codes]) + "\n")
    model.save(tmp_path / "model.safetensors")
    arguments = ["evaluate", "--model", tmp_path / "model.safetensors", "--data", data, "--frames", 32, "--threads", 1]
    more = ["--page", tmp_path / "page.md", "--source", tmp_path / "source"]
    more += ["--agreement", agreement(tmp_path / "agreement.json")]
    result = CliRunner().invoke(app, [str(each) for each in (*arguments, *more)], catch_exceptions=False)
    assert result.exit_code == 0
    text = (tmp_path / "page.md").read_text()
    for heading in (
        "Renders of held-out people",
        "Groups",
        "Pictures coded by eye",
        "Real clips",
        "Best and worst frames",
    ):
        assert f"## {heading}\n" in text
    assert "| some.mp4 | AU12 | 0.91 | 20 | 0.950 | 0.900 |" in text and "| AU4 | - |" not in text
    coded = text[text.index("## Pictures coded") :]
    assert (
        "12 pictures; one coder" in coded and "| AU12 | 6 | 6 |" in coded and "| AU1 | 0 | 0 | - | - | - | - |" in coded
    )
    image = cv2.imread(str(tmp_path / "page-pictures" / "coded-AU12.jpg"))
    assert image is not None and image.shape == (3 * 128, 12 * 128, 3) and image[:128, :128].std() > 10
    assert "![coded-AU12](page-pictures/coded-AU12.jpg)" in text and "coded-AU1.jpg" not in text


def test_a_page_in_one_file_and_another_ending(data: Path, model: Model, tmp_path: Path) -> None:
    held_out = evenly(load_split(data, "test"), 24)
    write_page(model, held_out, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "data:image/jpeg;base64," in text and "<th>AUC</th>" in text and "coded by eye" not in text
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"]
    page = Page("A <title>")
    page.words("1 < 2")
    page.write(tmp_path / "other.html")
    assert (
        "A &lt;title&gt;" in (tmp_path / "other.html").read_text()
        and "1 &lt; 2" in (tmp_path / "other.html").read_text()
    )
    with pytest.raises(ValueError, match=r"expected a file \.md or \.html, got .*page\.txt"):
        page.write(tmp_path / "page.txt")


def test_rows_show_the_surest_the_least_sure_and_the_false_ones() -> None:
    said = np.array([[0.9], [0.2], [0.8], [0.1], [0.5]])
    labels = np.array([[1.0], [1.0], [0.0], [0.0], [np.nan]])
    shades = np.array([250, 200, 150, 100, 50], np.uint8)
    image = _rows(Scored(said, labels, lambda i: np.full((64, 64, 3), shades[i], np.uint8)), 0)
    assert image is not None
    seen = image.reshape(3, 128, 12, 128, 3)[:, 20, :3, 60, 0]
    assert seen.tolist() == [[250, 200, 0], [200, 250, 0], [150, 100, 0]]
    assert _rows(Scored(said, np.zeros((5, 1)), lambda i: np.zeros((64, 64, 3), np.uint8)), 0) is None
    assert auc(said[:4, 0], labels[:4, 0]) == 0.75
