"""Expressions of Table II: what counts for what, and that nobody gets them unasked."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.facs import AU_NAMES, EXPRESSIONS, expressions_of
from aunet_sdk.post import expressions
from aunet_sdk.post.expressions import expression_scores
from aunet_sdk.results import Face

from ..scripted import face


def showing(**levels: float) -> Face:
    return face(probabilities=[levels.get(name, 0.1) for name in AU_NAMES])


def test_a_combination_counts_as_its_weakest_au_and_an_expression_as_its_strongest_combination() -> None:
    scores = expression_scores(showing(AU6=0.6, AU7=0.8, AU12=0.9))
    assert list(scores) == list(EXPRESSIONS)
    assert np.isclose(scores["happiness"], 0.8)
    assert np.isclose(scores["fear"], 0.1)
    assert np.isclose(expression_scores(showing(AU1=0.9, AU2=0.9, AU26=0.3))["surprise"], 0.3)


def test_what_cannot_be_seen_does_not_count() -> None:
    few = face(probabilities=[0.9, 0.9], au_names=("AU1", "AU12"))
    assert expression_scores(few) == {
        "happiness": None,
        "anger": None,
        "fear": None,
        "sadness": np.float32(0.9),
        "surprise": None,
        "disgust": None,
    }
    smile = showing(AU6=0.7, AU7=0.9, AU12=0.9)
    assert np.isclose(expression_scores(smile, {"AU7": False})["happiness"], 0.7)
    assert expression_scores(smile, {"AU12": False})["happiness"] is None
    assert expression_scores(showing(AU9=math.nan, AU10=math.nan))["disgust"] is None


@given(st.lists(st.floats(0, 1, width=32), min_size=15, max_size=15))
def test_from_a_half_on_they_are_those_of_the_active_aus(values: list[float]) -> None:
    scores = expression_scores(face(probabilities=values))
    active = [name for name, value in zip(AU_NAMES, values, strict=True) if value >= 0.5]
    assert tuple(name for name, score in scores.items() if score is not None and score >= 0.5) == expressions_of(active)


def test_nobody_has_them_unasked() -> None:
    code = "import sys, aunet_sdk; from aunet_sdk import Detector; print('aunet_sdk.post.expressions' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False"
    assert expressions.__doc__ is not None and "Article 5(1)(f)" in expressions.__doc__
