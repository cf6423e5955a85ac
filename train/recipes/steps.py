"""The last steps of an embedded model, which write files: it is measured, calibrated, fused."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path


def evaluate(
    model: str,
    data: str,
    split: str = "test",
    json_file: Path | None = None,
    frames: int = 0,
    ablation: bool = False,
    page: Path | None = None,
    source: Path | None = None,
    agreement: Path | None = None,
    threads: int = 2,
) -> None:
    """Measure a model, or the network of a run of the paper, on one split: per AU, head, context, group; thresholds are
    those in the model's file."""
    import torch

    from train.data.sequences import load_split
    from train.evaluation.report import show
    from train.evaluation.sequences import evenly, report_of

    torch.set_num_threads(threads)
    sequences = load_split(data, split)
    sequences = evenly(sequences, frames) if frames else sequences
    report = {
        "model": model,
        "split": split,
        **report_of(model, sequences),
    }
    if ablation:
        from train.models.checkpoint import load_model
        from train.models.extended import without_extra
        from train.recipes import fusion

        report["paths"] = fusion.ablation(without_extra(load_model(model)), sequences)
    show(report)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if page is not None:
        from train.models.checkpoint import load_model
        from train.recipes.page import write_page

        write_page(load_model(model), sequences, page, source, agreement)


def calibrate(model: str, data: str, out: Path | None = None, half: bool = False, threads: int = 2) -> None:
    """Calibrate the heads (.5 decides afterwards) and min_confidence on the validation split; writes a model file."""
    import torch

    from train.data.sequences import load_split
    from train.engine.loop import MODEL
    from train.evaluation.sequences import calibrate as run
    from train.models.checkpoint import load_model

    torch.set_num_threads(threads)
    place = Path(model)
    target = out or (place / MODEL if place.is_dir() else place)
    trained = load_model(model)
    calibrated = run(trained, load_split(data, "val").of(trained.config.au_numbers))
    command = f"python -m train calibrate --model {model} --data {data}{' --half' if half else ''} --out {target}"
    calibrated.config.provenance["calibration"] = {"command": command, "split": "val"}
    calibrated.save(target, torch.float16 if half else torch.float32)
    logging.getLogger("train").info(
        "%s: %s, min_confidence %s", target, calibrated.config.thresholds, calibrated.config.min_confidence
    )


def fuse(
    model: str,
    data: str,
    source: Path,
    out: Path,
    geometry: Path | None = None,
    where_known: bool = False,
    half: bool = False,
    threads: int = 2,
) -> None:
    """Weigh the appearance and the geometry path of the points head for each AU, on the validation split and, without
    --where-known, on pictures that no training saw; .5 decides afterwards. Writes a model file."""
    import numpy as np
    import torch

    from train.data.sequences import load_split
    from train.models.checkpoint import load_model
    from train.recipes import fusion
    from train.recipes.evidence import pictured_evidence, rendered_evidence
    from train.recipes.two_paths import with_intensity, with_path_of

    torch.set_num_threads(threads)
    validation, trained = load_split(data, "val"), load_model(model)
    if trained.config.extra:
        raise ValueError(
            f"model: expected one without a part for more AUs, got one for {trained.config.extra}; the recipe adds it "
            "after the fusion"
        )
    if where_known:
        trained = with_intensity(trained)
    if geometry is not None:
        trained = with_path_of(trained, load_model(str(geometry)))
    numbers = trained.config.aus_of("points")
    evidence = [rendered_evidence(trained, validation.of(numbers))]
    if len(evidence[0][1].labels) == 0:
        raise ValueError(f"data: expected a set that tells how faces look at rest, {data} does not; make it anew")
    if not where_known:
        evidence.append(pictured_evidence(trained, source, set(validation.info.splits["val"])))
    unknown, known = ([*pair] for pair in zip(*evidence, strict=True))
    if where_known:
        presence = fusion.fit_where_known(known, numbers)
    else:
        presence = fusion.fit(unknown, numbers), fusion.fit(known, numbers)
    intensity = fusion.fit_intensity(unknown, numbers), fusion.fit_intensity(known, numbers)
    before = trained.config.provenance
    fused = fusion.apply(trained, presence, intensity, fusion.WHERE_KNOWN.only if where_known else None)
    more = f"{f' --geometry {geometry}' if geometry else ''}{' --where-known' if where_known else ''}"
    command = (
        f"python -m train fuse --model {model} --data {data} --source {source}{more}"
        f"{' --half' if half else ''} --out {out}"
    )
    table = {
        state: {name: np.round(getattr(one, name), 4).tolist() for name in ("appearance", "geometry", "shift")}
        for state, one in zip(("without", "with"), presence, strict=True)
    }
    fused.config = dataclasses.replace(
        fused.config, provenance={**before, "fusion": {"command": command, "split": "val", **table}}
    )
    fused.save(out, torch.float16 if half else torch.float32)
    for state, columns in table.items():
        for number, a, b, c in zip(numbers, *columns.values(), strict=True):
            told = (number, state, a, b, c)
            logging.getLogger("train").info(
                "AU%d %s the face at rest: %.2f of appearance, %.2f of geometry, shift %.2f", *told
            )
