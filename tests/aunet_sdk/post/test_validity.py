"""Validity: each reason by itself, people apart, and what is kept."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.post.appearance import AppearanceReader
from aunet_sdk.post.validity import (
    FORGET_S,
    LANDMARKS,
    LEAST_BRIGHTNESS,
    LEAST_TINT,
    LOOK_S,
    OFFSETS,
    AUValidity,
    Reason,
    Region,
    Validity,
    region_of,
)
from aunet_sdk.results import Face, HeadPose

from ..scripted import face

MIN_CONFIDENCE = 0.63
SIZE = (320, 240)
UPPER = ("AU1", "AU2", "AU4")
MOUTH = ("AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24", "AU25", "AU26")


def seen(face_id: int = 1, at: tuple[float, float] = (160.0, 120.0), eyes_px: float = 40.0, **covered: float) -> Face:
    """A face whose eyes are so far apart, with the centre between them; by region: another confidence than 0.85."""
    made = face(face_id)
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (68, 2))
    points[36:42] = (-0.5, 0)
    points[42:48] = (0.5, 0)
    points[48:68] = points[48:68] * (0.8, 0.3) + (0, 1.0)
    points[17:27] = points[17:27] * (1.4, 0.1) + (0, -0.4)
    confidence = np.full(68, 0.85)
    for region, value in covered.items():
        confidence[list(LANDMARKS[Region(region)])] = value
    return replace(made, landmarks=points * eyes_px + at, landmark_confidence=confidence, pose=HeadPose(0, 0, 0))


def check(one: Face, image: np.ndarray | None = None, time_s: float = 0.0) -> dict[str, Validity]:
    return AUValidity(MIN_CONFIDENCE).check(one, SIZE, time_s, image)


def picture(noise: float = 25.0, level: float = 120.0) -> np.ndarray:
    """Noise on light that falls from one side, as on a face."""
    values = np.random.default_rng(1).normal(level, noise, (*SIZE[::-1], 3))
    values += noise * np.sin(np.arange(SIZE[0]) / 15)[:, None]
    return np.clip(values, 0, 255).astype(np.uint8)


def reasons(found: dict[str, Validity]) -> set[Reason | None]:
    return {one.why_not for one in found.values()}


def test_a_clear_face_is_valid() -> None:
    found = check(seen(), picture())
    assert tuple(found) == AU_NAMES
    assert all(one == Validity(True, None) for one in found.values())


def test_a_covered_mouth_takes_the_aus_of_the_mouth_alone() -> None:
    found = check(seen(mouth=0.6))
    assert tuple(name for name, one in found.items() if not one.valid) == MOUTH
    assert found["AU12"] == Validity(False, Reason.COVERED)
    assert all(found[name].valid for name in UPPER)
    assert not check(seen(brows=0.6))["AU1"].valid and check(seen(brows=0.6))["AU12"].valid
    assert {name for name, one in check(seen(eyes=0.6)).items() if not one.valid} == {"AU6", "AU7"}
    assert {name for name, one in check(seen(nose=0.6)).items() if not one.valid} == {"AU9"}


def test_a_mouth_beyond_the_edge_is_cut() -> None:
    found = check(seen(at=(160, 215)))
    assert found["AU12"].why_not is Reason.CUT and found["AU1"].valid
    assert reasons(check(seen(at=(-30, 120)))) == {Reason.CUT}


@pytest.mark.parametrize(
    "pose", [HeadPose(50, 0, 0), HeadPose(-50, 0, 0), HeadPose(0, 40, 0), HeadPose(math.nan, 0, 0)]
)
def test_a_profile_is_turned(pose: HeadPose) -> None:
    assert reasons(check(replace(seen(), pose=pose))) == {Reason.TURNED}


def test_a_face_of_twenty_pixels_is_small() -> None:
    assert reasons(check(seen(eyes_px=8.4))) == {Reason.SMALL}


def test_dark_bright_and_blurred() -> None:
    assert reasons(check(seen(), picture(4, LEAST_BRIGHTNESS / 2))) == {Reason.DARK}
    assert reasons(check(seen(), picture(4, 300))) == {Reason.BRIGHT}
    blurred = cv2.GaussianBlur(picture(60), (0, 0), 9)
    assert reasons(check(seen(), blurred)) == {Reason.BLURRED}
    assert reasons(check(seen(), blurred[..., 0])) == {Reason.BLURRED}, "a grey picture, too"


def test_the_first_reason_is_given() -> None:
    dark = picture(4, 5)
    found = check(replace(seen(mouth=0.5, at=(160, 215)), pose=HeadPose(60, 0, 0)), dark)
    assert found["AU12"].why_not is Reason.CUT and found["AU1"].why_not is Reason.TURNED


def test_one_frame_of_doubt_is_no_cover_and_a_hand_is_one_soon() -> None:
    validity = AUValidity(MIN_CONFIDENCE)
    states = []
    for i in range(60):
        mouth = 0.6 if i == 10 or 30 <= i < 50 else 0.85
        states.append(validity.check(seen(mouth=mouth), SIZE, i / 30)["AU12"].valid)
    assert all(states[:30])
    assert states[30:36].count(False) >= 2 and not any(states[36:50])
    assert all(states[56:])


def test_people_are_kept_apart_and_forgotten() -> None:
    validity = AUValidity(MIN_CONFIDENCE)
    for i in range(100):
        validity.check(seen(i // 5, mouth=0.6 if (i // 5) % 2 else 0.85), SIZE, i * 0.1)
        assert len(validity) <= 1 + FORGET_S / 0.5 + 1
        assert validity.check(seen(i // 5, mouth=0.6 if (i // 5) % 2 else 0.85), SIZE, i * 0.1)["AU12"].valid == (
            (i // 5) % 2 == 0
        )
    validity.clear()
    assert len(validity) == 0


def test_the_same_time_twice_changes_nothing_and_an_earlier_one_is_refused() -> None:
    validity = AUValidity(MIN_CONFIDENCE)
    validity.check(seen(), SIZE, 1.0)
    for _ in range(50):
        assert validity.check(seen(mouth=0.1), SIZE, 1.0)["AU12"].valid, "no time has passed"
    for wrong in (0.5, math.nan):
        with pytest.raises(InvalidInput, match="timestamp_s"):
            validity.check(seen(), SIZE, wrong)


@given(st.integers(1, 99))
def test_every_au_has_a_region(number: int) -> None:
    assert region_of(number) in Region
    assert region_of(f"AU{number}") is region_of(number)


def test_regions_are_those_of_table_one() -> None:
    assert {au: region_of(au) for au in ("AU1", "AU2", "AU4")} == dict.fromkeys(UPPER, Region.BROWS)
    assert {region_of(au) for au in ("AU5", "AU6", "AU7", "AU45")} == {Region.EYES}
    assert {region_of(au) for au in ("AU20", *MOUTH)} == {Region.MOUTH} and region_of("AU9") is Region.NOSE


@given(
    st.lists(st.floats(-400, 400), min_size=4, max_size=4),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_any_face_in_any_picture_has_an_answer(place: list[float], width: int, height: int) -> None:
    x, y, eyes_px, confidence = *place[:2], abs(place[2]) + 1, min(abs(place[3]), 1.0)
    one = replace(seen(at=(x, y), eyes_px=eyes_px), landmark_confidence=np.full(68, confidence))
    found = AUValidity(MIN_CONFIDENCE).check(one, (width, height), 0.0, np.zeros((height, width, 3), np.uint8))
    assert tuple(found) == AU_NAMES
    assert all(v.valid == (v.why_not is None) for v in found.values())


def test_appearance_is_of_the_face_alone_and_at_one_size() -> None:
    image = np.full((*SIZE[::-1], 3), 255, np.uint8)
    one = seen()
    upper = one.landmarks[[*range(17, 27), *range(36, 48)]]
    low, high = upper.min(0).astype(int), upper.max(0).astype(int) + 1
    image[low[1] : high[1], low[0] : high[0]] = 80
    looks = AppearanceReader().read(image, one.landmarks)
    assert looks is not None and looks.brightness < 110 and looks.bright_share < 0.2
    assert AppearanceReader().read(image, one.landmarks + 1000) is None
    large = AppearanceReader().read(cv2.resize(picture(60), None, fx=3, fy=3), one.landmarks * 3 + 1)
    small = AppearanceReader().read(cv2.resize(picture(60), None, fx=2, fy=2), one.landmarks * 2 + 0.5)
    assert large is not None and small is not None
    assert large.sharpness == pytest.approx(small.sharpness, rel=0.2)
    with pytest.raises(InvalidInput, match="image: expected uint8"):
        AppearanceReader().read(image.astype(np.float32), one.landmarks)


def test_every_region_counts_by_the_mean_of_its_own_landmarks() -> None:
    """One landmark at a time is raised: the region's AUs come back at the very mean that is its limit."""
    for region, numbers in LANDMARKS.items():
        limit, au = MIN_CONFIDENCE + OFFSETS[region], {"brows": "AU1", "eyes": "AU6", "nose": "AU9", "mouth": "AU12"}
        for number in numbers:
            for off, valid in ((0.001, True), (-0.001, False)):
                one = seen(1, (160.0, 120.0), 40.0, **{region.value: limit})
                confidences = one.landmark_confidence.copy()
                confidences[number] += off * len(numbers)
                found = check(replace(one, landmark_confidence=confidences))
                assert found[au[region.value]].valid is valid, (region, number)


