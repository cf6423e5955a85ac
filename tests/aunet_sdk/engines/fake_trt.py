"""A fake of TensorRT's run time (a module in the shape of `tensorrt`) on top of FakeCuda.

A "plan" is the ONNX file itself with a header; a "context" runs it with ONNX Runtime on the fake device memory, so that
the numbers that come out are right only if every address, shape and copy was. The builder part is as thin as it can be:
the real builder is tested with the real TensorRT-RTX (test_trt_build.py). Attributes are those of trt_api alone.
"""

from __future__ import annotations

import enum
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort

from .fake_cuda import FakeCuda

MAGIC = b"fake plan "


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT64 = 8


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class BuilderFlag(enum.Enum):
    TF32 = 7


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT64: np.int64}
ORT = {"tensor(float)": DataType.FLOAT, "tensor(float16)": DataType.HALF, "tensor(int64)": DataType.INT64}


class Logger:
    INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)


class ILogger:
    def log(self, severity: Any, message: str) -> None: ...


class IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...

    def phase_finish(self, phase_name: str) -> None: ...

    def step_complete(self, phase_name: str, step: int) -> bool: ...


def session_of(model: str | bytes) -> Any:
    """ONNX Runtime on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def fake_tensorrt(cuda: FakeCuda, version: str = "10.3.0") -> Any:
    """A module. `calls`: (name, arguments) of the run time's calls, in one list with those of `cuda`.

    `give`: name of a call -> what it gives instead (None, False, a list); `builds`: number of builds so far;
    `on_build`: called when one begins; `says`: errors that it logs before its own reason where something fails.
    """
    module: Any = ModuleType("tensorrt")
    module.__version__ = version
    module.give = {}
    module.builds = 0
    module.on_build = None
    module.says = []

    def call(name: str, *arguments: Any) -> None:
        cuda.calls.append((name, *arguments))

    def given(name: str, value: Any) -> Any:
        return module.give.get(name, value)

    def complain(logger: Any, what: str) -> None:
        for line in module.says:
            logger.log(Logger.ERROR, line)
        logger.log(Logger.ERROR, f"the fake's reason for {what}")

    class ParserError:
        def desc(self) -> str:
            return "the fake's parser error"

        def node_name(self) -> str:
            return "node_1"

        def node_operator(self) -> str:
            return "Conv"

    class ITensor:
        def __init__(self, value: Any) -> None:
            self.name = value.name
            self.dtype = ORT[value.type]
            self.shape = tuple(d if isinstance(d, int) else -1 for d in value.shape)

    class ILayer:
        type = "LayerType.CONVOLUTION"
        num_outputs = 1

        def __init__(self, network: INetworkDefinition) -> None:
            self._network = network

        def get_output(self, i: int) -> ITensor:
            return self._network.get_input(0)

    class INetworkDefinition:
        session: Any = None
        path = ""

        num_layers = 1

        @property
        def num_inputs(self) -> int:
            return len(self.session.get_inputs())

        def get_layer(self, i: int) -> ILayer:
            return ILayer(self)

        def get_input(self, i: int) -> ITensor:
            return ITensor(self.session.get_inputs()[i])

    class OnnxParser:
        num_errors = 1

        def __init__(self, network: INetworkDefinition, logger: Any) -> None:
            self._network = network
            if given("OnnxParser", True) is None:
                complain(logger, "no parser")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def parse_from_file(self, path: str) -> bool:
            if not given("parse_from_file", True):
                return False
            self._network.path = path
            self._network.session = session_of(path)
            return True

        def get_error(self, i: int) -> ParserError:
            return ParserError()

    class IOptimizationProfile:
        def __init__(self) -> None:
            self.shapes: dict[str, list[list[int]]] = {}

        def set_shape(self, name: str, smallest: Any, usual: Any, largest: Any) -> None:
            self.shapes[name] = [list(smallest), list(usual), list(largest)]

    class ITimingCache:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def serialize(self) -> bytes:
            return self.content + b"+"

    class IBuilderConfig:
        progress_monitor: Any = None
        profile: Any = None

        def clear_flag(self, flag: BuilderFlag) -> None: ...

        def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
            call("set_memory_pool_limit", size)

        def create_timing_cache(self, content: bytes) -> ITimingCache | None:
            call("create_timing_cache", content)
            return given("create_timing_cache", ITimingCache(content))

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            self.cache = cache
            return given("set_timing_cache", True)

        def get_timing_cache(self) -> ITimingCache | None:
            return given("get_timing_cache", self.cache)

        def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
            self.profile = profile
            return given("add_optimization_profile", 0)

    class Builder:
        def __init__(self, logger: Any) -> None:
            self._logger = logger
            if given("Builder", True) is None:
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int) -> INetworkDefinition:
            call("create_network", flags)
            return given("create_network", INetworkDefinition())

        def create_builder_config(self) -> IBuilderConfig:
            return given("create_builder_config", IBuilderConfig())

        def create_optimization_profile(self) -> IOptimizationProfile:
            return given("create_optimization_profile", IOptimizationProfile())

        def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
            module.builds += 1
            if module.on_build is not None:
                module.on_build()
            monitor = config.progress_monitor
            if monitor is not None:
                monitor.phase_start("building", None, 4)
                for step in range(4):
                    if not monitor.step_complete("building", step):
                        return None
                monitor.phase_finish("building")
            if given("build_serialized_network", True) is None:
                complain(self._logger, "no plan")
                return None
            header = json.dumps({"version": version, "profile": config.profile.shapes}).encode()
            return MAGIC + len(header).to_bytes(4, "little") + header + Path(network.path).read_bytes()

    class IExecutionContext:
        def __init__(self, engine: ICudaEngine) -> None:
            self._engine = engine
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: Any) -> bool:
            call("set_input_shape", name, tuple(shape))
            smallest, _, largest = self._engine.profile[name]
            inside = all(a <= b <= c for a, b, c in zip(smallest, shape, largest, strict=True))
            if not inside or not given("set_input_shape", True):
                complain(self._engine.logger, f"the shape of {name}")
                return False
            self._shapes[name] = tuple(shape)
            return True

        def set_tensor_address(self, name: str, address: int) -> bool:
            call("set_tensor_address", name, address)
            assert address % 256 == 0
            self._addresses[name] = address
            return given("set_tensor_address", True)

        def infer_shapes(self) -> list[str]:
            call("infer_shapes")
            return given("infer_shapes", [name for name in self._engine.inputs if name not in self._shapes])

        def execute_async_v3(self, stream: int) -> bool:
            call("execute_async_v3", stream)
            assert cuda.owner is not None
            if not given("execute_async_v3", True):
                complain(self._engine.logger, "not running")
                return False
            shapes, addresses = dict(self._shapes), dict(self._addresses)

            def work() -> None:
                assert shapes == self._shapes, "a graph that outlived the shapes of its context"
                assert addresses == self._addresses, "a graph that outlived the addresses of its context"
                feed = {}
                for name in self._engine.inputs:
                    dtype = np.dtype(NUMPY[self._engine.get_tensor_dtype(name)])
                    size = int(np.prod(shapes[name])) * dtype.itemsize
                    feed[name] = cuda.at(addresses[name], size).view(dtype).reshape(shapes[name])
                for name, value in zip(self._engine.outputs, self._engine.session.run(None, feed), strict=True):
                    cuda.at(addresses[name], value.nbytes)[:] = value.reshape(-1).view(np.uint8)

            cuda.put(stream, work)
            return True

    class ICudaEngine:
        def __init__(self, logger: Any, header: dict[str, Any], model: bytes) -> None:
            self.logger = logger
            self.profile = {name: tuple(map(tuple, shapes)) for name, shapes in header["profile"].items()}
            self.session = session_of(model)
            self.inputs = {v.name: v for v in self.session.get_inputs()}
            self.outputs = {v.name: v for v in self.session.get_outputs()}
            self._all = self.inputs | self.outputs

        @property
        def num_io_tensors(self) -> int:
            return len(self._all)

        def get_tensor_name(self, i: int) -> str:
            return list(self._all)[i]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> DataType:
            return ORT[self._all[name].type]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(d if isinstance(d, int) else -1 for d in self._all[name].shape)

        def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
            return list(given("get_tensor_profile_shape", self.profile)[name])

        def create_execution_context(self) -> IExecutionContext | None:
            call("create_execution_context")
            if given("create_execution_context", True) is None:
                complain(self.logger, "no context")
                return None
            return IExecutionContext(self)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger
            if given("Runtime", True) is None:
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
            call("deserialize_cuda_engine", len(plan))
            if not plan.startswith(MAGIC) or given("deserialize_cuda_engine", True) is None:
                complain(self._logger, "not reading the plan")
                return None
            start = len(MAGIC) + 4
            end = start + int.from_bytes(plan[len(MAGIC) : start], "little")
            header = json.loads(plan[start:end])
            if header["version"] != version:
                complain(self._logger, "another version")
                return None
            return ICudaEngine(self._logger, header, plan[end:])

    for item in (
        BuilderFlag, DataType, ILogger, IProgressMonitor, Logger, MemoryPoolType, NetworkDefinitionCreationFlag,
        TensorIOMode, Builder, IBuilderConfig, ICudaEngine, IExecutionContext, INetworkDefinition, IOptimizationProfile,
        ILayer, ITensor, ITimingCache, OnnxParser, ParserError, Runtime,
    ):  # fmt: skip
        setattr(module, item.__name__, item)
    module.ITensor.name = module.ITensor.shape = module.ITensor.dtype = None
    return module
