"""Child processes that do not outlive the process that started them. Only the standard library is imported here."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """A `preexec_fn` that ends the child when this process ends, even when it is killed. Only Linux has it.

    Args:
        number: the signal that the child gets.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        # If the parent has ended already, the signal will never come.
        if os.getppid() != parent:
            os._exit(1)

    return bind
