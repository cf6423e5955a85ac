"""The recipe: its stages, stamps and refusals; and one small one from its sources to its card."""

from __future__ import annotations

import errno
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tests.train.painted import painted_source
from train.engine.run_folder import RunError
from train.models.extended import without_extra
from train.models.model import Model
from train.recipes import geometry_task as geometry
from train.recipes import run as recipe
from train.recipes.index import write_index
from train.recipes.options import CHECKPOINTS, RecipeOptions
from train.recipes.stages import NAMES, Place, Stage, stages_of
from train.recipes.stamps import sha256
from train.recipes.two_paths import without_path
from train.synthetic.rigs import available, rigs_key


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painted_source(tmp_path_factory.mktemp("painted"))


@pytest.fixture
def fan() -> Path:
    return CHECKPOINTS / "nano.safetensors"


def options(source: Path, out: Path, model: Path | None = None, **more: object) -> RecipeOptions:
    given = {"size": "smoke", "fan": str(model), "threads": 1, "workers": 1, **more}
    return RecipeOptions(source, out, **given)  # type: ignore[arg-type]


def quiet() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)


def written(name: str, text: str, calls: list[str]) -> Stage:
    """A stage that writes one file of `text` and of what came before."""

    def run(place: Place) -> list[Path]:
        calls.append(name)
        before = place.of("one") / "result.txt"
        target = place.folder / "result.txt"
        target.write_text(text + (before.read_text() if name != "one" else ""))
        return [target]

    return Stage(name, () if name == "one" else ("one",), lambda o: {"seed": o.seed}, run, 1)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two stages, and which of them were run."""
    calls: list[str] = []
    stages = [written("one", "a", calls), written("two", "b", calls)]
    monkeypatch.setattr(recipe, "stages_of", lambda _: tuple(stages))
    monkeypatch.setattr(recipe, "NAMES", ("one", "two"))
    return calls


def test_what_is_done_is_left_alone_and_what_was_touched_is_done_again(
    two: list[str], source: Path, fan: Path, tmp_path: Path
) -> None:
    chosen = options(source, tmp_path, fan)
    recipe.run(chosen, "two", dry=True, console=quiet())
    assert two == [] and not (tmp_path / "recipe.json").exists(), "a dry run does nothing"
    recipe.run(chosen, "one", console=quiet())
    assert two == ["one"]
    recipe.run(chosen, "two", console=quiet())
    recipe.run(chosen, "two", console=quiet())
    assert two == ["one", "two"] and (tmp_path / "two" / "result.txt").read_text() == "ba"
    (tmp_path / "two" / "result.txt").write_text("longer than it was")
    assert [state.why for state in recipe.states(chosen)] == [
        "",
        f"{tmp_path}/two/result.txt has 18 bytes, 2 when it was made",
    ]
    recipe.run(chosen, "two", console=quiet())
    assert two == ["one", "two", "two"]
    (tmp_path / "one" / "stamp.json").unlink()
    assert [state.why for state in recipe.states(chosen)] == ["not done", "after one"]
    recipe.run(chosen, "two", console=quiet())
    assert two[3:] == ["one"], "the same result again: what comes after it stands"
    with pytest.raises(ValueError, match="until: expected one of one, two, got 'three'"):
        recipe.run(chosen, "three", console=quiet())


def test_other_options_are_refused_by_name_and_the_device_is_not(
    two: list[str], source: Path, fan: Path, tmp_path: Path
) -> None:
    recipe.run(options(source, tmp_path, fan), "one", console=quiet())
    recipe.run(options(source, tmp_path, fan, device="cpu", threads=2), "one", console=quiet())
    with pytest.raises(RunError, match=r"was begun with seed 21, got 4; give the same, or choose another folder"):
        recipe.run(options(source, tmp_path, fan, seed=4), "one", console=quiet())
    other = tmp_path / "other.safetensors"
    other.write_bytes(fan.read_bytes() + b" ")
    with pytest.raises(RunError, match="begun with fan "):
        recipe.run(options(source, tmp_path, other), "one", console=quiet())
    (tmp_path / "one" / "stamp.json").write_text("{")
    with pytest.raises(RunError, match=r"stamp\.json is damaged"):
        recipe.run(options(source, tmp_path, fan), "one", console=quiet())


def test_a_full_disk_names_the_stage_and_loses_nothing(
    source: Path, fan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def full(place: Place) -> list[Path]:
        raise OSError(errno.ENOSPC, "No space left on device", str(place.folder / "big"))

    stages = [written("one", "a", calls), Stage("two", ("one",), lambda o: {}, full, 1)]
    monkeypatch.setattr(recipe, "stages_of", lambda _: tuple(stages))
    monkeypatch.setattr(recipe, "NAMES", ("one", "two"))
    for _ in range(2):  # it lasts
        with pytest.raises(RunError, match=r"two: .*No space left.*is kept: make room on the disk, then give the same"):
            recipe.run(options(source, tmp_path, fan), "two", console=quiet())
    assert calls == ["one"] and (tmp_path / "one" / "stamp.json").is_file()


def test_too_little_room_is_told_before_it_begins(
    source: Path, fan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(RunError, match=r"render: expected .* GB free for .*, got 0\.0 GB"):
        recipe._check_room(options(source, tmp_path, fan))


def test_the_index_names_what_is_missing_damaged_or_without_a_face(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "source"
    shutil.copytree(source, place)
    (place / "faces" / "interfaces" / "001.jpg").write_bytes(b"no picture")
    (place / "faces" / "interfaces" / "002.jpg").unlink()
    about = json.loads(write_index(place, tmp_path).read_text())
    assert about["left_out"] == {
        "interfaces/001.jpg": "damaged", "interfaces/002.jpg": "missing", "interfaces/gone.jpg": "no face was found"
    }  # fmt: skip
    assert sum(part["pictures"] for part in about["pictures"].values()) == 10
    assert all(
        word in caplog.text for word in ("damaged: interfaces/001.jpg", "missing: interfaces/002.jpg", "gone.jpg")
    )
    (place / "portraits" / "london_neutral_front" / "002_03.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(RunError, match=r"1 portraits are missing or damaged: .*002_03\.jpg; mend them"):
        write_index(place, tmp_path)


def test_wrong_options_are_refused(source: Path, fan: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"size": "huge"}, "size: expected"),
        ({"fan": "none.safetensors"}, "fan: expected a file or train"),
        ({"fan": ""}, "fan: expected a small model or train"),
        ({"start": fan}, "start, fan: expected one of them"),
        ({"fan": "", "start": tmp_path / "none.safetensors"}, "start: expected a file, got"),
        ({"extra": "45"}, "extra: expected a model to start from with it"),
        ({"sequences": 0}, "sequences: expected a positive number, got 0"),
    ]
    for wrong, said in cases:
        with pytest.raises(ValueError, match=said):
            options(source, tmp_path, fan, **wrong)
    with pytest.raises(ValueError, match="source: expected a folder"):
        options(tmp_path / "none", tmp_path, fan)


def test_rigs_are_part_of_the_keys_where_they_are_there_alone(
    source: Path, fan: Path, tmp_path: Path, corpus: Path
) -> None:
    def settings(place: Path, **more: object) -> list[dict[str, object]]:
        given = options(place, tmp_path, fan, **more)
        return [stage.settings(given) for stage in stages_of(given) if stage.name in ("render", "geometry")]

    assert settings(source, rigs=True) == settings(source), "a source without rigs"
    assert options(source, tmp_path, fan).fixed()["rigs"] is None, "recipes of before go on"
    if not available(corpus):
        pytest.skip("the rigs are absent")
    with_rigs, without = settings(corpus, rigs=True), settings(corpus)
    assert [{**one, "rigs": rigs_key(corpus)} for one in without] == with_rigs


@pytest.fixture(scope="module")
def rendered(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that was broken off after its renders, which are the same whatever comes after them."""
    pytest.importorskip("aunet_sdk._native.raster")
    out = tmp_path_factory.mktemp("recipe") / "out"
    recipe.run(options(source, out, CHECKPOINTS / "nano.safetensors"), "render", console=quiet())
    (out / "recipe.json").unlink()
    return out


