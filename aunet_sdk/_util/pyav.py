"""What differs between the releases of PyAV that are supported."""

from __future__ import annotations

from typing import Any

__all__ = ["lenient"]


def lenient() -> dict[str, Any]:
    """Arguments of `av.open` under which a title that is not UTF-8 is no error. From PyAV 19 on it never is one, and
    the argument is unknown."""
    import av

    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
