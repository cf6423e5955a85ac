"""A model repository for NVIDIA's Triton Inference Server, out of bundles.

    REPOSITORY/aunet_stream/   a stream bundle in Triton's python backend: aunet_sdk keeps the states of every sequence
    REPOSITORY/aunet_clip/     a clip bundle in Triton's onnxruntime backend, with dynamic batching; its configuration
                               `tensorrt` is for a plan in the place of the ONNX file

`aunet_stream` was run; `aunet_clip` was not: the server that can be had here carries neither of its backends.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.triton import wire
from aunet_sdk.errors import InvalidInput

__all__ = ["CLIP", "write_clip", "write_stream"]

CLIP = "aunet_clip"
_MODEL = '''"""Steps of streams. The environment of Triton's python backend needs aunet_sdk with the extra `cpu`."""

from aunet_sdk.engines.triton.backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def write_stream(
    repository: Path,
    bundle: Bundle,
    *,
    engine: str = "onnxruntime",
    threads: int = 1,
    max_faces: int = 8,
    idle_s: float = 60.0,
    batch: int = 1,
) -> Path:
    """Write aunet_stream; returns its folder, which is replaced where it is one of ours.

    engine, threads, max_faces: as in DetectorOptions, for the engine in the server; idle_s: a stream that is silent for
    so long is given up; batch: steps of so many streams run as one, for a GPU. Raises InvalidInput for a bundle of
    another kind, or a folder that has something else in it.
    """  # fmt: skip
    folder, file = _begin(repository, wire.MODEL, bundle, "stream")
    shutil.copyfile(file, folder / "1" / "bundle.onnx")
    (folder / "1" / "model.py").write_text(_MODEL, encoding="utf-8")
    sizes = {"resolution": bundle.resolution, "heatmap": bundle.resolution // 4, "answers": bundle.answers}
    parts = [f'name: "{wire.MODEL}"', 'backend: "python"', f"max_batch_size: {batch}"]
    parts += [
        _tensor("input", name, *kind, sizes, optional=True, ragged=batch > 1) for name, kind in wire.INPUTS.items()
    ]
    parts += [
        _tensor("output", name, *kind, sizes, labels=name in ("LOGITS", "CAUSAL_LOGITS"))
        for name, kind in wire.OUTPUTS.items()
    ]
    parts.append(_SEQUENCES.format(idle_us=round(idle_s * 1e6)))
    parts.append("instance_group [ { count: 1, kind: KIND_CPU } ]")
    given = {"bundle": "bundle.onnx", "engine": engine, "threads": threads, "max_faces": max_faces, "idle_s": idle_s}
    parts += [_parameter(name, str(value)) for name, value in given.items()]
    parts.append(_parameter(wire.PARAMETER, _short(bundle)))
    _end(folder, bundle, parts)
    return folder


def write_clip(repository: Path, bundle: Bundle, *, max_batch: int = 16) -> Path:
    """Write aunet_clip: crops (3, 3, R, R) in, heatmaps and logits out, a batch of several requests at once. Returns
    its folder, which is replaced where it is one of ours. Raises InvalidInput as `write_stream`."""
    folder, file = _begin(repository, CLIP, bundle, "clip")
    shutil.copyfile(file, folder / "1" / "model.onnx")
    side = bundle.resolution
    sizes = {"resolution": side, "heatmap": side // 4, "answers": bundle.answers}
    inputs: dict[str, wire.Kind] = {"crops": ("FP32", (3, 3, "resolution", "resolution"))}
    if bundle.reference:
        inputs["reference"] = ("FP32", (68, 2))
    outputs: dict[str, wire.Kind] = {
        "heatmaps": ("FP32", (68, "heatmap", "heatmap")),
        "logits": ("FP32", ("answers",)),
    }
    parts = [f"max_batch_size: {max_batch}"]
    parts += [_tensor("input", name, *kind, sizes) for name, kind in inputs.items()]
    parts += [_tensor("output", name, *kind, sizes, labels=name == "logits") for name, kind in outputs.items()]
    parts.append("dynamic_batching { max_queue_delay_microseconds: 2000 }")
    parts.append(_warm_up(inputs, sizes))
    parts.append(_parameter(wire.PARAMETER, _short(bundle)))
    tensorrt = [f'name: "{CLIP}"', 'platform: "tensorrt_plan"', 'default_model_filename: "model.plan"', *parts]
    (folder / "configs").mkdir()
    (folder / "configs" / "tensorrt.pbtxt").write_text("\n".join(tensorrt) + "\n", encoding="utf-8")
    _end(folder, bundle, [f'name: "{CLIP}"', 'backend: "onnxruntime"', *parts])
    return folder


_SEQUENCES = """sequence_batching {{
  max_sequence_idle_microseconds: {idle_us}
  oldest {{ max_candidate_sequences: 1024 }}
  control_input [
    {{ name: "START" control [ {{ kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }} ] }},
    {{ name: "END" control [ {{ kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] }} ] }},
    {{ name: "CORRID" control [ {{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 }} ] }}
  ]
}}"""


def _begin(repository: Path, name: str, bundle: Bundle, kind: str) -> tuple[Path, Path]:
    if bundle.kind != kind or bundle.path is None:
        raise InvalidInput(f"{name}: expected a {kind} bundle from a file, got {bundle.name}, a {bundle.kind} bundle")
    folder = repository / name
    if folder.exists():
        config = folder / "config.pbtxt"
        if not config.is_file() or f'"{wire.PARAMETER}"' not in config.read_text(encoding="utf-8"):
            raise InvalidInput(f"--triton: {folder} is not a model that was written here; give another repository")
        shutil.rmtree(folder)
    (folder / "1").mkdir(parents=True)
    return folder, bundle.path


def _end(folder: Path, bundle: Bundle, parts: Sequence[str]) -> None:
    names = [*bundle.au_names, *(f"{name}_intensity" for name in bundle.au_names if bundle.intensity)]
    (folder / "labels.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    (folder / "config.pbtxt").write_text("\n".join(parts) + "\n", encoding="utf-8")


def _shape(shape: Sequence[int | str], sizes: Mapping[str, int]) -> list[int]:
    return [sizes[each] if isinstance(each, str) else each for each in shape]


def _tensor(
    side: str,
    name: str,
    kind: str,
    shape: Sequence[int | str],
    sizes: Mapping[str, int],
    *,
    optional: bool = False,
    ragged: bool = False,
    labels: bool = False,
) -> str:
    dims = ", ".join(map(str, _shape(shape, sizes)))
    more = (", optional: true" if optional else "") + (", allow_ragged_batch: true" if ragged else "")
    more += ', label_filename: "labels.txt"' if labels else ""
    return f'{side} [ {{ name: "{name}", data_type: TYPE_{kind}, dims: [ {dims} ]{more} }} ]'  # fmt: skip


def _warm_up(inputs: Mapping[str, wire.Kind], sizes: Mapping[str, int]) -> str:
    each = " ".join(
        f'inputs {{ key: "{name}" value: {{ data_type: TYPE_{kind}, '
        f"dims: [ {', '.join(map(str, _shape(shape, sizes)))} ], zero_data: true }} }}"
        for name, (kind, shape) in inputs.items()
    )
    return f'model_warmup [ {{ name: "zeros", batch_size: 1, {each} }} ]'


def _parameter(name: str, value: str) -> str:
    return f"parameters {{ key: {json.dumps(name)} value: {{ string_value: {json.dumps(value)} }} }}"


def _short(bundle: Bundle) -> str:
    """The metadata without the vector for checks of parity, which is long."""
    data = json.loads(bundle.to_json())
    if "parity" in data:
        data["parity"] = None
    return json.dumps(data)
