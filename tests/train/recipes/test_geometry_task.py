"""The geometry path: how it is added to a model, and a real training with the fusion after it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.train.networks import randomised
from tests.train.people import six_people
from train.cli.main import app
from train.configs.options import GeometryOptions
from train.models.config import ModelConfig
from train.models.extended import without_extra
from train.models.model import Model, grown
from train.recipes.geometry_task import GeometryTask
from train.recipes.landmarks import landmark_head, project
from train.recipes.looks import look_at_pictures
from train.synthetic import generate
from train.synthetic.generate import Settings
from train.synthetic.ict import AU_NUMBERS

CHECKPOINT = Path(__file__).resolve().parents[3] / "train" / "checkpoints" / "default.safetensors"
AU1, AU12 = AU_NUMBERS.index(1), AU_NUMBERS.index(12)


def test_no_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one with a face"):
        look_at_pictures(Model(ModelConfig(width=16, resolution=64)), [])


def test_a_new_path_says_nothing_yet() -> None:
    torch.manual_seed(0)
    model = Model(ModelConfig(width=16, resolution=64)).eval()
    wider = grown(model, geometry=24, intensity=True)
    crops = torch.rand(2, 3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(wider(*crops.unbind(1))[1]["points"], model(*crops.unbind(1))[1]["points"])
    with pytest.raises(ValueError, match="without that path"):
        grown(wider, geometry=24)


def test_a_path_survives_saving(tmp_path: Path) -> None:
    model = grown(Model(ModelConfig(width=16, resolution=64)), geometry=24, intensity=True)
    model.save(tmp_path / "m.safetensors", torch.float16)
    config = Model.load(tmp_path / "m.safetensors").config
    assert (config.geometry, config.intensity, config.reference) == (24, True, True)
    with pytest.raises(ValueError, match="geometry: expected 0"):
        ModelConfig(geometry=-1)


def test_more_aus_leave_the_others_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    narrow = ModelConfig(width=16, resolution=64, geometry=24, intensity=True, thresholds={"points": (0.3,) * 15})
    model = randomised(Model(narrow)).eval()
    more = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 45)
    wider = grown(model, more)
    assert wider.config.aus_of("points") == more and wider.config.aus_of("aunet") == narrow.au_numbers
    assert (
        wider.config.thresholds_of("points")[:4] == (0.3, 0.3, 0.3, 0.5)
        and len(wider.config.thresholds_of("aunet")) == 15
    )
    wider.save(tmp_path / "m.safetensors")
    wider = Model.load(tmp_path / "m.safetensors")
    crops, reference = torch.rand(2, 3, 3, 64, 64), torch.randn(2, 68, 2)
    kept = [more.index(number) for number in narrow.au_numbers]
    with torch.no_grad():
        (_, before), (_, after) = (one(*crops.unbind(1), reference) for one in (model, wider))
    torch.testing.assert_close(after["points"][:, kept], before["points"])
    torch.testing.assert_close(after["aunet"], before["aunet"])
    with pytest.raises(ValueError, match="au_numbers: expected those of the model"):
        grown(model, (1, 2))
    with pytest.raises(ValueError, match="head_aus: expected some of"):
        ModelConfig(head_aus={"aunet": (1, 5)})


def test_options_that_no_run_can_have() -> None:
    for values, words in (
        ({"render_share": 0.6, "picture_share": 0.4}, "sum below 1"),
        ({"acts": 0}, "acts: expected"),
        ({"hidden": 0}, "hidden: expected"),
    ):
        with pytest.raises(ValueError, match=words):
            GeometryOptions(**values).check()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="--init"):
        GeometryTask(GeometryOptions())


@pytest.fixture(scope="module")
def material(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source with six people and the first 60 pictures, and a small set of it."""
    pytest.importorskip("aunet_sdk._native.raster")
    source = six_people(corpus, tmp_path_factory.mktemp("source"))
    with np.load(corpus / "faces" / "mediapipe.npz") as table:
        arrays = {name: table[name] for name in table.files}
    for path in arrays["path"][:60]:
        (source / "faces" / str(path)).parent.mkdir(parents=True, exist_ok=True)
        (source / "faces" / str(path)).symlink_to(corpus / "faces" / str(path))
    shared = {name: values if name == "blendshape_names" else values[:60] for name, values in arrays.items()}
    np.savez(source / "faces" / "mediapipe.npz", **shared)
    out = tmp_path_factory.mktemp("set")
    list(generate.generate(Settings(source, out, 24, seed=5, workers=1, hands=0.0, morphs=0)))
    return source, out


