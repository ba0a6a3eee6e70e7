"""The statistics of the benchmark."""

import math
from collections.abc import Sequence
from statistics import median

__all__ = ["median", "percentile", "ratio"]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed (nearest rank). NaN if there are none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def ratio(value: float, reference: float) -> float:
    """The value divided by the reference. NaN if the reference is 0."""
    return value / reference if reference else math.nan
