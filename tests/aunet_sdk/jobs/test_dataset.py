"""The data set on disk: of one model, resumed or refused, and never half there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from aunet_sdk.errors import InvalidInput, OutputLost
from aunet_sdk.jobs.dataset import DataSet, Status
from aunet_sdk.jobs.items import Item

FACTS = {"model": "default", "au_names": ("AU1", "AU2")}
ITEM = Item("/archive/a.mp4", "a-00000000", 7, "1")
DONE = Status(ITEM.uri, ITEM.key, "done", size=7, stamp="1", rows=3)


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    made = DataSet(tmp_path / "out")
    made.begin(FACTS, resume=False)
    return made


def _rows(data: DataSet, text: str = "rows") -> Path:
    path = data.work / "x.parquet"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_finished_file_is_known_until_it_changes(data: DataSet) -> None:
    assert data.status_of(ITEM) is None
    data.finish(DONE, _rows(data))
    assert data.status_of(ITEM) == DONE
    assert data.status_of(replace(ITEM, stamp="2")) is None and data.status_of(replace(ITEM, size=8)) is None
    data.place_of(ITEM.key).unlink()
    assert data.status_of(ITEM) is None, "its rows have gone"


def test_a_file_that_failed_is_tried_again_and_leaves_no_rows(data: DataSet) -> None:
    data.finish(DONE, _rows(data))
    data.finish(replace(DONE, state="failed", problem="no video"), None)
    assert data.status_of(ITEM) is None and not data.place_of(ITEM.key).exists()
    assert [status.state for status in data.statuses()] == ["failed"]
    data.finish(replace(DONE, state="broken"), _rows(data))
    assert data.status_of(ITEM) is not None, "it breaks off at the same place every time"


def test_after_a_kill_between_rows_and_status_the_rows_are_replaced(data: DataSet) -> None:
    place = data.place_of(ITEM.key)
    place.parent.mkdir()
    place.write_text("of the run that was killed", encoding="utf-8")
    assert data.status_of(ITEM) is None
    data.finish(DONE, _rows(data, "new"))
    assert place.read_text(encoding="utf-8") == "new" and len(list(place.parent.iterdir())) == 1


def test_one_data_set_is_of_one_model(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--resume"):
        data.begin(FACTS, resume=False)
    data.begin(FACTS, resume=True)
    with pytest.raises(InvalidInput, match="another model"):
        data.begin({**FACTS, "model": "nano"}, resume=True)
    (data.root / "_job.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInput, match="damaged"):
        data.begin(FACTS, resume=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidInput, match="something else"):
        DataSet(other).begin(FACTS, resume=False)
    with pytest.raises(InvalidInput, match="cannot use"):
        DataSet(other / "thesis.txt" / "out").begin(FACTS, resume=False)


def test_a_damaged_status_is_none_and_a_lost_folder_is_output_lost(data: DataSet) -> None:
    data.finish(DONE, _rows(data))
    place = data.root / "_status" / f"{ITEM.key}.json"
    place.write_text(json.dumps({"uri": "x"}), encoding="utf-8")
    assert data.status_of(ITEM) is None and data.statuses() == []
    with pytest.raises(OutputLost, match="data set"):
        data.finish(DONE, data.work / "absent.parquet")
