"""One video as a whole and in two parts that are joined, and how far the two tables differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from aunet_sdk import DetectorOptions
from aunet_sdk.jobs.dataset import DataSet, Status
from aunet_sdk.jobs.items import expand
from aunet_sdk.jobs.split import change_over, join, parts_of
from aunet_sdk.jobs.worker import Worker
from aunet_sdk.sources import VideoFile


def check_joined_parts(video: Path, out: Path, seconds: float) -> Status:
    """Two parts of about `seconds` have the rows of the whole: AUs and scores to 1e-4, boxes and angles to .01, all
    else exactly. The status of the whole."""
    (item,) = expand([str(video)])
    data = DataSet(out)
    data.begin({}, resume=False)
    options = DetectorOptions(engine="onnxruntime", threads=1, neutral="off")  # as the command has it where it splits
    worker = Worker(str(data.root), options, {"model": "default"})
    status = worker.run(item)
    whole = pq.read_table(data.place_of(item.key), partitioning=None)
    assert (status.state, status.rows) == ("done", whole.num_rows)
    opened = VideoFile(item.uri)
    parts = parts_of(opened.frame_count or 0, opened.fps, seconds)
    opened.close()
    assert len(parts) == 2
    tables = []
    for part in parts:
        worker.run_part(item, part)
        tables.append(pq.read_table(data.work / part.place(item.key)))
    worker.close()
    names = [name for name in whole.schema.names if name.startswith("AU") and not name.endswith("_active")]
    at = change_over(tables[0], tables[1], parts[1].begin, names)
    assert at is not None and at > parts[1].begin, "both are the same stream from the start: nothing was tested"
    joined = join(tables, [at])
    assert joined.schema.names == whole.schema.names and joined.num_rows == whole.num_rows
    for name in whole.schema.names:
        one, other = whole.column(name), joined.column(name)
        if name in names or name == "score":
            assert np.abs(one.to_numpy() - other.to_numpy()).max() < 1e-4, name
        elif name in ("x", "y", "width", "height", "yaw_deg", "pitch_deg", "roll_deg"):
            assert np.abs(one.to_numpy() - other.to_numpy()).max() < 0.01, name
        else:
            assert one.equals(other), name
    return status
