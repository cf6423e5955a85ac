"""The model of Triton's python backend. `python -m export --triton` writes a model.py that imports it from here."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import AUNetError
from ..registry import open_engine
from .sequences import Request, Sequences

__all__ = ["TritonPythonModel"]

log = logging.getLogger(__name__)


class TritonPythonModel:
    """What Triton calls. The configuration's parameters: `bundle` (a file beside model.py), `engine`, `threads` and
    `max_faces` as DetectorOptions has them, `idle_s`; its `max_batch_size`: steps of so many streams run as one."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the engine and run it once, so that the first client does not wait for it."""
        import triton_python_backend_utils as pb_utils

        self._utils: Any = pb_utils
        config = json.loads(args["model_config"])
        given = {name: value["string_value"] for name, value in config["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        threads = int(given.get("threads", "0")) or None
        batch = max(1, int(config.get("max_batch_size", 1)))
        engine = open_engine(
            folder / given["bundle"],
            given.get("engine", "onnxruntime"),
            max_faces=batch * int(given.get("max_faces", "8")),
            threads=threads,
        )
        engine.step(1)
        self._sequences = Sequences(engine, float(given.get("idle_s", "60")), batch)
        log.info("%s runs %s on %s", args["model_name"], engine.bundle.name, ", ".join(engine.providers))

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, an error of ours as its kind and text."""
        read = [self._read(request) for request in requests]
        answers = iter(self._sequences.steps([each for each in read if isinstance(each, Request)]))
        return [self._response(next(answers) if isinstance(each, Request) else each) for each in read]

    def _read(self, request: Any) -> Request | Exception:
        try:
            tensors = {tensor.name(): np.asarray(tensor.as_numpy()) for tensor in request.inputs()}
            start, end = (bool(tensors.pop(name).ravel()[0]) for name in ("START", "END"))
            number = int(tensors.pop("CORRID").ravel()[0])
            return Request(number, start, end, {name: each[0] for name, each in tensors.items()})
        except Exception as error:  # one client's: the others go on
            return error

    def _response(self, answer: dict[str, np.ndarray] | Exception) -> Any:
        utils = self._utils
        if isinstance(answer, AUNetError):
            return utils.InferenceResponse(error=utils.TritonError(f"{type(answer).__name__}: {answer}"))
        if isinstance(answer, Exception):
            log.error("a request failed", exc_info=answer)
            return utils.InferenceResponse(error=utils.TritonError(f"BackendUnavailable: {answer!r}"))
        outputs = [utils.Tensor(name, np.ascontiguousarray(each[None])) for name, each in answer.items()]
        return utils.InferenceResponse(output_tensors=outputs)

    def finalize(self) -> None:
        """Give the engine back."""
        self._sequences.close()
