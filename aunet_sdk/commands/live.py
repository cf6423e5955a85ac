"""`aunet live`: from cameras, streams and files to sinks, a terminal view and a page, until somebody ends it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .ending import ends_in_order
from .exits import guard


def _panel(panel: str | None, *names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel)


MODEL = "Model and faces"


def command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="Camera (0, /dev/video0), URL, file, folder, or - for stdin."),
    ] = None,
    sink: Annotated[
        list[str] | None,
        _panel(
            None, "--sink", metavar="URI", help="Where results go, any number: jsonl:-, csv:PATH, mqtt://HOST/PREFIX"
        ),
    ] = None,
    look_ahead: Annotated[
        str | None,
        _panel(None, "--look-ahead", metavar="full|none|both", help="full [default]: .4 s late; none: at once."),
    ] = None,
    realtime: Annotated[bool, _panel(None, "--realtime", help="Files come at their own pace.")] = False,
    duration: Annotated[
        float | None, _panel(None, "--duration", metavar="S", help="End after so many seconds.")
    ] = None,
    serve: Annotated[
        str | None, _panel(None, "--serve", metavar="HOST:PORT", help="A page with the live picture.")
    ] = None,
    token: Annotated[str | None, _panel(None, "--token", help="Asked for by the page beyond this machine.")] = None,
    config: Annotated[
        Path | None, _panel(None, "--config", metavar="FILE.toml", help="Sources, sinks, options.")
    ] = None,
    quiet: Annotated[bool, _panel(None, "--quiet", help="No terminal view.")] = False,
    au: Annotated[str | None, _panel(MODEL, "--au", metavar="1,2,12", help="Only these AUs.")] = None,
    model: Annotated[Path | None, _panel(MODEL, "--model", help="Bundle (.onnx) or shipped model.")] = None,
    engine: Annotated[str | None, _panel(MODEL, "--engine", help="As `aunet info` lists them.")] = None,
    threads: Annotated[int | None, _panel(MODEL, "--threads", help="Threads of the network.")] = None,
    max_faces: Annotated[int | None, _panel(MODEL, "--max-faces", help="Faces to follow at once.")] = None,
    debug: Annotated[bool, _panel(None, "--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Action Units from live sources, until they end, or Ctrl-C.

    What is given here goes before the configuration file. SIGHUP reads that file again: thresholds, sources and sinks
    that have changed are changed. Exit codes: 0 the sources have ended, or --duration is over; 2 a source, a sink or
    the configuration cannot be used; 3 model or engine; 4 a source or every sink broke on the way; 129, 130, 143
    hangup, Ctrl-C, termination.
    """
    with guard(debug), ends_in_order():
        from ..facs import parse_aus
        from .live_work import Wishes, run

        detector: dict[str, Any] = {
            "look_ahead": look_ahead,
            "aus": parse_aus(au) if au is not None else None,
            "model": model,
            "engine": engine,
            "threads": threads,
            "max_faces": max_faces,
        }
        given = {name: value for name, value in detector.items() if value is not None}
        wishes = Wishes(sources or [], sink or [], given, realtime, duration, serve, token, config, quiet)
        code = run(wishes)
    raise typer.Exit(int(code))
