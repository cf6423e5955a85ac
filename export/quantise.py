"""INT8 by QDQ (QuantizeLinear, DequantizeLinear around convolutions), the convolutions that cost accuracy left out.

Convolutions alone; weights int8, symmetric, per output channel; what enters them per tensor from the ranges seen in
calibration; what leaves them stays wide. Activations are uint8 for CPUs (after a ReLU that is one bit more) or int8 and
symmetric, which is all that TensorRT takes. Which convolutions stay in higher precision is measured: each is quantised
alone and the shift of probabilities and landmarks noted; then the costliest are left out, twice as many at every try,
until the whole graph is within the limits on crops that neither calibrated it nor judge it. Where OpenVINO is installed
and runs the graph, both it and ONNX Runtime must be within them: the same file can come out wrong in one alone.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.ort_wheel import import_runtime
from aunet_sdk.geometry import heatmap

from .build import save, stamp
from .crops import Sample
from .parity import CONFIDENT, by_openvino, f1_scores, openvino_runs

__all__ = ["Limits", "Quantised", "convolutions", "quantise", "quantise_as"]

log = logging.getLogger(__name__)

_OPTIONS: dict[str, Any] = {
    "WeightSymmetric": True,
    # What leaves a convolution stays wide: the residual sums of FAN would be rounded again at every block.
    "OpTypesToExcludeOutputQuantization": ["Conv"],
}
_RANGES: dict[str, dict[str, Any]] = {
    "widest": {},
    "usual": {"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.05},
}
"""ways to take ranges from calibration: the widest seen, or a moving average of every triplet's; the better is taken"""
_INDEX = {"former": -1, "due": -2, "later": -3}  # crops 0, 1, 2 of one call


@dataclass(frozen=True)
class Limits:
    """What the quantised graph may differ from the FP32 one by, on the selection's crops."""

    mean_difference: float = 0.005
    """of probabilities, all AUs"""
    f1_change: float = 0.01
    """of the macro F1, where there are labels; a few hundred crops give it to about .005"""
    landmark_px: float = 0.5
    """mean distance of confident points, in crops that hold a face"""


