"""GPU engines by name, and the `aunet engine` command where there is no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from aunet_sdk import DetectorOptions
from aunet_sdk.cli import app
from aunet_sdk.commands import engine as command
from aunet_sdk.engines import available_engines, open_engine
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.registry import GPU_ENGINES, open_gpu_engine
from aunet_sdk.engines.ring import Ring
from aunet_sdk.engines.tensorrt.cache import PlanCache
from aunet_sdk.engines.tensorrt.engine import TrtStreamEngine
from aunet_sdk.errors import BackendUnavailable, InvalidInput

from .cpu.test_ort import describe, write
from .fake_cuda import FakeCuda
from .fake_trt import fake_tensorrt
from .tensorrt.test_cache import KEY


def has_gpu() -> bool:
    try:
        from cuda.bindings import runtime
    except ImportError:
        return False
    return int(runtime.cudaGetDeviceCount()[0]) == 0


@pytest.mark.skipif(has_gpu(), reason="there is a GPU; tests/gpu")
@pytest.mark.parametrize("engine", GPU_ENGINES)
def test_asked_for_by_name_it_runs_there_or_not_at_all(engine: str) -> None:
    with pytest.raises(BackendUnavailable, match="expected"):
        open_engine(None, engine)


def test_every_engine_is_described() -> None:
    assert set(GPU_ENGINES) <= set(available_engines())


def test_options_are_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", describe())
    with pytest.raises(InvalidInput, match=r"those of the engine tensorrt, got .*'speed'"):
        open_gpu_engine(path, "tensorrt", options={"speed": "high"})
    with pytest.raises(InvalidInput, match="engine: expected one of tensorrt"):
        open_gpu_engine(path, "npu")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "openvino-bf16", *GPU_ENGINES])
@pytest.mark.parametrize("name", ["speed", "max_faces", "library", "provider", "precision"])
def test_an_option_that_the_engine_has_not_is_named(tmp_path: Path, engine: str, name: str) -> None:
    """Those that the engine's name or another option decides are none of its own."""
    path = write(tmp_path / "a.onnx", describe())
    with pytest.raises(
        InvalidInput, match=f"engine_options: .*those of the engine {engine}, got '{name}'; it has .*fps"
    ):
        open_engine(path, engine, options={"fps": 25.0, name: "high"})


