"""A FAN and the options of a short run of the paper, for the tests beside this file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.paper_runs import paper_options, write_fan
from train.configs.options import PaperOptions


@pytest.fixture(scope="module")
def fan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fan(tmp_path_factory.mktemp("fan"))


@pytest.fixture
def options(data: Path, fan: Path, tmp_path: Path) -> PaperOptions:
    return paper_options(data, fan, tmp_path / "run")
