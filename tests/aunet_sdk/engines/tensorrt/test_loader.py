"""Plans and their cache, over the fakes of CUDA and TensorRT: built once, and never run where they do not fit."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aunet_sdk.engines import NEW, Query
from aunet_sdk.engines.tensorrt.cache import PlanCache
from aunet_sdk.engines.tensorrt.engine import TrtStreamEngine
from aunet_sdk.engines.tensorrt.profiles import profile_of
from aunet_sdk.errors import BundleMismatch

from ..cpu.test_ort import describe, write
from ..fake_cuda import FakeCuda
from ..fake_trt import fake_tensorrt

Open = Callable[..., TrtStreamEngine]
QUERY = Query(NEW, NEW, NEW)


def test_built_once_then_loaded(opened: Open, trt: Any, cuda: FakeCuda) -> None:
    seen: list[tuple[str, float]] = []
    opened(progress=lambda phase, share: seen.append((phase, share))).close()
    assert trt.builds == 1 and seen[0] == ("building", 0.0) and seen[-1] == ("building", 1.0)
    opened().close()
    assert trt.builds == 1
    opened(max_faces=6).close()
    assert trt.builds == 2, "a larger profile is another plan"
    assert [call[1] for call in cuda.calls if call[0] == "create_timing_cache"] == [b"", b"+"], (
        "what was learnt is kept"
    )


def test_another_version_gpu_or_driver_builds_anew(opened: Open, cuda: FakeCuda, path: Path, tmp_path: Path) -> None:
    for version in ("10.3.0", "10.13.3", "11.4.0"):
        opened(library=(module := fake_tensorrt(cuda, version))).close()
        assert module.builds == 1
    assert len(list((tmp_path / "cache").glob("*.plan"))) == 3


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "another's", "unreadable by tensorrt"])
def test_a_plan_that_cannot_be_used_is_built_anew(
    opened: Open, trt: Any, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened().close()
    (plan,) = (tmp_path / "cache").glob("*.plan")
    data = bytearray(plan.read_bytes())
    if harm == "cut":
        data = data[:-100]
    elif harm == "flipped":
        data[-1] ^= 1
    elif harm == "empty":
        data = bytearray()
    elif harm == "another's":
        opened(tf32=True).close()
        (other,) = (p for p in (tmp_path / "cache").glob("*.plan") if p != plan)
        data = bytearray(other.read_bytes())
    else:
        real = trt.Runtime.deserialize_cuda_engine
        answers = iter([None])
        trt.Runtime.deserialize_cuda_engine = lambda self, plan: next(answers, real(self, plan))
    plan.write_bytes(data)
    builds = trt.builds
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        engine = opened()
    assert trt.builds == builds + 1 and "built anew" in caplog.text
    engine.crops[0] = 3.0
    assert engine.step(1, [QUERY]).logits[0, 0] == pytest.approx(3)
    engine.close()
    opened()
    assert trt.builds == builds + 1, "the new plan was kept"


def test_a_plan_for_more_faces_is_taken(opened: Open, trt: Any, tmp_path: Path) -> None:
    """Any workspace will do, and the numbers are those of a plan of its own."""
    opened(max_faces=6, workspace_mb=64).close()
    opened(max_faces=4, workspace_mb=512, exact=True).close()
    assert trt.builds == 2, "who asks for these very options gets them"
    engine = opened(max_faces=3)
    assert trt.builds == 2 and not engine.plan.fresh
    assert profile_of(describe(), 4)["crop"].largest == engine._engine.profile["crop"][2], "the smallest that will do"
    assert engine.plan.path.is_file() and engine.plan.path.name == engine.plan.key.file_name
    assert engine.max_faces == 3 and len(engine.crops) == 3
    for values in ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)):
        for crop, value in zip(engine.crops, values, strict=True):
            crop[:] = value
        assert engine.step(3, [QUERY] * 3).logits[:, 0] == pytest.approx(values)
    engine.close()
    opened(max_faces=3, tf32=True).close()
    assert trt.builds == 3, "other numbers are another plan"


def test_a_plan_for_more_faces_that_does_not_fit_the_device(
    opened: Open, trt: Any, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(max_faces=6).close()
    real = cuda.attach
    monkeypatch.setattr(cuda, "attach", lambda: dataclasses.replace(real(), driver="13.0"))
    opened(max_faces=4).close()
    assert trt.builds == 2
    monkeypatch.setattr(cuda, "attach", lambda: dataclasses.replace(real(), name="Another GPU"))
    opened(max_faces=4).close()
    assert trt.builds == 3


def test_a_plan_for_more_faces_that_cannot_be_read(
    opened: Open, trt: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    opened(max_faces=6).close()
    real = trt.Runtime.deserialize_cuda_engine
    answers = iter([None])
    trt.Runtime.deserialize_cuda_engine = lambda self, plan: next(answers, real(self, plan))
    engine = opened(max_faces=4)
    assert trt.builds == 2 and engine.plan.fresh and "cannot be used" in caplog.text
    assert [path.name for path in (tmp_path / "cache").glob("*.plan")] == [engine.plan.key.file_name]


def test_a_plan_for_fewer_faces_is_named_before_another_is_built(
    opened: Open, trt: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines that are seen without any set-up of logging: a build that takes minutes must not look like a hang."""
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        opened(max_faces=2).close()
    (line,) = caplog.messages
    assert "building tell-tale for Fake GPU" in line and "happens once" in line and "There is" not in line
    caplog.clear()
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        opened(max_faces=4).close()
    assert trt.builds == 2
    (line,) = caplog.messages
    assert f"an engine for at most 2 faces: `aunet engine build --model {path} --max-faces 4` builds this one" in line
    assert "`--max-faces 2`" in line


