"""The model of Triton's python backend. `python -m export --triton` writes a model.py that imports it from here."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import AUNetError
from ..registry import open_engine
from .sequences import Sequences

__all__ = ["TritonPythonModel"]

log = logging.getLogger(__name__)


class TritonPythonModel:
    """What Triton calls. The configuration's parameters: `bundle` (a file beside model.py), `engine`, `threads` and
    `max_faces` as DetectorOptions has them, `idle_s`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the engine and run it once, so that the first client does not wait for it."""
        import triton_python_backend_utils as pb_utils

        self._utils: Any = pb_utils
        config = json.loads(args["model_config"])
        given = {name: value["string_value"] for name, value in config["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        threads = int(given.get("threads", "0")) or None
        engine = open_engine(
            folder / given["bundle"],
            given.get("engine", "onnxruntime"),
            max_faces=int(given.get("max_faces", "8")),
            threads=threads,
        )
        engine.step(1)
        self._sequences = Sequences(engine, float(given.get("idle_s", "60")))
        log.info("%s runs %s on %s", args["model_name"], engine.bundle.name, ", ".join(engine.providers))

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, an error of ours as its kind and text."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        utils = self._utils
        try:
            tensors = {}
            for tensor in request.inputs():
                tensors[tensor.name()] = np.asarray(tensor.as_numpy())
            start, end = (bool(tensors.pop(name).ravel()[0]) for name in ("START", "END"))
            number = int(tensors.pop("CORRID").ravel()[0])
            answer = self._sequences.step(number, start, end, {name: each[0] for name, each in tensors.items()})
            outputs = [utils.Tensor(name, np.ascontiguousarray(each[None])) for name, each in answer.items()]
            return utils.InferenceResponse(output_tensors=outputs)
        except AUNetError as error:
            return utils.InferenceResponse(error=utils.TritonError(f"{type(error).__name__}: {error}"))
        except Exception as error:  # one client's: the others go on
            log.exception("a request failed")
            return utils.InferenceResponse(error=utils.TritonError(f"BackendUnavailable: {error!r}"))

    def finalize(self) -> None:
        """Give the engine back."""
        self._sequences.close()
