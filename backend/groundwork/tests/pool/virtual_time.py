"""An event loop whose time does not depend on the machine."""

import asyncio
import selectors


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything is ready to run. When all wait, it jumps to the next timer.

    So a busy machine can neither make a timer due too early, nor make a test wait for one.
    """

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now


class _Jumps(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Look which files are ready. Instead of waiting for them, let the time pass."""
        self.now += timeout or 0
        return super().select(None if timeout is None else 0)
