"""A set as a whole: written, resumed, grown, looked at; and what is refused. Mostly on six real portraits."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from aunet_sdk.errors import BackendUnavailable
from tests.train.people import six_people
from train.cli import main as cli
from train.synthetic import clip, generate, record, scene
from train.synthetic.generate import Settings
from train.synthetic.ict import AU_NUMBERS
from train.synthetic.native import load_raster
from train.synthetic.sheet import contact_sheet

SEQUENCES, PER_SHARD, MORPHS = 5, 2, 4


def write_rows(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, identity=np.array(["somebody"] * count))


def test_a_shard_that_is_short_of_rows_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "SEQUENCES_PER_SHARD", 64)
    write_rows(tmp_path / "00000.npz", 64)
    write_rows(tmp_path / "00001.npz", 36)
    write_rows(tmp_path / "00002.partial.npz", 64)
    write_rows(tmp_path / "photos.npz", 6)
    assert generate._missing(tmp_path, 100) == []
    assert generate._missing(tmp_path, 110) == [(1, 46)]
    assert generate._missing(tmp_path, 130) == [(1, 64), (2, 2)]
    for fewer in (99, 64, 10):
        with pytest.raises(ValueError, match=f"holds sequence 100 already, got {fewer}"):
            generate._missing(tmp_path, fewer)


def test_records_without_a_key_of_the_sources_go_on_and_others_are_compared(tmp_path: Path) -> None:
    wanted = {"seed": 1, "hands": 0.3, "hand_mesh_sha256": None, "morphs": 0, "sources": "aa", "renderer": "bb"}
    place = tmp_path / "settings.json"
    place.write_text('{"seed": 1, "hands": 0.3, "sequences": 64}')
    record.begin(tmp_path, wanted, 128)
    assert json.loads(place.read_text()) == {
        "seed": 1, "hands": 0.3, "hand_mesh_sha256": None, "morphs": 0, "sequences": 128
    }, "what nobody looked at is not written down"  # fmt: skip
    place.unlink()
    record.begin(tmp_path, wanted, 128)
    record.begin(tmp_path, wanted, 256)
    assert json.loads(place.read_text()) == {**wanted, "sequences": 256}
    for name, other in (("seed", 2), ("morphs", 1), ("sources", "cc"), ("renderer", "dd")):
        with pytest.raises(ValueError, match=rf"was begun with {{'{name}': .*choose another folder"):
            record.begin(tmp_path, {**wanted, name: other}, 256)


def test_the_key_of_the_sources_changes_with_each_of_them(tmp_path: Path) -> None:
    portraits = tmp_path / "portraits"
    (portraits / "london_neutral_front").mkdir(parents=True)
    photo = portraits / "london_neutral_front" / "001_03.jpg"
    photo.write_bytes(b"a picture")
    table = portraits / "landmarks68.csv"
    table.write_text("file\nlondon_neutral_front/001_03.jpg," + ",".join(["1.0"] * 136) + "\n")
    (portraits / "london_info.csv").write_text("face_id,face_age,face_gender,face_eth\n")
    (tmp_path / "ict_facekit_light.npz").write_bytes(b"a head")
    keys = [record.source_key(tmp_path)]
    assert record.source_key(tmp_path) == keys[0] and len(keys[0]) == 12
    for path in (photo, tmp_path / "ict_facekit_light.npz", portraits / "london_info.csv"):
        path.write_bytes(path.read_bytes() + b"!")
        keys.append(record.source_key(tmp_path))
    table.write_text(table.read_text().replace("1.0", "1.5"))
    keys.append(record.source_key(tmp_path))
    assert len(set(keys)) == 5


def test_the_key_of_the_renderer_is_of_code_not_of_comments() -> None:
    one = record._code('"""Text."""\nX = 1  # why\n\n\ndef f():\n    """Text."""\n    return X\n')
    assert one == record._code("X = 1\ndef f(): return X") != record._code("X = 2\ndef f(): return X")
    assert record.renderer_key() == record.renderer_key() and len(record.renderer_key()) == 12


@pytest.mark.parametrize("missing", ["coffee", "stereo_motorcycle"])
def test_a_background_that_is_not_there_is_an_error(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pytest.importorskip("skimage.data")

    def gone() -> None:
        raise ModuleNotFoundError("pooch")

    monkeypatch.setattr(data, missing, gone)
    scene._photographs.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"expected the picture .* got: pooch"):
        scene._photographs()
    monkeypatch.undo()
    assert len(scene._photographs()) == 14


def test_without_the_compiled_raster_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aunet_sdk._native.raster", None)
    with pytest.raises(BackendUnavailable, match=r"_native\.raster.*C compiler, then `pip install -e \.`"):
        load_raster()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    arguments = ("--source", str(tmp_path), "--out", str(tmp_path / "set"))
    monkeypatch.setattr(sys, "argv", ["train", "synthetic", "generate", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    told = capsys.readouterr().err
    assert end.value.code == 2 and told.startswith("error: ") and told.count("\n") == 1 and "raster" in told
    assert not (tmp_path / "set").exists()


@pytest.fixture(scope="module")
def source(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The head and six people of one group, with a neutral and a smiling photo each."""
    pytest.importorskip("aunet_sdk._native.raster")
    return six_people(corpus, tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "SEQUENCES_PER_SHARD", PER_SHARD)
        yield


