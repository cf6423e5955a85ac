"""The connection to a Triton Inference Server, and what can go wrong with it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np

from ..._util.interrupt import raise_if_interrupted
from ...errors import AUNetError, BackendUnavailable, BundleMismatch, EngineMismatch, InvalidInput, ModelError
from . import wire

__all__ = ["Connection"]

_KINDS: dict[str, type[AUNetError]] = {
    kind.__name__: kind for kind in (InvalidInput, ModelError, BundleMismatch, BackendUnavailable, EngineMismatch)
}
"""errors that the model in the server sends, by the word in front of their text"""
_END_S = 1.0


def _client() -> Any:
    try:
        import tritonclient.grpc
    except ImportError as error:
        raise_if_interrupted(error)
        raise BackendUnavailable(f'engine triton: {error}; pip install "aunet_sdk[triton]"') from error
    return tritonclient.grpc


class Connection:
    """One model of one server, by gRPC.

    Raises BackendUnavailable where tritonclient is missing, or the server cannot be reached, is not ready or has no
    such model; InvalidInput for arguments that cannot be used.
    """

    def __init__(self, url: str, model_name: str, timeout_s: float, ssl: bool) -> None:
        if not isinstance(url, str) or not url or "://" in url:
            raise InvalidInput(f"url: expected HOST:PORT of Triton's gRPC, such as 'localhost:8001', got {url!r}")
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, Real) or not 0 < timeout_s <= 3600:
            raise InvalidInput(f"timeout_s: expected seconds above 0, at most 3600, got {timeout_s!r}")
        self.url: str = url
        self.model_name: str = model_name
        self._timeout_s: float = float(timeout_s)
        self._library: Any = _client()
        self._client: Any = self._library.InferenceServerClient(url, ssl=ssl)

    def __str__(self) -> str:
        return f"the model {self.model_name} at {self.url}"

    @staticmethod
    def describe() -> str:
        """Version of the client library. Raises BackendUnavailable."""
        _client()
        return f"tritonclient {importlib.metadata.version('tritonclient')}"

    def parameter(self, name: str) -> str | None:
        """One of the model's configuration, or None."""
        config = self._call(self._client.get_model_config, self.model_name, as_json=True)
        value = config["config"].get("parameters", {}).get(name)
        return None if value is None else str(value["string_value"])

    def infer(
        self, sequence: int, start: bool, tensors: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """One step of a sequence; tensors as in wire.py, without the batch axis. Outputs that the server leaves out are
        missing in the answer."""
        inputs = []
        for name, array in tensors.items():
            tensor = self._library.InferInput(name, [1, *array.shape], wire.INPUTS[name][0])
            tensor.set_data_from_numpy(np.ascontiguousarray(array[None]))
            inputs.append(tensor)
        answer = self._call(
            self._client.infer,
            self.model_name,
            inputs,
            outputs=[self._library.InferRequestedOutput(name) for name in outputs],
            sequence_id=sequence,
            sequence_start=start,
        )
        found = {name: answer.as_numpy(name) for name in outputs}
        return {name: array[0] for name, array in found.items() if array is not None}

    def end(self, sequence: int) -> None:
        """Tell the server that a sequence is over; nothing is raised where it cannot be told."""
        nothing = self._library.InferInput("RELEASED", [1, 1], "INT64")
        nothing.set_data_from_numpy(np.full((1, 1), wire.NEW, np.int64))
        with suppress(AUNetError):
            self._call(
                self._client.infer,
                self.model_name,
                [nothing],
                sequence_id=sequence,
                sequence_end=True,
                client_timeout=min(_END_S, self._timeout_s),
            )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(self, method: Any, *args: Any, **options: Any) -> Any:
        options.setdefault("client_timeout", self._timeout_s)
        try:
            return method(*args, **options)
        except self._library.InferenceServerException as error:
            raise self._translated(error) from error
        except Exception as error:  # gRPC's own
            raise_if_interrupted(error)
            raise BackendUnavailable(f"expected {self} to answer, got {type(error).__name__}: {error}") from error

    def _translated(self, error: Any) -> AUNetError:
        status, text = str(error.status()), " ".join(str(error.message()).split())
        for name, kind in _KINDS.items():
            _, found, rest = text.partition(f"{name}: ")
            if found:
                return kind(rest)
        if "DEADLINE_EXCEEDED" in status:
            return BackendUnavailable(
                f"expected {self} to answer within {self._timeout_s:g} s, got nothing; repeat it, or raise timeout_s"
            )
        if "UNAVAILABLE" in status:
            return BackendUnavailable(f"expected {self} to answer, got no connection ({text}); start the server")
        return BackendUnavailable(f"expected {self} to answer, got {status}: {text}")
