"""Expressions of emotion from combinations of AUs (Table II of the paper, adapted there from EMFACS). Opt-in.

**Read this before you use it.** Nothing in aunet_sdk names an expression unless somebody calls this module. The paper
itself calls AUs "objective descriptions for certain facial configurations rather than inferential labels like
emotions": a face with AU6 and AU12 smiles; whether its owner is happy, nobody can see. In the European Union, the AI
Act (Regulation (EU) 2024/1689) applies to whoever infers emotions from faces:

- Article 5(1)(f) forbids it at work and in education, except for medical or safety reasons.
- Article 50(3) demands that people are informed who are exposed to it elsewhere.
- Annex III counts systems for emotion recognition among those of high risk, with the duties that follow.

Other laws, on biometric data above all, may say more. This is no legal advice.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..facs import EXPRESSIONS
from ..results import Face

__all__ = ["expression_scores"]


def expression_scores(face: Face, valid: Mapping[str, bool | None] | None = None) -> dict[str, float | None]:
    """How far a face shows each expression of Table II, 0 to 1, in the table's order: happiness, anger, fear, sadness,
    surprise, disgust.

    An expression has several combinations of AUs. A combination counts as much as the weakest of its AUs, an expression
    as much as its strongest combination. None: no combination of it can be seen, as the model has not all of its AUs,
    their probability is NaN, or `valid` says no (by AU name; where it is not given, `Face.valid`). Several expressions
    may be high at once: the table's sadness holds AU1 alone, which fear and surprise have, too.

    The scores are no probabilities that were ever measured against coded expressions. Read the note at the head of this
    module first.
    """
    known = face.valid if valid is None else valid
    seen = {au: p for au, p in face.au.items() if p == p and known.get(au) is not False}
    scores: dict[str, float | None] = {}
    for name, combinations in EXPRESSIONS.items():
        shown = [
            min(seen[f"AU{number}"] for number in combination)
            for combination in combinations
            if all(f"AU{number}" in seen for number in combination)
        ]
        scores[name] = max(shown, default=None)
    return scores