def settings(source: Path, out: Path, sequences: int = SEQUENCES, workers: int = 1) -> Settings:
    return Settings(source, out, sequences, seed=5, workers=workers, hands=0.5, morphs=MORPHS)


@pytest.fixture(scope="module")
def whole(small_shards: None, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set made at once by one worker."""
    out = tmp_path_factory.mktemp("whole")
    told = list(generate.generate(settings(source, out)))
    assert told[0] == (0, 20) and told[-1] == (20, 20) and [done for done, _ in told] == [0, 8, 16, 20]
    return out


def contents(place: Path) -> dict[str, bytes]:
    """Every array of every shard, as bytes."""
    found = {}
    for path in sorted((place / "shards").glob("*.npz")):
        with np.load(path) as shard:
            found.update({f"{path.name}/{name}": shard[name].tobytes() for name in shard.files})
    return found


def test_grown_by_two_workers_it_is_the_set_made_at_once_by_one(whole: Path, source: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "people", tmp_path / "people")  # who is fitted is fitted
    assert [done for done, _ in generate.generate(settings(source, tmp_path, 3, workers=2))][::2] == [0, 12]
    with np.load(tmp_path / "shards" / "00001.npz") as short:
        assert len(short["identity"]) == 1
    (tmp_path / "shards" / "morphs.npz").unlink()  # as if it had been broken off
    (tmp_path / "shards" / "00002.partial.npz").write_bytes(b"half a shard")
    told = list(generate.generate(settings(source, tmp_path, workers=2)))
    assert told[0] == (8, 20) and told[-1] == (20, 20), "the shard that was short does not count as done"
    (tmp_path / "shards" / "00002.partial.npz").unlink(missing_ok=True)
    grown = contents(tmp_path)
    assert grown == contents(whole)
    assert (tmp_path / "dataset.json").read_text() == (whole / "dataset.json").read_text()
    assert list(generate.generate(settings(source, tmp_path))) == [(20, 20)]


def test_nobody_is_in_two_splits_and_morphs_are_of_those_who_are_trained_on(whole: Path) -> None:
    splits = {name: set(who) for name, who in json.loads((whole / "dataset.json").read_text())["splits"].items()}
    assert [len(splits[name]) for name in ("train", "val", "test")] == [4, 1, 1]
    assert len(set.union(*splits.values())) == 6
    with np.load(whole / "shards" / "morphs.npz") as morphs:
        assert len(morphs["identity"]) == MORPHS and set(morphs["identity"]) <= splits["train"]
        assert set(morphs["source"]) == {"photo"}
    rows = []
    for path in sorted((whole / "shards").glob("0*.npz")):
        with np.load(path) as shard:
            assert shard["images"].shape == (len(shard["identity"]), 4, 160, 160, 3)
            assert shard["labels"].shape == (len(shard["identity"]), 4, len(AU_NUMBERS))
            rows += list(shard["identity"])
    assert len(rows) == SEQUENCES and set(rows) <= set.union(*splits.values())


def test_other_settings_and_other_sources_are_refused(whole: Path, source: Path, tmp_path: Path) -> None:
    before = (whole / "settings.json").read_text()
    other = tmp_path / "source"
    shutil.copytree(source, other, symlinks=True)
    (other / "portraits" / "london_info.csv").write_text((source / "portraits" / "london_info.csv").read_text() + "\n")
    refused = (
        (settings(other, whole), "'sources'"),
        (Settings(source, whole, SEQUENCES, seed=6, hands=0.5, morphs=MORPHS), "'seed': 5"),
        (Settings(source, whole, SEQUENCES, seed=5, hands=0.5, morphs=0), "'morphs': 4"),
        (settings(source, whole, 4), "holds sequence 5 already, got 4"),
    )
    for each, told in refused:
        with pytest.raises(ValueError, match=rf"{told}.*choose another folder"):
            list(generate.generate(each))
    assert (whole / "settings.json").read_text() == before


def test_too_few_people_are_told(source: Path, tmp_path: Path) -> None:
    few = tmp_path / "source"
    shutil.copytree(source, few, symlinks=True)
    table = few / "portraits" / "landmarks68.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:3]) + "\n")
    with pytest.raises(ValueError, match=r"people enough for train, val and test, got 2, none for val, test"):
        list(generate.generate(settings(few, tmp_path / "set")))
    assert not (tmp_path / "set").exists()


def test_the_command_says_what_it_made(whole: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")

    def call(*arguments: object) -> str:
        fixed = ("--source", source, "--out", whole, "--sequences", SEQUENCES, "--seed", 5, "--hands", 0.5)
        command = ["synthetic", "generate", *map(str, (*fixed, *arguments))]
        result = CliRunner().invoke(cli.app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert f"{whole}: 20 rendered frames" in call("--morphs", MORPHS)
    with pytest.raises(ValueError, match="'morphs': 4"):
        call("--morphs", 3)


def test_a_contact_sheet_shows_rows_of_four_frames(whole: Path, tmp_path: Path) -> None:
    contact_sheet(whole, tmp_path / "sheet.png", 3, 0, points=True)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None and sheet.shape == (2 * 240, 2 * 4 * 240, 3)
    assert sheet[:240, :960].std() > 20 and sheet[240:, 960:].max() == 0, "three sequences and an empty place"
    with pytest.raises(FileNotFoundError, match="expected rendered shards"):
        (tmp_path / "dataset.json").write_text("{}")
        contact_sheet(tmp_path, tmp_path / "none.png", 3, 0, points=False)


def test_the_sample_clip_has_a_row_for_each_frame(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aunet_sdk._native.raster")
    monkeypatch.setattr(clip, "DURATION_S", 0.16)
    clip.render_clip(corpus, tmp_path / "sample.mp4")
    with (tmp_path / "sample_track.csv").open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == ["timestamp_s", *(f"AU{n}" for n in AU_NUMBERS)] and len(rows) == 1 + 4
    video = cv2.VideoCapture(str(tmp_path / "sample.mp4"))
    there, frame = video.read()
    video.release()
    assert there and frame.shape == (clip.HEIGHT, clip.WIDTH, 3) and frame.std() > 10


def test_where_modules_lie_says_nothing_about_what_they_draw() -> None:
    """Sets that were begun before the packages had their present names are gone on with."""
    before = "from train.data.corpus import named\nfrom train.data.synthetic.ict import Head\n" + (
        "from train.data.visibility import not_shown\nx = 1\n"
    )
    now = "from train.data.corpora.corpus import named\nfrom train.data.visibility import not_shown\n" + (
        "from train.synthetic.ict import Head\nx = 1  # a comment\n"
    )
    assert record._code(now) == record._code(before) != record._code(now.replace("x = 1", "x = 2"))