def test_a_training_and_a_fusion_on_real_material(material: tuple[Path, Path], tmp_path: Path) -> None:
    source, data = material

    def run(*arguments: object) -> None:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output

    options = ("--source", source, "--data", data, "--threads", 1)
    small = ("--samples", 12_800, "--batch", 128, "--acts", 200, "--hidden", 48, "--eval-every", 1_000_000)
    start = tmp_path / "start.safetensors"
    without_extra(Model.load(CHECKPOINT)).save(start)  # as the recipe begins
    run("geometry", *options, "--run", tmp_path / "run", "--init", start, *small)
    run("fuse", *options, "--model", tmp_path / "run", "--out", tmp_path / "fused.safetensors", "--half")
    careful, whole = tmp_path / "careful.safetensors", tmp_path / "report.json"
    run("fuse", *options, "--model", start, "--geometry", tmp_path / "run", "--where-known", "--out", careful)
    assert "--where-known" in Model.load(careful).config.provenance["fusion"]["command"]
    measured = ("--data", data, "--threads", 1, "--split", "val", "--paths", "--json", whole)
    run("evaluate", "--model", tmp_path / "fused.safetensors", *measured)
    paths = json.loads(whole.read_text())["paths"]
    assert all(set(of) == {"appearance", "geometry", "geometry, no rest", "both"} for of in paths.values())
    run("evaluate", "--model", CHECKPOINT, *measured)
    assert set(json.loads(whole.read_text())["paths"]) == {"AU1", "AU2", "AU12", "AU26"}
    before, trained, after = (
        Model.load(path) for path in (start, tmp_path / "run" / "model.safetensors", tmp_path / "fused.safetensors")
    )
    assert after.config.geometry == 48 and after.config.intensity and after.config.aus_of("points") == AU_NUMBERS
    assert after.config.thresholds["points"] == (0.5,) * len(AU_NUMBERS)
    assert after.config.aus_of("aunet") == before.config.au_numbers
    assert {"geometry", "fusion"} <= after.config.provenance.keys() and "fuse" in str(after.config.provenance["fusion"])
    for name, tensor in before.fan.state_dict().items():
        assert torch.equal(trained.fan.state_dict()[name], tensor)
    head = landmark_head(source / "ict_facekit_light.npz")
    neutral = (head.neutral - head.neutral.mean(0)).astype(np.float32)
    raised = neutral + (head.au_matrix()[AU1] @ head.shapes.reshape(len(head.shapes), -1)).reshape(68, 3)
    both = project(np.stack((neutral, raised)), np.zeros((2, 3), np.float32), np.full((2, 1), 60, np.float32))
    path = trained.points.geometry
    assert path is not None
    with torch.no_grad():
        seen = torch.from_numpy(both)
        (rest, up), strength = (part[:, AU1] for part in path.decide(seen, seen[:1].expand(2, -1, -1)))
    assert up > rest + 0.2 and strength[1] > strength[0]
    kept = [AU_NUMBERS.index(number) for number in before.config.au_numbers]
    with torch.no_grad():  # one person is too few to weigh the paths by: what nobody shows stays as it was
        crops = torch.rand(2, 3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
        said, expected = (model(*crops.unbind(1))[1]["points"] for model in (after, before))
        torch.testing.assert_close(said[:, kept], expected, rtol=0.02, atol=0.02)
