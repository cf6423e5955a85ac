"""One video as a whole and in two parts that are joined, and how far the two tables differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from aunet_sdk import DetectorOptions
from aunet_sdk.jobs.dataset import DataSet, Status
from aunet_sdk.jobs.items import expand
from aunet_sdk.jobs.joining import Joined, joined_of
from aunet_sdk.jobs.split import parts_of
from aunet_sdk.jobs.worker import Worker
from aunet_sdk.options import Neutral
from aunet_sdk.sources import VideoFile


def check_joined_parts(video: Path, out: Path, seconds: float, neutral: Neutral) -> Status:
    """Two parts of about `seconds` have the rows of the whole: AUs and scores to 1e-4, boxes and angles to .01, all
    else exactly. The status of the whole."""
    (item,) = expand([str(video)])
    data = DataSet(out)
    data.begin({}, resume=False)
    options = DetectorOptions(engine="onnxruntime", threads=1, neutral=neutral)
    worker = Worker(str(data.root), options, {"model": "default"})
    status = worker.run(item)
    whole = pq.read_table(data.place_of(item.key), partitioning=None)
    assert (status.state, status.rows) == ("done", whole.num_rows)
    opened = VideoFile(item.uri)
    parts = parts_of(opened.frame_count or 0, opened.fps, seconds)
    opened.close()
    assert len(parts) == 2
    done = {part.begin: worker.run_part(item, part) for part in parts}
    names = [name for name in whole.schema.names if name.startswith("AU") and not name.endswith("_active")]
    both = joined_of(data, item.key, parts, done, names)
    assert isinstance(both, Joined)
    assert both.begins[0] > parts[1].begin, "both are the same stream from the start: nothing was tested"
    if neutral == "auto":
        plain = both.table(data.work, item.key).column("AU1").to_numpy()
        assert np.abs(plain - whole.column("AU1").to_numpy()).max() > 0.05, "the face at rest decides nothing here"
        again = worker.run_joined(item, both)
    else:
        again = both.finish(data, item.key, both.status, both.table(data.work, item.key))
    worker.close()
    for name in ("state", "frames", "frames_with_face", "rows", "faces"):
        assert getattr(again, name) == getattr(status, name), name
    assert [path for path in data.work.iterdir() if item.key in path.name] == []
    joined = pq.read_table(data.place_of(item.key), partitioning=None)
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
