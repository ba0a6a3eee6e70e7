"""Tools for development and tests; nothing here runs in production."""

import os
import sys
from types import TracebackType

# Both stand here, because every command imports this first.

# What the commands import next is not there on Windows.
if os.name == "nt":
    sys.exit("Windows is supported through WSL 2: run the command in a Linux distribution there.")


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Show an error that ends the program. Ctrl-C is none."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _show
