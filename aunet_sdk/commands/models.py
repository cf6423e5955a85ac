"""`aunet models`: the weights that the authors of AUNet published, fetched, checked and made into bundles.

The files stay as they were published; what is fetched is checked by git's id of its content before anything reads it.
Conversion and export are parts of the checkout, not of the installed package, and run as processes of their own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .._util.paths import files_in, is_file, model_store
from ..errors import BackendUnavailable, InvalidInput, ModelError
from .exits import guard

app = typer.Typer(no_args_is_help=True, help="Models that others published: fetch, check, convert.")

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

Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]


@app.command("list")
def list_models(debug: Debug = False) -> None:
    """What is shipped, what can be pulled, and what lies in the model store."""
    with guard(debug):
        from rich.console import Console
        from rich.table import Table

        table = Table(show_edge=False, pad_edge=False)
        for column in ("model", "AUs", "trained on", "state"):
            table.add_column(column, overflow="fold")
        for row in rows():
            table.add_row(*row)
        console = Console()
        console.print(table)
        console.print(f"\nmodel store: {store()}", highlight=False, soft_wrap=True)


@app.command("pull")
def pull_command(
    name: Annotated[str, typer.Argument(help="A name of `aunet models list`.")] = "cross_model",
    source: Annotated[
        str, typer.Option("--from", metavar="URL|FOLDER", help="A mirror, or a folder with copies of the files.")
    ] = SOURCE,
    out: Annotated[Path | None, typer.Option(help="Folder for the bundle [default: the model store].")] = None,
    by_order: Annotated[
        bool, typer.Option("--by-order", help="Match the head's tensors by order instead of by name.")
    ] = False,
    download_only: Annotated[bool, typer.Option("--download-only", help="Fetch and check, do not convert.")] = False,
    debug: Debug = False,
) -> None:
    """Fetch the authors' FAN and head, check them, and make a bundle of them for --model.

    The weights are the authors' (MIT); what they were trained on has terms of its own.
    """
    with guard(debug):
        from rich.console import Console

        console = Console()
        done = pull(name, source, out, by_order=by_order, download_only=download_only)
        for path in done:
            console.print(f"[green]written[/green]  {path}", highlight=False, soft_wrap=True)
        if not download_only:
            console.print(f"use it:  aunet detect VIDEO --model {done[-1]}", highlight=False, soft_wrap=True)


def store() -> Path:
    """The user's model store, where models lie that did not come with the package."""
    return model_store()


def bundle_path(name: str, folder: Path | None = None) -> Path:
    """Where `pull` puts the bundle of a published head."""
    return (folder or store()) / f"aunet-{name}.onnx"


def rows() -> list[tuple[str, str, str, str]]:
    """Name, AUs, training data and state of the shipped bundles, of the published models and of other bundles."""
    from ..bundle import Bundle, shipped_names, shipped_path

    found: list[tuple[str, str, str, str]] = []
    for name in shipped_names():
        bundle = Bundle.load(shipped_path(name))
        found.append((name, _numbers(bundle.au_numbers), bundle.training_data, "shipped"))
    fetched = store() / "release"
    for name, head in HEADS.items():
        if is_file(bundle_path(name)):
            state = str(bundle_path(name))
        elif all(is_file(fetched / file.name) for file in (FAN, head)):
            state = f"fetched, not converted: {fetched}"
        else:
            state = f"aunet models pull {name}"
        found.append((name, _numbers(head.au_numbers), head.trained_on, state))
    known = {bundle_path(name) for name in HEADS}
    for path in files_in(store(), "*.onnx"):
        if path not in known:
            found.append((path.stem, "", "", str(path)))
    return found


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def pull(
    name: str,
    source: str = SOURCE,
    out: Path | None = None,
    *,
    by_order: bool = False,
    download_only: bool = False,
) -> list[Path]:
    """Fetch FAN and the head `name`, check them, convert and export them.

    Returns what was written: the two files with `download_only`, else the bundle.

    Raises InvalidInput (unknown name), BackendUnavailable (no checkout, or a library for the conversion is missing;
    nothing is fetched), ModelError (no connection, not there, another content than published, conversion failed).
    """
    if name not in HEADS:
        raise InvalidInput(f"model: expected one of {', '.join(HEADS)}, got {name!r}")
    root = None if download_only else checkout()
    folder = store() / "release"
    fan, head = (fetch(file, source, folder) for file in (FAN, HEADS[name]))
    if root is None:
        return [fan, head]
    return [convert(root, fan, head, HEADS[name].au_numbers, bundle_path(name, out), by_order)]