def test_a_small_one_from_a_model_that_stays_as_it_is(
    source: Path, fan: Path, rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geometry, "WILD", 10.0)  # painted faces are not what FAN knows
    out = shutil.copytree(rendered, tmp_path / "out")
    chosen = options(source, out, fan="", start=fan, sequences=12, extra="45")
    recipe.run(chosen, "fuse", console=quiet())
    names = [stage.name for stage in stages_of(chosen)]
    assert names == ["index", "render", "start", "extra", "geometry", "fuse", "evaluate", "export", "card"]
    assert [state.why for state in recipe.states(chosen)] == [""] * 6 + ["not done"] * 3
    before, made = Model.load(fan), Model.load(out / "fuse" / "model.safetensors")
    assert made.config.aus_of("points") == (*before.config.aus_of("points"), 45) and made.config.intensity
    assert made.config.provenance["extra"]["options"]["aus"] == "45"
    assert all(torch.equal(tensor, made.state_dict()[name]) for name, tensor in before.state_dict().items())
    command, plain = made.config.provenance["recipe"]["command"], out / "start" / "model.safetensors"
    told = f"--start FILE of SHA-256 {sha256(plain)[:12]} without its geometry path --extra 45 --sequences 12"
    assert command.endswith(told)
    assert str(out) not in made.config.to_json() and str(source) not in made.config.to_json()
    again = tmp_path / "again.safetensors"
    without_path(without_extra(made)).save(again, torch.float16)
    assert again.read_bytes() == plain.read_bytes(), "the next model can start from this one"
    with pytest.raises(ValueError, match="until: expected one of index, render, start, extra, geometry"):
        recipe.run(chosen, "heads", console=quiet())
    with pytest.raises(RunError, match="begun with extra '45', got None"):
        recipe.run(options(source, out, fan="", start=fan, sequences=12), console=quiet())
    with pytest.raises(RunError, match="begun with sequences 12, got 13"):
        recipe.run(options(source, out, fan="", start=fan, sequences=13, extra="45"), console=quiet())


def test_a_small_one_from_the_sources_to_the_card(
    source: Path, fan: Path, rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geometry, "WILD", 10.0)  # painted faces are not what FAN knows
    pytest.importorskip("onnx")
    chosen = options(source, shutil.copytree(rendered, tmp_path / "out"), fan)
    recipe.run(chosen, "heads", console=quiet())
    recipe.run(chosen, console=quiet())
    assert [state.why for state in recipe.states(chosen)] == [""] * len(NAMES)
    made = Model.load(tmp_path / "out" / "fuse" / "model.safetensors")
    assert len(made.config.aus_of("points")) == 18 and made.config.geometry == 16
    assert "train recipe default" in made.config.provenance["recipe"]["command"]
    assert list((tmp_path / "out" / "export").glob("*.onnx"))
    assert "python -m train recipe default" in (tmp_path / "out" / "card" / "MODEL_CARD.md").read_text()
    stamps = {name: json.loads((tmp_path / "out" / name / "stamp.json").read_text()) for name in NAMES}
    assert len({stamp["key"] for stamp in stamps.values()}) == len(NAMES)
