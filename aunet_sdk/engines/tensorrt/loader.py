"""From a bundle to an engine of TensorRT that fits this device: the plan from the cache, or built and kept there; what
does not fit is built anew and never run. A plan for more faces fits, too.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bundle import Bundle, sha256_of
from ...errors import BackendUnavailable, BundleMismatch, EngineMismatch
from ..cuda.api import DeviceInfo, OutOfDeviceMemory, tells_of_memory
from ..ring_engine import index_names
from . import api as trt_api
from .build import BuildOptions, Progress, build_plan
from .cache import PlanCache
from .plan_file import PlanKey
from .profiles import Profile, Shapes, profile_of, profile_text

__all__ = ["Loaded", "PlanInfo", "load_engine", "plan_key"]

log = logging.getLogger(__name__)

_TYPES = {"FLOAT": "float32", "HALF": "float16", "INT64": "int64"}


@dataclass(frozen=True)
class PlanInfo:
    """The plan that an engine runs. key: its own, which may be that of a plan for more faces than the engine takes;
    fresh: built when the engine was opened; path: where the cache keeps it, if it could."""

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
    *,
    exact: bool = False,
) -> Loaded:
    """The engine of a plan whose tensors are those of the bundle; a cached one that does not fit is rebuilt.

    exact: take a plan for these options alone; False takes one for more faces, or of another workspace or typical
    count, where these have no plan.

    Raises:
        BackendUnavailable: no runtime can be had.
        BundleMismatch: a plan built now differs from what the bundle's metadata say.
        EngineMismatch: a plan built now cannot be loaded.
        OutOfDeviceMemory: the library says that there is too little for a plan, which is kept.
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

    kin = {} if exact else _kin(cache, key)
    larger = [other for other, shapes in kin.items() if _covers(shapes, profile)]

    def build() -> bytes:
        log.warning(
            "building %s for %s, %s, at most %d faces; this happens once and may take minutes%s",
            bundle.name, gpu.name, library, options.max_faces, _advice(kin, path, key, options),
        )  # fmt: skip
        built = build_plan(trt, path, profile, options, timing=cache.load_timing(key), progress=progress)
        cache.store_timing(key, built.timing)
        types = {dtype: count for (kind, dtype), count in built.layers.items() if kind == "CONVOLUTION"}
        log.info(
            "built %s in %.1f s, %.1f MiB, convolutions %s", bundle.name, built.seconds, len(built.plan) / 2**20, types
        )
        return built.plan

    def opened(which: PlanKey, data: bytes, fresh: bool) -> Loaded | None:
        """None for a plan out of the cache that does not fit, which is removed."""
        trt_api.last_errors(trt)  # a build that went well may have complained, too
        engine = runtime.deserialize_cuda_engine(data)
        shapes = profile if which == key else kin[which]
        misfit = trt_api.last_errors(trt) if engine is None else check_tensors(trt, engine, bundle, shapes)
        if engine is not None and not misfit:
            return Loaded(runtime, engine, PlanInfo(which, fresh, len(data), cache.folder / which.file_name))
        if engine is None and tells_of_memory(misfit or ""):
            raise OutOfDeviceMemory(
                f"expected free device memory for the engine of {bundle.name} ({len(data) / 2**20:.1f} MiB), got "
                f"{misfit}; end other users of the GPU, or lower max_faces"
            )
        if fresh and engine is not None:
            raise BundleMismatch(f"{misfit} by the metadata of {bundle.name}; export it again")
        if fresh:
            raise EngineMismatch(
                f"expected {library} to run the engine that it has just built, got {misfit}; check that driver, "
                "CUDA and TensorRT fit together (docs/engines/installing.md)"
            )
        log.warning("the cached engine of %s cannot be used (%s); it is built anew", bundle.name, misfit)
        cache.discard(which, data)
        return None

    refused = None
    for which in (key, *larger):
        data = cache.load(which)
        if data is None:
            continue
        loaded = opened(which, data, fresh=False)
        if loaded is not None:
            if which != key:
                log.info("%s runs with the plan for at most %d faces", bundle.name, _faces(kin[which]))
            return loaded
        if which == key:
            refused = data
    while True:
        data, fresh = cache.build_once(key, build, refused)
        loaded = opened(key, data, fresh)
        if loaded is not None:
            return loaded
        refused = data


def _kin(cache: PlanCache, key: PlanKey) -> dict[PlanKey, Profile]:
    """The plans that differ from `key` in faces or workspace alone, with their shapes; the fewest faces first."""
    same = ("model_sha256", "precision", "library", "compute_capability", "device", "driver")
    found: dict[PlanKey, Profile] = {}
    for other in cache.keys():
        if other == key or any(getattr(other, name) != getattr(key, name) for name in same):
            continue
        with contextlib.suppress(ValueError, KeyError, TypeError):  # of a version that wrote keys differently
            if json.loads(other.options)["tf32"] == json.loads(key.options)["tf32"]:
                written = json.loads(other.profile)
                profile = {name: Shapes(*map(tuple, shapes)) for name, shapes in written.items()}
                if _faces(profile):
                    found[other] = profile
    return dict(sorted(found.items(), key=lambda item: _faces(item[1])))


def _faces(profile: Profile) -> int:
    """The most that a plan takes at once."""
    return profile["crop"].largest[0]


def _covers(have: Profile, want: Profile) -> bool:
    """Whether every shape of `want` is one of `have`, too."""
    return have.keys() == want.keys() and all(
        all(a <= b for a, b in zip(have[name].smallest, shapes.smallest, strict=True))
        and all(a >= b for a, b in zip(have[name].largest, shapes.largest, strict=True))
        for name, shapes in want.items()
    )


def _advice(kin: Mapping[PlanKey, Profile], path: Path, key: PlanKey, options: BuildOptions) -> str:
    """Where there is a plan for fewer faces alone: how it is used, and how this one is built beforehand."""
    most = max((n for n in map(_faces, kin.values()) if n < options.max_faces), default=0)
    if not most:
        return ""
    words = ["aunet engine build", f"--model {path}", f"--max-faces {options.max_faces}"]
    words += ["--library tensorrt-rtx"] if key.library.startswith("tensorrt-rtx") else []
    words += ["--tf32"] if options.tf32 else []
    return (
        f". There is an engine for at most {most} faces: `{' '.join(words)}` builds this one beforehand, "
        f"`--max-faces {most}` (max_faces={most}) takes the one that is there"
    )


def check_tensors(trt: Any, engine: Any, bundle: Bundle, profile: Profile) -> str | None:
    """Names, directions, types and shapes of the plan against the bundle; the first difference, or None."""
    side, n = bundle.resolution // 4, bundle.answers
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
    expected |= {"reference": (True, "float32", (-1, 68, 2))} if bundle.reference else {}
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
