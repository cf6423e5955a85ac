"""What a result offers beside its fields: arrays, dicts, tables, pictures; also with AUs beyond the paper's 15."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk import BackendUnavailable, FrameResult, InvalidInput
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.post.smoothing import OneEuro
from aunet_sdk.post.validity import Reason
from aunet_sdk.sinks.csv import CsvSink, csv_columns
from aunet_sdk.view import draw, read_tracks, timeline

from .painted import paint, painted_detector
from .scripted import face, frame

MORE = ("AU5", "AU12", "AU20", "AU45")
"""The paper has AU12 alone of these."""


def test_arrays_over_faces() -> None:
    result = frame(3, face(1), face(4, box=(1, 2, 3, 4)))
    assert result.ids.tolist() == [1, 4] and result.ids.dtype == np.int64
    assert result.boxes.tolist() == [[40, 30, 60, 80], [1, 2, 3, 4]] and result.boxes.dtype == np.float32
    assert result.probabilities.shape == (2, 15) and result.probabilities.dtype == np.float32
    nobody = frame(3)
    assert [nobody.ids.shape, nobody.boxes.shape, nobody.probabilities.shape] == [(0,), (0, 4), (0, 0)]
    with painted_detector(aus=("AU12", "AU4")) as detector:
        nobody = detector.detect(paint())
        assert nobody.probabilities.shape == (0, 2) and nobody.au_names == ("AU4", "AU12")


def test_an_au_by_any_name() -> None:
    known = face(1, probabilities=[0.2, 0.9, 0.5, 0.4], au_names=MORE)
    assert known.is_active("AU12") and known.is_active(20) and known.is_active("au 20")
    assert not known.is_active("AU45") and known.active_aus == ("AU12", "AU20")
    with pytest.raises(InvalidInput, match="expected one of AU5, AU12, AU20, AU45, got AU1"):
        known.is_active("AU1")


def test_logits_and_thresholds_of_a_face_of_ones_own() -> None:
    """They are optional: whoever made faces before need not give them."""
    known = face(1, probabilities=[0.5, 0.9], au_names=("AU1", "AU2"))
    assert known.logits is not None and np.allclose(known.logits, [0, np.log(9)], atol=1e-5)
    assert known.thresholds is not None and np.isnan(known.thresholds).all()
    twin = pickle.loads(pickle.dumps(known))
    assert np.array_equal(twin.logits, known.logits) and not twin.logits.flags.writeable


def test_the_detectors_logits_and_thresholds_are_those_that_decided() -> None:
    with painted_detector(thresholds={"AU12": 0.125}) as detector:
        (known,) = detector.detect(paint((100, 100, 60))).faces
        assert known.logits is not None and known.thresholds is not None
        assert np.allclose(1 / (1 + np.exp(-known.logits)), known.probabilities, atol=1e-6)
        assert known.thresholds[known.au_names.index("AU12")] == 0.125
        assert np.array_equal(known.active, known.probabilities >= known.thresholds)
        with pytest.raises(ValueError, match="read-only"):
            known.thresholds[0] = 0


def test_a_dict_is_ready_for_json() -> None:
    result = frame(2, face(7, probabilities=[0.25, 1.0], au_names=("AU5", "AU45"), provisional=True))
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert (told["index"], told["timestamp_s"], told["width"], told["height"]) == (2, 0.08, 320, 240)
    (known,) = told["faces"]
    assert known["id"] == 7 and known["box"] == [40, 30, 60, 80] and known["pose"]["yaw_deg"] == 1.5
    assert len(known["landmarks"]) == 68 and known["context"] == "full" and known["provisional"] is True
    assert known["aus"]["AU5"]["probability"] == 0.25 and known["aus"]["AU45"]["active"] is True
    assert known["aus"]["AU5"]["threshold"] is None
    assert json.loads(json.dumps(frame(0).to_dict()))["faces"] == []


def test_a_table_has_the_columns_of_the_csv() -> None:
    pandas = pytest.importorskip("pandas")
    result = frame(2, face(1), face(2))
    table = result.to_dataframe()
    assert list(table.columns) == csv_columns(AU_NAMES, provisional=True)
    assert table.face_id.tolist() == [1, 2] and table.AU12_active.dtype == bool and table.frame.tolist() == [2, 2]
    assert np.allclose(table[list(AU_NAMES)].to_numpy(), result.probabilities)
    empty = frame(3).to_dataframe()
    assert len(empty) == 0 and "timestamp_s" in empty
    assert len(pandas.concat([table, frame(4, face(1)).to_dataframe()])) == 3


def test_without_pandas_a_table_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BackendUnavailable, match="pip install pandas"):
        frame(0, face(1)).to_dataframe()


def test_plot_is_an_annotated_copy() -> None:
    image, result = paint((100, 100, 60)), frame(0, face(1))
    before = image.copy()
    assert np.array_equal(result.plot(image), draw(image, result)) and np.array_equal(image, before)
    assert (result.plot(image) != image).any()


def test_results_need_no_drawing_library() -> None:
    code = (
        "import sys; from aunet_sdk import FrameResult; print('cv2' in sys.modules or 'aunet_sdk.view' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_aus_beyond_the_papers_go_everywhere(tmp_path: Path) -> None:
    """The next models bring AU5, AU20 and AU45."""
    results = [frame(i, face(1, probabilities=np.linspace(0, 1, 4) * (i % 2), au_names=MORE)) for i in range(6)]
    with CsvSink(tmp_path / "t.csv", MORE) as table:
        for result in results:
            table.write(result)
    (track,) = read_tracks(tmp_path / "t.csv")
    assert tuple(track.au_names) == MORE
    timeline([track], tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 1000
    assert results[1].plot(paint()).shape == (240, 320, 3)
    assert isinstance(results[0], FrameResult) and set(results[1].to_dict()["faces"][0]["aus"]) == set(MORE)


def test_whether_an_au_can_be_seen_by_name() -> None:
    known = replace(face(1, probabilities=[0.2, 0.9], au_names=("AU1", "AU12")), reasons=(None, Reason.COVERED))
    assert known.valid == {"AU1": True, "AU12": False}
    assert known.why_not == {"AU1": None, "AU12": "covered"}
    assert known.why_not["AU12"] == Reason.COVERED and type(known.why_not["AU12"]) is str
    told = json.loads(json.dumps(known.to_dict()))["aus"]
    assert told["AU12"]["valid"] is False and told["AU12"]["why_not"] == "covered" and told["AU1"]["valid"] is True
    assert pickle.loads(pickle.dumps(known)).why_not == known.why_not
    nobody_looked = face(1)
    assert nobody_looked.valid["AU12"] is None and nobody_looked.why_not["AU12"] is None
    with pytest.raises(InvalidInput, match="reasons: expected 15"):
        replace(face(1), reasons=(None,))


def test_the_detector_says_what_can_be_seen() -> None:
    """Of a face that is too small nothing can, in early and in final results."""
    with painted_detector(look_ahead="both", min_face_px=8) as detector:
        results = [r for i in range(14) for r in detector.push(paint((160, 100, 16)), i / 25)] + detector.flush()
    faces = [one for result in results for one in result.faces]
    assert {one.provisional for one in faces} == {True, False}
    assert all(one.why_not["AU12"] == "small" and one.valid["AU12"] is False for one in faces)
    with painted_detector(aus=("AU12",)) as detector:
        (known,) = detector.detect(paint((100, 100, 60))).faces
        assert known.why_not["AU12"] != "small" and set(known.valid) == {"AU12"}
    with painted_detector(validity=False) as detector:
        (known,) = detector.detect(paint((100, 100, 60))).faces
        assert set(known.valid.values()) == {None}


def test_smoothing_calms_final_and_early_results_each_by_themselves() -> None:
    frames = [(paint((100 + i % 3, 110, 60), background=7 * i), i / 30) for i in range(20)]

    def run(smoothing: str) -> dict[bool, np.ndarray]:
        with painted_detector(look_ahead="both", smoothing=smoothing) as detector:
            results = [r for image, time_s in frames for r in detector.push(image, time_s)] + detector.flush()
        faces = [one for result in results for one in result.faces]
        assert all(np.array_equal(one.active, one.probabilities >= one.thresholds) for one in faces)
        assert all(np.allclose(1 / (1 + np.exp(-one.logits)), one.probabilities, atol=1e-5) for one in faces)
        return {
            early: np.array([one.probabilities for one in faces if one.provisional is early]) for early in (False, True)
        }

    rough, calm = run("none"), run("one-euro")
    for early in (False, True):
        filtered, first = OneEuro(), rough[early]
        told = [filtered.update(1, row, time_s) for row, (_, time_s) in zip(first, frames, strict=True)]
        assert np.allclose(calm[early], told, atol=1e-5)
        assert np.abs(np.diff(calm[early], axis=0)).mean() < np.abs(np.diff(first, axis=0)).mean()


def test_an_error_in_a_frame_leaves_the_smoothing_as_it_was() -> None:
    smooth = OneEuro()
    smooth.update(1, [0.1], 0.0)
    undo = smooth.snapshot()
    smooth.update(1, [0.9], 0.1)
    smooth.update(2, [0.9], 0.1)
    undo()
    assert len(smooth) == 1 and smooth.update(1, [0.1], 0.1).tolist() == pytest.approx([0.1])
