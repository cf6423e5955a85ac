"""The shapes that an engine is built for: the smallest, usual and largest of every input, by the number of faces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ...bundle import Bundle
from ..ring import initial_rows, most_rows
from ..ring_engine import index_names

__all__ = ["Profile", "Shapes", "max_queries", "max_rows", "profile_of", "profile_text"]

_VOLUME = 2**31 - 1  # elements of a tensor that TensorRT can address


@dataclass(frozen=True)
class Shapes:
    """The smallest, usual and largest shape of one input."""

    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]


Profile = Mapping[str, Shapes]


def max_queries(max_faces: int) -> int:
    """Queries of one run: those that are due and the causal ones."""
    return 2 * max_faces


def max_rows(bundle: Bundle, max_faces: int) -> tuple[int, ...]:
    """Of each state's ring: max_faces at 240 fps, and no more elements than TensorRT can address."""
    rows = []
    for state in bundle.state:
        volume = 1
        for n in state.shape:
            volume *= n
        rows.append(min(most_rows(state, bundle.interval_s, max_faces), _VOLUME // volume - max_faces))
    return tuple(rows)


def profile_of(bundle: Bundle, max_faces: int, typical_faces: int = 1) -> dict[str, Shapes]:
    """The shapes of every input of the bundle's graph, `stream` or `clip`, for 1 to max_faces crops."""
    side = bundle.resolution
    if bundle.kind == "clip":
        rest: tuple[int, ...] = (3, 3, side, side)
        profile = {"crops": Shapes((1, *rest), (typical_faces, *rest), (max_faces, *rest))}
        if bundle.reference:
            profile["reference"] = Shapes((1, 68, 2), (typical_faces, 68, 2), (max_faces, 68, 2))
        return profile
    rest = (3, side, side)
    profile = {"crop": Shapes((1, *rest), (typical_faces, *rest), (max_faces, *rest))}
    for _, _, name in index_names(bundle):
        profile[name] = Shapes((1,), (typical_faces,), (max_queries(max_faces),))
    if bundle.reference:
        profile["reference"] = Shapes((1, 68, 2), (typical_faces, 68, 2), (max_queries(max_faces), 68, 2))
    for state, most in zip(bundle.state, max_rows(bundle, max_faces), strict=True):
        usual = min(most, typical_faces * initial_rows(state, bundle.interval_s, 30))
        last = most + max_faces  # the step that makes a ring grow to its largest may go beyond by its own faces
        profile[f"ring_{state.name}"] = Shapes((1, *state.shape), (usual, *state.shape), (last, *state.shape))
    return profile


def profile_text(profile: Profile) -> str:
    """For PlanKey.profile."""
    return json.dumps({name: list(asdict(shapes).values()) for name, shapes in sorted(profile.items())})
