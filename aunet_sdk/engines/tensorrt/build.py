"""From a bundle's ONNX graph to a TensorRT plan: one code path for 10.3 to 11.x and for TensorRT-RTX.

Precision lives in the graph, which is built as it is typed; no precision flags, which 11 has dropped.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import AUNetError, EngineMismatch, InvalidInput, ModelError
from ..cuda.api import OutOfDeviceMemory, tells_of_memory
from . import api as trt_api
from .profiles import Profile, profile_text

__all__ = ["BuildOptions", "Built", "Progress", "build_plan"]

Progress = Callable[[str, float], object]
"""(what the builder is at, share of that done 0..1); returning False stops the build"""


@dataclass(frozen=True)
class BuildOptions:
    """Choices of the builder; part of a plan's key.

    max_faces: crops per step; typical_faces: the count that it is tuned for
    workspace_mb: scratch memory that a layer may use; tf32: let FP32 layers round to TF32 (10 bits of mantissa)
    """

    max_faces: int = 8
    typical_faces: int = 1
    workspace_mb: int = 1024
    tf32: bool = False

    def __post_init__(self) -> None:
        for name in ("max_faces", "typical_faces", "workspace_mb"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInput(f"{name}: expected a whole number from 1 on, got {value!r}")
        if self.typical_faces > self.max_faces:
            raise InvalidInput(
                f"typical_faces: expected at most max_faces ({self.max_faces}), got {self.typical_faces}"
            )

    def key(self) -> str:
        """For PlanKey.options; max_faces stands in the profile."""
        return json.dumps({"workspace_mb": self.workspace_mb, "tf32": self.tf32})


@dataclass(frozen=True)
class Built:
    """A plan, what the builder learnt for the next one, and how long it took.

    layers: kind and output type of the graph's layers -> how many, e.g. ("CONVOLUTION", "HALF") -> 65
    """

    plan: bytes
    timing: bytes
    seconds: float
    layers: Mapping[tuple[str, str], int]


def build_plan(
    trt: Any,
    path: str | Path,
    profile: Profile,
    options: BuildOptions | None = None,
    *,
    timing: bytes = b"",
    compute_capabilities: Sequence[str] = (),
    progress: Progress | None = None,
) -> Built:
    """Build the graph in the ONNX file at `path`.

    Args:
        trt: the module (trt_api.load).
        profile: of every input with a dynamic dimension.
        timing: the timing cache of earlier builds on this device.
        compute_capabilities: "8.9", ... to build for without such a GPU; TensorRT-RTX alone can.

    Raises ModelError (the graph cannot be parsed or built), InvalidInput (a profile that does not fit the graph),
    EngineMismatch (a library that cannot do what was asked), OutOfDeviceMemory (the library says so).
    """
    options = options or BuildOptions()
    start_s = time.monotonic()
    name = f"{Path(path).name} in {trt_api.library_name(trt)}"
    trt_api.last_errors(trt)  # forget what was before
    builder = _made(trt, lambda: trt.Builder(trt_api.logger_of(trt)), "a builder")
    flags = 0
    known = trt.NetworkDefinitionCreationFlag.__members__
    if "STRONGLY_TYPED" in known:
        flags |= 1 << int(known["STRONGLY_TYPED"])
    network = _made(trt, lambda: builder.create_network(flags), "a network")
    parser = _made(trt, lambda: trt.OnnxParser(network, trt_api.logger_of(trt)), "an ONNX parser")
    if not parser.parse_from_file(str(path)):
        reasons = "; ".join(_reason(parser.get_error(i)) for i in range(parser.num_errors))
        raise ModelError(f"expected a graph that can be parsed, got {name}: {reasons}; export it again")
    layers = _layers(network)
    config = _made(trt, builder.create_builder_config, "a builder configuration")
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if compute_capabilities:
        _aim(trt, config, compute_capabilities)
    # TensorRT-RTX compiles for the GPU when it runs, times nothing here, and warns where it is asked to
    cache = None if trt_api.library_name(trt).startswith("tensorrt-rtx") else _timing_cache(config, timing)
    _add_profile(trt, builder, config, network, profile, name)
    monitor = None if progress is None else _monitor(trt, progress)
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.stopped:
        raise AUNetError(f"the build of {name} was stopped; start it again, what the builder learnt is not kept")
    if plan is None:
        reason = trt_api.last_errors(trt)
        if tells_of_memory(reason):
            raise OutOfDeviceMemory(
                f"expected free device memory to build {name}, got {reason}; end other users of the GPU, or lower "
                "max_faces or the workspace"
            )
        raise ModelError(
            f"expected {name} to build, got {reason}; lower max_faces, change the workspace, or export the bundle again"
        )
    learnt = b""
    if cache is not None:
        kept = config.get_timing_cache()
        with contextlib.suppress(TypeError, ValueError):  # nothing learnt gives no buffer
            learnt = bytes(kept.serialize()) if kept is not None else b""
    return Built(bytes(plan), learnt, time.monotonic() - start_s, layers)


def _reason(error: Any) -> str:
    return " ".join(f"{error.node_operator()} {error.node_name()}: {error.desc()}".split())


def _layers(network: Any) -> dict[tuple[str, str], int]:
    """What the parser made of the graph, before the builder fuses it."""
    found: Counter[tuple[str, str]] = Counter()
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        dtype = layer.get_output(0).dtype if layer.num_outputs else None
        found[_short(layer.type), _short(dtype)] += 1
    return dict(found)


def _short(value: Any) -> str:
    """LayerType.CONVOLUTION -> "CONVOLUTION"."""
    return str(value).rsplit(".", 1)[-1]


def _made(trt: Any, make: Callable[[], Any], what: str) -> Any:
    """TensorRT's makers give None or raise TypeError where they fail."""
    try:
        made = make()
    except TypeError as error:
        raise _not_made(trt, what, error) from error
    if made is None:
        raise _not_made(trt, what, None)
    return made


