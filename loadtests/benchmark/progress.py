"""Says on standard error what `make benchmark` is doing."""

import sys
import time

_began = time.monotonic()


def say(what: str) -> None:
    seconds = int(time.monotonic() - _began)
    sys.stderr.write(f"{seconds // 60:3}:{seconds % 60:02}  {what}\n")
