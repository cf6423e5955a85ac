"""The figures that the paper prints in Tables III-XIV (section V), to stand beside ours. F1 in per cent, threshold .5.

Numbers are as printed, with three exceptions and two contradictions that a reader should know:

- Table XIV, ResNet18, AU1 reads "4104"; 41.0 is what its average of 53.8 asks for.
- Table XI's "Model size (M)" of +TDN, 2.66, is the whole trainable part; that of +FlowNet, 187.75, is with FlowNet.
- Table XII's p-values belong to about 1.7 million pairs (140,000 frames x 12 AUs): with t = -26.4 and the 140,000
  frames alone p would be above 3e-153.
- Tables III and XIII print the same models, but JÄANet's AU4 (58.2, 48.2) and AU7 (78.6, 75.8) and AU-FAN's AU4 (61.6,
  61.5) differ; Table XIII's AUNet has 65.0 (with flip averaging), the mixture of Table VII 65.5.
- `mismatched_averages` lists the columns whose printed average is not the mean of their AUs.
"""

from __future__ import annotations

import dataclasses

AVERAGE = "Avg"


@dataclasses.dataclass(frozen=True)
class Method:
    """A column of a table."""

    name: str
    """As the paper has it."""
    variant: str | None
    """Our name of it (train.models.variants.VARIANTS; 'jaanet', whose predictions are imported); None: somebody else's
    method, of which the printed figures are all there is."""
    f1: tuple[float, ...]
    """One per AU of the table, in per cent; empty where the paper gives the average alone."""
    average: float
    space: str = ""
    """'label': the variant trained with aligned labels instead of latent codes (section V-E)."""


@dataclasses.dataclass(frozen=True)
class F1Table:
    """F1 per AU (rows) of several methods (columns)."""

    number: str
    title: str
    train: str
    """Data set of the training: 'bp4d', 'disfa', 'mixture'."""
    test: str
    """Data set of the test."""
    au_numbers: tuple[int, ...]
    methods: tuple[Method, ...]
    folds: bool
    """Mean over the three folds; otherwise one split."""


def _table(
    number: str, title: str, train: str, test: str, folds: bool, columns: dict[str, str | None], text: str
) -> F1Table:
    """Rows of `text`: AU number (or Avg), then a number per column."""
    rows = [line.split() for line in text.strip().splitlines()]
    values = {row[0]: [float(v) for v in row[1:]] for row in rows}
    aus = tuple(int(name) for name in values if name != AVERAGE)
    methods = tuple(
        Method(name, variant, tuple(values[str(au)][i] for au in aus), values[AVERAGE][i])
        for i, (name, variant) in enumerate(columns.items())
    )
    return F1Table(number, title, train, test, aus, methods, folds)


_PROPERTIES: dict[str, str | None] = {"ResNet18": "resnet18", "JÄANet": "jaanet", "AU-FP": "au-fp", "AU-FAN": "au-fan"}
_ABLATION: dict[str, str | None] = {"AU-FAN": "au-fan", "AU-VAE": "au-vae", "AU-TDN": "au-tdn", "AUNet": "aunet"}
_STATE: dict[str, str | None] = {
    "DRML": None,
    "JÄANet": "jaanet",
    **dict.fromkeys(("SRERL", "HMP-PS", "MEGraph", "AR-LSTM", "SAT-Net")),
    "ResNet18": "resnet18",
    "ResNet18-A": "resnet18-a",
    "AU-FAN": "au-fan",
    "AUNet": "aunet",
}

