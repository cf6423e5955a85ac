"""The metadata of an ONNX file, from its outer protobuf fields; the weights are skipped over."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import ModelError

__all__ = ["read_metadata"]

# protobuf: ModelProto.ir_version, .graph and .metadata_props; the value types of the wire format
_IR_VERSION, _GRAPH, _METADATA = 1, 7, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_metadata(path: str | Path) -> dict[str, str]:
    """`metadata_props` of an ONNX file, read without its weights. Raises ModelError if this is no whole ONNX file."""
    path = Path(path)
    metadata: dict[str, str] = {}
    seen = set()
    try:
        with path.open("rb") as file:
            for number, payload in _fields(file, path.stat().st_size, keep=_METADATA):
                seen.add(number)
                if number == _METADATA:
                    entry = dict(_entry(payload))
                    metadata[entry[1].decode("utf-8")] = entry.get(2, b"").decode("utf-8")
    except (ValueError, KeyError, EOFError) as error:
        raise ModelError(
            f"expected an ONNX file, got {path.name}, which is damaged, cut short or something else ({error}); "
            "fetch or export it again"
        ) from error
    if not {_IR_VERSION, _GRAPH} <= seen:
        raise ModelError(f"expected an ONNX file, got {path.name} without a graph; fetch or export it again")
    return metadata


def _entry(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a StringStringEntryProto: 1 key, 2 value."""
    yield from _fields(io.BytesIO(payload), len(payload), keep=None)


def _fields(file: IO[bytes], size: int, keep: int | None) -> Iterator[tuple[int, bytes]]:
    """(field number, payload) of one protobuf message; payloads other than of `keep` are skipped (None: none)."""
    while file.tell() < size:
        tag = _varint(file)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("field number 0")
        payload = b""
        if wire == _VARINT:
            _varint(file)
        elif wire in (_FIXED64, _FIXED32):
            file.seek(8 if wire == _FIXED64 else 4, 1)
        elif wire == _BYTES:
            length = _varint(file)
            if file.tell() + length > size:
                raise EOFError(f"field {number} ends after the file does")
            if keep is None or number == keep:
                payload = file.read(length)
            else:
                file.seek(length, 1)
        else:
            raise ValueError(f"wire type {wire}")
        if file.tell() > size:
            raise EOFError(f"field {number} ends after the file does")
        yield number, payload


def _varint(file: IO[bytes]) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("the end of the file in the middle of a number")
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    raise ValueError("a number of more than 10 bytes")
