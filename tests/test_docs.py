"""The Markdown pages: examples run, Python compiles, links and anchors lead somewhere, lines have a length to read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from .aunet_sdk.painted import paint

HERE = Path(__file__).resolve().parent.parent
FOLDERS = ("aunet_sdk", "benchmarks", "csrc", "docs", "examples", "export", "tests", "train")
PAGES = sorted(
    page.relative_to(HERE).as_posix()
    for page in (*HERE.glob("*.md"), *(page for folder in FOLDERS for page in HERE.joinpath(folder).rglob("*.md")))
)
RUN = (
    "README.md",
    "docs/api.md",
    "docs/events.md",
    "docs/live.md",
    "docs/messages.md",
)  # their examples are run, those of the other pages are compiled
GENERATED = ("docs/tables.md", "docs/parity/")  # by `python -m train tables` and `python -m export.shipped`
PROMISED: set[str] = set()  # pages that are being written
LONGEST = 120
ODD = re.compile(r"\b(at hand|(?:is|are|was|were) none|goes again|(?:is|are|was|were) told)\b", re.IGNORECASE)


def read(page: str) -> str:
    return HERE.joinpath(page).read_text(encoding="utf-8")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are neither code nor table, nor between the marks of train/recipes/card.py."""
    fenced = generated = code = False
    blank = True  # a heading ends a paragraph as an empty line does
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif "<!-- tables: " in line:
            generated = "begin" in line
        elif not fenced and not generated:
            code = line.startswith("    ") and (code or blank)
            if not code and not line.lstrip().startswith("|"):
                yield number, line
            blank = not line.strip() or line.lstrip().startswith(("#", "|"))


def links(text: str) -> list[str]:
    """Targets of the links, images included, that stand outside code."""
    kept = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    kept = re.sub(r"`[^`\n]*`", "", kept)
    return re.findall(r"\]\(([^)\s]+)\)", kept) + re.findall(r"^\[[^\]]+\]: +(\S+)", kept, re.MULTILINE)


def undefined(text: str) -> set[str]:
    """Names of reference links, `[text][name]`, that no line of their own defines: GitHub shows their brackets."""
    kept = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    kept = re.sub(r"`[^`\n]*`", "", kept)
    defined = re.findall(r"^\[([^\]]+)\]: +\S+$", kept, re.MULTILINE)
    return set(re.findall(r"\]\[([^\]]+)\]", kept)) - set(defined)


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings: small letters, hyphens for spaces, no punctuation, a number if used before."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", read(page), re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_reference_links_are_defined(page: str) -> None:
    assert not undefined(read(page))
    assert undefined("[a][x]\n\n[x]: one [y]: two") == {"x"}  # once this hid both pictures of the README


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (320, 240))
    for i in range(6):
        writer.write(paint((110 + i, 120, 90), background=i))
    writer.release()
    Path("clip.avi").rename("clip.mp4")
    cv2.imwrite("photo.jpg", paint((110, 120, 90)))
    examples = [(page, block) for page in RUN for block in blocks(page)]
    assert len(examples) >= 5
    for page, block in examples:
        exec(compile(block.replace("VideoCapture(0)", 'VideoCapture("clip.mp4")'), page, "exec"), {})
    assert Path("clip.csv").is_file() and Path("clip.png").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_python_compiles(page: str) -> None:
    for block in blocks(page):
        compile(block, page, "exec")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Files and headings. Those of other pages' headings were not looked at: a heading that was renamed went unseen."""
    for target in links(read(page)):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        there = HERE.joinpath(page).parent.joinpath(name).resolve() if name else HERE / page
        assert there.exists(), f"{page}: {target}"
        if anchor:
            assert there.suffix == ".md", f"{page}: {target} has an anchor in what is no Markdown"
            assert anchor in anchors(there.read_text(encoding="utf-8")), f"{page}: no heading for {target}"


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith(GENERATED)])
def test_lines_can_be_read(page: str) -> None:
    """Outside tables and code a line has at most 120 characters; one word alone, such as an address, may be longer."""
    long = [n for n, line in prose(read(page)) if len(line) > LONGEST and len(line.split()) > 1]
    assert not long, f"{page}: over {LONGEST} characters in the lines {long}"


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith(GENERATED)])
def test_words(page: str) -> None:
    """Turns of phrase that readers stumbled over do not come back."""
    odd = [f"{page}:{n}: {found[1]}" for n, line in prose(read(page)) for found in ODD.finditer(line)]
    assert not odd, odd


def test_code_names_pages_that_exist() -> None:
    """Docstrings and messages send people to docs/*.md, some to a heading: `docs/architecture.md, "Bundle"`."""
    sources = [HERE / "Makefile", HERE / "pyproject.toml"]
    sources += [path for folder in FOLDERS for path in HERE.joinpath(folder).rglob("*.py")]
    named = 0
    for source in sources:
        text = re.sub(r"\s*\n[#\s]*", " ", source.read_text(encoding="utf-8"))
        for page, heading in re.findall(r"(docs/[\w/-]+\.md)(?:, \"([^\"{}]+)\")?", text):
            if "NAME" in page or page in PROMISED:
                continue
            named += 1
            where = source.relative_to(HERE)
            assert HERE.joinpath(page).is_file(), f"{where} names {page}, which is not there"
            if heading:
                titles = re.findall(r"^#+ +(.+?) *$", read(page), re.MULTILINE)
                assert heading in titles, f'{where} names "{heading}" in {page}; the headings are {titles}'
    assert named > 20


def test_the_tree_is_true() -> None:
    """The walk, the tree and the table of docs/architecture.md name every package and no file that is not there."""
    text = read("docs/architecture.md")
    here = (HERE, HERE / "aunet_sdk")
    for path in re.findall(r"`([\w./]+(?:\.py|/))`", text) + re.findall(r"\b((?:\w+/)+\w+\.py)\b", text):
        assert any(folder.joinpath(path).exists() for folder in here), f"docs/architecture.md names {path}"
    tree = text.split("## Where things lie\n", 1)[1].split("\n\n", 1)[0]
    for module in HERE.joinpath("aunet_sdk").rglob("__init__.py"):
        package = module.parent
        if package != HERE / "aunet_sdk":
            assert re.search(rf"^ +{package.name}/ ", tree, re.MULTILINE), f"the tree lacks {package.name}/"
    for module in HERE.joinpath("aunet_sdk").glob("[a-z]*.py"):
        assert module.name in tree, f"the tree lacks {module.name}"


def test_every_benchmark_is_in_the_table() -> None:
    text = read("benchmarks/README.md")
    missing = [path.name for path in sorted(HERE.joinpath("benchmarks").glob("*.py")) if f"`{path.name}`" not in text]
    assert not missing, f"benchmarks/README.md lacks {', '.join(missing)}"


def test_every_page_can_be_found_from_the_readme() -> None:
    """By links alone; pages that nobody links to are not read."""
    reached, left = set(), {"README.md"}
    while left:
        page = left.pop()
        reached.add(page)
        for target in links(read(page)):
            there = HERE.joinpath(page).parent.joinpath(target.partition("#")[0]).resolve()
            if "://" not in target and there.suffix == ".md":
                left |= {there.relative_to(HERE).as_posix()} - reached
    assert set(PAGES) - reached <= {"docs/images/README.md"}, sorted(set(PAGES) - reached)
