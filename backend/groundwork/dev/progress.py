"""Shows on a terminal what a long command does at the moment, in one line that is overwritten.

Nothing is written elsewhere: neither a file nor a CI's log can be overwritten. Only the standard library is imported.
"""

import os
import shutil
import sys


def show(text: str) -> None:
    """Replace what was shown last. An empty text removes it."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        # A wrapped line could not be overwritten.
        sys.stdout.write(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}")
        sys.stdout.flush()
