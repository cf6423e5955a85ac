"""The record beside a table: what made it. docs/csv.md describes its fields."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..bundle import sha256_of
from ..engines import facts
from ..sinks.base import lost

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..detector import Detector
    from .plan import Plan

__all__ = ["SCHEMA", "Record"]

SCHEMA = 1


class Record:
    """NAME.csv.json: complete as a file at any time, written at the start of the work and once more at its end.

    Raises OutputLost where it cannot be written; the one that was there before is then as it was.
    """

    def __init__(self, plan: Plan, detector: Detector, source: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        self.path = plan.record
        self.facts: dict[str, Any] = {
            "schema": SCHEMA,
            "aunet_sdk": __version__,
            "started": _now(),
            "finished": None,
            "exit_code": None,
            "problems": [],
            "frames": None,
            "frames_with_face": None,
            "rows": None,
            "source": {"path": str(plan.input), "kind": plan.kind, **source},
            "outputs": dict(outputs),
            "model": _model(detector.bundle),
            "engine": {**facts(detector.engine), "providers": list(detector.engine.providers)},
            "finder": detector.finder.name,
            "au_names": list(detector.au_names),
            "thresholds": dict(detector.thresholds),
            "options": asdict(detector.options),
        }
        self._write()

    def finish(self, exit_code: int, **facts: Any) -> None:
        """How the run ended."""
        self.facts.update(facts, finished=_now(), exit_code=int(exit_code))
        self._write()

    def _write(self) -> None:
        text = json.dumps(self.facts, indent=2, default=str) + "\n"  # ASCII: a name need not be UTF-8
        place = Path(os.path.realpath(self.path))
        name = None
        try:
            with tempfile.NamedTemporaryFile("w", dir=place.parent, prefix=f".{place.name}.", delete=False) as stream:
                name = stream.name
                os.chmod(name, 0o666 & ~_umask())
                stream.write(text)
            os.replace(name, place)
        except BaseException as error:
            if name is not None:
                with suppress(OSError):
                    os.unlink(name)
            if isinstance(error, OSError):
                raise lost("record", self.path, error) from error
            raise


def _model(bundle: Bundle) -> dict[str, Any]:
    digest = bundle.sha256 or (sha256_of(bundle.path) if bundle.path is not None else None)
    names = ("name", "precision", "arithmetic", "head", "width", "resolution", "interval_s", "created", "producer")
    facts = {name: getattr(bundle, name) for name in (*names, "training_data", "licence", "checkpoint_sha256")}
    return {**facts, "schema": bundle.schema, "path": str(bundle.path), "sha256": digest}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
