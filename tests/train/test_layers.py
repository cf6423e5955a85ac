"""Imports of train run one way (docs/architecture.md, "Layers of the training")."""

from __future__ import annotations

import ast
from pathlib import Path

LAYERS: tuple[tuple[str, ...], ...] = (
    ("configs", "models"),
    ("data", "losses"),
    ("engine", "synthetic"),
    ("evaluation",),
    ("paper", "recipes"),
    ("cli",),
    ("__main__",),
)
"""From the bottom to the top. A part imports what lies below it, wherever in a module the import stands."""


def imports(repository: Path) -> set[tuple[str, str]]:
    """(part, part that it imports), a part being a package of train."""
    root, found = repository / "train", set()
    for path in root.rglob("*.py"):
        part = path.relative_to(root).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("train."):
                found.add((part, str(node.module).split(".")[1]))
    return {(part, other) for part, other in found if part != other}


def test_imports_run_one_way(repository: Path) -> None:
    rank = {part: i for i, layer in enumerate(LAYERS) for part in layer}
    edges = imports(repository)
    assert len(edges) > 25
    assert {part for edge in edges for part in edge} <= set(rank), "a part of train without a layer: give it one"
    up = sorted(f"{a} -> {b}" for a, b in edges if rank[a] <= rank[b])
    assert not up, f"imports that run up or sideways: {', '.join(up)}"


def test_files_hold_one_idea(repository: Path) -> None:
    """Nothing in train has more than 400 lines."""
    long = {
        path.name: lines
        for path in repository.joinpath("train").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long