@dataclass(frozen=True)
class Quantised:
    """proto: the QDQ graph, without metadata
    convolutions: how many there are; left_out: names of those in higher precision, the costliest first
    costs: name -> (mean probability difference, mean landmark shift in px) of the convolution quantised alone; empty
    where the whole graph was within the limits at once
    ranges: "widest" or "usual", how ranges were taken from the calibration
    tries: (left out, mean difference, F1 change or NaN, landmark shift in px, runtime) of every try, in the runtime
    where it came out worst; the first of each of the ranges
    """

    proto: onnx.ModelProto
    convolutions: int
    left_out: tuple[str, ...]
    costs: dict[str, tuple[float, float]]
    ranges: str
    tries: tuple[tuple[int, float, float, float, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """For the parity report."""
        keys = ("left_out", "mean_difference", "f1_change", "landmark_px", "ran")
        return {
            "convolutions": self.convolutions,
            "ranges": self.ranges,
            "left_out": list(self.left_out),
            "tries": [{k: _plain(v) for k, v in zip(keys, one, strict=True)} for one in self.tries],
        }


def _plain(value: Any) -> float | str | None:
    if isinstance(value, (str, int)):
        return value
    return None if np.isnan(value) else round(float(value), 6)


def convolutions(proto: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the convolutions, in the graph's order."""
    return tuple(node.name for node in proto.graph.node if node.op_type == "Conv")


def quantise(
    proto: onnx.ModelProto,
    bundle: Bundle,
    calibration: Sample,
    selection: Sample,
    limits: Limits | None = None,
    ranked_on: int = 16,
) -> Quantised:
    """The INT8 form of an FP32 graph of export.build.

    Args:
        proto: of `build` for the kind and head of `bundle`, FP32.
        bundle: of arithmetic "int8" (uint8 activations) or "int8-symmetric".
        calibration: crops that give the ranges; a few hundred faces of the kind that will be seen.
        selection: other crops, with labels where there are any, that decide what is left out.
        limits: see Limits.
        ranked_on: triplets of `selection` that single convolutions are judged on.

    Raises ValueError where no share of the convolutions can be quantised within the limits.
    """
    limits = limits or Limits()
    names = convolutions(proto)
    tries: list[tuple[int, float, float, float, str]] = []
    costs: dict[str, tuple[float, float]] = {}
    runtimes = {"ONNX Runtime": _run} | ({"OpenVINO": _run_openvino} if openvino_runs(bundle) else {})
    with tempfile.TemporaryDirectory() as folder, _quiet():
        expected = _run(proto, bundle, selection)
        few = Sample(selection.name, selection.crops[:ranked_on])
        expected_few = tuple(part[: len(few)] for part in expected)

        def try_it(quantiser: _Quantiser, left_out: Sequence[str]) -> tuple[onnx.ModelProto, dict[str, _Apart]]:
            graph = quantiser(left_out)
            apart = {
                name: _apart(expected, run(graph, bundle, selection), bundle, selection.labels)
                for name, run in runtimes.items()
            }
            worst = max(apart, key=lambda name: _cost(apart[name], limits))
            tries.append((len(left_out), *apart[worst], worst))
            log.info("INT8, %s, %d of %d left out: %s", quantiser.ranges, len(left_out), len(names), apart)
            return graph, apart

        def cost_alone(name: str, where: Sequence[str]) -> tuple[float, float]:
            """Of one convolution quantised alone, in the worst of the runtimes."""
            graph = quantiser([other for other in names if other != name])
            apart = [_apart(expected_few, runtimes[runtime](graph, bundle, few), bundle, None) for runtime in where]
            difference, _, shift = max(apart, key=lambda one: _cost(one, limits))
            return difference, shift

        quantisers = [_Quantiser(proto, bundle, calibration, Path(folder), ranges) for ranges in _RANGES]
        first = [(quantiser, *try_it(quantiser, ())) for quantiser in quantisers]
        quantiser, graph, apart = min(first, key=lambda one: max(_cost(part, limits) for part in one[2].values()))
        ranking: list[str] = []
        left = 0
        while left < len(names):
            if left:
                graph, apart = try_it(quantiser, ranking[:left])
            failed = [runtime for runtime, part in apart.items() if not _within(part, limits)]
            if not failed:
                return Quantised(graph, len(names), tuple(ranking[:left]), costs, quantiser.ranges, tuple(tries))
            if not ranking:
                costs.update({name: cost_alone(name, failed) for name in names})
                ranking = sorted(names, key=lambda n: -_total(*costs[n], limits))
            left = 2 * left or 1
    raise ValueError(
        f"INT8: expected a graph within {limits} with some convolutions quantised, got none; "
        "calibrate on crops like those that will be seen, or export with --precision fp16"
    )


def quantise_as(
    proto: onnx.ModelProto, bundle: Bundle, calibration: Sample, left_out: Sequence[str], ranges: str
) -> onnx.ModelProto:
    """The INT8 form with the choices of another `quantise`: `left_out` and `ranges` as its report has them.

    Raises ValueError where the graph has no such convolutions, or for other ranges than "widest" and "usual".
    """
    unknown = set(left_out) - set(convolutions(proto))
    if unknown or ranges not in _RANGES:
        raise ValueError(
            f"INT8: expected convolutions of the graph and ranges out of {', '.join(_RANGES)}, got "
            f"{', '.join(sorted(unknown)[:3]) or ranges}; take the report of a network with the same layers"
        )
    with tempfile.TemporaryDirectory() as folder, _quiet():
        return _Quantiser(proto, bundle, calibration, Path(folder), ranges)(left_out)


_Apart = tuple[float, float, float]
"""mean probability difference, change of the macro F1 (NaN without labels), mean landmark shift in px (or NaN)"""


def _within(apart: _Apart, limits: Limits) -> bool:
    f1_held = np.isnan(apart[1]) or abs(apart[1]) <= limits.f1_change
    return bool(apart[0] <= limits.mean_difference and f1_held and not apart[2] > limits.landmark_px)


def _cost(apart: _Apart, limits: Limits) -> float:
    return _total(apart[0], apart[2], limits)


def _total(difference: float, shift: float, limits: Limits) -> float:
    shift = 0.0 if np.isnan(shift) else shift
    return difference / max(limits.mean_difference, 1e-9) + shift / max(limits.landmark_px, 1e-9)


class _Quantiser:
    """One calibration, many graphs."""

    def __init__(self, proto: onnx.ModelProto, bundle: Bundle, calibration: Sample, folder: Path, ranges: str) -> None:
        self._symmetric = bundle.arithmetic == "int8-symmetric"
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self._source, self._target = folder / "source.onnx", folder / "target.onnx"
        self.ranges = ranges
        self._cache = folder / f"{ranges}.json"
        plain = folder / "plain.onnx"
        onnx.save(proto, plain)
        # Nothing is optimised: nodes keep their names, and runtimes fuse for themselves.
        quant_pre_process(str(plain), str(self._source), skip_optimization=True, skip_symbolic_shape=True)
        self._bundle, self._calibration = bundle, calibration

    def __call__(self, excluded: Sequence[str]) -> onnx.ModelProto:
        import inspect

        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

        feeds = (_feed(self._bundle, crops) for crops in self._calibration.crops)

        class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
            def get_next(self) -> dict[str, NDArray[Any]] | None:
                return next(feeds, None)

        again: dict[str, Any] = {}
        if "calibration_cache_path" in inspect.signature(quantize_static).parameters:  # ONNX Runtime 1.32 and newer
            again["calibration_cache_path"] = self._cache
        quantize_static(
            str(self._source),
            str(self._target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=list(excluded),
            per_channel=True,
            activation_type=QuantType.QInt8 if self._symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                **_OPTIONS,
                **_RANGES[self.ranges],
                "ActivationSymmetric": self._symmetric,
                "QuantizeBias": not self._symmetric,  # TensorRT takes no int32 that is dequantised
            },
            **again,
        )
        proto = onnx.load(self._target)
        del proto.metadata_props[:]
        del proto.graph.value_info[:]
        return proto


def _feed(bundle: Bundle, crops: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Inputs of one call on a triplet (3 frames, 3, R, R): one decision over three new crops."""
    scaled = crops.astype(np.float32) / np.float32(255) if crops.dtype == np.uint8 else crops
    given = {"reference": np.zeros((1, 68, 2), np.float32)} if bundle.reference else {}
    if bundle.kind == "clip":
        return {"crops": scaled[None], **given}
    feed: dict[str, NDArray[Any]] = {"crop": scaled, **given}
    for state in bundle.state:
        feed[f"ring_{state.name}"] = np.zeros((1, *state.shape), state.dtype)
        feed |= {f"{state.name}_{role}": np.array([_INDEX[role]], np.int64) for role in state.roles}
    return feed


def _run(proto: onnx.ModelProto, bundle: Bundle, sample: Sample) -> tuple[NDArray[Any], ...]:
    """Probabilities (N, n), points (N, 68, 2) and confidence (N, 68) of the due frames."""
    ort = import_runtime(gpu=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    maps, logits = [], []
    for crops in sample.crops:
        heat, decided = session.run(["heatmaps", "logits"], _feed(bundle, crops))
        maps.append(heat[0 if bundle.kind == "clip" else 1])
        logits.append(decided[0])
    points, confidence = heatmap.decode(np.stack(maps))
    decisions = np.stack(logits)[:, : len(bundle.au_numbers)].astype(np.float64)
    return 1 / (1 + np.exp(-decisions)), points, confidence


def _run_openvino(proto: onnx.ModelProto, bundle: Bundle, sample: Sample) -> tuple[NDArray[Any], ...]:
    """The same as OpenVINO's engine has it."""
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    stamp(whole, bundle)
    with tempfile.TemporaryDirectory() as folder:
        file = save(whole, Path(folder) / "try.onnx")
        unknown = np.zeros((len(sample) if bundle.reference else 0, 68, 2), np.float32)
        answers = by_openvino(Bundle.load(file), sample.crops, unknown)
    return answers.probabilities, answers.points, answers.confidence


def _apart(
    expected: tuple[NDArray[Any], ...], got: tuple[NDArray[Any], ...], bundle: Bundle, labels: NDArray[Any] | None
) -> _Apart:
    change = float("nan")
    if labels is not None:
        limits = np.array(bundle.thresholds)
        scores = np.array([f1_scores(part[0] >= limits, labels) for part in (got, expected)])
        known = ~np.isnan(scores).any(0)
        change = float((scores[0] - scores[1])[known].mean()) if known.any() else change
    face = expected[2].mean(1, keepdims=True) >= bundle.min_confidence
    sure = (expected[2] >= CONFIDENT) & face
    shift = np.linalg.norm(got[1] - expected[1], axis=2)[sure]
    return float(np.abs(got[0] - expected[0]).mean()), change, float(shift.mean()) if shift.size else float("nan")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser's advice about itself goes to the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
