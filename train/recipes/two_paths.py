"""Models with and without a geometry path and intensities: taken out, added, taken over from another model."""

from __future__ import annotations

import dataclasses
from typing import cast

import torch

from train.models.model import Model, grown, without_geometry


def without_path(model: Model) -> Model:
    """A copy of `model` without its geometry path, which says the same where the person's points at rest are not known.

    Raises:
        ValueError: without them it does not decide by the appearance path alone.
    """
    gate = model.points.gate
    if gate is not None:
        given, closed = torch.cat((gate.weight[0], gate.shift[:1])), torch.tensor([[1.0], [0.0], [0.0]])
        if not torch.equal(given, closed.expand_as(given)):
            raise ValueError(
                "model: expected one whose geometry path counts only where the points at rest are known, got one of "
                "which it is a part; start from the model that it was added to"
            )
        model = without_intensity(model)  # they came with the path
    return without_geometry(model)


def with_intensity(model: Model) -> Model:
    """A copy of `model` with an output for the intensities: of the appearance path that is its logit of presence, which
    `fusion.fit_intensity` then scales. What the model said before it says still; one that has the output stays as it
    is."""
    if model.config.intensity:
        return model
    wider = grown(model, intensity=True)
    presence, strength = wider.points.predictor[-1], wider.points.intensity
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(strength, name).copy_(getattr(presence, name))
    return wider


def without_intensity(model: Model) -> Model:
    """A copy of `model` that says no intensities and everything else as before."""
    plain = Model(dataclasses.replace(model.config, intensity=False))
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    return plain.eval()


def with_path_of(model: Model, other: Model) -> Model:
    """A copy of `model` with the geometry path of `other`: both paths are trained apart, on one FAN.

    Of a path for more AUs those of `model` are taken; it keeps the output for intensities only where `model` has one,
    or where the AUs are the same. ValueError where the FANs differ, or `other` has no such path for the AUs.
    """
    path, theirs = other.points.geometry, other.fan.state_dict()
    numbers, had = model.config.aus_of("points"), other.config.aus_of("points")
    if path is None or not set(numbers) <= set(had):
        raise ValueError(
            f"geometry: expected a model with a geometry path for the AUs {numbers}, got one "
            f"{'without it' if path is None else 'for ' + str(had)}"
        )
    if any(not torch.equal(tensor, theirs[name]) for name, tensor in model.fan.state_dict().items()):
        raise ValueError("geometry: expected a model of the same FAN, got another one")
    made = {name: entry for name, entry in other.config.provenance.items() if name == "geometry"}
    plain = Model(dataclasses.replace(model.config, geometry=0, provenance={**model.config.provenance, **made}))
    plain.load_state_dict(model.state_dict(), strict=False)
    intensity = other.config.intensity and (model.config.intensity or numbers == had)
    wider = grown(plain, geometry=other.config.geometry, intensity=intensity)
    rows = [had.index(number) for number in numbers]
    last = (f"predictor.{len(path.predictor) - 1}.", "intensity.")
    taken = {name: tensor[rows] if name.startswith(last) else tensor for name, tensor in path.state_dict().items()}
    wanted = cast(torch.nn.Module, wider.points.geometry)
    wanted.load_state_dict({name: tensor for name, tensor in taken.items() if name in wanted.state_dict()})
    return wider