_TABLES = (
    _table("III", "Facial AU detection models on BP4D, trained on BP4D", "bp4d", "bp4d", True, _PROPERTIES, """
        1   46.2 53.8 53.5 54.2
        2   37.3 47.8 43.5 44.9
        4   50.4 58.2 58.5 61.6
        6   74.9 78.5 77.9 76.8
        7   74.9 78.6 76.2 76.6
        10  80.4 82.7 82.9 83.6
        12  84.3 88.2 87.4 88.8
        14  58.3 63.7 63.5 63.9
        15  34.4 43.3 47.5 52.3
        17  58.6 61.8 63.3 65.7
        23  36.5 45.6 48.8 48.5
        24  43.3 49.9 48.6 48.0
        Avg 56.6 62.4 62.6 63.8
    """),
    _table("IV", "Facial AU detection models on DISFA, trained on BP4D", "bp4d", "disfa", False, _PROPERTIES, """
        1   8.5  19.2 21.9 28.7
        2   8.5  16.1 18.5 17.2
        4   13.6 28.5 41.9 51.2
        6   16.5 30.6 37.7 36.8
        12  26.6 35.4 46.5 45.8
        Avg 14.8 26.0 33.3 35.9
    """),
    _table("V", "Facial AU detection models on AffWild2, trained on BP4D", "bp4d", "affwild2", False, _PROPERTIES, """
        1   19.8 42.3 41.9 39.2
        2   1.8  2.0  2.4  3.4
        4   11.8 16.8 19.4 28.8
        6   12.3 18.9 18.7 15.1
        12  14.5 19.5 21.0 25.4
        15  0.1  0.9  14.9 24.1
        Avg 10.0 16.7 19.7 22.6
    """),
    _table("VII", "Ablation on BP4D, trained on the mixture", "mixture", "bp4d", False, _ABLATION, """
        1   54.9 54.9 56.5 59.8
        2   46.6 53.0 50.2 47.3
        4   61.0 61.1 63.1 63.9
        6   82.9 83.8 82.3 83.9
        7   74.5 74.6 74.2 76.8
        10  86.2 88.2 87.5 87.5
        12  87.5 88.3 88.8 90.5
        14  50.7 63.2 64.4 61.2
        15  40.0 44.8 48.5 46.8
        17  64.6 66.6 67.2 66.1
        23  47.9 37.8 50.4 50.9
        24  47.6 43.4 45.8 51.3
        Avg 62.7 63.3 64.9 65.5
    """),
    _table("VIII", "Ablation on DISFA, trained on the mixture", "mixture", "disfa", False, _ABLATION, """
        1   69.2 68.4 72.4 75.9
        2   69.0 70.9 71.5 72.1
        4   67.6 76.8 74.9 77.3
        6   53.3 59.7 55.8 59.5
        9   70.3 62.6 49.6 54.0
        12  71.2 76.9 75.4 74.9
        25  81.7 86.0 85.7 91.9
        26  51.7 56.4 55.0 54.5
        Avg 66.7 69.8 67.5 70.0
    """),
    _table("IX", "Ablation on AffWild2, trained on the mixture", "mixture", "affwild2", False, _ABLATION, """
        1   74.8 74.7 76.2 76.6
        2   0.0  0.0  0.0  0.0
        4   65.9 69.9 63.1 72.3
        6   12.0 16.0 10.7 31.5
        12  45.4 48.2 46.5 42.8
        15  59.0 82.4 66.8 85.8
        25  0.0  0.0  0.0  0.0
        Avg 36.7 41.6 38.4 44.1
    """),
    _table("XIII", "Comparison with the state of the art on BP4D", "bp4d", "bp4d", True, _STATE, """
        1   36.4 53.8 46.9 53.1 53.7 48.0 54.1 46.2 52.1 54.2 58.0
        2   41.8 47.8 45.3 46.1 46.9 43.2 49.5 37.3 42.5 44.9 48.2
        4   43.0 48.2 55.6 56.0 59.0 53.1 58.3 50.4 54.6 61.5 62.4
        6   55.0 78.5 77.1 76.5 78.5 76.9 77.7 74.9 76.6 76.8 76.4
        7   67.0 75.8 78.4 76.9 80.0 78.4 77.7 74.9 73.7 76.6 77.5
        10  66.3 82.7 83.5 82.1 84.4 82.8 83.6 80.4 80.4 83.6 83.4
        12  65.8 88.2 87.6 86.4 87.8 87.9 86.5 84.3 85.2 88.8 88.5
        14  54.1 63.7 63.9 64.8 67.3 67.7 63.2 58.3 60.3 63.9 63.3
        15  33.2 43.3 52.2 51.5 52.5 45.6 49.1 34.4 36.7 52.3 52.0
        17  48.0 61.8 63.9 63.0 63.2 63.4 61.8 58.6 63.3 65.7 65.5
        23  31.7 45.6 47.1 49.9 50.6 47.9 48.7 36.5 34.0 48.5 52.1
        24  30.0 49.9 53.3 54.5 52.4 56.4 49.3 43.3 53.5 48.0 52.3
        Avg 48.3 62.4 62.1 63.4 64.7 62.6 63.3 56.6 59.4 63.8 65.0
    """),
    _table("XIV", "Comparison with the state of the art on DISFA", "disfa", "disfa", True, _STATE, """
        1   17.3 62.4 45.7 38.0 54.6 26.9 41.2 41.0 52.4 59.3 60.3
        2   17.7 60.7 47.8 45.9 47.1 24.4 33.1 47.8 46.5 55.3 59.1
        4   37.4 67.1 59.6 65.2 72.9 58.6 63.0 43.4 67.0 69.4 69.8
        6   29.0 41.1 47.1 50.9 54.0 49.7 56.4 43.1 43.6 49.0 48.4
        9   10.7 45.1 45.6 50.8 55.7 34.2 43.0 37.2 38.5 45.9 53.0
        12  37.7 73.5 73.5 76.0 76.7 71.3 73.1 73.8 71.3 77.0 79.7
        25  38.5 90.9 84.3 93.3 91.1 83.4 82.9 82.4 87.3 91.8 93.5
        26  20.1 67.4 43.6 67.6 53.0 51.4 60.6 61.8 67.1 60.0 64.7
        Avg 26.7 63.5 55.9 61.0 63.1 50.0 56.7 53.8 59.2 63.5 66.1
    """),
)  # fmt: skip
F1_TABLES = {table.number: table for table in _TABLES}
"""Tables of F1 by number."""