@pytest.mark.parametrize("harm", ["unreadable by tensorrt", "another profile"])
def test_a_plan_that_does_not_fit_in_a_folder_that_cannot_be_written(
    opened: Open, trt: Any, tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be removed: it must not be read again."""
    opened(max_faces=2).close()
    if harm == "another profile":
        other = opened()
        wrong = PlanCache(tmp_path / "cache").load(other.plan.key) or b""
        other.close()
    else:
        wrong = b"no plan of this library"
    engine = opened(max_faces=2, exact=True)
    PlanCache(tmp_path / "cache").store(engine.plan.key, wrong)
    engine.close()
    builds = trt.builds

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("aunet_sdk.engines.tensorrt.plan_file.os.replace", refuse)
        patch.setattr(Path, "unlink", refuse)
        engine = opened(max_faces=2, exact=True)
    assert trt.builds == builds + 1 and engine.plan.fresh and "cannot be written" in caplog.text
    engine.crops[0] = 3.0
    assert engine.step(1, [QUERY]).logits[0, 0] == pytest.approx(3)


def test_a_plan_with_a_smaller_profile_is_never_run(opened: Open, trt: Any) -> None:
    small = profile_of(describe(), 2)
    opened().close()
    trt.give["get_tensor_profile_shape"] = {n: (s.smallest, s.usual, s.largest) for n, s in small.items()}
    with pytest.raises(BundleMismatch, match=r"expected crop from .* to \(4, 3, 8, 8\), got .* to \(2, 3, 8, 8\)"):
        opened()
    assert trt.builds == 2


def test_metadata_that_do_not_fit_the_graph(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(BundleMismatch, match=r"logits \(False, 'float32', \(-1, 4\)\)"):
        opened(
            bundle=write(tmp_path / "wrong.onnx", describe(au_numbers=(1, 2, 4, 6), thresholds=(0.5,) * 4)),
        )
    with pytest.raises(BundleMismatch, match="a clip bundle"):
        opened(bundle=write(tmp_path / "clip.onnx", describe(kind="clip", state=())))


def test_a_build_can_be_stopped(opened: Open, cuda: FakeCuda, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="was stopped"):
        opened(progress=lambda phase, share: share < 0.5)
    assert not list((tmp_path / "cache").glob("*.plan")) and cuda.owner is None
