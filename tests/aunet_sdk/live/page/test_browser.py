"""The page in a real Chromium, by playwright; skipped where either is absent."""

from __future__ import annotations

import csv
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aunet_sdk import InvalidInput
from aunet_sdk.live.page import PageServer
from aunet_sdk.post.events import AUEvent, Phase
from aunet_sdk.sinks.message import status_message

from ...scripted import face, frame
from .served import TOKEN, viewer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
if CHROMIUM is None:
    pytest.skip("Chromium is not installed: apt install chromium", allow_module_level=True)

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


class Run:
    """Two people on a page, 20 frames a second, until it is closed."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.paused = False
        self.state = "running"
        self.page = PageServer(port=0, commands=self._command)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _command(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.commands.append((name, arguments))
        if arguments.get("face") == 2:
            raise InvalidInput("the model takes no reference")
        self.paused = self.paused if name == "calibrate" else name == "pause"
        return {"paused": self.paused}

    def _feed(self) -> None:
        image = np.full((360, 640, 3), (90, 120, 140), np.uint8)
        people = face(1, (60.0, 60.0, 160.0, 200.0)), face(2, (420.0, 100.0, 90.0, 110.0))
        index = ticks = 0
        while not self._over.wait(0.05):
            ticks += 1
            if not self.paused and self.state == "running":
                self.page.put(frame(index, *people, fps=20, size=(640, 360)), image)
                index += 1
            if ticks % 5 == 1:
                status = status_message(self.state, "no answer" if self.state == "lost" else None, engine="openvino")
                self.page.status({**status, "paused": self.paused, "age_ms": 31.0})
            if ticks == 20:
                self.page.event(AUEvent(Phase.ONSET, "AU12", 1, 0.5, 0.8, 0.0))
                self.page.event(AUEvent(Phase.OFFSET, "AU12", 1, 0.9, 0.9, 0.4))

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.page.close()


@pytest.fixture
def run() -> Iterator[Run]:
    made = Run()
    yield made
    made.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """No page of an earlier test goes on drawing."""
    yield chromium
    for context in chromium.contexts:
        context.close()


def opened(browser: Any, run: Run, **options: Any) -> Any:
    """The page, once it is live. Whatever its console says fails the test (`told`)."""
    page = browser.new_context(**{"viewport": DESKTOP, **options}).new_page()
    page.told = []
    page.on("console", lambda message: page.told.append(message.text))
    page.on("pageerror", lambda error: page.told.append(str(error)))
    page.goto(run.page.url)
    playwright.expect(page.locator("#state-text")).to_have_text("Live", timeout=20_000)
    return page


def until(page: Any, condition: str) -> None:
    """Waits for a condition from outside: the page's own policy lets nobody evaluate a string in it again and again."""
    end_s = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < end_s, condition
        page.wait_for_timeout(50)


def test_what_was_measured_stands_on_the_page(browser: Any, run: Run) -> None:
    page = opened(browser, run)
    expect = playwright.expect
    expect(page.locator("#engine")).to_have_text("openvino")
    expect(page.locator("#latency")).to_have_text("31")
    expect(page.locator(".unit")).to_have_count(15)
    strongest = page.locator(".unit").last
    expect(strongest).to_contain_text("AU26 Jaw drop")
    expect(strongest.locator(".value")).to_have_text("0.95")
    expect(strongest).to_have_attribute("data-state", "active")
    expect(page.locator("#people-count")).to_have_text("2 in the picture")
    expect(page.locator("#events li")).to_contain_text(["AU12"], timeout=20_000)
    expect(page.locator("#events .length")).to_have_text("0.4 s")
    drawn = "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return new Set(d).size }"
    until(page, f"({drawn})(document.getElementById('picture')) > 20")
    until(page, f"({drawn})(document.querySelector('.unit canvas')) > 3")
    assert page.told == []


def test_keys_alone_reach_everything(browser: Any, run: Run) -> None:
    page = opened(browser, run)
    playwright.expect(page.locator(".chip")).to_have_count(3)
    playwright.expect(page.locator("#events li").first).to_contain_text("AU12", timeout=20_000)  # else it is no stop
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
    wanted = ["pause", "calibrate", "download", "theme", "person", "read-out", "events"]
    assert [each for each in reached if each in wanted][: len(wanted)] == wanted
    page.locator("input[name=person]").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    playwright.expect(page.locator("#whose")).to_contain_text("Person 2")
    page.locator("#pause").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#state-text")).to_have_text("Paused")
    playwright.expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#state-text")).to_have_text("Live")
    assert [name for name, _ in run.commands] == ["pause", "resume"]
    assert page.told == []


