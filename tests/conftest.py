"""What tests share: where real material lies, and a skip with a reason where it is absent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data"

LONGEST = (
    "aunet_sdk/test_privacy.py",
    "train/recipes/test_recipe.py",
    "export/test_trt.py",
    "train/engine/test_distributed.py",
    "aunet_sdk/commands/test_models.py",
    "aunet_sdk/test_state_machine.py",
    "export/test_shipped.py",
    "export/test_released_path.py",
    "train/recipes/test_geometry_task.py",
    "aunet_sdk/test_beside_torch.py",
    "export/test_operators.py",
    "export/test_gpu_benchmark.py",
    "export/test_widths.py",
    "test_wheel.py",
)
"""Files of few tests that take long, the longest first. pytest-xdist begins with the files of most tests; so one of
these was the last, and the other processes waited for it. `make test` ends with what took longest."""

# The machines that run the tests are shared: a slow example is no finding.
settings.register_profile("aunet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aunet")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # the order of `in_order` counts


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items[:] = in_order(items)


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """For several processes that share the files: LONGEST, then by the number of tests."""
    tests, counts = REPOSITORY / "tests", Counter(item.path for item in items)
    first = {tests / name: place for place, name in enumerate(LONGEST)}
    return sorted(items, key=lambda item: (first.get(item.path, len(first)), -counts[item.path]))


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
