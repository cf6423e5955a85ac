"""The order in which several processes take the files: long ones do not come last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .conftest import LONGEST, REPOSITORY, in_order


def test_the_longest_files_are_there() -> None:
    assert not [name for name in LONGEST if not (REPOSITORY / "tests" / name).is_file()]


def test_long_files_first_then_those_of_many_tests_and_no_file_in_parts() -> None:
    def tests(name: str, count: int) -> list[Any]:
        path: Path = REPOSITORY / "tests" / name
        return [SimpleNamespace(path=path, name=f"{path.stem}-{i}") for i in range(count)]

    given = [*tests("a.py", 2), *tests("b.py", 5), *tests(LONGEST[1], 1), *tests("c.py", 2), *tests(LONGEST[0], 3)]
    expected = [*tests(LONGEST[0], 3), *tests(LONGEST[1], 1), *tests("b.py", 5), *tests("a.py", 2), *tests("c.py", 2)]
    assert [each.name for each in in_order(given)] == [each.name for each in expected]
