from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.shards import write_set


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 48 sequences of 12 identities, cartoon faces."""
    return write_set(tmp_path_factory.mktemp("set"))
