"""Whether any input crashes or hangs the SDK, or is refused by anything but an error that it names.

    python benchmarks/fuzz.py [--inputs 100000] [--seed 0] [--kind KIND] [--short] [--json FILE]

Inputs by kind: frames (arrays and times of all sorts into a stream), containers (the sample, cut and changed),
bundles (the nano model, cut and with bytes or metadata changed), configs (TOML of a live run, mutated), uris (of sinks
and sources), messages (HTTP and WebSocket to a page that listens here). Each is made from its number and the seed, and
is tried in a process of its own per kind: one that dies is counted as a crash and started again behind that input, one
that is silent for 60 s as a hang. An error that is no AUNetError, or an answer of the page above 499, is foreign.
--short: 2,000 inputs. Exit code 1 where one of the three is not 0; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, machine, parser_of, run

from aunet_sdk import AUNetError, Detector, DetectorOptions
from aunet_sdk.bundle import Bundle, shipped_path
from aunet_sdk.live.config import LiveConfig
from aunet_sdk.sinks import open_sink
from aunet_sdk.sources import open_source

HERE = Path(__file__).parents[1]
SHARES = {"frames": 0.1, "containers": 0.04, "bundles": 0.16, "configs": 0.3, "uris": 0.25, "messages": 0.15}
SILENT_S = 60.0
Try = Callable[[random.Random], None]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Cut, doubled, or with some bytes or a stretch changed; now and then as it was."""
    out = bytearray(data)
    for _ in range(dice.choice([0, 1, 1, 2, 8])):
        if not out:
            break
        i, n = dice.randrange(len(out)), dice.choice([1, 1, 2, 4, 16, 256])
        act = dice.randrange(5)
        if act == 0:
            out[i : i + n] = dice.randbytes(n)
        elif act == 1:
            del out[i : i + n]
        elif act == 2:
            out[i:i] = out[i : i + n]
        elif act == 3:
            del out[i:]
        else:
            out[i] ^= 1 << dice.randrange(8)
    return bytes(out)


def frames(stack: ExitStack) -> Try:
    detector = stack.enter_context(Detector(DetectorOptions(model="nano", threads=1, max_faces=2)))
    stream = stack.enter_context(detector.open_stream("both"))
    clock = 0.0

    def act(dice: random.Random) -> None:
        nonlocal clock
        clock += dice.choice([0.0, 1e-9, 1 / 240, 1 / 30, 1 / 30, 0.5, 100.0, -1.0])
        shape = [dice.choice([0, 1, 2, 3, 4, 15, 16, 48, 97]) for _ in range(dice.choice([0, 1, 2, 3, 3, 3, 3, 4]))]
        if dice.random() < 0.6:
            shape = [*(shape + [20, 30])[:2], dice.choice([3, 3, 3, 1, 4])]
        dtype = dice.choice([np.uint8] * 6 + [np.uint16, np.float32, np.int8, bool, object, "U3"])
        image: Any = np.random.default_rng(dice.randrange(2**32)).integers(0, 256, shape).astype(dtype)
        if dice.random() < 0.2:
            image = image[::-1, ..., ::-1] if image.ndim > 1 else image.T
        if dice.random() < 0.03:
            image = dice.choice([None, "picture", 3, b"x", [[1, 2], [3, 4]]])
        time_s = clock if dice.random() < 0.9 else dice.choice([float("nan"), float("inf"), None, "1", True, 10**400])
        if dice.random() < 0.01:
            stream.flush()
            clock = 0.0
        stream.push(image, time_s)  # type: ignore[arg-type]

    return act


def containers(stack: ExitStack) -> Try:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    whole = (HERE / "examples" / "sample.mp4").read_bytes()
    heads = [whole[:60_000], whole]

    def act(dice: random.Random) -> None:
        path = folder / f"a{dice.choice(['.mp4', '.avi', '.jpg', '.bin', ''])}"
        path.write_bytes(mutated(dice.choice(heads), dice))
        source = open_source(path)
        try:
            for i, _ in enumerate(source):
                if i > 10:
                    break
        finally:
            source.close()

    return act