def test_a_person_is_picked_in_the_picture_and_calibrated(browser: Any, run: Run) -> None:
    page = opened(browser, run)
    playwright.expect(page.locator("#whose")).to_contain_text("Person 1")  # the largest
    playwright.expect(page.locator("#veil")).to_be_hidden()
    box = page.locator("#picture").bounding_box()
    scale = box["width"] / 640
    top = (box["height"] - 360 * scale) / 2
    if top < 0:  # the stage is wider than the picture
        scale = box["height"] / 360
        top = 0
    left = (box["width"] - 640 * scale) / 2
    page.mouse.click(box["x"] + left + 465 * scale, box["y"] + top + 155 * scale)
    playwright.expect(page.locator("#whose")).to_contain_text("Person 2")
    page.click("#calibrate")
    page.keyboard.press("Escape")
    page.click("#calibrate")
    playwright.expect(page.locator("#calibration-who")).to_have_text("person 2")
    page.click("#calibration-go")
    playwright.expect(page.locator("#toast")).to_have_text("Not calibrated: the model takes no reference")
    assert run.commands == [("calibrate", {"face": 2})]


def test_the_session_is_downloaded(browser: Any, run: Run, tmp_path: Path) -> None:
    page = opened(browser, run)
    with page.expect_download() as waiting:
        page.click("#download")
    waiting.value.save_as(tmp_path / "session.csv")
    assert waiting.value.suggested_filename.startswith("aunet-")
    with (tmp_path / "session.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["face_id"] for row in rows} == {"1", "2"} and rows[0]["AU26"] == "0.95000"


def test_a_lost_camera_and_a_lost_server_are_told(browser: Any, run: Run) -> None:
    page = opened(browser, run)
    run.state = "lost"
    playwright.expect(page.locator("#state-text")).to_have_text("Camera lost: no answer")
    run.state = "running"
    playwright.expect(page.locator("#state-text")).to_have_text("Live")
    port = run.page.port
    run.close()
    playwright.expect(page.locator("#state-text")).to_contain_text("onnect")
    playwright.expect(page.locator("#pause")).to_be_disabled()
    with PageServer(port=port) as again:
        again.put(frame(0, face()), None)
        playwright.expect(page.locator("#state")).not_to_have_attribute("data-state", "bad", timeout=20_000)


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways(browser: Any, run: Run, colours: str) -> None:
    page = opened(browser, run, viewport=PHONE, is_mobile=True, has_touch=True, color_scheme=colours)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in page.locator(".tools > *").all():
        size = button.bounding_box()
        assert size["height"] >= 44 and size["width"] >= 44
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(17, 22, 26)" if colours == "dark" else "rgb(246, 245, 242)")
    page.tap("#theme")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != ground
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != ground
    assert page.told == []


def test_viewers_do_not_disturb_each_other(browser: Any, run: Run) -> None:
    first, second = opened(browser, run), opened(browser, run, viewport=PHONE)
    with viewer(run.page) as slow:  # takes two pictures and never says that it has shown them
        slow.send('{"type":"shown"}')
        with viewer(run.page) as bad:
            bad.send("garbage")
        first.click("#pause")
        for page in (first, second):
            playwright.expect(page.locator("#state-text")).to_have_text("Paused")
        second.click("#pause")
        for page in (first, second):
            playwright.expect(page.locator("#state-text")).to_have_text("Live")
            assert page.told == []


def test_the_notice_fits_a_screen_without_a_script(browser: Any, run: Run) -> None:
    page = browser.new_context(
        viewport={"width": 1920, "height": 1080}, java_script_enabled=False, locale="de"
    ).new_page()
    page.goto(run.page.url + "notice")
    playwright.expect(page.locator("h1")).to_have_text("Hier liest eine Kamera Gesichtsbewegungen")
    page.click("text=Français")
    playwright.expect(page.locator("html")).to_have_attribute("lang", "fr")
    assert page.locator("main").bounding_box()["height"] <= 1080


def test_a_token_is_asked_for_once(browser: Any) -> None:
    with PageServer(port=0, token=TOKEN) as server:
        page = browser.new_context(viewport=PHONE).new_page()
        page.goto(server.url)
        for token in ("a wrong token", TOKEN):
            page.fill("#token", token)
            page.click("button")
            if token != TOKEN:
                playwright.expect(page.locator("#wrong")).to_be_visible()
        playwright.expect(page.locator("#state-text")).to_have_text("Opening the source", timeout=20_000)
        assert page.url == server.url
        page.reload()
        playwright.expect(page.locator("#pause")).to_be_enabled(timeout=20_000)
