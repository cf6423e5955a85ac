"""Builds every csrc/NAME.pyx into the extension module aunet_sdk._native.NAME.

From CPython 3.11 on the extensions keep to the stable ABI (PEP 384), and one wheel, cp311-abi3, serves every later
version. Python 3.10, whose stable ABI has no buffer protocol, and the free-threaded builds, which have none, get
wheels of their own.

The extensions are optional: where there is no C compiler the package installs all the same and runs on its NumPy
references, with one warning. AUNET_REQUIRE_NATIVE=1 makes a failed compilation an error, as for wheels that are given
away. The metadata stands in pyproject.toml.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

FLAGS = (
    ["/O2"] if sys.platform == "win32" else ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
)
STABLE = (
    sys.implementation.name == "cpython"
    and sys.version_info >= (3, 11)
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)

extensions = [
    Extension(
        f"aunet_sdk._native.{source.stem}",
        [source.as_posix()],
        include_dirs=["csrc"],
        depends=sorted(header.as_posix() for header in Path("csrc").glob("*.h")),
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if STABLE else [],
        py_limited_api=STABLE,
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
    # cythonize makes new Extensions and leaves these out
    module.optional = os.environ.get("AUNET_REQUIRE_NATIVE") != "1"
    module.py_limited_api = STABLE

setup(ext_modules=modules, options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE else {})
