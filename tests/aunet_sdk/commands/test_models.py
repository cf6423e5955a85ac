"""`aunet models`: against a real HTTP server on this machine, and without any."""

from __future__ import annotations

import http.server
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from aunet_sdk.bundle import Bundle
from aunet_sdk.cli import app
from aunet_sdk.commands import conversion, models
from aunet_sdk.commands import release as published
from aunet_sdk.commands.models import store
from aunet_sdk.commands.release import FAN, HEADS, SOURCE, git_blob


def aunet(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["models", *(str(argument) for argument in arguments)])


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "250")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "cache" / "aunet_sdk" / "models"


class Handler(http.server.SimpleHTTPRequestHandler):
    """The files of a folder; asked for `slow`, no answer; for `short`, half of what it promised."""

    asked: list[str]
    ended: threading.Event
    """the test is over"""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "/slow/" in self.path:
            self.ended.wait(60)
            return
        if "/short/" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 500)
            return
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Files in the places that they have in the authors' repository."""
    folder = tmp_path / "release"
    for file, content in ((FAN, b"the FAN"), (HEADS["cross_model"], b"the head")):
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(content)
    return folder


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the files of `folder` be the published ones."""
    monkeypatch.setattr(models, "FAN", replace(FAN, blob=git_blob(folder / FAN.path)))
    head = HEADS["cross_model"]
    monkeypatch.setitem(HEADS, "cross_model", replace(head, blob=git_blob(folder / head.path)))


@pytest.fixture
def server(release: Path) -> Iterator[tuple[str, list[str]]]:
    """URL of a server of `release`, and the paths that it was asked for."""
    asked: list[str] = []
    ended = threading.Event()
    handler = type("Own", (Handler,), {"asked": asked, "ended": ended})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(release))) as httpd:
        httpd.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", asked
        ended.set()
        httpd.shutdown()
        thread.join()


def test_fetched_checked_and_not_fetched_again(
    server: tuple[str, list[str]], release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, release)
    url, asked = server
    result = aunet("pull", "--from", url, "--download-only")
    assert result.exit_code == 0, result.output
    assert asked == ["/models/2dfan2.pth", "/checkpoints/cross_model.pth"]
    folder = store() / "release"
    assert (folder / "2dfan2.pth").read_bytes() == b"the FAN"
    assert (folder / "cross_model.pth").read_bytes() == b"the head"
    assert "fetched, not converted" in " ".join(aunet("list").output.split())
    assert aunet("pull", "--from", url, "--download-only").exit_code == 0
    assert len(asked) == 2
    (folder / "cross_model.pth").write_bytes(b"damaged")
    assert aunet("pull", "--from", url, "--download-only").exit_code == 0
    assert len(asked) == 3 and (folder / "cross_model.pth").read_bytes() == b"the head"


def test_another_content_is_refused_and_not_kept(server: tuple[str, list[str]]) -> None:
    result = aunet("pull", "--from", server[0], "--download-only")
    assert result.exit_code == 3
    assert FAN.blob in result.stderr and "not kept" in result.stderr and result.stderr.count("\n") == 1
    assert [path.name for path in store().rglob("*")] == ["release"]


@pytest.mark.parametrize(
    ("place", "words"), [("nowhere", "404"), ("slow", "no answer|timed out"), ("short", "500 more expected")]
)
def test_a_server_that_fails(
    server: tuple[str, list[str]], place: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "TIMEOUT_S", 0.5)
    start_s = time.monotonic()
    result = aunet("pull", "--from", f"{server[0]}/{place}", "--download-only")
    assert time.monotonic() - start_s < 3
    assert result.exit_code == 3 and result.stderr.count("\n") == 1
    assert any(word in result.stderr for word in words.split("|")), result.stderr
    assert not list(store().rglob("*.p*"))


def test_without_a_connection_it_says_so_at_once() -> None:
    with socket.socket() as taken:  # bound, not listening: nobody answers here
        taken.bind(("127.0.0.1", 0))
        start_s = time.monotonic()
        result = aunet("pull", "--from", f"http://127.0.0.1:{taken.getsockname()[1]}", "--download-only")
    assert time.monotonic() - start_s < 2
    assert result.exit_code == 3
    assert "expected a connection to 127.0.0.1" in result.stderr and "--from FOLDER" in result.stderr


def test_copies_in_a_folder(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, release)
    flat = tmp_path / "flat"
    flat.mkdir()
    (release / FAN.path).rename(flat / "2dfan2.pth")
    result = aunet("pull", "--from", flat, "--download-only")
    assert result.exit_code == 3 and "cross_model.pth in" in result.stderr
    (release / HEADS["cross_model"].path).rename(flat / "cross_model.pth")
    assert aunet("pull", "--from", flat, "--download-only").exit_code == 0


def test_an_installed_package_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        conversion, "__file__", str(tmp_path / "site-packages" / "aunet_sdk" / "commands" / "models.py")
    )
    result = aunet("pull")
    assert result.exit_code == 3 and "checkout" in result.stderr and "--download-only" in result.stderr
    assert not store().exists()  # nothing was fetched first


def test_a_checkout_without_a_library_of_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime is one: the export compares its bundle with torch by it."""
    real = conversion.find_spec
    monkeypatch.setattr(conversion, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    result = aunet("pull")
    assert result.exit_code == 3 and "got no " in result.stderr and "onnxruntime" in result.stderr
    assert "[train,export,cpu]" in result.stderr and not store().exists()


def test_what_cannot_be_asked_for() -> None:
    result = aunet("pull", "other")
    assert result.exit_code == 2 and "cross_model" in result.stderr
    assert aunet("pull", "--from", "ftp://127.0.0.1", "--download-only").exit_code == 2
    assert SOURCE.startswith("https://") and len(SOURCE.rsplit("/", 1)[1]) == 40


def test_list_names_the_release_and_what_lies_in_the_store(own_store: Path) -> None:
    own_store.mkdir(parents=True)
    (own_store / "mine.onnx").write_bytes(b"")
    result = aunet("list")
    assert result.exit_code == 0, result.output
    for name in ("shipped", *HEADS, "mine"):
        assert name in result.output


def test_a_release_becomes_a_bundle_that_runs(
    server: tuple[str, list[str]], release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the server to the engine: state dicts of the release's names, at a small width."""
    torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra `export`)")
    from train.models.aunet_head import AUNetHead
    from train.models.fan import FAN as Network

    torch.manual_seed(0)
    torch.save(Network(8).state_dict(), release / FAN.path)
    torch.save(AUNetHead(15, 8).state_dict(), release / HEADS["cross_model"].path)
    publish(monkeypatch, release)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = aunet("pull", "--from", server[0], "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    path = tmp_path / "out" / "aunet-cross_model.onnx"
    bundle = Bundle.load(path)
    assert (bundle.kind, bundle.head, bundle.width, bundle.resolution) == ("stream", "aunet", 8, 256)
    assert bundle.au_numbers == HEADS["cross_model"].au_numbers and "MIT" in bundle.licence
    assert bundle.crop_scale == pytest.approx(200 / 130)
    assert "aunet detect VIDEO --model" in result.output
    from aunet_sdk import Detector, DetectorOptions

    with Detector(DetectorOptions(model=path, threads=1)) as detector:
        assert detector.au_names == bundle.au_names


def test_too_large_a_file(server: tuple[str, list[str]], release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "LARGEST_BYTES", 3)
    result = aunet("pull", "--from", server[0], "--download-only")
    assert result.exit_code == 3 and "got more" in result.stderr and not list(store().rglob("*.p*"))


def test_without_the_library_of_the_downloads(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    result = aunet("pull", "--download-only")
    assert result.exit_code == 3 and "aunet_sdk[pull]" in result.stderr and "--from FOLDER" in result.stderr
    publish(monkeypatch, release)
    assert aunet("pull", "--from", release, "--download-only").exit_code == 0
