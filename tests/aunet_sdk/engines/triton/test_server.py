"""The engine `triton` against a real server: the one that nvidia-pytriton carries, with its python backend.

It wants NumPy 1 and an older protobuf, so it has an environment of its own, in which these tests run:

    python3 -m venv triton-env
    triton-env/bin/pip install ".[cpu,triton]" nvidia-pytriton==0.7.0 "numpy<2" onnx pytest hypothesis
    triton-env/bin/python -m pytest tests/aunet_sdk/engines/triton/test_server.py
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aunet_sdk
from aunet_sdk import Detector, DetectorOptions, FrameResult
from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import NEW, Query, open_engine
from aunet_sdk.errors import AUNetError, BackendUnavailable, EngineMismatch
from aunet_sdk.sources import Frame, VideoFile
from export.triton import write_clip, write_stream

pytriton = pytest.importorskip("pytriton", reason="no Triton server here: nvidia-pytriton is not installed")
pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")

SERVER = Path(pytriton.__file__).parent / "tritonserver"
CLIENTS, FRAMES = 8, 20


class Server:
    """A tritonserver on a repository, on free ports of the loopback."""

    def __init__(self, folder: Path, batch: int = 1) -> None:
        self.repository, self.backends = folder / "repository", folder / "backends"
        self.log = folder / "server.log"
        write_stream(self.repository, Bundle.load(), idle_s=20, batch=batch)
        shutil.copytree(SERVER / "backends" / "python", self.backends / "python")
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copy(SERVER / "python_backend_stubs" / version / "triton_python_backend_stub", self.backends / "python")
        self.http, self.grpc = _free_port(), _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.grpc}"

    def start(self) -> None:
        """Come up, or fail with the log."""
        command = [SERVER / "bin" / "tritonserver", "--model-repository", self.repository]
        command += ["--backend-directory", self.backends, "--http-address", "127.0.0.1", "--grpc-address", "127.0.0.1"]
        command += ["--http-port", str(self.http), "--grpc-port", str(self.grpc), "--allow-metrics", "false"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "VIRTUAL_ENV": sys.prefix}
        environment["LD_LIBRARY_PATH"] = str(SERVER.parents[1] / "nvidia_pytriton.libs")
        environment["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ["PATH"]])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(each) for each in command], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        for _ in range(600):
            try:
                if urllib.request.urlopen(f"http://127.0.0.1:{self.http}/v2/health/ready", timeout=5).status == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        self.stop()
        pytest.fail(self.log.read_text(errors="replace")[-3000:])

    def send(self, number: int) -> None:
        """A signal to the server and its backend."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """End it, at once."""
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not (Path(sys.prefix) / "lib").is_dir() or "site-packages" not in aunet_sdk.__file__:
        link = Path(np.__file__).parents[1] / "aunet_sdk_of_the_tests.pth"
        link.write_text(str(Path(aunet_sdk.__file__).parents[1]))  # the backend's Python does not read PYTHONPATH
    server = Server(tmp_path_factory.mktemp("triton"))
    server.start()
    yield server
    server.stop()


def options(server: Server, **more: object) -> DetectorOptions:
    return DetectorOptions(engine="triton", engine_options={"url": server.url, "timeout_s": 60.0, **more})


@pytest.fixture(scope="module")
def clips(repository: Path) -> list[list[Frame]]:
    """One per client, each of other frames of the sample; every second one mirrored."""
    frames = list(VideoFile(repository / "examples" / "sample.mp4"))
    step = (len(frames) - FRAMES) // CLIENTS
    clips = []
    for k in range(CLIENTS):
        part = frames[k * step : k * step + FRAMES]
        clips.append([Frame(f.image[:, :: -1 if k % 2 else 1].copy(), f.timestamp_s, i) for i, f in enumerate(part)])
    return clips


def follow(choice: DetectorOptions, clip: list[Frame]) -> list[FrameResult]:
    with Detector(choice) as detector:
        results = [result for frame in clip for result in detector.push(frame.image, frame.timestamp_s)]
        return results + detector.flush()


def same(ours: list[FrameResult], theirs: list[FrameResult]) -> None:
    assert [result.index for result in ours] == [result.index for result in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert [face.id for face in a.faces] == [face.id for face in b.faces]
        for one, other in zip(a.faces, b.faces, strict=True):
            assert np.abs(one.probabilities - other.probabilities).max() <= 1e-5
            assert np.abs(one.landmarks - other.landmarks).max() <= 1e-3 and one.context == other.context


def test_eight_clients_at_once_have_each_their_own_results(server: Server, clips: list[list[Frame]]) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(lambda clip: follow(options(server), clip), clips))
    expected = [follow(DetectorOptions(engine="onnxruntime", threads=1), clip) for clip in clips]
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == FRAMES and all(result.faces for result in ours)
        same(ours, theirs)
    first = expected[0][10].faces[0].probabilities
    assert all(np.abs(first - other[10].faces[0].probabilities).max() > 1e-3 for other in expected[1:]), "clips differ"


def test_steps_of_clients_that_wait_run_as_one(server: Server, clips: list[list[Frame]], tmp_path: Path) -> None:
    """Another server, with a batch of eight streams."""
    batched = Server(tmp_path, batch=CLIENTS)
    batched.start()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            found = list(pool.map(lambda clip: follow(options(batched), clip), clips))
        with urllib.request.urlopen(f"http://127.0.0.1:{batched.http}/v2/models/aunet_stream/stats") as answer:
            (stats,) = json.load(answer)["model_stats"]
    finally:
        batched.stop()
    for ours, clip in zip(found, clips, strict=True):
        same(ours, follow(DetectorOptions(engine="onnxruntime", threads=1), clip))
    assert stats["execution_count"] < 0.7 * stats["inference_count"], stats["batch_stats"]


def test_both_decisions_and_many_streams_of_one_client(server: Server) -> None:
    """The engines' own steps, in random order over streams, with slots that come and go."""
    rng = np.random.default_rng(0)
    with (
        open_engine(None, "triton", max_faces=3, options={"url": server.url, "timeout_s": 60.0}) as ours,  # type: ignore[attr-defined]
        open_engine(None, "onnxruntime", max_faces=3, threads=1) as theirs,  # type: ignore[attr-defined]
    ):
        engines = (ours, theirs)
        streams = [[engine.open_states() for engine in engines] for _ in range(3)]
        kept: list[list[list[object]]] = [[[], []] for _ in streams]
        for _ in range(40):
            k, n_new = int(rng.integers(3)), int(rng.integers(1, 4))
            crops = rng.random((n_new, *ours.crops.shape[1:]), np.float32)
            picks = rng.integers(0, max(1, len(kept[k][0])), 2)
            answers = []
            for engine, states, mine in zip(engines, streams[k], kept[k], strict=True):
                engine.crops[:n_new] = crops
                queries = [Query(NEW, NEW, NEW)] * n_new
                if mine:
                    former, due = (mine[pick] for pick in picks)
                    queries.append(Query(former, due, mine[-1]))  # type: ignore[arg-type]
                causal = [mine[picks[0]] if mine else None] * n_new
                result = engine.step(n_new, queries, causal, states)  # type: ignore[arg-type]
                answers.append([result.heatmaps.copy(), result.logits, result.logits_causal])
                mine += result.slots
                del mine[:-9]
            for one, other in zip(*answers, strict=True):
                assert np.abs(one - other).max() <= 1e-5


