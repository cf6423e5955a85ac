"""Entry point of the `aunet` command, and of `python -m aunet_sdk`."""

from __future__ import annotations

from ._util.interrupt import ctrl_c_exits


def main() -> None:
    """Runs the command. Its libraries are imported when Ctrl-C is taken care of."""
    ctrl_c_exits()
    from .cli import app

    app()


if __name__ == "__main__":
    main()