def test_a_part_of_any_shape_fits_into_the_kept_arrays() -> None:
    """Landmarks may lie anywhere: a strip as wide as the frame, eyes of a pixel in a large face."""
    reader, image = AppearanceReader(), np.full((1080, 1920, 3), 90, np.uint8)
    for width, height in ((1919, 3), (3, 1079), (1919, 1079), (4, 4)):
        points = np.random.default_rng(3).uniform(0, (width, height), (68, 2))
        points[[17, 26]] = (0, 0), (width, height)
        points[36:48] = (width / 2, height / 2)
        looks = reader.read(image, points)
        assert looks is not None and looks.brightness == pytest.approx(90) and looks.bright_share == 0
        assert reader.read(image[..., 0], points) == looks
        points[48:68] = points[:20]
        assert reader.lip_tint(image, points) is None
        points[36:42], points[42:48] = (-1e6, 0), (1e6, 0)
        assert reader.lip_tint(image, points) is None, "and with eyes far beyond the frame"
    for wrong in (np.nan, np.inf, 1e300):
        for part in (slice(36, 42), slice(48, 52)):
            points = np.random.default_rng(3).uniform(0, 300, (68, 2))
            points[part] = wrong
            assert reader.lip_tint(image, points) is None


def test_a_face_is_looked_at_anew_after_a_while_and_each_by_itself() -> None:
    validity, dark, good = AUValidity(MIN_CONFIDENCE), picture(4, LEAST_BRIGHTNESS / 2), picture()

    def whole(face_id: int, time_s: float, image: np.ndarray | None) -> set[Reason | None]:
        return reasons(validity.check(seen(face_id), SIZE, time_s, image))

    assert whole(1, 0.0, dark) == {Reason.DARK} and whole(2, 0.0, good) == {None}
    assert whole(1, LOOK_S / 2, good) == {Reason.DARK} and whole(2, LOOK_S / 2, dark) == {None}
    assert whole(1, LOOK_S, good) == {None} and whole(2, LOOK_S, dark) == {Reason.DARK}
    assert whole(1, 1.2, None) == {None} == whole(2, 1.2, None), "without a picture nothing is dark"
    assert whole(2, 1.2 + 2 * FORGET_S, good) == {None}


