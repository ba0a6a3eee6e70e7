"""The search of the `ramp` scenario. Nothing here needs Locust."""

PRECISION = 1.1


class Search:
    """Finds the highest load that passes. It doubles the load until one fails, then halves the gap between the two."""

    def __init__(self, first: int, most: int) -> None:
        self.users = first
        """The load to try."""
        self.passed = 0
        """The highest load that has passed."""
        self.missed: int | None = None
        """The lowest load that has failed."""
        self._most = most

    def judge(self, *, passed: bool) -> None:
        """Record whether the load `users` passed, and choose the next load."""
        if passed:
            self.passed = self.users
        else:
            self.missed = self.users
        self.users = min(self.passed * 2, self._most) if self.missed is None else (self.passed + self.missed) // 2

    def is_over(self) -> bool:
        if self.missed is None:
            return self.passed >= self._most
        return not self.passed or self.missed <= self.passed * PRECISION