def _not_made(trt: Any, what: str, got: object) -> AUNetError:
    reason, library = trt_api.last_errors(trt), trt_api.library_name(trt)
    if tells_of_memory(reason):
        return OutOfDeviceMemory(
            f"expected free device memory for {what} of {library}, got {reason}; end other users of the GPU"
        )
    return EngineMismatch(
        f"expected {what} of {library}, got {got} ({reason}); "
        "check that its libraries, the driver and the GPU fit together"
    )


def _aim(trt: Any, config: Any, wanted: Sequence[str]) -> None:
    known = getattr(trt, "ComputeCapability", None)
    if known is None or not hasattr(config, "set_compute_capability"):
        raise EngineMismatch(
            f"expected tensorrt-rtx for compute capabilities {', '.join(wanted)}, got {trt_api.library_name(trt)}, "
            "which builds for the GPU that is there"
        )
    members = known.__members__
    names = [f"SM{capability.replace('.', '')}" for capability in wanted]
    for capability, name in zip(wanted, names, strict=True):
        if name not in members:
            have = ", ".join(f"{m[2:-1]}.{m[-1]}" for m in members if m.startswith("SM"))
            raise EngineMismatch(
                f"expected compute capabilities of {trt_api.library_name(trt)} ({have}), got {capability}"
            )
    config.num_compute_capabilities = len(names)
    for i, name in enumerate(names):
        if not config.set_compute_capability(members[name], i):
            raise EngineMismatch(f"expected compute capability {wanted[i]} to be taken, got {trt_api.last_errors(trt)}")


def _timing_cache(config: Any, timing: bytes) -> Any:
    """Put the timing cache into use; a content that is refused is replaced by an empty one."""
    for content in (timing, b"") if timing else (b"",):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _add_profile(trt: Any, builder: Any, config: Any, network: Any, profile: Profile, name: str) -> None:
    made = _made(trt, builder.create_optimization_profile, "a profile")
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape = tuple(tensor.shape)
        if -1 not in shape:
            if tensor.name in profile and any(s != shape for s in asdict(profile[tensor.name]).values()):
                raise InvalidInput(f"profile: expected {tensor.name} {shape} in {name}, got {profile[tensor.name]}")
            continue
        if tensor.name not in profile:
            raise InvalidInput(f"profile: expected shapes for the input {tensor.name} {shape} of {name}, got none")
        shapes = profile[tensor.name]
        for each in (shapes.smallest, shapes.usual, shapes.largest):
            if len(each) != len(shape) or any(want not in (-1, got) for want, got in zip(shape, each, strict=True)):
                raise InvalidInput(f"profile: expected {tensor.name} {shape} in {name}, got {each}")
        try:
            made.set_shape(tensor.name, shapes.smallest, shapes.usual, shapes.largest)
        except (ValueError, RuntimeError) as error:
            raise InvalidInput(f"profile: expected shapes of {tensor.name} that fit {name}, got {error}") from error
    if config.add_optimization_profile(made) < 0:
        raise InvalidInput(
            f"profile: expected smallest <= usual <= largest for {name}, got {profile_text(profile)} "
            f"({trt_api.last_errors(trt)})"
        )


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):
        """The builder's phases -> `progress`, by the outermost phase."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped = False
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = max(num_steps, 1)
            self._tell(phase_name, 0.0)

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)
            self._tell(phase_name, 1.0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, (step + 1) / self._steps.get(phase_name, step + 1))
            return not self.stopped

        def _tell(self, phase: str, share: float) -> None:
            try:
                if progress(phase, min(share, 1.0)) is False:
                    self.stopped = True
            except Exception:  # nothing may be raised into the builder
                self.stopped = True

    return Monitor()
