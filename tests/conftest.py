"""What tests share: where real material lies, and a skip with a reason where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data"

# The machines that run the tests are shared: a slow example is no finding.
settings.register_profile("aunet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aunet")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real clips, portraits and models beside the checkout; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip("real material is absent: expected the folder ../shared/data beside the checkout")
    return DATA
