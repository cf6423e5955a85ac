"""torch module -> ONNX ModelProto with the bundle's metadata. Opset 18, dynamic batch, queries and ring rows."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch

import aunet_sdk
from aunet_sdk.bundle import KEY, MANIFEST, Bundle, default_path, sha256_of
from train.models.model import Model

from .fp16 import store_fp16
from .fuse import Clip, Stream, has_intensity, has_reference, query_roles, state_specs

__all__ = ["OPSET", "build", "describe", "save", "ship", "stamp"]

PRECISIONS = (("fp32", "fp32"), ("fp16", "fp32"), ("fp16", "fp16"), ("int8", "int8"), ("int8", "int8-symmetric"))
"""(precision, arithmetic) of a bundle: single, FP16 storage, half, INT8 for CPUs and for TensorRT."""
OPSET = 18  # ONNX Runtime from 1.14 and TensorRT from 8.6 on


def describe(
    model: Model,
    *,
    kind: str,
    head: str,
    precision: str = "fp32",
    arithmetic: str = "fp32",
    state_dtype: str | None = None,
    name: str = "aunet",
    checkpoint_sha256: str = "",
    training_data: str | None = None,
    licence: str | None = None,
) -> Bundle:
    """The metadata of an export.

    state_dtype: None is float16 where the arithmetic is fp16, else float32
    training_data, licence: None takes them from the configuration's provenance

    Raises ValueError where the model's configuration lacks what a bundle must say.
    """
    if (precision, arithmetic) not in PRECISIONS:
        raise ValueError(f"precision, arithmetic: expected one of {PRECISIONS}, got {(precision, arithmetic)}")
    state_dtype = state_dtype or ("float16" if arithmetic == "fp16" else "float32")
    config = model.config
    if len(config.points3d) != 68:
        raise ValueError(
            "points3d: expected 68 points (x, y, z) in the model's configuration, got none; put them there in training"
        )
    provenance = config.provenance
    stamp = os.environ.get("SOURCE_DATE_EPOCH")
    now = (
        datetime.datetime.fromtimestamp(int(stamp), datetime.timezone.utc)
        if stamp
        else datetime.datetime.now(datetime.timezone.utc)
    )
    return Bundle(
        kind=kind,
        name=name,
        au_numbers=config.aus_of(head),
        thresholds=config.thresholds_of(head),
        interval_s=config.interval_s,
        width=config.width,
        resolution=config.resolution,
        precision=precision,
        arithmetic=arithmetic,
        head=head,
        crop_scale=config.crop_scale,
        template=np.array(config.template),
        points3d=np.array(config.points3d),
        min_confidence=config.min_confidence,
        state=state_specs(model, head, state_dtype) if kind == "stream" else (),
        reference=has_reference(model, head),
        intensity=has_intensity(model, head),
        producer=f"aunet_sdk {aunet_sdk.__version__}, torch {torch.__version__}",
        training_data=str(provenance.get("training_data", "")) if training_data is None else training_data,
        licence=str(provenance.get("licence", "")) if licence is None else licence,
        created=now.date().isoformat(),
        checkpoint_sha256=checkpoint_sha256,
    )


def build(model: Model, bundle: Bundle) -> onnx.ModelProto:
    """The graph that `bundle` describes, checked by onnx.checker; for int8 the FP32 one that quantise.py starts from.

    Raises ValueError where FP16 cannot hold a weight.
    """
    resolution = bundle.resolution
    compute = "float16" if bundle.arithmetic == "fp16" else "float32"
    if bundle.kind == "clip":
        clip = Clip(model, bundle.head, compute)
        crops = torch.rand(2, 3, 3, resolution, resolution)
        if bundle.reference:
            proto = _export(clip, (crops, torch.rand(2, 68, 2)), ({0: "batch"}, {0: "batch"}))
        else:
            proto = _export(clip, (crops,), ({0: "batch"},))
    else:
        stream = Stream(model, bundle.head, bundle.state[0].dtype, compute)
        indices = [torch.zeros(3, dtype=torch.int64) for _ in query_roles(bundle.state)]
        rings = [torch.rand(5 + i, *s.shape).to(getattr(torch, s.dtype)) for i, s in enumerate(bundle.state)]
        rows = [{0: f"rows_{s.name}"} for s in bundle.state]
        given = (torch.rand(2, 3, resolution, resolution), indices, rings)
        free = ({0: "batch"}, [{0: "queries"} for _ in indices], rows)
        if bundle.reference:
            proto = _export(stream, (*given, torch.rand(3, 68, 2)), (*free, {0: "queries"}))
        else:
            proto = _export(stream, given, free)
    if bundle.precision == "fp16" and bundle.arithmetic == "fp32":
        store_fp16(proto)
    stamp(proto, bundle)
    return proto


def stamp(proto: onnx.ModelProto, bundle: Bundle) -> None:
    """Put the bundle's metadata into `proto`, in place of any other, and check the whole."""
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {KEY: bundle.to_json()})
    proto.producer_name, proto.producer_version = "aunet_sdk", aunet_sdk.__version__
    onnx.checker.check_model(proto, full_check=True)


def save(proto: onnx.ModelProto, path: str | Path) -> Path:
    """Write the file; it appears under its name only when it is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(proto.SerializeToString())
    partial.replace(path)
    return path


def _export(module: Clip | Stream, args: tuple[object, ...], dynamic: tuple[object, ...]) -> onnx.ModelProto:
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            module.eval(),
            args,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(module.inputs),
            output_names=list(module.outputs),
            dynamic_shapes=dynamic,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    del proto.graph.value_info[:]
    proto.graph.doc_string = ""
    del proto.graph.metadata_props[:]
    for node in proto.graph.node:  # stack traces of the machine that exported
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    return proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about itself (optional torchvision, deprecations inside torch) from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def ship(path: str | Path, models: str | Path | None = None, name: str = "default") -> Path:
    """Make a `stream` bundle one of the package's models: NAME.onnx and its entry in MANIFEST.json in `models`.

    Returns where it lies. Raises ValueError for a `clip` bundle, ModelError for what is no bundle.
    """
    source = Path(path)
    bundle = Bundle.load(source)
    if bundle.kind != "stream":
        raise ValueError(
            f"{source.name}: expected a stream bundle to ship, got a {bundle.kind} bundle; export it with --kind stream"
        )
    target = (default_path().parent if models is None else Path(models)) / f"{name}.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    entry = {
        "sha256": sha256_of(target),
        "bytes": target.stat().st_size,
        "name": bundle.name,
        "created": bundle.created,
    }
    manifest = target.parent / MANIFEST
    files = json.loads(manifest.read_text(encoding="utf-8"))["files"] if manifest.is_file() else {}
    kept = {file: other for file, other in files.items() if (target.parent / file).is_file()}
    manifest.write_text(json.dumps({"files": {**kept, target.name: entry}}, indent=2) + "\n", encoding="utf-8")
    return target
