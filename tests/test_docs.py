"""The Python of README.md and docs/api.md runs, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import pytest

from .aunet_sdk.painted import paint

HERE = Path(__file__).resolve().parent.parent
PAGES = sorted(
    p.relative_to(HERE).as_posix()
    for d in (".", "docs", "benchmarks", "examples")
    for p in HERE.joinpath(d).glob("*.md")
)


def blocks(repository: Path) -> list[tuple[str, str]]:
    found = []
    for page in ("README.md", "docs/api.md"):
        text = (repository / page).read_text(encoding="utf-8")
        found += [(page, block) for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    return found


def test_the_examples_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (320, 240))
    for i in range(6):
        writer.write(paint((110 + i, 120, 90), background=i))
    writer.release()
    Path("clip.avi").rename("clip.mp4")
    cv2.imwrite("photo.jpg", paint((110, 120, 90)))
    examples = blocks(repository)
    assert len(examples) >= 5
    for page, block in examples:
        exec(compile(block.replace("VideoCapture(0)", 'VideoCapture("clip.mp4")'), page, "exec"), {})
    assert Path("clip.csv").is_file() and Path("clip.png").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(repository: Path, page: str) -> None:
    text = (repository / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("https://"):
            assert (repository / page).parent.joinpath(target).exists(), f"{page}: {target}"
