"""The configuration file: what it says, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import AUNetError, InvalidInput
from aunet_sdk.live.config import LiveConfig, SinkEntry

WHOLE = """
[live]
realtime = true
duration_s = 60

[detector]
look_ahead = "none"
aus = ["AU12", "4"]

[thresholds]
AU12 = 0.6
4 = 0.55

[events]
min_duration_s = 0.1

[serve]
address = "127.0.0.1:8080"
token = "${AUNET_TOKEN}"

[notice]
operator = "Museum of ${CITY}"
contact = "the desk"

[[source]]
uri = "rtsp://user:${AUNET_TOKEN}@host/a"
name = "door"

[[source]]
uri = 0
realtime = false

[[sink]]
uri = "csv:{source}.csv"
landmarks = true
"""


def read(tmp_path: Path, text: str) -> LiveConfig:
    path = tmp_path / "live.toml"
    path.write_text(text, encoding="utf-8")
    return LiveConfig.read(path)


def test_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUNET_TOKEN", "pa{ss")
    monkeypatch.setenv("CITY", "Essen")
    config = read(tmp_path, WHOLE)
    assert [(s.name, s.uri, s.options.realtime) for s in config.sources] == [
        ("door", "rtsp://user:pa{ss@host/a", True),
        ("0", "0", False),
    ]
    assert config.sinks == (SinkEntry("csv:{source}.csv", (("landmarks", True),)),) and config.sinks[0].per_source
    assert config.thresholds == {"AU12": 0.6, "AU4": 0.55} and config.events == {"min_duration_s": 0.1}
    assert config.detector == {"look_ahead": "none", "aus": ("AU12", "4")}
    assert config.serve == "127.0.0.1:8080" and config.token == "pa{ss" and config.duration_s == 60
    assert config.notice == {"operator": "Museum of Essen", "contact": "the desk"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[detektor]", ["detektor", "did you mean detector?"]),
        ("[detector]\nlookahead = 'none'", ["detector.lookahead", "did you mean look_ahead?"]),
        ("[[source]]\nuri = '0'\nrealtme = true", ["source[0].realtme", "did you mean realtime?"]),
        ("[[source]]\nurl = '0'", ["source[0].url", "did you mean uri?"]),
        ("[[sink]]\nkind = 'csv'", ["sink[0]", "expected a key uri"]),
        ("[source]\nuri = '0'", ["[[source]]", "two brackets"]),
        ("[[source]]\nuri = '0'\n[[source]]\nuri = '0'", ["'0' twice"]),
        ("[[source]]\nuri = true", ["source[0].uri", "text"]),
        ("[thresholds]\nAU12 = 1.5", ["thresholds.AU12", "0 to 1"]),
        ("[thresholds]\nmouth = 0.5", ["mouth"]),
        ("[live]\nrealtime = 1", ["live.realtime", "true or false"]),
        ("[live]\nduration_s = -1", ["live.duration_s"]),
        (f"[live]\nduration_s = 1{'0' * 400}", ["live.duration_s"]),
        ("[serve]\ntoken = 'a'\ntoken_file = 'b'", ["either token or token_file"]),
        ("[serve]\ntoken = '${NO_SUCH_VARIABLE}'", ["serve.token", "NO_SUCH_VARIABLE"]),
        ("[serve]\ntoken_file = 'nowhere'", ["serve.token_file", "nowhere"]),
        ("[notice]\noperater = 'x'", ["notice.operater", "did you mean operator?"]),
        ("[notice]\ncontact = 7", ["notice.contact", "text"]),
        ("[detector", ["expected TOML"]),
    ],
)
def test_an_error_names_the_file_and_the_key(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert "live.toml" in message
    assert all(word in message for word in words), message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read"):
        LiveConfig.read(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="expected TOML"):
        LiveConfig.read(tmp_path / "bytes.toml")


def test_a_token_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    assert read(tmp_path, f"[serve]\ntoken_file = '{tmp_path / 'token'}'").token == "secret"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["live", "detector", "thresholds", "events", "serve", "notice", "source", "sink", "odd"])


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_a_table_holds_it_is_read_or_refused(table: dict[str, object]) -> None:
    try:
        LiveConfig.of(table)
    except AUNetError:
        pass