def bundles(stack: ExitStack) -> Try:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    whole = shipped_path("nano").read_bytes()
    at = whole.find(b'{"')
    path = folder / "a.onnx"

    def act(dice: random.Random) -> None:
        data = whole
        if dice.random() < 0.6 and at > 0:  # in the metadata, where the length stays
            text = bytearray(data)
            for _ in range(dice.choice([1, 2, 5])):
                text[at + dice.randrange(min(4000, len(text) - at))] = dice.choice(b'0123456789-.eE"[]{},:anulx\\ ')
            data = bytes(text)
        else:
            data = mutated(data[-20_000:] if dice.random() < 0.5 else data, dice)
        path.write_bytes(data)
        Bundle.load(path)

    return act


def configs(stack: ExitStack) -> Try:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "live.toml"
    whole = (HERE / "examples" / "deploy" / "live.toml").read_bytes()
    words = [
        b"[[source]]",
        b"uri",
        b"= true",
        b"1e999",
        b"nan",
        b"[sink]",
        b"'''",
        b"\xff",
        b"[detector]",
        b"${HOME}",
        b"${",
    ]

    def act(dice: random.Random) -> None:
        data = mutated(whole, dice)
        for _ in range(dice.randrange(3)):
            i = dice.randrange(len(data) + 1)
            data = data[:i] + dice.choice(words) + data[i:]
        path.write_bytes(data)
        DetectorOptions(**LiveConfig.read(path).detector)

    return act


def uris(stack: ExitStack) -> Try:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    os.chdir(folder)
    parts = [
        "csv",
        "jsonl",
        "video",
        "udp",
        "mqttt",
        "x",
        ":",
        "://",
        "/",
        "@",
        "?",
        "=",
        "&",
        "#",
        "%",
        "%00",
        "..",
        "[",
        "]",
    ]
    parts += [
        "::1",
        "127.0.0.1",
        "99999",
        "0",
        "-1",
        "a.csv",
        "a.jsonl",
        "user",
        "pass:word",
        "ä",
        "\0",
        " ",
        "\n",
        "file",
        "gst",
    ]
    names = ("AU12",)

    def act(dice: random.Random) -> None:
        uri = "".join(dice.choice(parts) for _ in range(dice.randrange(1, 8)))
        if dice.random() < 0.7:
            open_sink(uri, au_names=names, source=uri).close()
        elif uri.strip(" \n")[:1] not in "0123456789-" and "://" not in uri and not uri.startswith("gst"):
            open_source(uri).close()  # of paths alone: what is there behind an address is no matter of this script

    return act


def messages(stack: ExitStack) -> Try:
    import http.client
    from urllib.parse import quote

    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    from aunet_sdk.live.page import PageServer

    page = stack.enter_context(PageServer("127.0.0.1", 0, commands=lambda name, given: {}, most_viewers=4))
    origin = page.url.rstrip("/")
    texts = [
        '{"type":"watch","source":0}',
        '{"type":"pause"}',
        '{"type":"calibrate","face":1}',
        "[]",
        "{}",
        "null",
        "1e999",
    ]

    def act(dice: random.Random) -> None:
        if dice.random() < 0.5:
            target = "/" + quote("".join(dice.choice("a/.%?&=#~\0ä") for _ in range(dice.randrange(12))), safe="/?&=%")
            target = dice.choice(
                [target, "/", "/healthz", "/session.csv?x=1", "/static/../server.py", "/live", "/login"]
            )
            link = http.client.HTTPConnection("127.0.0.1", page.port, timeout=20)
            try:
                method = dice.choice(["GET", "GET", "POST", "PUT", "HEAD", "BREW"])
                link.request(
                    method, target, body=dice.randbytes(dice.choice([0, 10, 5000])) if method == "POST" else None
                )
                answer = link.getresponse()
                answer.read()
                if answer.status >= 500 and answer.status != 503:
                    raise RuntimeError(f"{method} {target!r}: {answer.status}")
            except (http.client.HTTPException, ConnectionError):
                pass  # the server may hang up
            finally:
                link.close()
            return
        with contextlib.suppress(WebSocketException, ConnectionError):
            with connect(origin.replace("http", "ws") + "/live", origin=origin, open_timeout=20) as viewer:
                for _ in range(dice.randrange(1, 6)):
                    text = mutated(dice.choice(texts).encode(), dice)
                    viewer.send(text if dice.random() < 0.3 else text.decode("utf-8", "replace"))

    return act