NUMBERS = ("III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV")

VARIANTS = {
    "AU-FAN": ("au-fan", True, False, False),
    "AU-VAE": ("au-vae", True, True, False),
    "AU-TDN": ("au-tdn", True, False, True),
    "AUNet": ("aunet", True, True, True),
}
"""Table VI: name -> (our name, FAN feature, VAE, TDN)."""

DEPENDENCY = {"bp4d": (2.2, 1.5), "disfa": (6.5, 3.1), "affwild2": (2.1, 6.3)}
"""Table X: data set -> by how much AU-VAE is better than AU-FAN: L2 distance, dependency F1, both in per cent."""

MOTION = {"+TDN": ("au-tdn", 2.66, 64.9), "+FlowNet": ("au-flow", 187.75, 64.5)}
"""Table XI, BP4D: name -> (our name, model size in millions of parameters, average F1)."""

T_TESTS = {
    "AU-VAE": ("au-vae", -26.78, 6.33e-158),
    "AU-TDN": ("au-tdn", -26.94, 7.62e-160),
    "AUNet": ("aunet", -26.40, 1.51e-153),
}
"""Table XII, BP4D, against AU-FAN: name -> (our name, t, p)."""

COMPLEXITY = (("JÄANet", 25e6, 8.38e9), ("MEGraph", 31.67e6, 10.29e9))
"""Other methods in section V-F: name, parameters, multiply-adds ("flops")."""

IN_TEXT = {
    "III": Method("ResNet18, ImageNet", "resnet18-imagenet", (), 61.5),
    "VII": Method("AUNet, label space", "aunet", (), 65.0, "label"),
}
"""Columns that the text alone gives, as an average (V-D and V-E), by the table that they belong to."""

NAMES = {"bp4d": "BP4D", "disfa": "DISFA", "affwild2": "AffWild2", "mixture": "the mixture", "synthetic": "synthetic"}
"""How a data set is called in a heading."""


def mismatched_averages(tolerance: float = 0.1) -> list[tuple[str, str, float, float]]:
    """(table, method, printed average, mean of the printed AUs) where the two are further apart than rounding makes
    them."""
    found = []
    for table in _TABLES:
        for method in table.methods:
            mean = sum(method.f1) / len(method.f1)
            if abs(mean - method.average) > tolerance:
                found.append((table.number, method.name, method.average, round(mean, 2)))
    return found
