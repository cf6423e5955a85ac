"""Commands around models: `python -m train vae | import | import-release | complexity`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from train.models.variants import Cost

FanFile = Annotated[
    Path, typer.Option("--fan", help="FAN's file: .pth, .pth.tar or .safetensors (docs/weights.md lists what fits).")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the training's app."""
    app.command("vae")(vae)
    app.command("import")(import_fan)
    app.command("import-release")(import_release)
    app.command("complexity")(complexity)


def vae(
    out: Annotated[Path, typer.Option(help="File to write (.safetensors).")],
    labels: Annotated[
        Path | None, typer.Option(help="Labels: .npz with `labels` (N, n) 0/1/NaN and `au_numbers` (n,).")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Instead of --labels: folder of the synthetic set.")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Instead of --labels: folder of the --corpus, in its published layout.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="bp4d, disfa or affwild2: the paper's latent dimension for it (8, 6, 5).")
    ] = None,
    fold: Annotated[int, typer.Option(help="With --root: the labels of this fold's training part.")] = 0,
    lists: Annotated[str, typer.Option(help="With --root: folder of the fold lists; empty: searched.")] = "",
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="With --root: leave out what a fold list names and the copy lacks.")
    ] = False,
    latent: Annotated[int | None, typer.Option(help="Latent dimension [default: the corpus's, else 8].")] = None,
    hidden: Annotated[int | None, typer.Option(help="Hidden units [default: the latent dimension].")] = None,
    kl_weight: Annotated[float, typer.Option("--lambda", help="Weight of the KL divergence: .1, .2 or .3.")] = 0.1,
    noise: Annotated[float, typer.Option(help="Half width of the uniform noise on the labels.")] = 0.2,
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 100,
    batch: Annotated[int, typer.Option(help="Rows per step.")] = 128,
    lr: Annotated[float, typer.Option(help="Adam's learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Seed.")] = 1,
) -> None:
    """Train the VAE of one data set's labels (equation 2)."""
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from train.models.label_vae import LATENT, VAEOptions
    from train.paper.label_vaes import train_vae

    if corpus is not None and corpus not in LATENT:
        raise ValueError(f"corpus: expected one of {', '.join(LATENT)}, got {corpus!r}; give --latent instead")
    if root is not None and corpus is None:
        raise ValueError("corpus: expected --corpus bp4d, disfa or affwild2 with --root, got none")
    if [labels, data, root].count(None) != 2:
        raise ValueError("labels, data, root: expected one of --labels, --data and --root")
    if root is not None and corpus is not None:
        table, au_numbers = _corpus_labels(corpus, root, fold, lists, skip_missing)
    else:
        table, au_numbers = _labels(labels, data)
    chosen = latent if latent is not None else LATENT[corpus] if corpus else 8
    options = VAEOptions(chosen, hidden, kl_weight, noise, lr, epochs, batch, seed)
    missing = int(np.isnan(table).any(1).sum())
    console = Console(stderr=True)
    last: dict[str, float] = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("vae", total=epochs)

        def told(epoch: int, means: dict[str, float]) -> None:
            last.update(means)
            bar.update(task, completed=epoch, description=f"vae: loss {means['loss']:.3f}")

        trained = train_vae(table, options, au_numbers, told)
    if corpus is not None:
        trained.provenance["corpus"] = corpus
    if root is not None:
        trained.provenance["fold"] = fold
    out.parent.mkdir(parents=True, exist_ok=True)
    trained.save(out)
    left_out = f", {missing} with a missing label left out" if missing else ""
    typer.echo(
        f"{out}: {len(table)} rows{left_out}, {len(au_numbers)} AUs, latent {chosen}; "
        f"last epoch: bce {last['bce']:.3f}, kl {last['kl']:.3f}"
    )


def _corpus_labels(name: str, root: Path, fold: int, lists: str, skip: bool) -> tuple[Any, tuple[int, ...]]:
    """Labels (N, n) float32 of a training part, and the AUs that it labels."""
    import logging

    from train.data.corpora.registry import lists_of, open_corpus, training_labels

    corpus = open_corpus(name, root, lists_of(lists, name))
    table, numbers = training_labels(corpus, fold or None, skip)
    for text in (*corpus.lacking(), *corpus.notes):
        logging.getLogger("train").warning("%s", text)
    return table, numbers


def _labels(labels: Path | None, data: Path | None) -> tuple[Any, tuple[int, ...]]:
    """(N, n) float32 and the AUs."""
    import numpy as np

    if data is not None:
        from train.data.sequences import load_split

        sequences = load_split(str(data), "train")
        rows = sequences.labels.reshape(-1, sequences.labels.shape[-1])
        some = np.atleast_1d(~np.isnan(rows).all(0))  # an AU that the set never labels would leave no row
        return rows[:, some], tuple(n for n, keep in zip(sequences.info.au_numbers, some, strict=True) if keep)
    assert labels is not None
    if not labels.is_file():
        raise FileNotFoundError(f"labels: expected an .npz file at {labels}, found none; check the path")
    with np.load(labels, allow_pickle=False) as file:
        if not {"labels", "au_numbers"} <= set(file.files):
            raise ValueError(f"labels: expected the arrays labels and au_numbers in {labels}, got {file.files}")
        table, numbers = file["labels"].astype(np.float32), tuple(int(n) for n in file["au_numbers"])
    if table.ndim != 2 or table.shape[1] != len(numbers):
        raise ValueError(f"labels: expected (N, {len(numbers)}) in {labels}, got {table.shape}")
    return table, numbers


