"""`python -m train predict | score | tables | figures`: what finished runs say, beside the paper's figures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

RunsArgument = Annotated[list[Path], typer.Argument(help="Run folders, folders of run folders, or predictions.npz.")]
ListsOption = Annotated[
    str, typer.Option("--lists", help="Folder of the fold lists, or of a folder per data set; empty: searched.")
]
AdjacencyOption = Annotated[
    str, typer.Option("--adjacency", help="Matrices of Table X: decisions, conditional or probabilities.")
]
EpochOption = Annotated[
    str, typer.Option("--epoch", help="last, or best: of each run the epoch that is best on the test part (release).")
]
FlipOption = Annotated[bool, typer.Option("--flip", help="Average each crop with its mirror image.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application of `python -m train`."""
    app.command("predict")(predict)
    app.command("import-predictions")(import_predictions)
    app.command("score")(score)
    app.command("tables")(tables)
    app.command("figures")(figures)


def predict(
    model: Annotated[str, typer.Option("--model", help="Model file or run folder.")],
    data: Annotated[str, typer.Option("--data", help="Folder of the synthetic set, or of prepared data sets.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions.npz.")],
    corpus: Annotated[str, typer.Option(help="bp4d, disfa or affwild2 under --data; empty: the synthetic set.")] = "",
    lists: ListsOption = "",
    fold: Annotated[int, typer.Option(help="Test part of this fold.")] = 0,
    split: Annotated[str, typer.Option(help="Of the synthetic set: train, val or test.")] = "test",
    frames: Annotated[int, typer.Option(min=0, help="About this many frames, evenly spaced; 0: all.")] = 0,
    mirrored: Annotated[bool, typer.Option("--flip/--no-flip", help="Also for the mirrored crops.")] = True,
    train_set: Annotated[str, typer.Option(help="What the model was trained on; empty: the set it is tested on.")] = "",
    seed: Annotated[int, typer.Option(help="Of the model's training, to tell repetitions apart.")] = 0,
    preset: Annotated[
        str,
        typer.Option(
            help="release: T, neighbours and flip averaging as the authors' test has them; for their weights."
        ),
    ] = "paper",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, fp16 (autocast), or auto: bf16 on a GPU that has it.")
    ] = "fp32",
    batch: Annotated[int, typer.Option(min=1, help="Triplets per pass.")] = 16,
    workers: Annotated[int, typer.Option(min=1, help="Threads that prepare crops.")] = 2,
    threads: Annotated[int, typer.Option(help="Threads of the computation.")] = 2,
) -> None:
    """Write what a model says about a test part: for models without a run of their own, such as imported ones.

    With the authors' weights and --preset release it tells errors of the data (boxes, folds, labels) from errors of the
    training: their F1 on BP4D is 65.0, with flip averaging.
    """
    import torch

    from train.configs.presets import preset_values
    from train.engine.loop import pick_device
    from train.engine.step import PRECISIONS, pick_dtype
    from train.evaluation.inference import predictions_of
    from train.paper.activations import Interval, open_subject
    from train.paper.figure_run import open_data
    from train.paper.parts import evenly

    if precision not in ("auto", *PRECISIONS):
        raise ValueError(f"precision: expected auto, {', '.join(PRECISIONS)}, got {precision!r}")
    torch.set_num_threads(threads)
    values = preset_values(preset)
    subject, where = open_subject(model), pick_device(device)
    interval = Interval(frames=values["interval_frames"]) if "interval_frames" in values else subject.interval
    listed = values.get("neighbours") == "list"
    found = open_data(data, subject.resolution, corpus, fold, split, interval, lists, listed)
    said = predictions_of(
        subject.network, subject.au_numbers, evenly(found, frames), flip=mirrored, device=where,
        dtype=pick_dtype(precision, where), batch=batch, workers=workers,
    )  # fmt: skip
    extra = {"preset": preset, "flip_average": values.get("flip_average", "probabilities")}
    extra |= {"train_corpus": train_set} if train_set else {}
    said = dataclasses.replace(said, variant=subject.network.variant, fold=fold, seed=seed, extra=extra)
    out.mkdir(parents=True, exist_ok=True)
    typer.echo(f"{said.save(out)}: {len(said)} frames, {', '.join(f'AU{n}' for n in said.au_numbers)}")


