"""A session of ONNX Runtime on a GPU provider: opened or refused, its cache mended, its nodes on the CPU reported."""

from __future__ import annotations

import contextlib
import ctypes
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import AUNetError, BackendUnavailable, ModelError
from ..ort_wheel import import_runtime
from ..tensorrt.cache import PlanCache
from ..tensorrt.ort_folder import ORT_FOLDER, empty, files, prepare
from .api import OutOfDeviceMemory
from .rings import ort_failure

__all__ = ["PROVIDERS", "log_nodes_on_cpu", "nodes_on_cpu", "open_session"]

log = logging.getLogger(__name__)

PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cpu": "CPUExecutionProvider",  # to see this code run where there is no GPU
}
_ORDER = {"cpu": ("cpu",), "cuda": ("cuda", "cpu"), "tensorrt": ("tensorrt", "cuda", "cpu")}


def open_session(
    path: Path,
    provider: str,
    settings: Mapping[str, str],
    cache: PlanCache,
    folder: Path,
    *,
    cpu_nodes: bool = True,
    tf32: bool = False,
) -> Any:
    """An InferenceSession whose first provider is the one that was asked for.

    Args:
        settings: options of the provider.
        cache, folder: of the TensorRT provider's engine; `folder` holds that of this model and these options alone.
            Where ONNX Runtime fails on what lies there, it is removed, and the session is opened once more.
        cpu_nodes: False makes a node that would run on the CPU an error.

    Raises BackendUnavailable (it runs elsewhere, or not at all), OutOfDeviceMemory, ModelError.
    """
    ort = import_runtime()
    name = PROVIDERS[provider]
    if name not in ort.get_available_providers():
        raise BackendUnavailable(
            f"expected {name}, got an ONNX Runtime {ort.__version__} without it "
            f"({', '.join(ort.get_available_providers())}); "
            'pip uninstall onnxruntime, then pip install "aunet_sdk[gpu]" (on a Jetson: NVIDIA\'s wheel)'
        )
    if provider != "cpu" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA and cuDNN from pip packages, where they are
    building: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if "trt_engine_cache_path" in settings:
        settings, building = _prepare_cache(settings, cache)

    only_gpu = not cpu_nodes and provider != "cpu"
    chosen = _providers(provider, settings, only_gpu, tf32)

    def make() -> Any:
        try:
            return ort.InferenceSession(str(path), _options(ort, only_gpu), providers=chosen)
        except Exception as error:  # ONNX Runtime's errors share no other base class
            raise _failure(ort, path, name, error) from error

    with building:
        try:
            session = make()
        except ModelError as error:
            if settings.get("trt_engine_cache_path") != str(folder) or not _emptied(folder, error):
                raise
            session = make()
    session.disable_fallback()
    if session.get_providers()[0] != name:
        raise BackendUnavailable(
            f"expected {name}, got {', '.join(session.get_providers())}: {_why(ort, provider)}; install what is missing"
        )
    return session


def _options(ort: Any, only_gpu: bool) -> Any:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # unknown to old ones: no harm
    if only_gpu:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _providers(
    provider: str, settings: Mapping[str, str], only_gpu: bool, tf32: bool
) -> list[tuple[str, dict[str, str]]]:
    """By preference, each with its options. The CPU must not be among them where no node may run there: ONNX Runtime
    refuses the two together, and takes it by itself."""
    rest = {"device_id": settings["device_id"], "use_tf32": str(int(tf32))} if "device_id" in settings else {}
    return [
        (PROVIDERS[each], dict(settings) if each == provider else rest if each == "cuda" else {})
        for each in _ORDER[provider]
        if not (only_gpu and each == "cpu")
    ]


def _prepare_cache(
    settings: Mapping[str, str], cache: PlanCache
) -> tuple[Mapping[str, str], contextlib.AbstractContextManager[None]]:
    """The settings, and the lock to be held: ONNX Runtime's files are no whole ones while it writes them. Where the
    folder cannot be written, that is logged, and there is no cache."""
    folder = Path(settings["trt_engine_cache_path"])
    try:
        if folder.is_relative_to(cache.folder / ORT_FOLDER):
            prepare(folder)
        else:  # the caller's own
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning(
            "the engine cache %s cannot be written (%s): ONNX Runtime builds anew at every start; make the folder "
            "writable, or name another one (cache_dir)",
            folder,
            error.strerror or error,
        )
        off = {"trt_engine_cache_enable": "0", "trt_timing_cache_enable": "0"}
        return {**settings, **off}, contextlib.nullcontext()
    return settings, cache.building()


def _emptied(folder: Path, error: Exception) -> bool:
    """Whether there was something in the folder and it is gone now: then another try makes sense. Logged."""
    if not any(files(folder)):
        return False
    try:
        empty(folder)
        prepare(folder)
    except OSError as failure:
        log.warning("the engine in %s may be damaged and cannot be removed (%s); remove it", folder, failure)
        return False
    log.warning("ONNX Runtime could not open its engine (%s): %s was emptied, it is built anew", error, folder)
    return True


def _failure(ort: Any, path: Path, name: str, error: Exception) -> AUNetError:
    short = ort_failure(f"{path.name} on {name}", error)
    if isinstance(short, OutOfDeviceMemory):
        return short
    return ModelError(
        f"expected a graph and options that ONNX Runtime {ort.__version__} can run on {name}, got {path.name}: "
        f"{error}; export it again, or mend the options"
    )


def _why(ort: Any, provider: str) -> str:
    """What keeps a provider's library from being loaded, in the loader's own words."""
    folder = Path(ort.__file__).parent / "capi"
    for each in ("shared", provider):
        library = folder / f"libonnxruntime_providers_{each}.so"
        if not library.is_file():
            return f"there is no {library.name}"
        try:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            return str(error)
    return "its libraries load, so it is the driver or the GPU that it does not take"


def nodes_on_cpu(session: Any) -> dict[str, int] | None:
    """Operator -> how many of its nodes the CPU provider has, most first; None where ONNX Runtime does not report them.

    It reports how it divided the graph before its last optimizations: copies between devices, which it adds later, are
    not among them.
    """
    try:
        parts = session.get_provider_graph_assignment_info()
        found = Counter(node.op_type for part in parts if part.ep_name == PROVIDERS["cpu"] for node in part.get_nodes())
    except Exception:  # an older one has no such call; ONNX Runtime's errors share no other base class
        return None
    return dict(found.most_common())


def log_nodes_on_cpu(model: str, found: Mapping[str, int] | None) -> None:
    """A warning where there are some, or where nobody knows."""
    if found is None:
        log.warning(
            "this ONNX Runtime cannot tell whether nodes of %s run on the CPU; update it, or open the engine with "
            "cpu_nodes=False, which makes that an error",
            model,
        )
    elif found:
        log.warning(
            "ONNX Runtime runs %d nodes of %s on the CPU: %s; cpu_nodes=False makes that an error",
            sum(found.values()), model, ", ".join(f"{op} ({n})" for op, n in found.items()),
        )  # fmt: skip
