"""Figures 6, 8, 9, 10: what the networks are asked, and that every picture is drawn; tiny random networks."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from aunet_sdk.geometry import crop as alignment
from train.cli.main import app
from train.data.clip import _ClipFrames, clip_triplets, track_labels
from train.data.sequences import load_split
from train.data.triplets import TripletSet
from train.evaluation.predictions import Predictions
from train.models.checkpoint import save_network
from train.models.config import AU_NUMBERS, TEMPLATE, ModelConfig
from train.models.model import Model
from train.models.pretrained import PAPER_TEMPLATE
from train.models.variants import VARIANTS, FanNetwork, build
from train.paper import activations, figure_run, figures
from train.paper.figure_run import FigureOptions, _faces, _onset, _predicted, draw, predictions_of

SIDE = 64
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def subject(variant: str) -> activations.Subject:
    torch.manual_seed(0)
    network = build("resnet18" if variant == "resnet18-imagenet" else variant, 15, width=8, resolution=SIDE)
    return activations.Subject(variant, network.eval(), SIDE, AU_NUMBERS)


@pytest.fixture(scope="module")
def triplets(data: Path) -> TripletSet:
    return TripletSet.from_sequences(load_split(data, "test"), SIDE)


@pytest.fixture(scope="module")
def crops(triplets: TripletSet) -> np.ndarray:
    moving = np.flatnonzero((triplets.rows[:, 0] != triplets.rows[:, 1]) & (triplets.rows[:, 2] != triplets.rows[:, 1]))
    return activations.crops_of(triplets, moving[:2].tolist())


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    Model(ModelConfig(width=8, resolution=SIDE)).save(path)
    return path


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_maps_at_three_resolutions(variant: str, crops: np.ndarray) -> None:
    maps = activations.block_maps(subject(variant), crops)
    assert {side: m.shape for side, m in maps.items()} == {16: (2, 16, 16), 8: (2, 8, 8), 4: (2, 4, 4)}
    for values in maps.values():
        assert values.min() >= 0 and values.max((1, 2)) == pytest.approx([1, 1])


def test_the_maps_of_au_fan_are_those_of_its_heads_blocks(crops: np.ndarray) -> None:
    one = subject("au-fan")
    assert isinstance(one.network, FanNetwork)
    with torch.inference_mode():
        due = torch.from_numpy(np.ascontiguousarray(crops[:, 1])).permute(0, 3, 1, 2).float() / 255
        block = one.network.head.ConvNet[0](one.network.head.conv1x1(one.network.features(due)))  # type: ignore[operator,union-attr,index]
        varies = (block - block.mean((2, 3), keepdim=True)).pow(2).mean(1).sqrt()
    expected = (varies / varies.amax((1, 2), keepdim=True)).numpy()
    assert activations.block_maps(one, crops)[16] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("variant", ["au-tdn", "aunet", "au-flow", "resnet18-a"])
def test_the_dynamic_branch_is_still_where_nothing_moves(variant: str, crops: np.ndarray) -> None:
    one = subject(variant)
    static, dynamic = activations.motion_maps(one, crops)
    assert static.shape[1] == 2 * dynamic.shape[1] and dynamic.max() == pytest.approx(1)
    still = np.repeat(crops[:, 1:2], 3, 1)
    same, nothing = activations.motion_maps(one, still)
    assert same == pytest.approx(static, abs=1e-5) and nothing.max() < 1e-3


def test_the_dynamic_branch_is_loud_where_something_moves(crops: np.ndarray) -> None:
    still = np.repeat(crops[:1, 1:2], 3, 1)
    still[0, 0, 40:60, 4:24] = 255 - still[0, 0, 40:60, 4:24]  # lower left, in the former frame alone
    dynamic = activations.motion_maps(subject("au-flow"), still)[1][0]
    row, column = np.unravel_index(dynamic.argmax(), dynamic.shape)
    assert row >= 4 and column <= 3


def test_a_network_of_one_frame_has_no_dynamic_branch(crops: np.ndarray) -> None:
    with pytest.raises(ValueError, match="motion path"):
        activations.motion_maps(subject("au-vae"), crops)


def test_probabilities_are_those_of_the_network(triplets: TripletSet) -> None:
    one = subject("aunet")
    rows = [3, 0, 5]
    crops = activations.crops_of(triplets, rows)
    values = activations.probabilities(one, triplets, rows, batch=2)

    def expect(chosen: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            flat = torch.from_numpy(np.ascontiguousarray(chosen)).permute(0, 1, 4, 2, 3).float() / 255
            return one.network(flat).sigmoid().numpy()

    assert values == pytest.approx(expect(crops), abs=1e-5)
    alone = activations.probabilities(one, triplets, rows, alone=True)
    assert alone == pytest.approx(expect(np.repeat(crops[:, 1:2], 3, 1)), abs=1e-5)
    mirrored = activations.probabilities(one, triplets, rows, mirrored=True)
    assert mirrored == pytest.approx(expect(crops[:, :, :, ::-1]), abs=1e-5)


def test_bars_begin_and_end_with_the_frames_and_break_at_gaps() -> None:
    times = np.array([0.0, 1, 2, 3, 7, 8])
    on = np.array([False, True, True, True, True, False])
    assert list(figures._stretches(times, on, 1.0)) == [(0.5, 3.0), (6.5, 1.0)]
    assert list(figures._stretches(times, np.ones(6, bool), 1.0)) == [(-0.5, 4.0), (6.5, 2.0)]
    assert list(figures._stretches(times, np.zeros(6, bool), 1.0)) == []


def test_timelines_refuse_what_does_not_fit() -> None:
    lane = figures.Lane("a", np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match="ascending times"):
        figures.timelines(np.array([0.0, 0, 1]), (1, 2), None, [lane])
    with pytest.raises(ValueError, match="shape"):
        figures.timelines(np.arange(3.0), (1, 2, 4), None, [lane])
    with pytest.raises(ValueError, match="ends in"):
        figures.save(figures.timelines(np.arange(3.0), (1, 2), None, [lane]), "a.gif")


def test_faces_are_of_different_people_and_then_of_other_aus(triplets: TripletSet) -> None:
    people = len(np.unique(triplets.subject))
    rows = _faces(triplets, people, np.random.default_rng(0))
    assert len(set(triplets.subject[rows])) == people
    one = triplets.subset(triplets.subject == triplets.subject[0])
    rows = _faces(one, 2, np.random.default_rng(0))
    assert len({one.labels[row].tobytes() for row in rows}) == len(rows) == 2


def test_an_onset_is_off_before_and_on_when_due(data: Path) -> None:
    triplets = TripletSet.from_sequences(load_split(data, "train"), SIDE)
    for column in range(len(AU_NUMBERS)):
        row = _onset(triplets, column, np.random.default_rng(0))
        assert row is not None and triplets.labels[row, column] == 1
        before = np.flatnonzero(triplets.rows[:, 1] == triplets.rows[row, 0])
        assert triplets.labels[before, column].tolist() == [0] and before[0] != row
    none = triplets.subset(np.nan_to_num(triplets.labels).sum(1) == 0)
    assert _onset(none, 0, np.random.default_rng(0)) is None


def test_track_labels() -> None:
    intensity = np.array([[0.3, 0.3], [0.15, 0.15], [0.2, 0.5]])
    np.testing.assert_array_equal(track_labels(intensity, (12, 25)), [[1, np.nan], [0, 0], [np.nan, 1]])


def _drawn(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None and min(image.shape[:2]) > 100
    return image


def test_all_figures_of_two_networks(data: Path, model_file: Path, tmp_path: Path, triplets: TripletSet) -> None:
    run = tmp_path / "au-fan-seed1"
    run.mkdir()
    one = subject("au-fan")
    save_network(one.network, ModelConfig(width=8, resolution=SIDE), run / "model.safetensors")
    predictions_of(one, triplets.subset(np.arange(0, len(triplets), 2))).save(run)
    out = tmp_path / "out"
    options = FigureOptions((str(run), f"ours={model_file}"), str(data), out, faces=2, aus=(1, 2), frames=12)
    files = draw(options)
    assert [path.name for path in files] == [
        "figure_6.png", "figure_8_au-fan.png", "figure_8_ours.png", "figure_9_ours.png", "figure_10.png"
    ]  # fmt: skip
    for path in files:
        assert len(np.unique(_drawn(path).astype(np.int64) @ (1 << 16, 1 << 8, 1))) > 50, "colours"
    # red for the ground truth, green and blue for the models (OpenCV: BGR)
    timeline = _drawn(files[-1]).reshape(-1, 3).astype(int)
    for colour in ((46, 16, 200), (80, 152, 26), (172, 102, 33)):
        assert (np.abs(timeline - colour).max(1) < 12).sum() > 50, colour


def test_the_command(data: Path, model_file: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    common = ["figures", "--model", str(model_file), "--data", str(data), "--out", str(tmp_path), "--threads", "1"]
    result = runner.invoke(app, [*common, "--figure", "6", "--faces", "1", "--format", "svg"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "figure_6.svg").read_text().lstrip().startswith("<?xml")
    for more, message in (
        (["--figure", "7"], "expected some of"),
        (["--clip", "a.mp4"], "expected both or none"),
        (["--figure", "10", "--video", "nobody"], "nobody"),
        (["--data", ""], "got neither"),
    ):
        result = runner.invoke(app, [*common, *more])
        assert result.exit_code != 0 and message in str(result.exception)


def test_the_predictions_of_a_model_file(data: Path, model_file: Path, tmp_path: Path) -> None:
    arguments = [
        "predict",
        "--model",
        str(model_file),
        "--data",
        str(data),
        "--out",
        str(tmp_path / "run"),
        "--seed",
        "3",
    ]
    result = CliRunner().invoke(app, [*arguments, "--frames", "9", "--threads", "1"])
    assert result.exit_code == 0, result.output
    said = Predictions.load(tmp_path / "run")
    assert len(said) == 9 and (said.variant, said.seed, said.au_numbers) == ("aunet", 3, AU_NUMBERS)
    assert said.flipped is not None and np.abs(said.flipped - said.probabilities).max() > 1e-6


def test_figure_8_is_of_one_data_set(tmp_path: Path, triplets: TripletSet) -> None:
    one = subject("au-fan")
    few = triplets.subset(np.arange(4))
    said = predictions_of(one, few)
    both = dataclasses.replace(said, corpus=np.array(["bp4d", "disfa", "bp4d", "disfa"]))
    both.labels[both.corpus == "bp4d", 0] = np.nan
    both.save(tmp_path)

    def predicted(corpus: str) -> Predictions:
        return _predicted(one, tmp_path, few, FigureOptions((), "", tmp_path, corpus=corpus))

    with pytest.raises(ValueError, match=r"predictions of bp4d, disfa in .*give --corpus bp4d"):
        predicted("")
    found = predicted("bp4d")
    assert found.frame.tolist() == said.frame[[0, 2]].tolist() and set(found.corpus) == {"bp4d"}
    assert AU_NUMBERS[0] not in found.au_numbers
    assert set(predicted("affwild2").corpus) == {"synthetic"}  # the run has none: of the model on the data
    said.save(tmp_path)
    assert len(predicted("")) == 4


def test_a_clip_is_seen_with_the_models_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def triplets(*arguments: Any) -> Any:
        seen.append(arguments[3:])
        raise ValueError("seen")

    monkeypatch.setattr(figure_run, "clip_triplets", triplets)
    torch.manual_seed(1)
    for name, template in (("paper", PAPER_TEMPLATE), ("plain", TEMPLATE)):
        Model(ModelConfig(width=8, resolution=SIDE, template=template, interval_s=0.3)).save(tmp_path / name)
    options = FigureOptions((str(tmp_path / "paper"),), "", tmp_path, clip="a.mp4", track="a.csv")
    with pytest.raises(ValueError, match="seen"):
        draw(options)
    assert seen == [(0.3, PAPER_TEMPLATE)]
    with pytest.raises(ValueError, match="expected one canonical crop for the clip"):
        draw(dataclasses.replace(options, models=(str(tmp_path / "paper"), str(tmp_path / "plain"))))
    points = np.asarray(PAPER_TEMPLATE, np.float32)[None] * 100 + 7
    frames = _ClipFrames([], points, PAPER_TEMPLATE)
    placed = alignment.transform(frames.matrix(0, SIDE), points[0])
    np.testing.assert_allclose(placed, np.asarray(PAPER_TEMPLATE) * SIDE - 0.5, atol=1e-4)


def test_timelines_of_a_clip_with_a_known_track(model_file: Path, tmp_path: Path) -> None:
    source = cv2.VideoCapture(str(EXAMPLES / "sample.mp4"))
    size = (int(source.get(cv2.CAP_PROP_FRAME_WIDTH)), int(source.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    target = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, size)  # type: ignore[attr-defined]
    for _ in range(24):
        target.write(source.read()[1])
    target.release()
    source.release()
    triplets = clip_triplets(tmp_path / "clip.mp4", EXAMPLES / "sample_track.csv", SIDE)
    assert len(triplets) == 24 and triplets.au_numbers == AU_NUMBERS
    assert triplets.rows[12].tolist() == [2, 12, 22] and triplets.rows[5].tolist() == [5, 5, 15]
    with (EXAMPLES / "sample_track.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert triplets.labels[0, AU_NUMBERS.index(12)] == float(float(first["AU12"]) >= 0.3)
    eyes = triplets.crops(12, None)[1]
    assert eyes.shape == (SIDE, SIDE, 3) and eyes.std() > 10
    options = FigureOptions(
        (str(model_file),),
        "",
        tmp_path,
        numbers=(6, 10),
        faces=2,
        clip=str(tmp_path / "clip.mp4"),
        track=str(EXAMPLES / "sample_track.csv"),
    )
    assert [path.name for path in draw(options)] == ["figure_6.png", "figure_10.png"]
