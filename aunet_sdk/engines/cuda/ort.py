"""ONNX Runtime on an NVIDIA GPU: its CUDA provider, or its TensorRT provider.

Has not run on a GPU where this is developed; the same code runs there on ONNX Runtime's CPU provider in the tests.
ONNX Runtime copies what lies on the host when it is bound, not when the graph runs, so that crops and indices are bound
anew in every step. The rings stay on the GPU, and the new states are written straight into them.

ONNX Runtime finds an engine of its TensorRT provider by the model's file name and its nodes' names, not by the weights:
every model and every choice has a folder of its own here.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._util.nvml import driver_version
from ...bundle import Bundle, sha256_of
from ...errors import BundleMismatch, InvalidInput
from ..ort_wheel import import_runtime
from ..parity import check_parity
from ..ring import Ring, initial_rows
from ..ring_engine import RingEngine, check_fps, index_names, load_bundle
from ..tensorrt.build import BuildOptions
from ..tensorrt.cache import PlanCache
from ..tensorrt.ort_folder import ORT_FOLDER
from ..tensorrt.plan_file import PlanKey
from ..tensorrt.profiles import Profile, Shapes, max_queries, profile_of, profile_text
from .ort_session import PROVIDERS, log_nodes_on_cpu, nodes_on_cpu, open_session
from .rings import OrtValueRing, ort_failure

__all__ = ["PROVIDERS", "OrtGpuStreamEngine", "default_options"]

log = logging.getLogger(__name__)

_TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


def default_options(
    provider: str, profile: Mapping[str, Shapes], options: BuildOptions, device_id: int, folder: Path
) -> dict[str, str]:
    """The options of ONNX Runtime's provider that this engine sets; `provider_options` go on top.

    folder: for the TensorRT provider's engine of this model and these options alone; the timing cache goes beside it
    """
    if provider == "cpu":
        return {}
    if provider == "cuda":
        return {
            "device_id": str(device_id),
            "use_tf32": str(int(options.tf32)),
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": "EXHAUSTIVE",
        }

    def shapes(which: str) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, getattr(each, which)))}" for name, each in profile.items())

    return {
        "device_id": str(device_id),
        "trt_max_workspace_size": str(options.workspace_mb << 20),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder.parent),
        "trt_profile_min_shapes": shapes("smallest"),
        "trt_profile_opt_shapes": shapes("usual"),
        "trt_profile_max_shapes": shapes("largest"),
    }


def engine_key(
    bundle: Bundle,
    path: Path,
    profile: Profile,
    options: BuildOptions,
    device_id: int,
    provider_options: Mapping[str, str],
) -> PlanKey:
    """What an engine of the TensorRT provider depends on; ONNX Runtime's file names have GPU and TensorRT version."""
    return PlanKey(
        model=bundle.name,
        model_sha256=bundle.sha256 or sha256_of(path),
        precision=f"{bundle.precision}, arithmetic {bundle.arithmetic}",
        profile=profile_text(profile),
        library=f"onnxruntime {import_runtime().__version__}",
        compute_capability="",
        device=str(device_id),
        driver=driver_version() or "",
        options=json.dumps([options.key(), sorted(provider_options.items()), os.environ.get(_TF32_OVERRIDE)]),
    )


