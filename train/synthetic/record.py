"""settings.json: what a set was begun with. A set is continued with the same settings, sources and renderer alone."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

from train.synthetic.pictured import pictured_people
from train.synthetic.portraits import read_portraits
from train.synthetic.strangers import read_strangers

_HERE = Path(__file__).resolve().parent
_NOT_DRAWING = ("__init__", "clip", "native", "pictures", "record", "sheet")
_BEFORE = {"hand_mesh_sha256": None, "morphs": 0, "rigs": None}
"""What a record stands for that does not name these. Of `sources` and `renderer` an older record says nothing: such a
set is continued without looking at them.
"""


def source_key(source: Path) -> str:
    """12 hex digits of what a set is made of: the head, the points and tables of the portraits, and the names and sizes
    (bytes) of the photos.
    """
    portraits = source / "portraits"
    digest = hashlib.sha256()
    tables = (portraits / name for name in ("landmarks68.csv", "london_info.csv", "canada_info.csv"))
    for path in (source / "ict_facekit_light.npz", *tables):
        of_file = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"
        digest.update(f"{path.name} {of_file}\n".encode())
    strangers = read_strangers(source / "faces")[0]
    for portrait in (*read_portraits(portraits), *strangers):
        name = portrait.path.relative_to(source if portrait in strangers else portraits).as_posix()
        digest.update(f"{name} {portrait.path.stat().st_size}\n".encode())
    for identity, split in pictured_people(source / "faces").items():
        digest.update(f"{identity} {split}\n".encode())
    return digest.hexdigest()[:12]


def renderer_key() -> str:
    """12 hex digits of the code that draws and labels. Comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    drawing = (path for path in _HERE.glob("*.py") if path.stem not in _NOT_DRAWING)
    for path in (*sorted(drawing), _HERE.parent / "data" / "visibility.py"):
        digest.update(_code(path.read_text(encoding="utf-8")).encode())
    digest.update((_HERE.parents[1] / "csrc" / "raster.pyx").read_bytes().replace(b"train/synthetic", _FORMER_FOLDER))
    return digest.hexdigest()[:12]


_FORMER = {
    "train.synthetic.pictures": "train.data.pictures",
    "train.synthetic": "train.data.synthetic",
    "train.data.corpora.corpus": "train.data.corpus",
}
_FORMER_FOLDER = b"train/data/synthetic"
"""What modules were called when the first sets were begun: where a module lies says nothing about what it draws."""


def _code(text: str) -> str:
    """Python source ``text`` without comments and docstrings, in one layout, with the former names of modules."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = _by_former_name([each for each in body if not _only_text(each)])  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _by_former_name(body: list[ast.stmt]) -> list[ast.stmt]:
    """Imports of this project's training under their former names, in the order of these."""
    ours = [n for n in body if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("train.")]
    for node in ours:
        for now, before in _FORMER.items():
            if f"{node.module}.".startswith(f"{now}."):
                node.module = before + str(node.module)[len(now) :]
                break
    in_order = iter(sorted(ours, key=lambda node: str(node.module)))
    return [next(in_order) if node in ours else node for node in body]


def _only_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def begin(out: Path, wanted: dict[str, Any], sequences: int) -> None:
    """Write ``out``/settings.json, or compare with the one that is there; ``sequences`` alone may change.

    Raises:
        ValueError: the set was begun with something else.
    """
    record = out / "settings.json"
    begun = {**_BEFORE, **json.loads(record.read_text())} if record.is_file() else wanted
    if other := [name for name in wanted if name in begun and begun[name] != wanted[name]]:
        had, got = ({name: which[name] for name in other} for which in (begun, wanted))
        raise ValueError(f"{out}: was begun with {had}, got {got}; choose another folder")
    known = {name: value for name, value in wanted.items() if name in begun}
    record.write_text(json.dumps({**known, "sequences": sequences}))


__all__ = ["begin", "renderer_key", "source_key"]
