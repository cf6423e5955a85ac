"""What a set of triplets consists of, as hashes."""

from __future__ import annotations

import hashlib

import numpy as np

from train.data.triplets import TripletSet


def rows_key(data: TripletSet) -> str:
    """Number and short hash of the rows of a set: their keys, neighbours, five points of the due frames, labels."""
    digest = hashlib.sha256(repr(tuple(data.au_numbers)).encode())
    for names in (data.corpus, data.video, data.frame):
        digest.update("\n".join(map(str, names.tolist())).encode())
    codes = np.where(np.isnan(data.labels), -1, data.labels).astype(np.int8)
    for array in (data.rows, data.table.points[data.rows[:, 1]], codes):
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"{len(data)} rows, {digest.hexdigest()[:16]}"


def faces_key(data: TripletSet) -> str:
    """Hash of what the crops of a set are made by: the rows of its triplets, their five points, the matrices of the
    due frames (the boxes of the faces)."""
    due = np.unique(data.rows[:, 1]).tolist()
    matrices = np.stack([data.table.matrix(row, data.resolution) for row in due])
    digest = hashlib.sha256()
    for array in (data.rows, data.table.points[np.unique(data.rows)], matrices):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
