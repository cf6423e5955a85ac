"""Dataclasses as options of a command: a flag per field, typed as the field, with its help text.

    --epochs 4 --gamma 0.125 --no-augment --variants au-fan au-vae --corpus-frames affwild2=227000

A flag of a list takes all values up to the next flag, so that what stands without a flag (the experiment) comes before
the flags. What a field allows is checked where the dataclass is made.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from train.configs.experiment import GIVEN, Experiment
from train.configs.options import CHOICES, PaperOptions

FIELDS = {
    field.name: (kind, field)
    for kind, withheld in ((Experiment, {"name", "options"}), (PaperOptions, set(GIVEN)))
    for field in dataclasses.fields(kind)
    if field.name not in withheld
}
"""What may be said of an experiment on the command line: its own fields, and those of its options."""
_HINTS: dict[type, dict[str, Any]] = {kind: typing.get_type_hints(kind) for kind in (Experiment, PaperOptions)}


def names_of(field: dataclasses.Field[Any]) -> tuple[str, ...]:
    """The flags of a field: those of its metadata, else `--its-name`."""
    return tuple(field.metadata.get("names", ())) or (f"--{field.name.replace('_', '-')}",)


def field_parameter(field: dataclasses.Field[Any], hint: Any, required: bool) -> inspect.Parameter:
    """A parameter of a command whose default is the field's."""
    option = typer.Option(*names_of(field), help=field.metadata["help"], show_default=field.default is not None)
    default = inspect.Parameter.empty if required else field.default
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option]
    )


def experiment_parameters() -> list[inspect.Parameter]:
    """A parameter for each of `FIELDS`, None where nothing was said: then the experiment's file, the preset or the
    default decides."""
    return [_optional(name, kind, field) for name, (kind, field) in FIELDS.items()]


def _optional(name: str, kind: type, field: dataclasses.Field[Any]) -> inspect.Parameter:
    hint = _HINTS[kind][name]
    shape = typing.get_origin(hint)
    annotation: Any = hint
    metavar = "|".join(CHOICES[name]) if name in CHOICES else None
    if shape is tuple:
        annotation = list[typing.get_args(hint)[0]]  # type: ignore[misc]
        metavar = f"{getattr(typing.get_args(hint)[0], '__name__', 'value').upper()}..."
    elif shape is dict:
        annotation, metavar = list[str], "NAME=VALUE..."
    option = typer.Option(
        *names_of(field),
        help=field.metadata["help"],
        metavar=metavar,
        show_default=_shown(field),
        rich_help_panel="The runs of the experiment" if kind is Experiment else "Options of every run",
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation | None, option]
    )


def _shown(field: dataclasses.Field[Any]) -> bool | str:
    value = field.default
    if value is dataclasses.MISSING or value in ("", (), None):
        return False
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def said(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was said on the command line, as train.configs.experiment.read_experiment takes it.

    Args:
        values: of `experiment_parameters`; None and empty lists were not said.

    Raises:
        typer.BadParameter: an entry that is no NAME=VALUE.
    """
    found = {}
    for name, value in values.items():
        if value is None or value == []:
            continue
        kind, field = FIELDS[name]
        hint = _HINTS[kind][name]
        if typing.get_origin(hint) is dict:
            found[name] = dict(_entry(names_of(field)[0], text, typing.get_args(hint)[1]) for text in value)
        else:
            found[name] = value
    return found


def _entry(flag: str, text: str, hint: Any) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    try:
        numbers = [int(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    several = typing.get_origin(hint) is tuple
    if not separator or not name or not numbers or (len(numbers) > 1 and not several):
        wanted = "affwild2=1,2,4" if several else "affwild2=227000"
        raise typer.BadParameter(f"{flag}: expected a data set and {'AUs' if several else 'a number'}, as {wanted}, "
                                 f"got {text!r}")  # fmt: skip
    return name, numbers if several else numbers[0]


def flags(values: Mapping[str, Any]) -> list[str]:
    """Values of `FIELDS` as words of the command line, as `said` gives them back."""
    words: list[str] = []
    for name, value in values.items():
        first, _, off = names_of(FIELDS[name][1])[0].partition("/")
        if isinstance(value, bool):
            words.append(first if value else off)
        elif isinstance(value, dict):
            items = ((key, v if isinstance(v, list | tuple) else [v]) for key, v in value.items())
            words += [first, *(f"{key}={','.join(str(n) for n in numbers)}" for key, numbers in items)]
        elif isinstance(value, list | tuple):
            words += [first, *(str(item) for item in value)]
        else:
            words += [first, str(value)]
    return words


class ExperimentCommand(TyperCommand):
    """A command with `experiment_parameters`: a flag of a list takes several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_repeated(args)))


def _repeated(words: Iterable[str]) -> Iterable[str]:
    """`--seeds 1 2` as `--seeds 1 --seeds 2`."""
    lists = {
        names_of(field)[0]
        for name, (kind, field) in FIELDS.items()
        if typing.get_origin(_HINTS[kind][name]) in (tuple, dict)
    }
    flag, first = "", False
    words = iter(words)
    for word in words:
        if word.split("=")[0] == "--override":
            raise typer.BadParameter(_instead(word, words))
        if word.startswith("--"):
            flag, first = word if word in lists else "", True
            yield word
        elif flag and not first:
            yield flag
            yield word
        else:
            first = False
            yield word


def _instead(word: str, words: Iterable[str]) -> str:
    """What to write in place of `--override KEY=VALUE`."""
    text = word.partition("=")[2] or next(iter(words), "")
    return f"--override went: every option is a flag of its own, as {_as_flag(text)}; --help lists them"


def _as_flag(text: str) -> str:
    name, _, value = text.partition("=")
    if name not in FIELDS:
        return "--epochs 4"
    kind, _ = FIELDS[name]
    hint = _HINTS[kind][name]
    if hint is bool:
        return flags({name: value.lower() in ("true", "yes", "on")})[0]
    if typing.get_origin(hint) is tuple:
        return " ".join(flags({name: value.strip("[] ").replace(",", " ").split()}))
    if typing.get_origin(hint) is dict:
        return f"{names_of(FIELDS[name][1])[0]} affwild2=..."
    return " ".join(flags({name: value or "..."}))
