"""OpenVINO on the CPU: the `stream` graph with its state rings in host memory.

The crop's shape is fixed to one face, and several faces of a frame run one after the other: a batch takes as long on a
CPU (measured: 6.4 ms a face either way), and OpenVINO 2026.4 answers wrongly where an INT8 graph's batch is free.
Inputs and outputs share memory with the engine's arrays: nothing is copied on the way.
OpenVINO runs the INT8 bundles of `python -m export` with INT8 kernels, which is where it gains most.
"""

from __future__ import annotations

import logging
import platform
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._util.interrupt import raise_if_interrupted
from ..._util.paths import cache_folder
from ..._util.privacy import import_openvino
from ...bundle import Bundle
from ...errors import AUNetError, BackendUnavailable, BundleMismatch, InvalidInput, ModelError
from ..failures import foreign_failure
from ..ring import Ring
from ..ring_engine import RingEngine, check_faces, check_fps, index_names, load_bundle
from .ort import _usable_cores

__all__ = ["OpenVinoStreamEngine", "describe", "has_bf16"]

log = logging.getLogger(__name__)

_INSTALL = 'install "aunet_sdk[openvino]"'
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_making = threading.Lock()
_made: list[Any] = []


def _runtime() -> Any:
    try:
        return import_openvino()
    except ImportError as error:
        raise_if_interrupted(error)
        raise BackendUnavailable(f"expected OpenVINO, got {error}; {_INSTALL}") from error
    except Exception as error:  # its import does a lot, and raises whatever befalls it
        raise_if_interrupted(error)
        raise BackendUnavailable(
            f"expected OpenVINO to be imported, got {type(error).__name__}: {error}; try `python -c 'import openvino'`"
        ) from error


def _core() -> Any:
    """The one Core of this process, which is kept until the process ends.

    With its first device a Core puts an alternate signal stack under the calling thread, the stack that Python's signal
    handlers run on, and unmaps it when the last of its engines is gone. The former stack is put back only where Cores
    end in the thread that they began in and in reverse order. In any other order the thread is left with memory that
    is gone, and the next signal, Ctrl-C or SIGTERM, ends the process with a segmentation fault and without a word.
    """
    with _making:
        if not _made:
            openvino = _runtime()
            try:
                _made.append(openvino.Core())
            except Exception as error:  # RuntimeError mostly: its plugins cannot be loaded
                todo = 'pip install --force-reinstall "openvino"'
                raise foreign_failure("OpenVINO to start", error, todo) from error
        return _made[0]


def describe() -> str:
    """Version and CPU abilities of the OpenVINO that is installed, or why it cannot be used."""
    try:
        openvino = _runtime()
        abilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except BackendUnavailable as error:
        return f"not available: {error}"
    except Exception as error:  # RuntimeError mostly, and what its bindings raise
        return f"not available: no CPU device ({type(error).__name__}: {error})".splitlines()[0]
    return f"{openvino.__version__.split('-')[0]} ({', '.join(a for a in abilities if a in ('BF16', 'FP16', 'INT8'))})"


def has_bf16() -> bool:
    """Whether OpenVINO is there and this CPU has bfloat16 instructions."""
    return "BF16" in describe()


