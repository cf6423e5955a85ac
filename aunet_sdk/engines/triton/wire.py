"""What goes between the engine `triton` and its model in the server: one request per step of one stream of frames.

A stream is a sequence of Triton; the server keeps its states. Slots go by numbers that the client chooses, ascending.
Every tensor has a leading batch axis of 1, which Triton wants for sequences. A tensor without rows is left out, in
requests and in answers.

    request     CROPS              float32 (n, 3, R, R)   new crops, RGB in [0, 1]
                SLOTS              int64 (n,)             the numbers that their slots get
                QUERIES            int64 (q, 4)           row, former, due, later; NEW for the crop of the row
                REFERENCES         float32 (q, 68, 2)     NaN where the person's points at rest are not known
                CAUSAL             int64 (n,)             a former slot per crop, or NEW; asks for CAUSAL_LOGITS
                CAUSAL_REFERENCES  float32 (n, 68, 2)
                SETTLED            int64 (s,)             slots that are no longer asked about as due
                RELEASED           int64 (r,)             slots that nobody holds any more
    answer      HEATMAPS           float32 (n, 68, R/4, R/4)
                LOGITS             float32 (q, bundle.answers)
                CAUSAL_LOGITS      float32 (n, bundle.answers)
                HELD               int64 (k, 2)           slots of which something was given up, and the roles that
                                                          are left, a bit per role in the order of ROLES
"""

from __future__ import annotations

__all__ = ["INPUTS", "MODEL", "NEW", "OUTPUTS", "PARAMETER", "ROLES", "Kind"]

MODEL = "aunet_stream"
"""the model's name in the repository"""
PARAMETER = "aunet_sdk"
"""of the model's configuration: the bundle's metadata, so that a client sees which model is served"""
NEW = -1
ROLES = ("former", "due", "later")
Kind = tuple[str, tuple[int | str, ...]]
"""Triton's data type, and the shape without the batch axis: numbers, or names of what the bundle decides"""
INPUTS: dict[str, Kind] = {
    "CROPS": ("FP32", (-1, 3, "resolution", "resolution")),
    "SLOTS": ("INT64", (-1,)),
    "QUERIES": ("INT64", (-1, 4)),
    "REFERENCES": ("FP32", (-1, 68, 2)),
    "CAUSAL": ("INT64", (-1,)),
    "CAUSAL_REFERENCES": ("FP32", (-1, 68, 2)),
    "SETTLED": ("INT64", (-1,)),
    "RELEASED": ("INT64", (-1,)),
}
OUTPUTS: dict[str, Kind] = {
    "HEATMAPS": ("FP32", (-1, 68, "heatmap", "heatmap")),
    "LOGITS": ("FP32", (-1, "answers")),
    "CAUSAL_LOGITS": ("FP32", (-1, "answers")),
    "HELD": ("INT64", (-1, 2)),
}
