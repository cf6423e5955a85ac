"""Builds every csrc/NAME.pyx into the extension module aunet_sdk._native.NAME.

The extensions are optional: where no C compiler is at hand the package installs all the same and runs on its NumPy
references, with one warning. The metadata stands in pyproject.toml.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

FLAGS = ["/O2"] if sys.platform == "win32" else ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]

extensions = [
    Extension(
        f"aunet_sdk._native.{source.stem}",
        [source.as_posix()],
        include_dirs=["csrc", numpy.get_include()],
        depends=sorted(header.as_posix() for header in Path("csrc").glob("*.h")),
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=FLAGS,
    )
    for source in sorted(Path("csrc").glob("*.pyx"))
]

modules = cythonize(
    extensions,
    build_dir="build/cython",
    compiler_directives={
        "language_level": 3,
        "boundscheck": False,
        "wraparound": False,
        "cdivision": True,
        "initializedcheck": False,
    },
)
for module in modules:
    module.optional = True  # cythonize makes new Extensions and leaves this out

setup(ext_modules=modules)
