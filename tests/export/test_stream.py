"""The exported graphs in the engine against torch's plain forward on the same triplets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import NEW, Query, Slot
from aunet_sdk.engines.cpu.ort import OrtClip, OrtStreamEngine
from aunet_sdk.errors import InvalidInput
from export.build import OPSET
from train.models.model import Model

GAP = 4
Exported = Callable[[str, str], Path]


def plain(
    model: Model, head: str, frames: Sequence[np.ndarray], reference: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """torch on former, due, later: each (F, 3, R, R); logits, and behind them intensities where the head has them."""
    given = None if reference is None else torch.from_numpy(reference)
    with torch.inference_mode():
        crops = [torch.from_numpy(frame) for frame in frames]
        maps, logits = model(*crops)
        if head == "aunet":
            return maps.numpy(), logits[head].numpy()
        looks = [model.fan(crop) for crop in crops]
        parts = [model.points.describe(features, heatmaps[-1]) for heatmaps, features in looks]
        decided, intensity = model.points.decide(*parts, given)
        assert intensity is not None
    return maps.numpy(), torch.cat((decided, intensity), 1).numpy()


def video(faces: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((length, faces, 3, 64, 64), np.float32)


@pytest.mark.parametrize("head", ["aunet", "points"])
@pytest.mark.parametrize("faces", [1, 3])
def test_stream_equals_torch(model: Model, exported: Exported, head: str, faces: int) -> None:
    """From the first frame (stand-ins) to the flush; rings are short, so that they wrap around and grow."""
    frames = video(faces, 24)
    with OrtStreamEngine(exported("stream", head), max_faces=faces, threads=1, fps=5) as engine:
        kept: list[list[Slot] | None] = []
        grown = [ring.rows for ring in engine._rings]
        for t, frame in enumerate(frames):
            engine.crops[:] = frame
            due = t - GAP
            former = max(due - GAP, 0) if due >= GAP else due
            queries = [Query(kept[former][i], kept[due][i], NEW) for i in range(faces)] if due >= 0 else []  # type: ignore[index]
            causal = [kept[due][i] if due >= 0 else None for i in range(faces)]  # type: ignore[index]
            result = engine.step(faces, queries, causal)
            maps, ahead = plain(model, head, [frames[max(due, 0) if due >= 0 else t], frame, frame])
            np.testing.assert_allclose(result.heatmaps, maps, atol=1e-4)
            np.testing.assert_allclose(result.logits_causal, ahead, atol=1e-4)
            if due >= 0:
                _, logits = plain(model, head, [frames[former], frames[due], frame])
                np.testing.assert_allclose(result.logits, logits, atol=1e-4)
            del queries, causal
            kept.append(result.slots)
            if t >= 2 * GAP:
                kept[t - 2 * GAP] = None
        last = len(frames) - 1
        for due in range(last - GAP + 1, last + 1):
            queries = [Query(kept[due - GAP][i], kept[due][i], kept[due][i]) for i in range(faces)]  # type: ignore[index]
            _, logits = plain(model, head, [frames[due - GAP], frames[due], frames[due]])
            np.testing.assert_allclose(engine.query(queries), logits, atol=1e-4)
        assert any(ring.rows > rows for ring, rows in zip(engine._rings, grown, strict=True))


def test_references_go_with_their_queries(model: Model, exported: Exported) -> None:
    """Final and causal decisions, in one step and later; a face without one beside others."""
    frames = video(3, 3, seed=2)
    rest = 4 * np.random.default_rng(3).standard_normal((3, 68, 2), np.float32)
    known: list[np.ndarray | None] = [rest[0], None, rest[2]]
    rest[1] = 0
    with OrtStreamEngine(exported("stream", "points"), max_faces=3, threads=1) as engine:
        slots = []
        for frame in frames[:2]:
            engine.crops[:] = frame
            slots.append(engine.step(3).slots)
        engine.crops[:] = frames[2]
        queries = [Query(f, d, NEW, r) for f, d, r in zip(*slots, known, strict=True)]
        result = engine.step(3, queries, slots[1], references=known)
        _, expected = plain(model, "points", list(frames), rest)
        np.testing.assert_allclose(result.logits, expected, atol=1e-4)
        _, ahead = plain(model, "points", [frames[1], frames[2], frames[2]], rest)
        np.testing.assert_allclose(result.logits_causal, ahead, atol=1e-4)
        again = [Query(f, d, n, r) for f, d, n, r in zip(*slots, result.slots, known, strict=True)]
        np.testing.assert_allclose(engine.query(again), expected, atol=1e-4)
        assert (
            np.abs(engine.query([Query(f, d, n) for f, d, n in zip(*slots, result.slots, strict=True)]) - expected)[
                [0, 2]
            ].max()
            > 0.01
        )
        with pytest.raises(InvalidInput, match="references: expected 3"):
            engine.step(3, references=[None])


def test_a_crop_has_its_answer_whatever_else_is_in_the_batch(exported: Exported) -> None:
    frames = video(3, 1)[0]
    with OrtStreamEngine(exported("stream", "points"), max_faces=3, threads=1) as engine:
        engine.crops[:] = frames
        together = engine.step(3, [Query(NEW, NEW, NEW)] * 3).logits
        for i in range(3):
            engine.crops[0] = frames[i]
            alone = engine.step(1, [Query(NEW, NEW, NEW)]).logits[0]
            np.testing.assert_allclose(alone, together[i], atol=1e-5)


@pytest.mark.parametrize("head", ["aunet", "points"])
def test_clip_equals_torch_and_stream(model: Model, exported: Exported, head: str) -> None:
    frames = video(3, 3, seed=5)
    run = OrtClip(exported("clip", head), threads=1)
    maps, logits = run(np.ascontiguousarray(frames.transpose(1, 0, 2, 3, 4)))
    expected_maps, expected = plain(model, head, list(frames))
    np.testing.assert_allclose(maps, expected_maps, atol=1e-4)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    kept: deque[list[Slot]] = deque()
    with OrtStreamEngine(exported("stream", head), max_faces=3, threads=1) as engine:
        for frame in frames:
            engine.crops[:] = frame
            asked = [Query(f, d, NEW) for f, d in zip(*kept, strict=True)] if len(kept) == 2 else []
            result = engine.step(3, asked)
            kept.append(result.slots)
    np.testing.assert_allclose(result.logits, logits, atol=1e-4)
    with pytest.raises(InvalidInput, match=r"expected float32 \(B, 3, 3, 64, 64\)"):
        run(frames[0])


def test_the_file(exported: Exported, capfd: pytest.CaptureFixture[str]) -> None:
    path = exported("stream", "aunet")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    bundle = Bundle.load(path)
    assert (bundle.name, bundle.head, bundle.width, bundle.resolution) == ("tiny-aunet", "aunet", 16, 64)
    assert (bundle.training_data, bundle.licence, bundle.thresholds) == ("none", "MIT", (0.3,) * 15)
    assert str(Path(__file__).resolve().parents[2]).encode() not in path.read_bytes(), "paths of this machine"
    OrtStreamEngine(path, threads=1).close()
    assert capfd.readouterr().err == "", "ONNX Runtime warned"
