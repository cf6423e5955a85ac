"""Imports of aunet_sdk run one way (docs/architecture.md, "Layers")."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

LAYERS: tuple[tuple[str, ...], ...] = (
    ("_native", "_util", "errors"),
    ("bundle", "face", "facs", "options", "results"),
    ("engines", "faces", "geometry", "post", "sinks", "sources", "view"),
    ("pipeline",),
    ("stream",),
    ("detector",),
    ("aio", "jobs", "profiling"),
    ("live",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""From the bottom to the top. A part imports what lies below it."""
WITHIN = {("_native", "_util"), ("_util", "errors"), ("facs", "errors")} | {
    ("options", "facs"),
    ("face", "facs"),
    ("results", "face"),
}
"""what parts of one layer may import of each other"""
CALLED = {("results", "view")}
"""`FrameResult.plot` draws by view, which it imports when it is called: the one exception"""
OWN = {"aunet_sdk", "__version__"}


def imports(repository: Path) -> set[tuple[str, str]]:
    """(part, part that it imports), a part being a package or a module right below aunet_sdk."""
    root, found = repository / "aunet_sdk", set()
    for path in root.rglob("*.py"):
        folders = path.relative_to(root).parts[:-1]
        part = folders[0] if folders else path.stem
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            above = [*folders[: len(folders) - node.level + 1], *(node.module.split(".") if node.module else [])]
            found |= {(part, above[0] if above else alias.name) for alias in node.names}
    return {(part, other) for part, other in found if part not in {other, "__init__"} and other not in OWN}


def test_imports_run_one_way(repository: Path) -> None:
    rank = {part: i for i, layer in enumerate(LAYERS) for part in layer}
    edges = imports(repository)
    assert len(edges) > 40
    unknown = {part for edge in edges for part in edge} - set(rank)
    assert not unknown, f"parts without a layer: {sorted(unknown)}; give them one here and in docs/architecture.md"
    up = {(part, other) for part, other in edges if rank[part] <= rank[other]} - WITHIN - CALLED
    assert not up, "imports that run up or sideways: " + ", ".join(f"{a} -> {b}" for a, b in sorted(up))


@pytest.mark.parametrize("below", ["train", "export"])
def test_the_runtime_knows_neither_training_nor_export(repository: Path, below: str) -> None:
    for path in repository.joinpath("aunet_sdk").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not any(name.split(".")[0] == below for name in names), f"{path} imports {below}"


def test_no_file_is_long(repository: Path) -> None:
    root = repository / "aunet_sdk"
    lines = {p.relative_to(root).as_posix(): len(p.read_text("utf-8").splitlines()) for p in root.rglob("*.py")}
    long = {name: count for name, count in lines.items() if count > 300}
    assert not long, f"expected at most 300 lines, one idea, in a file of aunet_sdk; got {long}"