def with_lips(redness: int, at: tuple[float, float] = (160.0, 100.0)) -> tuple[Face, np.ndarray]:
    """A face with closed lips of a shape of their own, painted by so much redder than the skin."""
    one = seen(at=at)
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points = one.landmarks.copy()
    points[48:60] = np.stack([22 * np.cos(turn), 7 * np.sin(turn)], 1) + (at[0], at[1] + 45)
    points[60:68] = (at[0], at[1] + 45)
    image = np.full((*SIZE[::-1], 3), (90, 120, 160), np.uint8)
    cv2.fillPoly(image, [np.round(points[48:60]).astype(np.int32)], (90, 120 - redness, 160))
    return replace(one, landmarks=points), image


def test_the_tint_of_lips_and_of_what_covers_them() -> None:
    one, image = with_lips(25)
    tint = AppearanceReader().lip_tint(image, one.landmarks)
    assert tint is not None and tint > 3
    assert AppearanceReader().lip_tint(with_lips(0)[1], one.landmarks) == pytest.approx(0, abs=0.1)
    assert AppearanceReader().lip_tint(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), one.landmarks) is None
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    assert AppearanceReader().lip_tint(grey, one.landmarks) is None, "three equal channels are no colour"
    noise = np.random.default_rng(4).normal(0, 4, grey.shape)
    noisy = np.clip(grey + noise, 0, 255).astype(np.uint8)
    assert AppearanceReader().lip_tint(noisy, one.landmarks) is None, "nor is their noise"
    assert AppearanceReader().lip_tint(image, one.landmarks + 1000) is None
    large = AppearanceReader().lip_tint(cv2.resize(image, None, fx=4, fy=4), one.landmarks * 4 + 1.5)
    assert large == pytest.approx(tint, rel=0.2)


