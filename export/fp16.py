"""FP16 storage: weights lie in the file as float16, and one Cast per tensor brings them back to float32.

ONNX Runtime folds those casts when the session is made, so that the CPU computes in float32 at full speed from a file
of half the size. Biases, scales and shifts (vectors) stay float32, and so do small weights that float16 would round:
those that a batch norm was folded into. A checkpoint that was stored in FP16 is thus exported without a loss.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["store_fp16"]

MIN_SIZE = 256
SMALL = 16384
"""weights of no more than this many numbers are kept in float32 where float16 would change them"""


def store_fp16(proto: onnx.ModelProto) -> int:
    """Turn the weights of `proto` into float16 plus Cast, in place. Returns how many tensors were turned.

    Raises ValueError where a weight is beyond the FP16 range (65504).
    """
    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or np.prod(tensor.dims) < MIN_SIZE:
            continue
        values = numpy_helper.to_array(tensor)
        largest = float(np.abs(values).max())
        if not largest <= float(np.finfo(np.float16).max):
            raise ValueError(
                f"{tensor.name}: expected weights up to 65504 for FP16, got {largest:g}; export with --precision fp32"
            )
        if values.size <= SMALL and not np.array_equal(values.astype(np.float16).astype(np.float32), values):
            continue
        stored = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.fp16")
        casts.append(
            helper.make_node("Cast", [stored.name], [tensor.name], name=f"{tensor.name}.cast", to=TensorProto.FLOAT)
        )
        tensor.CopyFrom(stored)
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return len(casts)
