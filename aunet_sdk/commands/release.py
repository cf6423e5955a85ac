"""The files of the authors' release: which they are, by git's id of their content, and how a copy of them is had."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import BackendUnavailable, InvalidInput, ModelError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["FAN", "HEADS", "SOURCE", "Published", "fetch", "git_blob"]

SOURCE = "https://raw.githubusercontent.com/jingyang2017/AU-Net/d447837d1eb4631ff473ccb61f13aefeb23844cd"
"""The authors' repository at the commit whose files are known."""
TIMEOUT_S = 5.0
LARGEST_BYTES = 400 << 20
_BP4D = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
_DISFA = (1, 2, 4, 6, 9, 12, 25, 26)
_MIXTURE = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26)


@dataclass(frozen=True)
class Published:
    """One file of the release.

    path: inside the repository. blob: git's id of its content, by which a copy is checked. au_numbers: FACS numbers of
    the outputs in the file's order (a head).
    """

    path: str
    blob: str
    au_numbers: tuple[int, ...] = ()
    trained_on: str = ""

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


FAN = Published("models/2dfan2.pth", "02738a66b9420dd15364d7d79f908f0627fb88b4")
HEADS = {
    "cross_model": Published(
        "checkpoints/cross_model.pth", "19745a2ade2f5b8efa9e5dbc26ec44cad1792d96", _MIXTURE, "BP4D, DISFA, AffWild2"
    ),
    **{
        f"bp4d_split{i}": Published(f"checkpoints/bp4d_split{i}.pth", blob, _BP4D, f"BP4D, fold {i}")
        for i, blob in enumerate(
            (
                "70ca52a0ac96533980740dfb939317193ff0868e",
                "5721a3234fb76cccddfac701ab3133651dbbb4da",
                "8a3e1fb976fded6f8cf78a25a54678f1a7478516",
            ),
            1,
        )
    },
    **{
        f"disfa_split{i}": Published(f"checkpoints/disfa_split{i}.pth", blob, _DISFA, f"DISFA, fold {i}")
        for i, blob in enumerate(
            (
                "4df3f8a58b0fa1ed6d7af4a20c02f9113d544870",
                "afd71a96cc414a12cd7365e497baaaa50e208d2c",
                "099e71a820b5001fea776e6fab1e92e11dd32a44",
            ),
            1,
        )
    },
}
"""Heads of the release by their name for `pull`; all of them go with FAN."""


def fetch(file: Published, source: str, folder: Path) -> Path:
    """`folder`/name with the published content: as it lies there, or fetched from `source`, a URL or a folder."""
    target = folder / file.name
    if target.is_file() and git_blob(target) == file.blob:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        if "://" in source:
            where = f"{source.rstrip('/')}/{file.path}"
            _download(where, partial, file.name)
        else:
            copies = [Path(source) / file.path, Path(source) / file.name]
            copy = next((path for path in copies if path.is_file()), None)
            if copy is None:
                raise ModelError(f"models pull: expected {file.name} in {source}, found none; copy it there")
            where = str(copy)
            shutil.copyfile(copy, partial)
        found = git_blob(partial)
        if found != file.blob:
            raise ModelError(
                f"models pull: expected {file.name} with git blob {file.blob}, got {found} from {where}: "
                "it is damaged or another version; it was not kept"
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def git_blob(path: Path) -> str:
    """Git's id of a file's content: SHA-1 of "blob <size>", a zero byte and the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _download(url: str, target: Path, label: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise InvalidInput(f"--from: expected an http(s) URL or a folder, got {url!r}")
    try:
        from pooch import HTTPDownloader
        from requests.exceptions import HTTPError, RequestException
    except ImportError as error:
        raise BackendUnavailable(
            f'models pull: expected the library of the downloads, got {error}; pip install "aunet_sdk[pull]", or copy '
            "the files by hand and use --from FOLDER"
        ) from None
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    answers: list[Any] = []  # pooch leaves one open where it fails
    hooks = {"response": lambda answer, **_: answers.append(answer)}
    download = HTTPDownloader(progressbar=False, chunk_size=1 << 18, timeout=TIMEOUT_S, hooks=hooks)
    try:
        with (
            target.open("wb") as stream,
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
        ):
            download(url, _Limited(stream, url, bar, bar.add_task(label, total=None)), None)
    except HTTPError as error:
        raise ModelError(
            f"models pull: expected {url}, but the server answered {' '.join(str(error).split())}; "
            "copy the file by hand and use --from FOLDER"
        ) from None
    except RequestException as error:
        raise ModelError(
            f"models pull: expected a connection to {url.split('/')[2]} for all of {label}, got "
            f"{' '.join(str(error).split())}; connect to the internet and try again, or copy the files by hand and use "
            "--from FOLDER"
        ) from None
    finally:
        for answer in answers:
            answer.close()


class _Limited:
    """The file that is written, up to LARGEST_BYTES, and the bar that follows it."""

    def __init__(self, stream: BinaryIO, url: str, bar: Progress, task: TaskID) -> None:
        self._stream, self._url, self._bar, self._task = stream, url, bar, task
        self._read = 0

    def write(self, block: bytes) -> None:
        self._read += len(block)
        if self._read > LARGEST_BYTES:
            raise ModelError(f"models pull: expected under {LARGEST_BYTES >> 20} MiB from {self._url}, got more")
        self._stream.write(block)
        self._bar.update(self._task, completed=self._read)

    def flush(self) -> None:
        self._stream.flush()
