"""Tools for development and tests; nothing here runs in production."""

import os
import sys
from io import TextIOWrapper
from types import TracebackType

# All of it stands here, because every command imports this first.

# What the commands import next is not there on Windows.
if os.name == "nt":
    sys.exit("Windows is supported through WSL 2: run the command in a Linux distribution there.")

# In a locale that is not UTF-8, a command must not fail at the "…" of its own messages.
if isinstance(sys.stdout, TextIOWrapper):
    sys.stdout.reconfigure(errors="replace")


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Show an error that ends the program as the service's log shows it on a terminal. Ctrl-C is none."""
    if issubclass(kind, KeyboardInterrupt):
        return
    try:
        from groundwork.observe.logging import is_json  # noqa: PLC0415 - `make` also runs this without any package
        from groundwork.observe.text_log import TextFormatter  # noqa: PLC0415
    except ImportError:
        sys.__excepthook__(kind, error, traceback)
        return
    if is_json(os.environ.get("LOG_FORMAT") or "text"):
        sys.__excepthook__(kind, error, traceback)
    else:
        sys.stderr.write(f"{TextFormatter().formatException((kind, error, traceback))}\n")


sys.excepthook = _show