class OrtGpuStreamEngine(RingEngine):
    """StreamEngine (engines/base.py) on ONNX Runtime's CUDA or TensorRT provider.

    Args:
        bundle: a `stream` bundle, its path, or None for the default one.
        provider: "cuda", "tensorrt", or "cpu" for trying this code without a GPU.
        max_faces, typical_faces, workspace_mb, tf32: see build.BuildOptions. The TensorRT provider has no option for
            TF32 and allows it: there tf32=False takes NVIDIA_TF32_OVERRIDE=0 in the environment, and a warning says so.
        provider_options: of ONNX Runtime's provider, on top of `default_options`.
        cpu_nodes: whether ONNX Runtime may put nodes that the GPU cannot take on the CPU, which is logged with their
            operators; False makes that an error.
        fps: frame rate that the rings are first laid out for, one face.
        cache_dir: for the TensorRT provider's engines; None: aunet_sdk/engines in the user's cache folder.

    nodes_on_cpu: operator -> how many of its nodes run on the CPU beside the GPU; None where ONNX Runtime does not say
    copy_ms: in: the host's time for binding crops and indices, when ONNX Runtime copies them. Out: 0, the copies back
        are part of the run and cannot be separated from it. Both are 0 for "cpu", where nothing is copied.

    Raises InvalidInput, ModelError, BundleMismatch, OutOfDeviceMemory, and BackendUnavailable where the provider is not
    what runs.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path | None = None,
        *,
        provider: str = "cuda",
        max_faces: int = 8,
        typical_faces: int = 1,
        workspace_mb: int = 1024,
        tf32: bool = False,
        device_id: int = 0,
        provider_options: Mapping[str, str] | None = None,
        cpu_nodes: bool = True,
        fps: float = 30.0,
        cache_dir: str | Path | None = None,
    ) -> None:
        if provider not in PROVIDERS:
            raise InvalidInput(f"provider: expected one of {', '.join(PROVIDERS)}, got {provider!r}")
        check_fps(fps)
        options = BuildOptions(max_faces, typical_faces, workspace_mb, tf32)
        self.bundle, path = load_bundle(bundle, "stream")
        self.name = f"onnxruntime-{provider}"
        self.max_faces = max_faces
        self._max_queries = max_queries(max_faces)
        self._device = ("cpu" if provider == "cpu" else "cuda", device_id)
        if provider_options is not None and not isinstance(provider_options, Mapping):
            raise InvalidInput(f"provider_options: expected a mapping or None, got {provider_options!r}")
        cache, given = PlanCache(cache_dir), dict(provider_options or {})
        profile = profile_of(self.bundle, max_faces, typical_faces)
        folder = cache.folder / ORT_FOLDER
        if provider == "tensorrt":
            key = engine_key(self.bundle, path, profile, options, device_id, given)
            folder /= Path(key.file_name).stem
            if not tf32 and os.environ.get(_TF32_OVERRIDE) != "0":
                log.warning(
                    "ONNX Runtime's TensorRT provider has no option for TF32, and TensorRT lets FP32 layers round to "
                    "it: start with %s=0 in the environment, or accept it (tf32=True)",
                    _TF32_OVERRIDE,
                )
        settings = default_options(provider, profile, options, device_id, folder) | given
        session = open_session(path, provider, settings, cache, folder, cpu_nodes=cpu_nodes, tf32=tf32)
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        _check_graph(self.bundle, session)
        self.nodes_on_cpu = {} if provider == "cpu" or not cpu_nodes else nodes_on_cpu(session)
        log_nodes_on_cpu(self.bundle.name, self.nodes_on_cpu)
        self._session: Any = session

        self._lay_out()
        self._fps = fps
        self._most_rows = [profile[f"ring_{s.name}"].largest[0] - max_faces for s in self.bundle.state]
        self._no_state = tuple(OrtValueRing(s, 1, 1, *self._device) for s in self.bundle.state)
        self._binding: Any = session.io_binding()
        try:
            check_parity(self, tf32=tf32 or (provider == "tensorrt" and os.environ.get(_TF32_OVERRIDE) != "0"))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free session and rings; see StreamEngine."""
        self._session = self._binding = None
        self._no_state = ()
        self._close_states()

    def _check_open(self) -> None:
        if self._session is None:
            raise InvalidInput("expected an open engine, got one that was closed; open another")

    def _new_rings(self, fps: float) -> tuple[Ring, ...]:
        """See RingEngine."""
        return tuple(
            OrtValueRing(s, initial_rows(s, self.bundle.interval_s, fps), most, *self._device)
            for s, most in zip(self.bundle.state, self._most_rows, strict=True)
        )

    def _execute(self, n_new: int, count: int, starts: Sequence[int], rings: Sequence[Ring]) -> None:
        """See RingEngine. Queries are rounded up to a multiple of the crops, so that there are never 0 of them."""
        batch = max(n_new, 1)
        queries = min(-(-max(count, 1) // batch) * batch, self._max_queries)
        self._indices[:, count:queries] = -1
        crops, heatmaps = (self.crops, self._heatmaps) if n_new else (self._no_crop, self._no_heatmaps)
        bind = self._binding
        start_s = time.perf_counter()
        bind.bind_input("crop", "cpu", 0, np.float32, (batch, *crops.shape[1:]), crops.ctypes.data)
        for index, (_, _, name) in zip(self._indices, index_names(self.bundle), strict=True):
            bind.bind_input(name, "cpu", 0, np.int64, (queries,), index.ctypes.data)
        if self.bundle.reference:
            self._references[count:queries] = 0.0
            bind.bind_input("reference", "cpu", 0, np.float32, (queries, 68, 2), self._references.ctypes.data)
        if self._device[0] != "cpu":
            self._add_copies(1e3 * (time.perf_counter() - start_s), 0.0)
        bind.bind_output("heatmaps", "cpu", 0, np.float32, (batch, *heatmaps.shape[1:]), heatmaps.ctypes.data)
        bind.bind_output("logits", "cpu", 0, np.float32, (queries, self._logits.shape[1]), self._logits.ctypes.data)
        for i, ring in enumerate(rings):
            target, start = (ring, starts[i]) if n_new else (self._no_state[i], 0)
            name, shape = ring.spec.name, ring.spec.shape
            bind.bind_input(f"ring_{name}", *self._device, ring.dtype, (ring.rows, *shape), ring.pointer)
            pointer = target.pointer + start * target.row_bytes
            bind.bind_output(name, *self._device, ring.dtype, (batch, *shape), pointer)
        try:
            self._session.run_with_iobinding(bind)
        except Exception as error:  # ONNX Runtime's errors share no other base class
            raise ort_failure(f"a step of {self.name}", error) from error


def _check_graph(bundle: Bundle, session: Any) -> None:
    """Inputs and outputs by the bundle's metadata. Raises BundleMismatch with the first that differs."""
    side, n = bundle.resolution // 4, bundle.answers
    expected: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "crop": ("float32", (None, 3, bundle.resolution, bundle.resolution)),
        "heatmaps": ("float32", (None, 68, side, side)),
        "logits": ("float32", (None, n)),
    }
    expected |= {name: ("int64", (None,)) for _, _, name in index_names(bundle)}
    expected |= {"reference": ("float32", (None, 68, 2))} if bundle.reference else {}
    for s in bundle.state:
        expected[f"ring_{s.name}"] = expected[s.name] = (s.dtype, (None, *s.shape))
    got = {
        v.name: (_TYPES.get(v.type, v.type), tuple(d if isinstance(d, int) else None for d in v.shape))
        for v in (*session.get_inputs(), *session.get_outputs())
    }
    for name in sorted(expected.keys() | got.keys()):
        if expected.get(name) != got.get(name):
            raise BundleMismatch(
                f"expected {name} {expected.get(name)} by the metadata, got {got.get(name)}; export it again"
            )
