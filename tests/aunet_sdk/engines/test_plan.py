"""Plans and their cache, over the fakes of CUDA and TensorRT: built once, and never run where they do not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aunet_sdk.engines import NEW, Query
from aunet_sdk.engines.build import profile_of
from aunet_sdk.engines.trt import TrtStreamEngine
from aunet_sdk.errors import BundleMismatch

from .fake_cuda import FakeCuda
from .fake_trt import fake_tensorrt
from .test_ort import describe, write

Open = Callable[..., TrtStreamEngine]
QUERY = Query(NEW, NEW, NEW)


def test_built_once_then_loaded(opened: Open, trt: Any, cuda: FakeCuda) -> None:
    seen: list[tuple[str, float]] = []
    opened(progress=lambda phase, share: seen.append((phase, share))).close()
    assert trt.builds == 1 and seen[0] == ("building", 0.0) and seen[-1] == ("building", 1.0)
    opened().close()
    assert trt.builds == 1
    opened(max_faces=2).close()
    assert trt.builds == 2, "another profile is another plan"
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
        opened(max_faces=2).close()
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