class OpenVinoStreamEngine(RingEngine):
    """StreamEngine (engines/base.py) on OpenVINO's CPU device.

    Args:
        bundle: a `stream` bundle, its path, or None for the default one.
        max_faces: crops per step.
        threads: of the network; None: the usable cores, at most 4. They are not pinned to cores.
        precision: "fp32" computes as the graph says; "bf16" lets FP32 layers compute in bfloat16 where the CPU can,
            which changes probabilities by up to .06 (default bundle). The attribute `precision` says what is computed
            in: "bf16", or the bundle's arithmetic.
        fps: frame rate that the rings are first laid out for, one face; they grow on demand up to max_faces at 240 fps.
        cache: folder for compiled models, so that the next start is quick; None: the user's cache folder.

    Raises InvalidInput, ModelError, BundleMismatch, BackendUnavailable.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path | None = None,
        *,
        max_faces: int = 8,
        threads: int | None = None,
        precision: str = "fp32",
        fps: float = 30.0,
        cache: str | Path | None = None,
    ) -> None:
        check_faces(max_faces)
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise InvalidInput(f"threads: expected a whole number from 1 on or None, got {threads!r}")
        if precision not in _HINTS:
            raise InvalidInput(f"precision: expected one of {', '.join(_HINTS)}, got {precision!r}")
        check_fps(fps)
        self.bundle, path = load_bundle(bundle, "stream")
        if self.bundle.arithmetic == "int8-symmetric":
            raise BundleMismatch(
                f"expected INT8 with uint8 activations, got {path.name} with signed ones, where OpenVINO's answers are "
                "not those of ONNX Runtime (2026.4: probabilities up to .6 apart); export it without --symmetric"
            )
        self.name = "openvino-bf16" if precision == "bf16" else "openvino"
        self.precision = "bf16" if precision == "bf16" else self.bundle.arithmetic
        self.max_faces = max_faces
        self._ov: Any = _runtime()
        self.providers: tuple[str, ...] = (f"CPU {precision}",)
        self._request: Any = self._compile(path, threads, precision, cache)

        self._max_queries = max(32, 2 * max_faces)
        self._lay_out()
        self._fps = fps
        self._asked = np.zeros_like(self._indices)
        self._answers = np.zeros_like(self._logits)
        self._resting = np.zeros_like(self._references)
        self._no_state = tuple(np.zeros((1, *s.shape), s.dtype) for s in self.bundle.state)
        self._bound: dict[str, tuple[int, int]] = {}

    def _compile(self, path: Path, threads: int | None, precision: str, cache: str | Path | None) -> Any:
        """The infer request for one crop and any number of queries."""
        core = _core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BackendUnavailable(
                f"expected a CPU with bfloat16 instructions, got {platform.processor() or 'one'} without; use fp32"
            )
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": min(4, _usable_cores()) if threads is None else threads,
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        folder = Path(cache) if cache is not None else cache_folder() / "openvino"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").touch()
            options["CACHE_DIR"] = str(folder)
        except OSError as error:
            log.warning("OpenVINO compiles at every start: its cache folder cannot be written (%s)", error)
        r = self.bundle.resolution
        try:
            model = core.read_model(str(path))
            self._check_graph(model)
            model.reshape({port.any_name: port.partial_shape for port in model.inputs} | {"crop": [1, 3, r, r]})
            return core.compile_model(model, "CPU", options).create_infer_request()
        except AUNetError:
            raise
        except Exception as error:  # RuntimeError mostly, and what its bindings raise
            reason = [str(error).strip() or type(error).__name__, *str(error).strip().splitlines()][-1]
            raise ModelError(
                f"expected a graph that OpenVINO {self._ov.__version__} can run, got {path.name}: {reason}; "
                "export it again or use ONNX Runtime"
            ) from error

    def _check_graph(self, model: Any) -> None:
        """BundleMismatch where inputs and outputs are not those of the metadata."""
        inputs = {"crop", *(name for *_, name in index_names(self.bundle))}
        inputs |= {f"ring_{s.name}" for s in self.bundle.state}
        inputs |= {"reference"} if self.bundle.reference else set()
        outputs = {"heatmaps", "logits", *(s.name for s in self.bundle.state)}
        for where, expected, ports in (("inputs", inputs, model.inputs), ("outputs", outputs, model.outputs)):
            got = {port.any_name for port in ports}
            if got != expected:
                raise BundleMismatch(
                    f"expected {where} {sorted(expected)} by the metadata, got {sorted(got)}; export it again"
                )

    def close(self) -> None:
        """Free compiled models and rings; see StreamEngine."""
        self._request = None
        self._close_states()

    def _check_open(self) -> None:
        if self._request is None:
            raise InvalidInput("expected an open engine, got one that was closed; open another")

    def _execute(self, n_new: int, count: int, starts: Sequence[int], rings: Sequence[Ring]) -> None:
        """See RingEngine."""
        if n_new <= 1:
            row = None if n_new == 0 else 0
            self._infer(row, starts, self._indices, self._references, self._logits, count, rings)
            return
        # A query belongs to the run of the crop that it calls new, as the first and only crop of that run.
        asked = self._indices[:, :count]
        crops = np.maximum(-1 - asked.min(0, initial=0), 0)
        for row in range(n_new):
            columns = np.flatnonzero(crops == row)
            np.maximum(asked[:, columns], -1, out=self._asked[:, : len(columns)])
            if self.bundle.reference:
                self._resting[: len(columns)] = self._references[columns]
            self._infer(row, starts, self._asked, self._resting, self._answers, len(columns), rings)
            self._logits[columns] = self._answers[: len(columns)]

    def _infer(
        self,
        row: int | None,
        starts: Sequence[int],
        indices: np.ndarray,
        references: np.ndarray,
        logits: np.ndarray,
        count: int,
        rings: Sequence[Ring],
    ) -> None:
        """Run crop `row` (None: an empty one, whose results go nowhere) and `count` queries."""
        if count == 0:  # OpenVINO 2026.4 leaves the whole graph out where one output is empty
            indices[:, 0] = -1
            count = 1
        at = 0 if row is None else row
        crops, heatmaps = (self._no_crop, self._no_heatmaps) if row is None else (self.crops, self._heatmaps)
        self._bind("crop", crops[at : at + 1])
        self._bind("heatmaps", heatmaps[at : at + 1])
        for (*_, name), index in zip(index_names(self.bundle), indices, strict=True):
            self._bind(name, index[:count])
        if self.bundle.reference:
            self._bind("reference", references[:count])
        self._bind("logits", logits[:count])
        for i, ring in enumerate(rings):
            target = self._no_state[i] if row is None else ring.tensor[starts[i] + at : starts[i] + at + 1]
            self._bind(f"ring_{ring.spec.name}", ring.tensor)
            self._bind(ring.spec.name, target)
        self._request.infer()

    def _bind(self, name: str, array: np.ndarray) -> None:
        """Let a tensor of the request share the memory of `array`, if it does not yet."""
        place = (array.ctypes.data, len(array))
        if self._bound.get(name) != place:
            self._request.set_tensor(name, self._ov.Tensor(array, shared_memory=True))
            self._bound[name] = place
