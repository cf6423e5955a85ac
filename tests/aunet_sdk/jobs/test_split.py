"""A long video in parts has the rows of the whole one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.jobs import runner, split
from aunet_sdk.jobs.dataset import DataSet, Status
from aunet_sdk.jobs.items import expand
from aunet_sdk.jobs.split import OVERLAP_S, Part, change_over, join, parts_of
from aunet_sdk.options import Neutral

from ..command import write_video
from .conftest import FRAMES
from .joined import check_joined_parts

pq = pytest.importorskip("pyarrow.parquet")
pa = pytest.importorskip("pyarrow")


@given(st.integers(0, 200_000), st.floats(1, 120), st.floats(1, 4000))
def test_parts_cover_every_frame_and_overlap(count: int, fps: float, seconds: float) -> None:
    parts = parts_of(count, fps, seconds)
    assert parts[0].begin == 0 and parts[-1].end is None and parts[-1].next is None
    for part, after in pairwise(parts):
        assert part.next == after.begin and part.end is not None
        assert part.end - after.begin == round(OVERLAP_S * fps) and after.begin > part.begin
    assert parts[0].with_next(parts[-1]) == Part(0, None, None)


def _table(first: int, last: int, ids: dict[int, int], wrong_until: int = 0) -> pa.Table:
    """Two faces in every frame; those below `wrong_until` are somewhere else."""
    rows = [(frame, face) for frame in range(first, last) for face in sorted(ids)]
    wrong = np.array([frame < wrong_until for frame, _ in rows])
    x = np.array([100.0 * face for _, face in rows]) + 5 * wrong
    columns = {
        "frame": np.array([frame for frame, _ in rows], np.int32),
        "timestamp_s": np.array([frame / 25 for frame, _ in rows]),
        "face_id": np.array([ids[face] for _, face in rows], np.int32),
        **{name: x for name in ("x", "y", "width", "height")},
        "score": np.full(len(rows), 0.9, np.float32),
        "AU1": np.array([(frame * face % 7) / 7 for frame, face in rows]),
    }
    return pa.table(columns)


def test_rows_change_over_where_both_agree_for_a_second_and_ids_go_on() -> None:
    whole = _table(0, 200, {1: 4, 2: 9})
    earlier, later = whole.slice(0, 2 * 150), _table(100, 200, {1: 2, 2: 1}, wrong_until=110)
    at = change_over(earlier, later, 100, ["AU1"])
    assert at == 110
    joined = join([earlier, later], [at])
    assert joined.equals(whole)
    assert change_over(earlier, _table(100, 200, {1: 2, 2: 1}, wrong_until=140), 100, ["AU1"]) is None, "too short"
    assert change_over(earlier, _table(100, 200, {1: 2}), 100, ["AU1"]) is None, "a face is missing"


def test_somebody_new_in_a_later_part_has_a_new_id() -> None:
    earlier, later = _table(0, 150, {1: 1}), _table(100, 200, {1: 1})
    extra = _table(160, 200, {1: 1, 3: 2})
    later = pa.concat_tables([later.slice(0, 60), extra])
    joined = join([earlier, later], [105])
    assert sorted(set(joined.column("face_id").to_pylist())) == [1, 2]
    assert joined.num_rows == 160 + 80


@pytest.mark.parametrize("neutral", ["auto", "off"])
def test_the_sample_in_parts_is_the_sample(
    neutral: Neutral, short_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "OVERLAP_S", 2.5)
    status = check_joined_parts(short_sample, tmp_path / "out", 3, neutral)
    assert (status.frames, status.faces) == (FRAMES, 1)


def test_a_file_with_a_broken_part_is_broken(tmp_path: Path) -> None:
    """Each part decodes its own frames alone, so that the last one does not know what is wrong with the first."""
    data = DataSet(tmp_path / "out")
    data.begin({}, resume=False)
    (item,) = expand([str(write_video(tmp_path / "a.avi", 2))])
    parts = [Part(0, 150, 100), Part(100, None, None)]
    done = {}
    for part, problem in zip(parts, ("video: 2 frames could not be decoded", ""), strict=True):
        pq.write_table(_table(part.begin, part.end or 200, {1: 1}), data.work / part.place(item.key))
        state = "broken" if problem else "done"
        done[part.begin] = Status(item.shown, item.key, state, problem, frames=(part.end or 200) - part.begin)
    status = runner._join(runner._Joint(item, parts, done), data, ["AU1"], learns_rest=False)
    assert isinstance(status, Status)
    assert (status.state, status.problem) == ("broken", "video: 2 frames could not be decoded")
    assert (status.frames, status.rows) == (200, 200) and not list(data.work.iterdir())
