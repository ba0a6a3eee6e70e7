"""Waits until somebody saves a file of the code."""

import signal
import time
from contextlib import suppress
from pathlib import Path

from groundwork.serve.settings import ENV_FILE

_LOOK_EVERY_SECONDS = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def wait_for_change(folder: Path, message: str) -> bool:
    """Wait until `.env`, or a Python file below the folder, is written, added or removed.

    Args:
        message: printed first. From then on, no change and no signal is missed.

    Returns: False if this process was told to end meanwhile.
    """
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler)
        seen = _written(folder)
        print(message, flush=True)
        while _written(folder) == seen:
            time.sleep(_LOOK_EVERY_SECONDS)
    except KeyboardInterrupt:
        return False
    return True


def _written(folder: Path) -> dict[Path, int]:
    """When each of these files was last written, in nanoseconds."""
    times = {}
    for path in (ENV_FILE, *folder.rglob("*.py")):
        with suppress(FileNotFoundError):  # an editor may replace it at this moment
            times[path] = path.stat().st_mtime_ns
    return times
