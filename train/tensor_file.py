"""Writing a safetensors file: whole or not at all, and a full disk is an OSError like any other."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def write_tensors(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write contiguous CPU tensors and `metadata`; `path` is as before where that fails. With one entry of metadata the
    same content gives the same file; safetensors writes more of them in any order.

    Raises:
        OSError: what the system said (no space, no folder, no permission), with the path.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        save_file(dict(tensors), partial, metadata=dict(metadata) or None)
        partial.chmod(mode)  # safetensors' own is for the owner alone
        partial.replace(path)
    except SafetensorError as error:
        partial.unlink(missing_ok=True)
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error
