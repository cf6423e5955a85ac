"""The server: health, metrics, the session's table, the notice, and what it refuses to begin with."""

from __future__ import annotations

import csv
import io
import json
import socket
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aunet_sdk import AUNetError, BackendUnavailable, InvalidInput
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.live.page import Notice, PageServer
from aunet_sdk.live.page.notice import LANGUAGES, choose_language, notice_page
from aunet_sdk.live.page.recent import SessionTable
from aunet_sdk.sinks.message import status_message

from ...scripted import face, frame
from .served import IMAGE, ask

pytest.importorskip("websockets")


@pytest.mark.parametrize(
    "wrong",
    [{"port": 70000}, {"port": "80"}, {"picture_px": 0}, {"quality": 101}, {"session_bytes": 5}, {"port": True}],
)
def test_wrong_arguments_are_told(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=f"expected {next(iter(wrong))} from"):
        PageServer(**wrong)  # type: ignore[arg-type]


def test_a_port_in_use_and_an_unknown_host_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InvalidInput, match="give another port"):
        PageServer(port=taken.getsockname()[1])
    with pytest.raises(InvalidInput, match="cannot listen at"):
        PageServer("no such host.invalid", 0, "a long enough token")


def test_a_missing_library_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(BackendUnavailable, match="live"):
        PageServer(port=0)


def test_readiness_names_the_engine_that_runs() -> None:
    with PageServer(port=0) as page:
        assert ask(page, "/healthz").status == 200
        answer = ask(page, "/readyz")
        assert answer.status == 503 and json.loads(answer.body)["reason"] == "no results come"
        page.status(status_message("reconnecting", "the camera is away", engine="tensorrt"))
        assert json.loads(ask(page, "/readyz").body)["reason"] == "reconnecting: the camera is away"
        page.put(frame(0, face()), IMAGE)
        answer = ask(page, "/readyz")
        assert answer.status == 200 and json.loads(answer.body)["engine"] == "tensorrt"


def test_health_may_be_asked_elsewhere() -> None:
    health = {"alive": False, "ready": False, "reason": "one frame has been worked on for 12 s", "engine": "openvino"}
    with PageServer(port=0, health=lambda: health) as page:
        answer = ask(page, "/healthz")
        assert answer.status == 503 and "12 s" in answer.body
        assert json.loads(ask(page, "/readyz").body) == health


def test_metrics_are_what_prometheus_reads() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with PageServer(port=0) as page:
        page.put(frame(0, face(1), face(2)), IMAGE)
        status = status_message("running", None, engine="onnxruntime", fps=29.5, dropped={'queue "full"\n': 4})
        page.status({**status, "age_ms": 31.0})
        answer = ask(page, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {s.name: s for family in text_string_to_metric_families(answer.body) for s in family.samples if s.value}
    assert samples["aunet_results_total"].value == 1 and samples["aunet_faces"].value == 2
    assert samples["aunet_fps"].value == 29.5 and samples["aunet_age_seconds"].value == pytest.approx(0.031)
    assert samples["aunet_engine_info"].labels == {"name": "onnxruntime"}
    assert samples["aunet_source_state"].labels["state"] == "running"
    assert samples["aunet_dropped_total"].labels["reason"] == 'queue "full"\n'


def test_the_session_is_the_table_of_its_results() -> None:
    with PageServer(port=0) as page:
        assert ask(page, "/session.csv").status == 404
        for index in range(50):
            page.put(frame(index, face(1), face(2)), IMAGE)
        page.put(frame(50), IMAGE)
        answer = ask(page, "/session.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith('attachment; filename="aunet-')
    rows = list(csv.DictReader(io.StringIO(answer.body)))
    assert len(rows) == 100 and rows[-1]["frame"] == "49" and rows[-1]["face_id"] == "2"
    assert rows[0]["AU12"] == f"{face().probabilities[AU_NAMES.index('AU12')]:.5f}"


def test_several_sources_stand_in_one_table() -> None:
    with PageServer(port=0, sources=["left", "right"]) as page:
        page.put(frame(0, face()), None, "left")
        page.put(frame(0, face()), None, "right")
        rows = list(csv.DictReader(io.StringIO(ask(page, "/session.csv").body)))
    assert [row["file"] for row in rows] == ["left", "right"]


@settings(max_examples=10)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_a_long_session_loses_its_oldest_rows_whole(crowds: list[int]) -> None:
    table = SessionTable(AU_NAMES, most_bytes=4000, block_bytes=2000)
    for index, crowd in enumerate(crowds * 3):
        table.put(frame(index, *[face(i) for i in range(crowd)]), "")
        held = sum(len(block) for block, _ in table._blocks) + len(table._open)
        assert held < 4000 + 2000
    rows = list(csv.reader(io.StringIO(b"".join(table.read()).decode())))
    assert len(rows) - 1 == table.rows and all(len(row) == len(rows[0]) for row in rows)
    assert table.rows + table.rows_gone == 3 * sum(crowds)


def test_a_session_without_end_loses_rows() -> None:
    table = SessionTable(AU_NAMES, most_bytes=4000, block_bytes=2000)
    for index in range(400):
        table.put(frame(index, face()), "")
    assert 0 < table.rows < 400 and table.rows + table.rows_gone == 400
    assert b"".join(table.read()).splitlines()[-1].startswith(b"399,")


def test_a_closed_page_takes_nothing() -> None:
    page = PageServer(port=0)
    page.close()
    with pytest.raises(AUNetError, match="closed"):
        page.put(frame(0), None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_notice_says_what_the_operator_said(language: str) -> None:
    text = notice_page(Notice("Museum & Sons", "<script>alert(1)</script>", "Smiles"), language)
    assert f'<html lang="{language}">' in text and "Museum &amp; Sons" in text and "<script>alert" not in text
    assert text.count("<li>") == 3 and "{" not in text
    assert "<dl>" not in notice_page(Notice(), language)


@settings(max_examples=50)
@given(st.text(max_size=100), st.text(max_size=100))
def test_there_is_a_language_for_every_request(wanted: str, accepted: str) -> None:
    assert choose_language(wanted, accepted) in LANGUAGES


def test_the_notice_comes_in_the_visitors_language() -> None:
    assert choose_language(None, "de-AT,de;q=0.9,en;q=0.8") == "de"
    assert choose_language("fr", "de") == "fr"
    assert choose_language(None, "ja, es;q=0.5") == "es"
    with PageServer(port=0, notice=Notice("Museum")) as page:
        answer = ask(page, "/notice?lang=it")
        assert answer.headers["content-language"] == "it" and "Museum" in answer.body
