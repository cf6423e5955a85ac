"""From a bundle to an engine of TensorRT that fits this device: the plan from the cache, or built and kept there; what
does not fit is built anew and never run.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle import Bundle, sha256_of
from ..errors import BackendUnavailable, BundleMismatch, EngineMismatch
from . import trt_api
from .build import BuildOptions, Profile, Progress, build_plan, profile_of, profile_text
from .cache import PlanCache, PlanKey
from .cuda_api import DeviceInfo
from .stepping import index_names

__all__ = ["Loaded", "PlanInfo", "load_engine", "plan_key"]

log = logging.getLogger(__name__)

_TYPES = {"FLOAT": "float32", "HALF": "float16", "INT64": "int64"}


@dataclass(frozen=True)
class PlanInfo:
    """The plan that an engine runs. fresh: built when it was opened; path: where the cache keeps it, if it could."""

    key: PlanKey
    fresh: bool
    size: int
    path: Path


def plan_key(trt: Any, bundle: Bundle, path: Path, profile: Profile, options: BuildOptions, gpu: DeviceInfo) -> PlanKey:
    """What a plan for this bundle, on this GPU, with this library depends on."""
    return PlanKey(
        model=bundle.name,
        model_sha256=bundle.sha256 or sha256_of(path),
        precision=f"{bundle.precision}, arithmetic {bundle.arithmetic}",
        profile=profile_text(profile),
        library=trt_api.library_name(trt),
        compute_capability=gpu.compute_capability,
        device=gpu.name,
        driver=gpu.driver,
        options=options.key(),
    )


@dataclass(frozen=True)
class Loaded:
    """``engine``: TensorRT's ICudaEngine; ``runtime``: what has to outlive it."""

    runtime: Any
    engine: Any
    plan: PlanInfo


def load_engine(
    trt: Any,
    bundle: Bundle,
    path: Path,
    options: BuildOptions,
    gpu: DeviceInfo,
    cache: PlanCache,
    progress: Progress | None = None,
) -> Loaded:
    """The engine of a plan whose tensors are those of the bundle; a cached one that does not fit is built anew.

    Raises:
        BackendUnavailable: no runtime can be had.
        BundleMismatch: a plan built now differs from what the bundle's metadata say.
        EngineMismatch: a plan built now cannot be loaded.
        And what `build_plan` raises.
    """
    library = trt_api.library_name(trt)
    trt_api.last_errors(trt)
    try:
        runtime = trt.Runtime(trt_api.logger_of(trt))
    except TypeError as error:
        raise BackendUnavailable(
            f"expected a runtime of {library}, got {error} ({trt_api.last_errors(trt)}); update the NVIDIA driver"
        ) from error
    profile = profile_of(bundle, options.max_faces, options.typical_faces)
    key = plan_key(trt, bundle, path, profile, options, gpu)

    def build() -> bytes:
        log.info("building %s for %s, %s; this happens once", bundle.name, gpu.name, library)
        built = build_plan(trt, path, profile, options, timing=cache.load_timing(key), progress=progress)
        cache.store_timing(key, built.timing)
        types = {dtype: count for (kind, dtype), count in built.layers.items() if kind == "CONVOLUTION"}
        log.info(
            "built %s in %.1f s, %.1f MiB, convolutions %s", bundle.name, built.seconds, len(built.plan) / 2**20, types
        )
        return built.plan

    for last in (False, True):
        data, fresh = cache.get(key, build)
        engine = runtime.deserialize_cuda_engine(data)
        misfit = trt_api.last_errors(trt) if engine is None else check_tensors(trt, engine, bundle, profile)
        if engine is not None and not misfit:
            return Loaded(runtime, engine, PlanInfo(key, fresh, len(data), cache.folder / key.file_name))
        if fresh and engine is not None:
            raise BundleMismatch(f"{misfit} by the metadata of {bundle.name}; export it again")
        if fresh or last:
            raise EngineMismatch(
                f"expected {library} to run the engine that it has just built, got {misfit}; check that driver, "
                "CUDA and TensorRT fit together (docs/engines.md)"
            )
        log.warning("the cached engine of %s cannot be used (%s); it is built anew", bundle.name, misfit)
        cache.discard(key, data)
    raise AssertionError("unreachable")


def check_tensors(trt: Any, engine: Any, bundle: Bundle, profile: Profile) -> str | None:
    """Names, directions, types and shapes of the plan against the bundle; the first difference, or None."""
    side, n = bundle.resolution // 4, len(bundle.au_numbers)
    types = {getattr(trt.DataType, name): numpy for name, numpy in _TYPES.items()}
    expected: dict[str, tuple[bool, str, tuple[int, ...]]] = {
        "crop": (True, "float32", (-1, 3, bundle.resolution, bundle.resolution)),
        "heatmaps": (False, "float32", (-1, 68, side, side)),
        "logits": (False, "float32", (-1, n)),
    }
    for state in bundle.state:
        expected[f"ring_{state.name}"] = (True, state.dtype, (-1, *state.shape))
        expected[state.name] = (False, state.dtype, (-1, *state.shape))
    expected |= {name: (True, "int64", (-1,)) for _, _, name in index_names(bundle)}
    got = {}
    for i in range(engine.num_io_tensors):
        name = engine.get_tensor_name(i)
        dtype = engine.get_tensor_dtype(name)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        got[name] = (is_input, types.get(dtype, str(dtype)), tuple(engine.get_tensor_shape(name)))
    for name in sorted(expected.keys() | got.keys()):
        if expected.get(name) != got.get(name):
            return f"expected the tensor {name} {expected.get(name)}, got {got.get(name)}"
    for name, shapes in profile.items():
        smallest, _, largest = (tuple(shape) for shape in engine.get_tensor_profile_shape(name, 0))
        if smallest != shapes.smallest or largest != shapes.largest:
            return f"expected {name} from {shapes.smallest} to {shapes.largest}, got {smallest} to {largest}"
    return None