def checkout() -> Path:
    """The folder with train and export beside this package; BackendUnavailable where they or their libraries lack."""
    root = Path(__file__).resolve().parents[2]
    if not all((root / part / "__main__.py").is_file() for part in ("train", "export")):
        raise BackendUnavailable(
            "models pull: expected a checkout of aunet_sdk with the folders train and export, got the installed "
            "package alone; run this command in a checkout and copy the bundle, or fetch alone with --download-only"
        )
    missing = [
        module for module in ("torch", "safetensors", "onnx", "onnxscript", "onnxruntime") if find_spec(module) is None
    ]
    if missing:
        raise BackendUnavailable(
            f"models pull: expected the libraries of the export, got no {', '.join(missing)}; "
            f"pip install -e '{root}[train,export,cpu]', or fetch alone with --download-only"
        )
    return root


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
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    if not url.startswith(("http://", "https://")):
        raise InvalidInput(f"--from: expected an http(s) URL or a folder, got {url!r}")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        with (
            urlopen(Request(url, headers={"User-Agent": "aunet_sdk"}), timeout=TIMEOUT_S) as answer,
            target.open("wb") as stream,
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
        ):
            length = answer.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            task = bar.add_task(label, total=total)
            read = 0
            while block := answer.read(1 << 18):
                read += len(block)
                if read > LARGEST_BYTES:
                    raise ModelError(f"models pull: expected under {LARGEST_BYTES >> 20} MiB from {url}, got more")
                stream.write(block)
                bar.update(task, completed=read)
            if total is not None and read != total:
                raise ModelError(f"models pull: expected {total} bytes from {url}, got {read}; try again")
    except HTTPError as error:
        with error:
            raise ModelError(
                f"models pull: expected {url}, but the server answered {error.code} {error.reason}; "
                "copy the file by hand and use --from FOLDER"
            ) from None
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise ModelError(
            f"models pull: expected a connection to {url.split('/')[2]}, got none ({reason or 'no answer in time'}); "
            "connect to the internet, or copy the files by hand and use --from FOLDER"
        ) from None


def convert(root: Path, fan: Path, head: Path, au_numbers: Sequence[int], target: Path, by_order: bool) -> Path:
    """A stream bundle at `target` from the two files, by the checkout's `train import-release` and `export`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="aunet-models-") as work:
        options = ["--aus", ",".join(map(str, au_numbers)), *(["--by-order"] if by_order else [])]
        paths = [str(path.resolve()) for path in (fan, head)]
        _run(root, "train", "import-release", "--fan", paths[0], "--head", paths[1], "--out", work, *options)
        checkpoint = Path(work) / f"{head.name.split('.')[0]}.safetensors"
        made = ["--kind", "stream", "--head", "aunet", "--out", work, "--name", target.stem, "--limit", "2"]
        _run(root, "export", str(checkpoint), *made)
        bundles = sorted(Path(work).glob("*.onnx"))
        if len(bundles) != 1:
            raise ModelError(f"models pull: expected one bundle of the export, got {len(bundles)}")
        partial = target.with_name(target.name + ".partial")
        try:
            shutil.copyfile(bundles[0], partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return target


def _run(root: Path, module: str, *arguments: str) -> None:
    path = os.pathsep.join(part for part in (str(root), os.environ.get("PYTHONPATH", "")) if part)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ModelError(
            f"models pull: `python -m {module} {arguments[0]}` failed: {' '.join(said[-3:]) or done.returncode}"
        )
