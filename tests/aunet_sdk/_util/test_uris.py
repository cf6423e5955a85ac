"""No user, password or token is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk._util.uris import without_credentials

secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).map("§".__add__)


@pytest.mark.parametrize(
    "given_, shown",
    [
        ("rtsp://admin:secret@10.0.0.5:554/stream", "rtsp://***@10.0.0.5:554/stream"),
        ("rtsp://admin@cam/stream", "rtsp://***@cam/stream"),
        ("RTSP://admin:p@ss/w#rd@cam/1", "RTSP://***@cam/1"),
        ("http://cam/video.mjpg?user=admin&pwd=1234&fps=5", "http://cam/video.mjpg?user=***&pwd=***&fps=5"),
        ("https://cam/a?access_token=abc", "https://cam/a?access_token=***"),
        ("cannot open rtsp://a:b@cam/1: timed out", "cannot open rtsp://***@cam/1: timed out"),
        (
            'gst:rtspsrc location=rtsp://cam user-id=me user-pw="a b" ! appsink',
            "gst:rtspsrc location=rtsp://cam user-id=*** user-pw=*** ! appsink",
        ),
        ("clips/me@home.mp4", "clips/me@home.mp4"),
        ("/dev/video0", "/dev/video0"),
        ("", ""),
    ],
)
def test_examples(given_: str, shown: str) -> None:
    assert without_credentials(given_) == shown
    assert without_credentials(shown) == shown


@given(secrets, secrets, st.sampled_from(["rtsp", "http", "mqtt", "ws"]))
def test_neither_user_nor_password_is_left(user: str, password: str, scheme: str) -> None:
    shown = without_credentials(f"lost {scheme}://{user}:{password}@host:554/live at 3 s")
    assert "§" not in shown
    assert shown == f"lost {scheme}://***@host:554/live at 3 s"