def import_predictions(
    corpus: Annotated[str, typer.Option(help="bp4d, disfa or affwild2.")],
    root: Annotated[Path, typer.Option(help="Folder of the data set.")],
    frames: Annotated[Path, typer.Option(help="Text file: a frame a line, F001/T1/2440.jpg.")],
    probabilities: Annotated[Path, typer.Option(help="Text file: as many lines, a number in [0, 1] per AU.")],
    aus: Annotated[str, typer.Option(metavar="1,2,4,...", help="FACS numbers of the columns, in their order.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions.npz.")],
    variant: Annotated[str, typer.Option(help="Name of the method in the tables.")] = "jaanet",
    lists: ListsOption = "",
    fold: Annotated[int, typer.Option(help="Whose test part it is; 0: none.")] = 0,
    train_set: Annotated[str, typer.Option(help="What it was trained on; empty: the set it is tested on.")] = "",
) -> None:
    """Read what another method said about frames of a data set, JÄANet for one, for `score` and `tables`."""
    from train.cli.models import _numbers
    from train.data.corpora.registry import lists_of, open_corpus
    from train.evaluation.outside import outside_predictions

    opened = open_corpus(corpus, root, lists_of(lists, corpus))
    said = outside_predictions(opened, frames, probabilities, _numbers(aus), variant, fold, train_set)
    out.mkdir(parents=True, exist_ok=True)
    typer.echo(f"{said.save(out)}: {len(said)} frames, {', '.join(f'AU{n}' for n in said.au_numbers)}")


