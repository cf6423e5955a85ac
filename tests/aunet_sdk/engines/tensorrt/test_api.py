"""Every attribute of `tensorrt` that the engine names exists in the real bindings of 10.3, 10.13 and 11.x.

The bindings are real wheels; the libraries under them cannot be had here, so that three empty ones are made by gcc for
them to be imported over. Wheels: `pip download --no-deps -d build/tensorrt-bindings tensorrt-cu12-bindings==10.3.0
tensorrt-cu13-bindings==10.13.3.9 tensorrt-cu13-bindings==11.4.0.106`, one by one (.ci/run does it).
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from aunet_sdk.engines.tensorrt import api as trt_api
from aunet_sdk.errors import BackendUnavailable, EngineMismatch

from ..fake_cuda import FakeCuda
from ..fake_trt import fake_tensorrt

ROOT = Path(__file__).parents[4]
WHEELS = ROOT / "build" / "tensorrt-bindings"
VERSIONS = ("10.3.", "10.13.", "11.")
SYMBOLS = {
    "nvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRuntime_INTERNAL",
        "createInferRefitter_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "nvinfer_plugin": ("initLibNvInferPlugins",),
    "nvonnxparser": (
        "createNvOnnxParser_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}
FILES = ("build.py", "loader.py", "engine.py", "steps.py", "profiles.py")
# Which class the variables of these names hold in FILES and api.py.
VARIABLES = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "made": "IOptimizationProfile",
    "network": "INetworkDefinition",
    "tensor": "ITensor",
    "layer": "ILayer",
    "parser": "OnnxParser",
    "error": "ParserError",
    "kept": "ITimingCache",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "_runtime": "Runtime",
    "runtime": "Runtime",
}
LOOK = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("tensorrt", sys.argv[1])
trt = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trt)
from aunet_sdk.engines.tensorrt import api as trt_api
try:
    trt.Builder(trt_api.logger_of(trt))
    empty = "no error"
except TypeError as error:
    empty = str(error)
names = {}
for owner, wanted in trt_api.OPTIONAL.items():
    names[owner] = [name for name in wanted if hasattr(getattr(trt, owner, None), name)]
print(json.dumps({"missing": trt_api.missing(trt), "optional": names, "builder": empty}))
"""


def wheel_of(version: str) -> Path:
    tag = f"-cp{sys.version_info.major}{sys.version_info.minor}-"
    found = [wheel for wheel in WHEELS.glob(f"*_bindings-{version}*.whl") if tag in wheel.name]
    if not found:
        pytest.skip(f"no wheel of the TensorRT {version}x bindings in build/tensorrt-bindings (see this file)")
    if shutil.which("gcc") is None:
        pytest.skip("gcc is needed for the empty libraries")
    return found[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_is_in_the_real_bindings(version: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel_of(version)) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("/tensorrt.so"))
        library = Path(wheel.extract(name, tmp_path))
    major = version.split(".")[0]
    for stub, symbols in SYMBOLS.items():
        source = tmp_path / f"{stub}.c"
        source.write_text("".join(f"void* {symbol}(void) {{ return 0; }}\n" for symbol in symbols))
        target = library.parent / f"lib{stub}.so.{major}"
        subprocess.run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{target.name}", "-o", target, source], check=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(library.parent)}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(library)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["missing"] == []
    assert "factory function returned nullptr" in seen["builder"], "these are the empty libraries"
    assert "STRONGLY_TYPED" in seen["optional"]["NetworkDefinitionCreationFlag"]


def uses() -> set[tuple[str, str]]:
    """(class, attribute) of every use in the engine's code, by the names of variables."""
    found: set[tuple[str, str]] = set()
    for file in (*FILES, "api.py"):
        for node in ast.walk(
            ast.parse((ROOT / "aunet_sdk" / "engines" / "tensorrt" / file).read_text(encoding="utf-8"))
        ):
            if not isinstance(node, ast.Attribute):
                continue
            inner = node.value
            if isinstance(inner, ast.Name) and inner.id == "trt":
                found.add((node.attr, ""))
            elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "trt":
                found.add((inner.attr, node.attr))
            else:
                name = inner.id if isinstance(inner, ast.Name) else getattr(inner, "attr", "")
                if name in VARIABLES:
                    found.add((VARIABLES[name], node.attr))
    return found


def test_the_table_has_every_name_that_the_code_uses() -> None:
    """`trt.X`, `trt.X.y`, and `variable.y` where the variable's name says what it holds."""
    known = {owner: {*names, *trt_api.OPTIONAL.get(owner, ())} for owner, names in trt_api.REQUIRED.items()}
    found = uses()
    assert len(found) > 45, "the variables have other names now: mend VARIABLES"
    lacking = {
        (owner, name)
        for owner, name in found
        if not name.startswith("__") and (owner not in known or (name and name not in known[owner]))
    }
    assert not lacking


def test_the_table_has_no_name_that_nobody_uses() -> None:
    text = "".join((ROOT / "aunet_sdk" / "engines" / "tensorrt" / file).read_text(encoding="utf-8") for file in FILES)
    api = (ROOT / "aunet_sdk" / "engines" / "tensorrt" / "api.py").read_text(encoding="utf-8").split("def missing")[1]
    for names in trt_api.REQUIRED.values():
        for name in names:
            assert name in text or name in api, name


def test_the_fake_has_the_table_and_no_more_names_than_it() -> None:
    fake = fake_tensorrt(FakeCuda())
    assert trt_api.missing(fake) == []
    for owner, names in trt_api.REQUIRED.items():
        public = {name for name in vars(getattr(fake, owner)) if not name.startswith("_")}
        allowed = {*names, *trt_api.OPTIONAL.get(owner, ())}
        inner = {"session", "path", "profile", "num_errors", "name", "shape", "dtype", "OUTPUT"}
        assert public - allowed - inner == set(), owner


def test_an_old_version_is_refused() -> None:
    old = fake_tensorrt(FakeCuda(), "8.6.1")
    del old.IExecutionContext.execute_async_v3, old.IProgressMonitor
    with pytest.raises(
        EngineMismatch, match=r"10.3 or newer, got tensorrt 8.6.1 without IProgressMonitor, IExecutionContext.execute"
    ):
        trt_api.load(old)


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendUnavailable, match=r"expected tensorrt, got tensorrt: .*JetPack"):
        trt_api.load()
    assert trt_api.describe().startswith("not available: expected tensorrt")


def test_messages_go_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    fake = fake_tensorrt(FakeCuda())
    logger = trt_api.logger_of(fake)
    assert trt_api.logger_of(fake) is logger
    with caplog.at_level("DEBUG", "aunet_sdk"):
        logger.log(fake.Logger.WARNING, "a warning")
        logger.log(fake.Logger.ERROR, "an\n  error")
    assert "a warning" in caplog.text
    assert trt_api.last_errors(fake) == "an error" and trt_api.last_errors(fake) == "no reason given"
