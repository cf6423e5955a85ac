"""The page about a data set: whole pictures of short files, the file's own time, every file of the set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aunet_sdk.jobs.dataset import DataSet, Status
from aunet_sdk.jobs.summary import activity, write_page

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def _rows(path: Path, frames: range) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"timestamp_s": [i / 25 for i in frames], "AU12": pa.array([0.5] * len(frames))}), path)
    return path


@pytest.mark.parametrize("count", [1, 2, 72, 479])
def test_a_short_file_has_a_part_per_frame_and_no_gaps(count: int, tmp_path: Path) -> None:
    found, begin, end = activity(_rows(tmp_path / "a.parquet", range(count)), ["AU12"], count, (count - 1) / 25)
    assert found.shape == (1, count) and not np.isnan(found).any() and (begin, end) == (0.0, (count - 1) / 25)


def test_the_time_is_that_of_the_file_and_not_of_its_faces(tmp_path: Path) -> None:
    found, begin, end = activity(_rows(tmp_path / "a.parquet", range(50, 76)), ["AU12"], 101, 4.0)
    assert (begin, end) == (0.0, 4.0)
    assert np.flatnonzero(~np.isnan(found[0])).tolist() == list(range(50, 76))


def test_files_that_were_done_before_are_on_the_page(tmp_path: Path) -> None:
    data = DataSet(tmp_path / "out")
    data.begin({}, resume=False)
    statuses = [
        Status(f"/videos/{name}.mp4", name, "done", frames=26, frames_with_face=26, rows=26, faces=n, duration_s=1.0)
        for n, name in enumerate("ab", 1)
    ]
    for status in statuses:
        data.finish(status, _rows(data.work / "x.parquet", range(26)))
    page = write_page(data, statuses[1:], ["AU12"], "mine").read_text(encoding="utf-8")
    assert page.index("b.mp4") < page.index("a.mp4"), "those of this run first"
    assert "2 of 2 files done, 0.0 minutes, 52 rows" in page and " 1 id," in page and " 2 ids," in page
