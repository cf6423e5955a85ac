"""Who is let in: hosts, tokens, origins, limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.live.page import PageServer
from aunet_sdk.live.page.access import Access, Rate, is_loopback

from .served import TOKEN, ask, viewer

WITH_TOKEN = Access("127.0.0.1", TOKEN)
websockets = pytest.importorskip("websockets")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "kiosk.example", "", "127.0.0.1.example"])
def test_beyond_this_machine_a_token_is_wanted(host: str) -> None:
    with pytest.raises(InvalidInput, match="expected a token"):
        Access(host, None)
    Access(host, TOKEN)
    with pytest.raises(InvalidInput, match="at least 8 characters"):
        Access(host, "short")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost", "page.localhost"])
def test_loopback_has_these_names(host: str) -> None:
    assert is_loopback(host)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 2), st.sampled_from("ab")), max_size=60))
def test_nobody_gets_more_than_the_rate_allows(steps: list[tuple[float, str]]) -> None:
    now_s = 0.0
    rate = Rate(per_s=2, burst=5, clock=lambda: now_s)
    allowed = {"a": 0, "b": 0}
    for pause_s, caller in steps:
        now_s += pause_s
        allowed[caller] += rate.allows(caller)
        assert allowed[caller] <= 5 + 2 * now_s + 1e-6


def test_a_caller_who_waits_is_let_in_again() -> None:
    now_s = 0.0
    rate = Rate(per_s=1, burst=2, clock=lambda: now_s)
    assert [rate.allows("a") for _ in range(3)] == [True, True, False]
    assert rate.allows("b")
    now_s = 1.0
    assert rate.allows("a") and not rate.allows("a")


def test_callers_are_not_kept_for_ever() -> None:
    rate = Rate(per_s=1, burst=1)
    for number in range(5000):
        rate.allows(str(number))
    assert len(rate._left) <= 1024


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_no_other_text_is_the_token(text: str) -> None:
    access = WITH_TOKEN
    assert access.knows(text) == (text == TOKEN)
    assert access.admits(text, f"Bearer {text}") == (text.strip() == TOKEN)


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_headers_of_any_kind_are_judged_without_an_error(text: str) -> None:
    access = Access("127.0.0.1", None)
    access.good_host(text)
    assert not access.good_origin(text, "localhost:8080") or text.lower() in (
        "http://localhost:8080",
        "https://localhost:8080",
    )


def test_a_host_of_another_name_gets_nothing() -> None:
    with PageServer(port=0) as page:
        assert ask(page, "/", headers={"host": f"evil.example:{page.port}"}).status == 421
        assert ask(page, "/metrics", headers={"host": "evil.example"}).status == 421
        for host in (f"localhost:{page.port}", f"[::1]:{page.port}", "127.0.0.1"):
            assert ask(page, "/", headers={"host": host}).status == 200


def test_pages_of_other_origins_cannot_connect() -> None:
    with PageServer(port=0, origins=["https://kiosk.example"]) as page:
        for origin in (
            "http://evil.example",
            "null",
            f"http://localhost:{page.port + 1}",
            f"ftp://127.0.0.1:{page.port}",
        ):
            with pytest.raises(websockets.exceptions.InvalidStatus) as refused, viewer(page, origin=origin):
                pass
            assert refused.value.response.status_code == 403
        for origin in (f"http://127.0.0.1:{page.port}", "https://kiosk.example"):
            with viewer(page, origin=origin):
                pass


def test_every_answer_has_the_headers_of_a_careful_server() -> None:
    with PageServer(port=0, token=TOKEN) as page:
        for path in ("/", "/notice", "/static/page.js", "/metrics", "/nothing"):
            headers = ask(page, path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert "server" not in headers
        assert ask(page, "/").headers["cache-control"] == "no-store"


def test_without_the_token_there_is_the_notice_and_health_alone() -> None:
    with PageServer(port=0, token=TOKEN) as page:
        assert ask(page, "/").status == 401 and 'name="token"' in ask(page, "/").body
        for path in ("/metrics", "/session.csv", "/nothing"):
            assert ask(page, path).status == 401
        with pytest.raises(websockets.exceptions.InvalidStatus), viewer(page):
            pass
        assert ask(page, "/notice").status == 200
        assert ask(page, "/healthz").status == 200
        assert ask(page, "/readyz").status == 503


def test_the_token_opens_by_header_form_and_address() -> None:
    with PageServer(port=0, token=TOKEN) as page:
        assert ask(page, "/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status == 200
        form = {"content-type": "application/x-www-form-urlencoded"}
        by_form = ask(page, "/login", "POST", "token=a+long+enough+token", form)
        by_address = ask(page, "/?token=a%20long%20enough%20token")
        for answer in (by_form, by_address):
            assert answer.status == 303 and answer.headers["location"] == "/"
            cookie = answer.headers["set-cookie"]
            assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
            assert ask(page, "/", headers={"cookie": cookie.partition(";")[0]}).status == 200
        with viewer(page, additional_headers={"cookie": by_form.headers["set-cookie"].partition(";")[0]}):
            pass


def test_a_cookie_is_worth_nothing_after_a_restart() -> None:
    with PageServer(port=0, token=TOKEN) as page:
        cookie = ask(page, "/?token=a%20long%20enough%20token").headers["set-cookie"].partition(";")[0]
        port = page.port
    with PageServer(port=port, token=TOKEN) as page:
        assert ask(page, "/", headers={"cookie": cookie}).status == 401


def test_guessing_is_slowed_down_and_nobody_else_is() -> None:
    with PageServer(port=0, token=TOKEN) as page:
        page.access.failures = Rate(per_s=1e-6, burst=6)
        answers = [ask(page, "/login", "POST", f"token=guess{i}").status for i in range(8)]
        assert answers == [401] * 6 + [429] * 2
        assert ask(page, "/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status == 429
        cookie = f"aunet_{page.port}={page.access.session}"
        assert ask(page, "/", headers={"cookie": cookie}).status == 200


def test_a_flood_of_requests_is_refused() -> None:
    with PageServer(port=0) as page:
        page.access.requests = Rate(per_s=1e-6, burst=5)
        answers = [ask(page, "/healthz") for _ in range(8)]
        assert [answer.status for answer in answers] == [200] * 5 + [429] * 3
        assert answers[-1].headers["retry-after"] == "2"


def test_a_login_of_many_bytes_is_refused() -> None:
    with PageServer(port=0, token=TOKEN) as page:
        assert ask(page, "/login", "POST", "token=" + "x" * 5000).status == 413
        assert ask(page, "/login", "POST", "&" * 900).status == 401
        assert ask(page, "/login", "POST", "token=%FF%00\0").status == 401


def test_no_file_beside_the_page_is_served() -> None:
    with PageServer(port=0) as page:
        for path in (
            "/static/../server.py",
            "/static/%2e%2e/server.py",
            "/static/..%2fserver.py",
            "/static//etc/passwd",
        ):
            assert ask(page, path).status == 404
        assert ask(page, "/static/page.css").status == 200
        assert ask(page, "/", "POST").status == 405