def test_where_the_confidence_leaves_a_doubt_the_colour_decides() -> None:
    """Fingers across the mouth look like lips: their confidences were .74 where a laughing mouth has .745."""
    doubt = MIN_CONFIDENCE + OFFSETS[Region.MOUTH] + 0.01
    for redness, confidence, expected in ((25, doubt, True), (0, doubt, False), (0, 0.85, True), (25, 0.6, False)):
        one, image = with_lips(redness)
        image = image + np.random.default_rng(2).integers(0, 25, image.shape[:2], np.uint8)[..., None]
        points = replace(seen(at=(160, 100), mouth=confidence), landmarks=one.landmarks)
        assert check(points, image)["AU12"].valid is expected, (redness, confidence)
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        assert check(points, grey)["AU12"].valid is (confidence >= doubt)


def test_a_clear_tint_is_looked_at_less_often_and_a_hand_is_seen_soon_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float] = []
    read = AppearanceReader.lip_tint

    def counted(self: AppearanceReader, image: np.ndarray, landmarks: np.ndarray) -> float | None:
        tint = read(self, image, landmarks)
        looks.append(tint or 0.0)
        return tint

    monkeypatch.setattr(AppearanceReader, "lip_tint", counted)
    doubt = MIN_CONFIDENCE + OFFSETS[Region.MOUTH] + 0.01
    noise = np.random.default_rng(2).integers(0, 25, SIZE[::-1], np.uint8)[..., None]
    bare = with_lips(0)[1] + noise
    for redness, count in ((25, 5), (2, 10)):
        validity, (one, image) = AUValidity(MIN_CONFIDENCE), with_lips(redness)
        image = image + noise
        lips = replace(seen(at=(160, 100), mouth=doubt), landmarks=one.landmarks)
        looks.clear()
        for i in range(100):
            assert validity.check(lips, SIZE, i / 100, image)["AU12"].valid == (looks[0] >= LEAST_TINT)
        assert len(looks) == count, (redness, looks[:3])
        hidden = [validity.check(lips, SIZE, 1 + i / 100, bare)["AU12"].why_not for i in range(45)]
        assert hidden[-1] is Reason.COVERED


def test_a_number_outside_its_range_is_refused() -> None:
    with pytest.raises(InvalidInput, match="min_confidence"):
        AUValidity(1.2)
