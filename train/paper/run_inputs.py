"""What a run of the paper is made of beside its options: the files of its weights, the faces and labels of its data.

A run keeps short digests of them (config.json, checkpoint.pt). A run with another FAN, or on other data, is not gone on
with and does not pass for finished, though its options read the same.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from train.configs.options import PaperOptions
from train.data.corpora.registry import lists_of, open_corpus
from train.data.sequences import set_key
from train.models.config import MODEL

SYNTHETIC = "synthetic"


def inputs_of(options: PaperOptions) -> dict[str, str]:
    """Digests of FAN's file or the face parser's, of those of `weights`, `flow_weights` and `init`, and of the data;
    names without a file are left out.

    The data of a corpus are what `prepare` found, the annotation and the fold lists, by their contents: the pictures
    are not read. Of the synthetic set it is `train.data.sequences.set_key`.

    Raises:
        FileNotFoundError, ValueError: a file or a data set is not there.
    """
    parses, has_fan = options.variant == "au-fp", not options.variant.startswith("resnet18")
    files = {"fan": options.fan if has_fan and not parses else "", "parser": options.parser if parses else ""}
    files |= {"weights": options.weights, "init": options.init}
    files["flow_weights"] = options.flow_weights if options.variant == "au-flow" and options.flow == "raft" else ""
    found = {name: _of_file(_resolved(file), file) for name, file in files.items() if file}
    names = tuple(sorted({*options.train_on, *options.test_on}))
    return {**found, "data": _of_data(options.data, names, options.lists)}


def fan_file(options: PaperOptions) -> Path:
    """Where `options.fan` is, of au-fp `options.parser`. A relative path is looked for in the working directory, then
    in the project's folder."""
    return _resolved(options.parser if options.variant == "au-fp" else options.fan)


def _resolved(text: str) -> Path:
    path = Path(text)
    if not path.exists():  # the project's own, from any folder
        beside = Path(__file__).resolve().parents[2] / path
        path = beside if beside.exists() else path
    return (path / MODEL if path.is_dir() else path).resolve()


def _of_file(path: Path, text: str) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{text}: expected a file of weights or a run folder, found none; check the path")
    return _digest([path])


@functools.lru_cache(8)
def _of_data(folder: str, names: tuple[str, ...], lists: str) -> str:
    if names == (SYNTHETIC,):
        return set_key(folder)
    files: list[Path] = []
    for name in names:
        corpus = open_corpus(name, Path(folder) / name, lists_of(lists, name))
        files += [*corpus.annotations(), *sorted((Path(folder) / "prepared" / name).glob("*.parquet"))]
    return _digest(files)


def _digest(files: Iterable[Path]) -> str:
    """Of names and contents, in 24 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:24]