def test_a_server_that_is_gone_slow_or_new(server: Server, clips: list[list[Frame]]) -> None:
    """Every fault lasts for several frames; afterwards the same detector goes on."""
    clip = clips[0]
    with Detector(options(server, timeout_s=3.0)) as detector:
        done = [result for frame in clip[:8] for result in detector.push(frame.image, frame.timestamp_s)]
        server.send(signal.SIGSTOP)
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(BackendUnavailable, match="within 3 s"):
                detector.push(clip[8].image, clip[8].timestamp_s)
        assert time.monotonic() - began >= 5
        server.send(signal.SIGCONT)
        done += _push(detector, clip[8])
        server.stop()
        for _ in range(3):
            with pytest.raises(BackendUnavailable, match="start the server"):
                detector.push(clip[9].image, clip[9].timestamp_s)
        with pytest.raises(BackendUnavailable):
            Detector(options(server, timeout_s=3.0))
        server.start()
        for frame in clip[9:]:
            done += _push(detector, frame)
        done += detector.flush()
    assert [result.index for result in done] == list(range(len(clip)))
    lost = [result.index for result in done if not result.faces]
    assert all(index < 9 for index in lost), f"only frames that waited for a decision at the restart: {lost}"


def _push(detector: Detector, frame: Frame) -> list[FrameResult]:
    """As somebody does who pushes a frame again after an error."""
    for _ in range(20):
        try:
            return detector.push(frame.image, frame.timestamp_s)
        except AUNetError as error:
            last = error
            time.sleep(0.5)
    raise last


def test_a_model_that_is_not_there_and_another_one(server: Server) -> None:
    with pytest.raises(BackendUnavailable, match="aunet_other"):
        Detector(options(server, model_name="aunet_other"))
    with pytest.raises(EngineMismatch, match="give the bundle that the server runs"):
        Detector(DetectorOptions(model="nano", engine="triton", engine_options={"url": server.url}))


def test_the_configurations_that_are_not_run_can_be_parsed(tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    stream = Bundle.load()
    folder = write_clip(tmp_path, replace(stream, kind="clip", state=()))
    for file in (folder / "config.pbtxt", folder / "configs" / "tensorrt.pbtxt"):
        config = text_format.Parse(file.read_text(encoding="utf-8"), ModelConfig())
        assert config.name == "aunet_clip" and config.max_batch_size == 16 and len(config.output) == 2
        assert config.output[1].label_filename == "labels.txt" and config.HasField("dynamic_batching")
        assert config.model_warmup[0].inputs["crops"].zero_data


def test_a_stream_that_its_client_leaves_is_forgotten(server: Server) -> None:
    """A client without a farewell: the server gives its states up, and others are served meanwhile."""
    gone = threading.Event()

    def leave() -> None:
        code = f"""
import os
from aunet_sdk.engines import open_engine
engine = open_engine(None, "triton", options={{"url": {server.url!r}, "timeout_s": 60.0}})
engine.step(1)
os._exit(9)
"""
        environment = {**os.environ, "PYTHONPATH": str(Path(aunet_sdk.__file__).parents[1])}
        assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 9
        gone.set()

    threading.Thread(target=leave).start()
    with open_engine(None, "triton", options={"url": server.url, "timeout_s": 60.0}) as engine:  # type: ignore[attr-defined]
        while not gone.is_set():
            engine.step(1)
        until = time.monotonic() + 60
        while "is given up" not in server.log.read_text(errors="replace") and time.monotonic() < until:
            engine.step(1)
            time.sleep(0.5)
    assert "is given up" in server.log.read_text(errors="replace")