def test_auto_takes_no_options(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected an engine by name, got 'auto' with fps"):
        open_engine(write(tmp_path / "a.onnx", describe()), options={"fps": 25.0})


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """The commands, on the fakes."""
    cuda = FakeCuda()
    library = fake_tensorrt(cuda)

    class Faked(TrtStreamEngine):
        def __init__(self, bundle: object, **options: object) -> None:
            options |= {"library": library, "cuda": cuda}
            options.pop("device_id", None)
            super().__init__(bundle, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("aunet_sdk.engines.tensorrt.engine.TrtStreamEngine", Faked)
    return cuda


def aunet(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["engine", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_build_list_clear(faked: FakeCuda, tmp_path: Path) -> None:
    model, cache = write(tmp_path / "a.onnx", describe()), tmp_path / "cache"
    built = aunet("build", "--model", model, "--max-faces", 2, "--cache", cache)
    assert "tell-tale: built" in built and "with CUDA graphs, 2 faces at most" in built
    assert "was there already" in aunet("build", "--model", model, "--max-faces", 2, "--cache", cache)
    (plan,) = cache.glob("*.plan")
    assert str(plan) in built
    listed = aunet("list", "--cache", cache)
    assert "tell-tale" in listed and "Fake GPU (8.7), 12.6" in listed and "2 files in" in listed
    plan.write_bytes(plan.read_bytes()[:-1])
    assert "damaged: expected" in aunet("list", "--cache", cache)
    assert aunet("clear", "--cache", cache).startswith("2 files removed")
    assert "0 files in" in aunet("list", "--cache", cache)


def test_what_was_built_is_what_detect_takes(
    faked: FakeCuda, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands as docs/engines/installing.md has them for a Jetson."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    page = (repository / "docs" / "engines" / "installing.md").read_text(encoding="utf-8")
    jetson = page.split("## Jetson")[1].split("\n## ")[0]
    build = next(line.split() for line in jetson.splitlines() if line.startswith("    aunet engine build"))
    detect = next(line.split() for line in jetson.splitlines() if line.startswith("    aunet detect"))
    model = write(tmp_path / "a.onnx", describe())
    assert "tell-tale: built" in aunet(*build[2:], "--model", model)
    faces = int(detect[detect.index("--max-faces") + 1]) if "--max-faces" in detect else DetectorOptions().max_faces
    engine = open_engine(model, detect[detect.index("--engine") + 1], max_faces=faces)
    assert isinstance(engine, TrtStreamEngine) and not engine.plan.fresh
    engine.close()
    assert "tell-tale: built" in aunet("build", "--model", model, "--max-faces", 2), "asked for, so built"


def test_options_reach_the_engine(faked: FakeCuda, tmp_path: Path) -> None:
    model = write(tmp_path / "a.onnx", describe())
    options = {"cache_dir": tmp_path / "plans", "graphs": False, "fps": 5}
    engine = open_engine(model, "tensorrt", max_faces=2, options=options)
    assert isinstance(engine, TrtStreamEngine) and engine.plan.path.parent == tmp_path / "plans"
    for _ in range(3):
        engine.step(1)
    assert not engine.replays and engine.max_faces == 2
    engine.close()
    cpu = open_engine(model, "onnxruntime", max_faces=2, threads=1, options={"fps": 5})
    assert [ring.rows for ring in cpu._rings] == [ring.rows for ring in engine_rings(model)]  # type: ignore[attr-defined]


def engine_rings(model: Path) -> tuple[Ring, ...]:
    return OrtStreamEngine(model, max_faces=2, threads=1, fps=5)._rings


def test_build_without_a_cache_says_so(faked: FakeCuda, tmp_path: Path) -> None:
    model = write(tmp_path / "a.onnx", describe())
    (tmp_path / "file").write_text("no folder")
    output = aunet("build", "--model", model, "--cache", tmp_path / "file" / "cache")
    assert "not kept: the cache folder cannot be written" in output


@pytest.mark.skipif(has_gpu(), reason="there is a GPU; tests/gpu")
def test_build_without_a_library_or_gpu(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["engine", "build", "--cache", str(tmp_path)])
    assert result.exit_code == 3 and "aunet: expected" in result.output


@pytest.mark.skipif(has_gpu(), reason="there is a GPU; tests/gpu")
def test_detect_takes_the_engine_by_name(repository: Path, tmp_path: Path) -> None:
    clip = repository / "examples" / "sample.mp4"
    for engine, code, text in (
        ("onnxruntime-cuda", 3, "expected CUDAExecutionProvider"),
        ("npu", 2, "engine: expected"),
    ):
        result = CliRunner().invoke(app, ["detect", str(clip), "-o", str(tmp_path / "a.csv"), "--engine", engine])
        assert result.exit_code == code and text in result.output


def test_rows_that_were_written_stay_when_the_gpu_fails(
    faked: FakeCuda, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole run of the command, FP16 default bundle, until the device gives up."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    waited = faked.stream_wait

    def wait(stream: int) -> None:
        if faked.names().count("stream_wait") == 25:
            faked.fail.add("stream_wait")
        waited(stream)

    monkeypatch.setattr(faked, "stream_wait", wait)
    clip, table = repository / "examples" / "sample.mp4", tmp_path / "a.csv"
    result = CliRunner().invoke(app, ["detect", str(clip), "-o", str(table), "--engine", "tensorrt"])
    assert result.exit_code == 3 and "aunet: expected stream_wait to succeed" in result.stderr
    rows = table.read_text().splitlines()
    assert rows[0].startswith("frame,") and 5 < len(rows) < 25


def test_the_bar_of_a_terminal(tmp_path: Path) -> None:
    with command._bar(quiet=True) as told:
        assert told is not None and told("building", 0.5) is None


@pytest.mark.parametrize("terminal", [True, False])
def test_without_a_terminal_the_log_tells(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda self: terminal))
    with command._bar(quiet=False) as told:
        assert (told is None) is not terminal


def test_a_kept_plan_of_another_gpu_is_listed(tmp_path: Path) -> None:
    PlanCache(tmp_path).store(KEY, b"plan")
    assert "Orin (8.7), 12.6" in aunet("list", "--cache", tmp_path)