def score(
    runs: RunsArgument,
    flip: FlipOption = False,
    adjacency: AdjacencyOption = "decisions",
    epoch: EpochOption = "last",
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the whole report.")] = None,
) -> None:
    """Measure runs: F1 per AU at .5, its spread over folds and seeds, AUC, F1-micro, calibrated F1, dependencies."""
    import numpy as np
    from rich.markup import escape
    from rich.table import Table

    from train.evaluation import dependency, protocol

    report = []
    console = _console()
    for group, members in sorted(
        protocol.groups(protocol.read_runs(runs, epoch)).items(), key=lambda item: str(item[0])
    ):
        summary = protocol.summarise(members, flip)
        table = Table(title=escape(str(group)) + (", flip averaging" if flip else ""), title_justify="left")
        for name in ("AU", "F1", "± seeds", "AUC", "F1 calibrated"):
            table.add_column(name, justify="left" if name == "AU" else "right")
        for i, au in enumerate(summary.au_numbers):
            columns = (summary.f1, summary.f1_seed_spread, summary.auc, summary.f1_calibrated)
            table.add_row(
                f"AU{au}", *(_share(float(column[i])) for column in columns), end_section=i == len(columns[0]) - 1
            )
        means = [_share(protocol.nanmean(column)) for column in (summary.auc, summary.f1_calibrated)]
        table.add_row("Avg", _share(summary.average), _share(summary.seed_spread), *means)
        console.print(table)
        console.print(
            f"F1 of all folds pooled {_share(protocol.nanmean(summary.f1_pooled))}  "
            f"F1-micro {_share(summary.f1_micro)}  ± over folds {_share(summary.fold_spread)}  "
            f"{summary.frames} frames, folds {_names(summary.folds)}, seeds {_names(summary.seeds)}"
        )
        pairs = [dependency.both(run, flip, adjacency) for run in members]
        l2, f1 = (protocol.nanmean(np.array(values)) for values in zip(*pairs, strict=True))
        console.print(
            f"dependencies: L2 distance of the matrices of {adjacency} {l2:.3f}, dependency F1 {_share(f1)}\n"
        )
        rest = {"adjacency": adjacency, "adjacency_l2": l2, "dependency_f1": f1, **dataclasses.asdict(summary)}
        report.append({"group": dataclasses.asdict(group), "flip": flip, **_plain(rest)})
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def tables(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders or predictions.npz; none: the paper's figures alone.")
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="III to XIV; may be repeated. All if left out.")
    ] = None,
    data_set: Annotated[
        str | None, typer.Option("--data-set", help="Runs on this set stand in for the table's own, e.g. synthetic.")
    ] = None,
    flip: FlipOption = False,
    adjacency: AdjacencyOption = "decisions",
    epoch: EpochOption = "last",
    preset: Annotated[str | None, typer.Option(help="paper or release, where there are runs of both.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Folder for table_III.csv and so on.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="File for all of them as Markdown.")] = None,
) -> None:
    """Print Tables III-XIV: the paper's figures beside those of the runs, a dash where no run has one."""
    from train.evaluation import protocol
    from train.paper import published as paper
    from train.paper import table as written
    from train.paper import tables as made

    loaded = protocol.read_runs(runs or [], epoch)
    built = [made.build(number, loaded, data_set, flip, adjacency, preset) for number in (table or paper.NUMBERS)]
    console = _console()
    for one in built:
        console.print(written.to_rich(one))
        console.print()
        if csv is not None:
            written.write_csv(one, csv)
    if markdown is not None:
        markdown.write_text("\n".join(written.to_markdown(one) for one in built), encoding="utf-8")


def figures(
    model: Annotated[list[str], typer.Option("--model", help="Model file or run folder; NAME=PATH; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    data: Annotated[
        str, typer.Option("--data", help="Folder of the synthetic set, or of prepared data sets; empty: the clip.")
    ] = "",
    figure: Annotated[list[int] | None, typer.Option("--figure", help="6, 8, 9, 10; may be repeated.")] = None,
    split: Annotated[str, typer.Option(help="Of the synthetic set: train, val or test.")] = "test",
    corpus: Annotated[str, typer.Option(help="bp4d, disfa or affwild2 under --data; empty: the synthetic set.")] = "",
    lists: ListsOption = "",
    fold: Annotated[int, typer.Option(help="Test part of this fold.")] = 0,
    faces: Annotated[int, typer.Option(min=1, help="Faces in figure 6.")] = 4,
    au: Annotated[list[int] | None, typer.Option("--au", help="AUs in figure 9; may be repeated.")] = None,
    frames: Annotated[int, typer.Option(min=0, help="Frames for figure 8 without predictions.npz; 0: all.")] = 1500,
    video: Annotated[str, typer.Option(help="Video (synthetic set: identity) of figure 10.")] = "",
    clip: Annotated[
        str, typer.Option(help="Video file with a known --track: for figure 10, and without --data for all.")
    ] = "",
    track: Annotated[str, typer.Option(help="Its known course of AUs (CSV).")] = "",
    format_: Annotated[str, typer.Option("--format", help="png, svg or pdf.")] = "png",
    seed: Annotated[int, typer.Option(help="Seed of the choice of faces.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads of the computation.")] = 2,
) -> None:
    """Draw figure 6 (feature maps), 8 (adjacency and linkage), 9 (static and dynamic maps), 10 (timelines)."""
    import torch

    from train.paper.figure_run import FIGURES, FigureOptions, draw

    torch.set_num_threads(threads)
    options = FigureOptions(
        models=tuple(model),
        data=data,
        out=out,
        numbers=tuple(figure or FIGURES),
        split=split,
        corpus=corpus,
        lists=lists,
        fold=fold,
        faces=faces,
        aus=tuple(au) if au else FigureOptions.aus,
        frames=frames,
        video=video,
        clip=clip,
        track=track,
        format=format_,
        seed=seed,
    )
    for path in draw(options):
        typer.echo(str(path))


def _console() -> Any:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=200)


def _share(value: float) -> str:
    from train.paper.table import percent

    return percent(value)


def _names(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """NumPy arrays as lists, NaN as None."""
    import numpy as np

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray | list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, float | np.floating):
            return None if np.isnan(value) else float(value)
        return int(value) if isinstance(value, np.integer) else value

    return {name: plain(value) for name, value in values.items()}
