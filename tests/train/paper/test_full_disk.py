"""What cannot be written ends a run with a message and a checkpoint; the former file stays whole."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from tests.train.paper_runs import changed, same, stop_at_once
from train.configs.options import PaperOptions
from train.engine import meter
from train.engine.loop import RunError, Stopped
from train.engine.meter import ScalarFile
from train.engine.run_folder import replacing
from train.paper.run import run_paper


def limited(options: PaperOptions, repository: Path, size: int) -> subprocess.CompletedProcess[str]:
    """The run as the command has it, resumed where there is one, with files of `size` bytes at most."""
    program = (
        "from train.cli import main as cli; from train.configs.options import PaperOptions; "
        "from train.paper.run import run_paper; "
        f"cli.app = lambda: run_paper(PaperOptions(**{vars(options)!r}), True); cli.main()"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.run(
        [sys.executable, "-c", program], cwd=repository, preexec_fn=limit, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_full_disk_leaves_the_former_checkpoint(
    options: PaperOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    options = changed(options, variant="au-fan", epochs=2, eval_every=2, checkpoint_s=0.0, run=str(tmp_path / "run"))
    with monkeypatch.context() as patch:
        stop_at_once(patch)
        with pytest.raises(Stopped, match="step 1 of 4"):
            run_paper(options)
    checkpoint = Path(options.run) / "checkpoint.pt"
    before = checkpoint.read_bytes()
    done = limited(options, repository, 65536)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "File too large; the former checkpoint.pt is kept" in done.stderr and "--resume" in done.stderr
    assert checkpoint.read_bytes() == before and not list(Path(options.run).glob("*.partial*"))
    run_paper(options, resume=True)
    whole = changed(options, run=str(tmp_path / "whole"))
    run_paper(whole)
    assert same(options.run, whole.run)


def test_a_failed_write_keeps_the_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_text("former")
    with pytest.raises(RunError, match=r"No space left on device; the former checkpoint.pt is kept"):
        with replacing(path) as partial:
            partial.write_text("half")
            with open("/dev/full", "w") as full:
                full.write("x")
    assert path.read_text() == "former" and sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.pt"]


def test_what_could_not_be_computed_is_no_full_disk(tmp_path: Path) -> None:
    """Once advised to make room on the disk: a tensor that wants a gradient, read while a report was written."""
    path = tmp_path / "report.json"
    path.write_text("former")
    with pytest.raises(RuntimeError, match="requires grad") as raised:
        with replacing(path) as partial:
            partial.write_text(str(torch.ones(1, requires_grad=True).numpy()))
    assert raised.type is RuntimeError and path.read_text() == "former"
    with pytest.raises(RunError, match=r"could not write .*report\.json"):
        with replacing(path):
            torch.save(torch.zeros(100_000), "/dev/full")
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_a_log_that_cannot_be_written_ends_the_run_with_a_checkpoint(
    options: PaperOptions, tmp_path: Path, repository: Path
) -> None:
    options = changed(options, variant="au-fan", cache="never", checkpoint_s=1e9)
    folder, size = Path(options.run), 4 << 20
    folder.mkdir()
    (folder / "train.log").write_bytes(b"-" * (size - 110))  # room for the first line, not for the second
    done = limited(options, repository, size)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "Logging error" not in done.stderr, done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error:"))
    assert f"could not write {folder / 'train.log'}: File too large; make room" in error and "--resume" in error
    assert "the checkpoint of step 2 is written" in done.stderr
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 2 and (folder / "best.json").exists()
    (folder / "train.log").unlink()
    run_paper(options, resume=True)
    whole = changed(options, run=str(tmp_path / "whole"))
    run_paper(whole)
    assert same(options.run, whole.run)


def test_scalars_that_cannot_be_written_end_the_run_with_a_checkpoint(
    options: PaperOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    options = changed(options, variant="au-fan", cache="never", checkpoint_s=1e9)
    inner = ScalarFile.add

    def add(self: ScalarFile, name: str, value: float, at: int) -> None:
        self._records.close()
        self._records = RecordWriter(open("/dev/full", "wb"))  # full from the first evaluation on
        inner(self, name, value, at)

    with monkeypatch.context() as patch:
        patch.setattr(ScalarFile, "add", add)
        with pytest.raises(RunError, match=r"could not write .*events\.out\.tfevents.*: No space left.*--resume"):
            run_paper(options)
    shown = capfd.readouterr().err
    assert "Traceback" not in shown and "Exception" not in shown
    state = torch.load(Path(options.run) / "checkpoint.pt", weights_only=True)
    assert (state["step"], state["due"]) == (2, True)
    run_paper(options, resume=True)
    assert len(EventAccumulator(options.run).Reload().Scalars("val/f1")) == 2  # the one that failed, too
    whole = changed(options, run=str(tmp_path / "whole"))
    run_paper(whole)
    assert same(options.run, whole.run)
    with monkeypatch.context() as patch:
        patch.setattr(meter, "events_name", lambda: "full")
        (tmp_path / "full").symlink_to("/dev/full")
        with pytest.raises(RunError, match=r"could not write .*full: No space left"):
            ScalarFile(tmp_path)
