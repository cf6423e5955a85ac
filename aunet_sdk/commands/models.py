"""`aunet models`: the weights that the authors of AUNet published, fetched, checked and made into bundles.

The files stay as they were published; what is fetched is checked by git's id of its content before anything reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .._util.paths import files_in, is_file, model_store
from ..errors import InvalidInput, ModelError
from .conversion import checkout, convert
from .exits import guard
from .release import FAN, HEADS, SOURCE, fetch
from .verify import check_hashes, check_signature, shipped_folder

app = typer.Typer(
    no_args_is_help=True, help="Models: those that others published, and whether files are as they were shipped."
)

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


@app.command("verify")
def verify_command(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="With a MANIFEST.json [default: the shipped models].")
    ] = None,
    signature: Annotated[
        Path | None, typer.Option(metavar="FILE", help="OpenSSF Model Signing, checked beside the hashes.")
    ] = None,
    public_key: Annotated[Path | None, typer.Option(metavar="FILE.pem", help="Of the one who signed.")] = None,
    debug: Debug = False,
) -> None:
    """Compare model files with their SHA-256 in MANIFEST.json, and with a signature where one is given.

    Exit code 3 where a file differs, is missing, or is not named. The hashes tell damage; who can change a file can
    change the manifest, too: only a signature, with a key from elsewhere, tells where the files come from.
    """
    with guard(debug):
        if (signature is None) != (public_key is None):
            raise InvalidInput("verify: expected --signature and --public-key together, got one of them")
        place = shipped_folder() if folder is None else folder
        checked = check_hashes(place)
        for each in checked:
            typer.echo(f"{each.name}: {each.problem or 'as in MANIFEST.json'}")
        if signature is not None and public_key is not None:
            check_signature(place, signature, public_key)
            typer.echo(f"signature: good, by the key {public_key}")
        wrong = [each.name for each in checked if each.problem]
        if wrong:
            raise ModelError(f"verify: {', '.join(wrong)} in {place}: not as shipped; install or copy them again")


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