def import_fan(
    fan: FanFile,
    out: Annotated[Path, typer.Option(help="Model file to write (.safetensors).")],
    resolution: Annotated[int, typer.Option(help="Side of the crop in px.")] = 256,
) -> None:
    """FAN of the authors' release (2dfan2) or of face-alignment (2DFAN-4, its first two stacks) as a model of ours,
    whose heads are still to be trained."""
    from train.models.pretrained import compare_published, fan_model, load_fan

    network, pooling = load_fan(fan)
    provenance = {"imported": compare_published(fan, "fan" if pooling == "max" else "")}
    out.parent.mkdir(parents=True, exist_ok=True)
    fan_model(network, pooling, provenance, resolution).save(out)
    typer.echo(
        f"{out}: FAN of width {network.width}, {pooling} pooling; next: "
        f"`python -m train run EXPERIMENT --fan {out}` trains the paper's heads on it"
    )


def import_release(
    fan: FanFile,
    head: Annotated[Path, typer.Option(help="A head checkpoint of the release (cross_model, bp4d_split1, ...).")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    aus: Annotated[
        str | None,
        typer.Option(metavar="1,2,4,...", help="FACS numbers of the head's outputs in order [default: ascending]."),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Weight of the static features.")] = 0.9,
    beta: Annotated[float, typer.Option(help="Weight of the motion features.")] = 0.1,
    by_order: Annotated[
        bool, typer.Option("--by-order", help="Match the head's tensors by order, as the authors' script does.")
    ] = False,
) -> None:
    """AUNet from the authors' two files; OUT/HEAD.safetensors, which `python -m export ... --head aunet` takes."""
    from train.models.pretrained import compare_published, default_aus, from_release
    from train.models.tensor_file import read_state

    head_state = read_state(head)
    numbers = _numbers(aus) if aus is not None else default_aus(head_state)
    provenance = {
        "imported": {
            "fan": compare_published(fan, "fan"),
            "head": compare_published(head, "head"),
            "au_order": list(numbers),
        },
        "training_data": "weights of the authors' release of AUNet: BP4D, DISFA, AffWild2, as its file says",
        "licence": "MIT (the authors' release); the terms of the data sets apply to what was trained on them",
    }
    model = from_release(read_state(fan), head_state, numbers, alpha, beta, by_order=by_order, provenance=provenance)
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{head.name.split('.')[0]}.safetensors"
    model.save(target)
    typer.echo(
        f"{target}: AUNet of width {model.config.width}, AUs {', '.join(map(str, model.config.au_numbers))}; next: "
        f"`python -m export {target} --head aunet --out {out}`"
    )


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part.strip().upper().removeprefix("AU")) for part in text.split(","))
    except ValueError:
        raise ValueError(f"aus: expected FACS numbers like 1,2,4, got {text!r}") from None


def _aunet_with_fan(rows: list[Cost]) -> Cost:
    """The whole AUNet for one decision; the paper's figures are the sums of the two that it prints."""
    from train.models.variants import Cost

    fan, head = (next(row for row in rows if row.part == part) for part in ("FAN, frozen", "head of AU-TDN, AUNet"))
    return Cost(
        "AUNet with FAN",
        fan.parameters + head.parameters,
        fan.multiply_adds + head.multiply_adds,
        (fan.paper_parameters or 0) + (head.paper_parameters or 0),
        (fan.paper_multiply_adds or 0) + (head.paper_multiply_adds or 0),
        "FAN of one frame: the features of the neighbours are kept",
    )


def complexity(
    n_aus: Annotated[int, typer.Option("--n-aus", help="AUs.")] = 15,
    width: Annotated[int, typer.Option(help="Channels of FAN and heads.")] = 256,
    resolution: Annotated[int, typer.Option(help="Side of the crop in px.")] = 256,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the numbers.")] = None,
) -> None:
    """Parameters and multiply-adds of every variant beside the paper's, which also cites two others (section V-F, Table
    XI)."""
    import dataclasses

    from rich.console import Console
    from rich.table import Table

    from train.models.variants import costs
    from train.paper.published import COMPLEXITY

    rows = costs(n_aus, width, resolution)
    rows.append(_aunet_with_fan(rows))
    paper = width == 256 and resolution == 256
    table = Table(title=f"width {width}, crop {resolution} px, {n_aus} AUs")
    table.add_column("part", no_wrap=True)
    for name in ("parameters", "paper", "mult-adds", "paper"):
        table.add_column(name, justify="right", no_wrap=True)

    def scaled(value: float | None, by: float, unit: str) -> str:
        return "-" if value is None or not paper else f"{value / by:.2f} {unit}"

    for row in rows:
        table.add_row(
            row.part,
            f"{row.parameters / 1e6:.2f} M" if row.parameters >= 1e4 else str(row.parameters),
            scaled(row.paper_parameters, 1e6, "M"),
            f"{row.multiply_adds / 1e9:.2f} G" if row.multiply_adds >= 1e7 else str(row.multiply_adds),
            scaled(row.paper_multiply_adds, 1e9, "G"),
        )
    if paper:
        for name, parameters, multiply_adds in COMPLEXITY:
            table.add_row(f"{name}, cited", "-", f"{parameters / 1e6:.2f} M", "-", f"{multiply_adds / 1e9:.2f} G")
    console = Console()
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.part}: {row.note}", highlight=False)
    if json_file is not None:
        json_file.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