KINDS = {
    "frames": frames,
    "containers": containers,
    "bundles": bundles,
    "configs": configs,
    "uris": uris,
    "messages": messages,
}


def work(kind: str, first: int, end: int, seed: int) -> int:
    """In a process of its own: says the number of every input before it is tried, and what became of it."""
    import logging

    logging.disable(logging.CRITICAL)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # of `jsonl:-`
    with ExitStack() as stack:
        act = KINDS[kind](stack)
        for number in range(first, end):
            out.write(f"{number}\n")
            try:
                act(random.Random(f"{seed} {kind} {number}"))
                said = "taken"
            except AUNetError:
                said = "refused"
            except Exception as error:
                said = f"foreign {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            out.write(f"{said}\n")
    return 0


def lines_of(child: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """Its lines; None where it is silent for too long."""
    assert child.stdout is not None
    descriptor, kept = child.stdout.fileno(), b""
    while True:
        if not select.select([descriptor], [], [], SILENT_S)[0]:
            yield None
            return
        block = os.read(descriptor, 1 << 16)
        if not block:
            return
        *whole, kept = (kept + block).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")


def try_kind(kind: str, count: int, seed: int) -> dict[str, Any]:
    tally: dict[str, Any] = {"inputs": 0, "taken": 0, "refused": 0, "crashes": [], "hangs": [], "foreign": []}
    number = 0
    while number < count:
        command = [sys.executable, __file__, "--worker", kind, str(number), str(count), str(seed)]
        began = number
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            silent = False
            for line in lines_of(child):
                if line is None:
                    silent = True
                    child.kill()
                elif line.isdigit():
                    number = int(line)
                elif line in ("taken", "refused"):
                    tally[line] += 1
                    number += 1
                else:
                    tally["foreign"].append(f"{number}: {line[8:]}")
                    number += 1
            child.kill() if silent else None
            code = child.wait()
        if silent:
            tally["hangs"].append(number)
        elif code != 0:
            tally["crashes"].append(f"{number}: exit code {code}")
        if silent or code != 0:
            number += 1
        if number == began and code == 0:
            break
    tally["inputs"] = count
    return tally


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        kind, first, end, seed = sys.argv[2:6]
        return work(kind, int(first), int(end), int(seed))
    parser = parser_of(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(KINDS), help="this one alone")
    parser.add_argument("--short", action="store_true", help="2,000 inputs")
    arguments = parser.parse_args()

    def body() -> int:
        total = 2_000 if arguments.short else arguments.inputs
        figures: dict[str, Any] = {"benchmark": "fuzz", **machine(), "seed": arguments.seed, "inputs": {}}
        found: dict[str, list[Any]] = {"crashes": [], "hangs": [], "foreign": []}
        print(
            f"{'kind':12} {'inputs':>8} {'taken':>8} {'refused':>8} {'crashes':>8} {'hangs':>8} {'foreign':>8} {'s':>8}"
        )
        for kind, share in SHARES.items():
            if arguments.kind not in (None, kind):
                continue
            begun_s = time.monotonic()
            tally = try_kind(kind, total if arguments.kind else max(1, round(share * total)), arguments.seed)
            counts = [len(tally[name]) for name in found]
            row = [tally["inputs"], tally["taken"], tally["refused"], *counts, round(time.monotonic() - begun_s)]
            print(f"{kind:12} " + " ".join(f"{value:>8}" for value in row), flush=True)
            figures["inputs"][kind] = tally["inputs"]
            for name, kept in found.items():
                kept += [f"{kind} {each}" for each in tally[name]]
        for name, kept in found.items():
            for line in kept[:10]:
                print(f"{name}: {line}")
        figures |= {
            "crashes": len(found["crashes"]),
            "hangs": len(found["hangs"]),
            "foreign_errors": len(found["foreign"]),
        }
        finish(figures, arguments.json)
        return int(any(found.values()))

    return run("fuzz", body)


if __name__ == "__main__":
    sys.exit(main())
