"""Events as files of their own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from aunet_sdk import AUNetError, InvalidInput, OutputLost
from aunet_sdk.post.events import AUEvent, EventTracker
from aunet_sdk.sinks.events import EVENT_COLUMNS, EventLines, EventTable, open_events

from ..scripted import face, frame


def two_people() -> list[AUEvent]:
    """Face 1 smiles from frame 5 to 15, face 2 from frame 8 to the end of the stream."""
    results = []
    for i in range(25):
        values = [0.9 if 5 <= i < 15 else 0.1], [0.7 + 0.01 * i if i >= 8 else 0.1]
        results.append(frame(i, *(face(k + 1, probabilities=v, au_names=("AU12",)) for k, v in enumerate(values))))
    return list(EventTracker().events(results))


def test_a_table_has_one_row_per_event(tmp_path: Path) -> None:
    with open_events(tmp_path / "e.csv") as table:
        assert isinstance(table, EventTable)
        for event in two_people():
            table.put(frame(0))
            table.event(event)
        rows = list(csv.DictReader((tmp_path / "e.csv").read_text().splitlines()))
    assert tuple(rows[0]) == EVENT_COLUMNS and table.lines == len(rows) == 2
    first, second = rows
    assert (first["face_id"], first["au"], first["onset_s"], first["offset_s"]) == ("1", "AU12", "0.200000", "0.600000")
    assert (first["duration_s"], first["peak"], first["cut"]) == ("0.400000", "0.90000", "0")
    assert (second["onset_s"], second["apex_s"], second["peak"], second["cut"]) == (
        "0.320000",
        "0.960000",
        "0.94000",
        "1",
    )


def test_lines_are_messages_of_events_alone(tmp_path: Path) -> None:
    with open_events(tmp_path / "e.jsonl") as lines:
        assert isinstance(lines, EventLines)
        for event in two_people():
            lines.put(frame(0))
            lines.event(event)
    told = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [one["phase"] for one in told] == ["onset", "onset", "apex", "offset", "apex", "offset"]
    assert {one["type"] for one in told} == {"event"}


def test_a_place_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\.csv or \.jsonl, got 'e.txt'"):
        open_events(tmp_path / "e.txt")
    with pytest.raises(InvalidInput, match="cannot write"):
        open_events(tmp_path / "missing" / "e.csv")
    table = EventTable(tmp_path / "e.csv")
    table.close()
    table.close()
    with pytest.raises(AUNetError, match="closed"):
        table.event(two_people()[-1])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "e.csv").symlink_to("/dev/full")
    with pytest.raises(OutputLost, match="events: cannot write"):
        EventTable(tmp_path / "e.csv")
