"""The paper's protocol against figures made by hand, and against brute force."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from train.evaluation import dependency, protocol
from train.evaluation.predictions import FILE, Predictions, merge

NAN = np.nan


def made(probabilities: list[list[float]], labels: list[list[float]], **rest: object) -> Predictions:
    n = len(probabilities)
    values = {
        "video": [f"v{i // 2}" for i in range(n)],
        "frame": list(range(n)),
        "subject": [f"s{i % 2}" for i in range(n)],
        "au_numbers": (1, 12)[: len(probabilities[0])],
        "corpus": "bp4d",
        "variant": "au-fan",
    }
    return Predictions(np.array(probabilities), np.array(labels), **{**values, **rest})  # type: ignore[arg-type]


SIX = made(
    [[0.9, 0.1], [0.8, 0.2], [0.4, 0.5], [0.6, 0.9], [0.2, 0.7], [0.1, 0.3]],
    [[1, 1], [1, 0], [1, 1], [0, 1], [0, NAN], [0, 0]],
)


def test_f1_by_hand() -> None:
    # AU1: active 0, 1, 3, positive 0, 1, 2: two hits, 2 * 2 / (3 + 3).
    # AU12: active 2, 3, positive 0, 2, 3: two hits, 2 * 2 / (2 + 3).
    measures = protocol.measure(SIX)
    assert measures.f1 == pytest.approx([4 / 6, 4 / 5])
    assert measures.average == pytest.approx((4 / 6 + 4 / 5) / 2)
    assert measures.f1_micro == pytest.approx(8 / 11)  # hits 4, active 5, positive 6
    assert measures.positives.tolist() == [3, 3] and measures.known.tolist() == [6, 5]
    # AU1: of 9 pairs, only (.4, .6) stands in the wrong order. AU12: of 3 x 2 pairs, (.1, .2) and (.1, .3) do.
    assert measures.auc == pytest.approx([8 / 9, 4 / 6])


def test_an_au_without_positives_has_no_f1_and_is_not_in_the_average() -> None:
    measures = protocol.measure(made([[0.9, 0.9], [0.1, 0.1]], [[1, 0], [0, 0]]))
    assert measures.f1[0] == 1.0 and np.isnan(measures.f1[1]) and np.isnan(measures.auc[1])
    assert measures.average == 1.0


def test_an_au_without_labels_is_left_out() -> None:
    assert protocol.measure(made([[0.9, 0.9], [0.1, 0.1]], [[1, NAN], [0, NAN]])).au_numbers == (1,)
    with pytest.raises(ValueError, match="labels"):
        protocol.measure(made([[0.9]], [[NAN]]))


def test_flip_averaging_pairs_by_key_not_by_position() -> None:
    mirrored = dataclasses.replace(SIX, probabilities=1 - SIX.probabilities)
    order = np.array([3, 0, 5, 1, 4, 2])
    both = SIX.with_flipped(mirrored.select(order))
    assert protocol.probabilities(both, flip=True) == pytest.approx(np.full((6, 2), 0.5))
    # by position the first row would have been averaged with the fourth
    assert abs((SIX.probabilities[0] + mirrored.select(order).probabilities[0]) / 2 - 0.5).max() > 0.1
    assert protocol.measure(both).f1 == pytest.approx([4 / 6, 4 / 5])
    assert protocol.measure(both, flip=True).f1[0] == pytest.approx(2 * 3 / (6 + 3))  # all six active


def test_flip_averaging_needs_the_same_frames() -> None:
    with pytest.raises(ValueError, match="the same frames"):
        SIX.with_flipped(SIX.select(np.arange(5)))
    with pytest.raises(ValueError, match="mirrored AUs"):
        SIX.with_flipped(SIX.only((1,)))
    with pytest.raises(ValueError, match="none in this run"):
        protocol.probabilities(SIX, flip=True)


def test_calibrated_f1_takes_thresholds_from_other_subjects() -> None:
    # Both subjects are separable at .3: at .5 nothing is found, with the other's threshold everything.
    values = [[0.35], [0.25], [0.36], [0.24]] * 3
    runs = made(values, [[1], [0], [1], [0]] * 3, subject=["a", "a", "b", "b"] * 3, video=list("abcdefghijkl"))
    measures = protocol.measure(runs)
    assert measures.f1[0] == 0.0 and measures.f1_calibrated[0] == 1.0
    # One subject whose labels are turned round gets the threshold that the other gave, not its own.
    turned = made(values, [[1], [0], [0], [1]] * 3, subject=["a", "a", "b", "b"] * 3, video=list("abcdefghijkl"))
    assert protocol.measure(turned).f1_calibrated[0] < 0.8
    alone = made(values, [[1], [0], [1], [0]] * 3, subject=["a"] * 12, video=list("abcdefghijkl"))
    assert np.isnan(protocol.measure(alone).f1_calibrated[0])


def test_mean_and_spread_over_folds_and_seeds() -> None:
    def run(seed: int, fold: int, hits: int) -> Predictions:  # F1 = 2 h / (h + 4)
        values = [[0.9 if i < hits else 0.1] for i in range(4)]
        return made(values, [[1]] * 4, seed=seed, fold=fold, subject=["s"] * 4)

    summary = protocol.summarise([run(1, 1, 4), run(1, 2, 2), run(2, 1, 4), run(2, 2, 4)])
    two = 4 / 6
    first, second = (1 + two) / 2, 1.0
    assert summary.f1 == pytest.approx([(first + second) / 2])
    assert summary.average == pytest.approx((first + second) / 2)
    assert summary.seed_spread == pytest.approx(np.std([first, second], ddof=1))
    assert summary.f1_seed_spread == pytest.approx([np.std([first, second], ddof=1)])
    assert summary.fold_spread == pytest.approx(np.std([1, two], ddof=1) / 2)
    assert (summary.folds, summary.seeds, summary.frames) == ((1, 2), (1, 2), 8)
    assert np.isnan(protocol.summarise([run(1, 1, 4)]).seed_spread)
    with pytest.raises(ValueError, match="several of seed 1, fold 1"):
        protocol.summarise([run(1, 1, 4), run(1, 1, 2)])


def test_groups_take_a_mixture_apart_and_know_the_training_set() -> None:
    both = merge([SIX, dataclasses.replace(SIX, corpus="disfa")])
    found = protocol.groups([both, dataclasses.replace(SIX, extra={"train_corpus": "disfa"})])
    assert {(g.train, g.test): len(runs[0]) for g, runs in found.items()} == {
        ("mixture", "bp4d"): 6, ("mixture", "disfa"): 6, ("disfa", "bp4d"): 6,
    }  # fmt: skip
    label = dataclasses.replace(SIX, extra={"alignment_space": "label"})
    latent = dataclasses.replace(SIX, extra={"alignment_space": "latent"})
    assert [g.space for g in protocol.groups([label, latent])] == ["label", ""]


def test_common_aus() -> None:
    bp4d, disfa = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24), (1, 2, 4, 6, 9, 12, 25, 26)
    affwild2 = (1, 2, 4, 6, 12, 15, 20, 25)
    assert protocol.common_aus(bp4d, disfa) == (1, 2, 4, 6, 12)  # Table IV
    assert protocol.common_aus(bp4d, affwild2) == (1, 2, 4, 6, 12, 15)  # Table V


# -- predictions on disk ----------------------------------------------------------------------------------------------


def test_predictions_come_back_from_the_disk(tmp_path: Path) -> None:
    whole = dataclasses.replace(
        SIX.with_flipped(SIX), fold=2, seed=7, extra={"train_corpus": "mixture", "vae_lambda": "0.1"}
    )
    assert whole.save(tmp_path) == tmp_path / FILE
    again = Predictions.load(tmp_path)
    for field in dataclasses.fields(Predictions):
        first, second = getattr(whole, field.name), getattr(again, field.name)
        same = np.array_equal(first, second, equal_nan=True) if field.name == "labels" else np.all(first == second)
        assert same, field.name
    assert Predictions.load(SIX.save(tmp_path / "one.npz")).flipped is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", FILE]
    assert len(protocol.read_runs([tmp_path, tmp_path / "one.npz"])) == 2


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(ValueError, match="expected predictions of a run"):
        Predictions.load(tmp_path)
    np.savez(tmp_path / FILE, probabilities=np.zeros((1, 1)))
    with pytest.raises(ValueError, match="expected predictions of a run"):
        Predictions.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="finished run"):
        protocol.read_runs([_empty(tmp_path)])


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.full((6, 2), 1.5)}, "apply the sigmoid"),
        ({"probabilities": np.full((6, 2), NAN)}, "apply the sigmoid"),
        ({"labels": np.full((6, 2), 0.5)}, "0, 1 or NaN"),
        ({"labels": np.zeros((5, 2))}, "labels: expected shape"),
        ({"frame": [0, 1, 2, 3, 4, 4]}, "twice"),
        ({"au_numbers": (12, 1)}, "ascending"),
        ({"flipped": np.zeros((6, 1))}, "flipped: expected shape"),
    ],
)
def test_predictions_are_checked(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SIX, **change)  # type: ignore[arg-type]


# -- dependencies and the t-test --------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(arrays(np.float32, (12, 3), elements=st.floats(0, 1, width=32)))
def test_adjacency_is_the_correlation_coefficient(values: np.ndarray) -> None:
    varies = values.std(0) > 1e-3
    matrix = dependency.adjacency(values)
    assert (np.abs(matrix) <= 1).all() and np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)
    if varies.all():
        assert matrix == pytest.approx(np.corrcoef(values.T), abs=1e-4)


def test_adjacency_leaves_out_masked_frames_pair_by_pair() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((40, 3))
    values[:10, 0], values[30:, 2] = NAN, NAN
    matrix = dependency.adjacency(values)
    assert matrix[0, 1] == pytest.approx(np.corrcoef(values[10:, 0], values[10:, 1])[0, 1])
    assert matrix[0, 2] == pytest.approx(np.corrcoef(values[10:30, 0], values[10:30, 2])[0, 1])
    values[:, 1] = NAN
    assert np.isnan(dependency.adjacency(values)[0, 1])


def test_adjacency_distance_by_hand() -> None:
    # Labels: r = 0. Probabilities: r = 1. Two entries differ by one each.
    run = made([[0.9, 0.9], [0.9, 0.9], [0.1, 0.1], [0.1, 0.1]], [[1, 1], [0, 1], [1, 0], [0, 0]])
    assert dependency.adjacency_distance(run) == pytest.approx(np.sqrt(2))
    perfect = dataclasses.replace(run, probabilities=run.labels)
    assert dependency.adjacency_distance(perfect) == pytest.approx(0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_dependency_f1_against_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (15, 4)).astype(np.float64)
    labels[rng.random((15, 4)) < 0.2] = NAN
    values = rng.random((15, 4))
    run = Predictions(values, labels, ["v"] * 15, np.arange(15), ["s"] * 15, (1, 2, 4, 6), "bp4d")  # type: ignore[arg-type]
    precisions, recalls = [], []
    for i in range(4):
        for j in range(4):
            rows = [t for t in range(15) if labels[t, j] == 1 and not np.isnan(labels[t, i])]
            positive = [t for t in rows if labels[t, i] == 1]
            if i == j or not positive:
                continue
            active = [t for t in rows if run.probabilities[t, i] >= 0.5]
            hits = len(set(active) & set(positive))
            precisions.append(hits / len(active) if active else 0.0)
            recalls.append(hits / len(positive))
    score = dependency.dependency_score(run)
    assert score.pairs == len(precisions)
    if not precisions:
        assert np.isnan(score.f1)
        return
    p, r = np.mean(precisions), np.mean(recalls)
    assert (score.precision, score.recall) == pytest.approx((p, r))
    assert score.f1 == pytest.approx(2 * p * r / (p + r) if p + r else 0.0)


def test_t_test_pairs_by_key_and_follows_the_formula() -> None:
    rng = np.random.default_rng(3)
    variant = dataclasses.replace(SIX, probabilities=np.clip(SIX.probabilities + rng.random((6, 2)) * 0.1, 0, 1))
    known = ~np.isnan(SIX.labels)
    d = (SIX.probabilities - variant.probabilities)[known].astype(np.float64)
    expected = d.mean() / (d.std(ddof=1) / np.sqrt(len(d)))
    result = dependency.paired_t_test(SIX, variant.select(np.array([5, 3, 1, 0, 2, 4])))
    assert result.t == pytest.approx(expected) and result.t < 0
    assert result.pairs == 11 and result.p < 0.01 and result.difference == pytest.approx(-d.mean())


def test_t_test_of_subjects_compares_their_f1() -> None:
    worse = dataclasses.replace(SIX, probabilities=np.where(SIX.frame[:, None] < 3, 0.1, SIX.probabilities))
    result = dependency.paired_t_test(SIX, worse, of="subjects")
    assert result.pairs == 2 and result.t > 0 and result.difference < 0
    assert np.isnan(dependency.paired_t_test(SIX, SIX).t)
    with pytest.raises(ValueError, match="the same frames"):
        dependency.paired_t_test(SIX, SIX.select(np.arange(4)))
    with pytest.raises(ValueError, match="'predictions' or 'subjects'"):
        dependency.paired_t_test(SIX, SIX, of="frames")


def test_flip_averaging_of_logits() -> None:
    """Logits 3 and -2 are active together by their mean, probabilities .95 and .12 too; 1 and -2 are not by logits."""
    logits = np.array([[3.0, -2.0], [2.0, -2.2], [30.0, -1.0]])
    own, mirrored = (1 / (1 + np.exp(-logits[:, i : i + 1])) for i in (0, 1))
    names = ["a", "b", "c"]
    run = Predictions(
        own, np.ones((3, 1)), video=names, frame=np.zeros(3), subject=names, au_numbers=(1,), corpus="bp4d",
        flipped=mirrored, extra={"flip_average": "logits"},
    )  # fmt: skip
    found = protocol.probabilities(run, True)[:, 0]
    np.testing.assert_allclose(found[:2], 1 / (1 + np.exp(-logits[:2].mean(1))), rtol=1e-5)
    assert found.dtype == np.float32 and found[1] < 0.5 < found[2]  # a logit of 30 counts as 16
    plain = protocol.probabilities(dataclasses.replace(run, extra={}), True)[:, 0]
    np.testing.assert_allclose(plain, (own + mirrored)[:, 0] / 2, rtol=1e-6)
    assert plain[1] < 0.5 and protocol.probabilities(run)[0, 0] == np.float32(own[0, 0])


def test_conditional_probabilities_by_hand() -> None:
    values = np.array([[1, 1], [1, 0], [0, 1], [1, np.nan], [0, 1]], np.float32)
    matrix = dependency.conditional(values)
    # AU 0 among the three frames where AU 1 is active: once; AU 1 among the two known ones where AU 0 is: once.
    np.testing.assert_allclose(matrix, [[1, 1 / 3], [1 / 2, 1]])
    never = dependency.conditional(np.array([[1, 0], [0, 0]], np.float32))
    np.testing.assert_allclose(never, [[1, 0], [0, 1]])
    assert np.isnan(dependency.conditional(np.array([[1, np.nan]], np.float32))[0, 1])


def test_the_readings_of_an_adjacency_matrix() -> None:
    found = {reading: dependency.adjacency_distance(SIX, reading=reading) for reading in dependency.READINGS}
    assert len({round(value, 6) for value in found.values()}) == 3
    with pytest.raises(ValueError, match="expected one of decisions, conditional, probabilities"):
        dependency.adjacency_distance(SIX, reading="pearson")
