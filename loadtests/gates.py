"""What a load test must show to pass. Nothing here needs Locust."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOTAL = "all"
"""The name of the result of all operations together."""


@dataclass(frozen=True)
class Result:
    """The result of one operation. Times are in milliseconds, measured by the client. Requests include failures."""

    requests: int = 0
    failures: int = 0
    p50: float = 0
    p95: float = 0
    p99: float = 0
    per_second: float = 0


@dataclass(frozen=True)
class Gate:
    """The limits that each operation must keep, so that a slow operation cannot hide behind many fast ones."""

    p95_ms: float = 500
    samples: int = 100
    """The fewest requests for a useful 95th percentile. With fewer, the gate counts as missed."""

    def missed(self, results: Mapping[str, Result], operations: Sequence[str]) -> list[str]:
        """One sentence for each limit that was not kept. Each begins with the gate's name."""
        measured = [(operation, results.get(operation, Result())) for operation in operations]
        others = [item for item in results.items() if item[0] not in {*operations, TOTAL}]
        return [
            *(
                f"failures: {operation} failed {result.failures} times in {result.requests}; none may fail"
                for operation, result in measured + others
                if result.failures
            ),
            *(
                f"p95: {operation} took {result.p95:.0f} ms at the 95th percentile; the gate is {self.p95_ms:.0f} ms"
                for operation, result in measured
                if result.requests and not result.p95 < self.p95_ms
            ),
            *(
                f"samples: {operation} was sent {result.requests} times; it takes {self.samples} to judge it"
                for operation, result in measured
                if result.requests < self.samples
            ),
        ]
