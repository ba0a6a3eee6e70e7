"""A team's own counters and histograms. They are on `METRICS_PORT` beside those of the service.

Declare each at the top of a module that the application imports:

    ORDERS = counter("orders_total", "Orders placed.", labels={"kind": ("web", "shop")})
    ORDERS.inc(kind="web")

The counts are in the memory that all workers share (see metrics.py), so any worker reports the totals of all, and a
worker that ends or is killed loses nothing. That memory is bounded: each set of label values is a series, and a metric
has a limit of series. Values beyond it are counted as `other`.
"""

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, product
from typing import TypeVar
from zlib import crc32

from groundwork.observe.metrics import BUCKET_LIMIT, CUSTOM, CUSTOM_SERIES_LIMIT, REQUEST_SECONDS, Labels, counts, cut

logger = logging.getLogger(__name__)

OTHER = "other"
"""The label value for all values that are not declared, or are beyond the limit."""

OWN_PREFIXES = ("build_", "database_", "http_", "log_", "process_", "python_", "worker_", "workers")
"""The service's own metrics begin with these. https://prometheus.io/docs/practices/naming/ has the other rules."""

_NAME_BYTES = 100
_VALUE_BYTES = 64
_LABEL_LIMIT = 4
_is_name = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*").fullmatch
# Prometheus appends these to the names of histograms, or gives them to other types.
_RESERVED_SUFFIXES = ("_bucket", "_count", "_created", "_info", "_sum", "_total")
_RESERVED_LABELS = frozenset({"le", "quantile"})
_BASE_UNITS = {
    "seconds": ("ms", "millis", "milliseconds", "microseconds", "us", "ns", "nanoseconds", "minutes", "hours", "days"),
    "bytes": ("kb", "mb", "gb", "kib", "mib", "gib", "kilobytes", "megabytes", "gigabytes", "bits"),
    "ratio": ("percent", "pct"),
}


LabelSpec = Mapping[str, Sequence[str]] | Sequence[str]
"""The labels of a metric: each with its values, or only their names."""


class MetricError(ValueError):
    """A metric is declared in a way that Prometheus or the shared memory cannot take."""


class _Metric:
    """A declared metric.

    Attributes:
        label_names: in the order in which their values are reported.
        bounds: the upper bounds of a histogram's buckets; a counter has none.
        key: the last label of the metric's series. It contains a checksum of the declaration, so that code which is
            reloaded in development does not add to the counts of an older declaration.
    """

    def __init__(
        self, name: str, description: str, *, labels: LabelSpec, limit: int, bounds: tuple[float, ...] = ()
    ) -> None:
        self.name = name
        self.description = description
        self.label_names = _label_names(name, labels)
        self.bounds = bounds
        self._declared = _declared_values(name, labels)
        if limit < 1:
            raise MetricError(f"{name}: the limit must be 1 or more")
        self._limit = limit
        self._full: set[Labels] | None = None
        self.key = f"{name}:{crc32(repr((self.label_names, bounds)).encode()):x}"

    def expected(self) -> Iterable[Labels]:
        """The sets of label values that are reported from the start, as 0."""
        return () if self._declared is None else product(*self._declared)

    @property
    def most_series(self) -> int:
        """How many series the metric can have, `other` included."""
        return self._limit + 1 if self._declared is None else math.prod(len(each) + 1 for each in self._declared)

    def _place(self, labels: dict[str, str]) -> int:
        """The place in this process's slot of the series with these label values."""
        if labels.keys() != {*self.label_names}:
            expected, given = (", ".join(names) or "none" for names in (self.label_names, labels))
            raise TypeError(f"{self.name} has these labels: {expected}; give these, and not {given}")
        values = tuple([labels[name] for name in self.label_names])
        place = counts.known_places.get((self.key, values))
        return self._find(values) if place is None else place

    def _find(self, values: Labels) -> int:
        kept = self._kept(tuple(cut(str(value).replace("\0", " "), _VALUE_BYTES) for value in values))
        place = counts.place((CUSTOM, *kept, self.key))
        # Values that were cut or replaced are not cached: there can be any number of them.
        if kept == values:
            counts.known_places[self.key, values] = place
        return place

    def _kept(self, values: Labels) -> Labels:
        """The label values under which these values are counted."""
        if self._declared is not None:
            both = zip(values, self._declared, strict=True)
            return tuple(value if value in known else OTHER for value, known in both)
        others = (OTHER,) * len(values)
        if self._full is None:
            known = {labels[1:-1] for labels in counts.labels(self.key)}
            if values in known or len(known - {others}) < self._limit:
                return values
            # No worker adds a series from now on, so this set stays complete.
            self._full = known
            message = "%s: the limit of %d sets of label values is reached; all other sets are counted as %r"
            logger.warning(message, self.name, self._limit, OTHER)
        return values if values in self._full else others


class Counter(_Metric):
    """A number that only rises."""

    def inc(self, amount: float = 1, /, **labels: str) -> None:
        """Add an amount to the counter.

        Args:
            labels: a value for each label that was declared.

        Raises:
            TypeError: a label is missing, or was not declared.
            ValueError: the amount is negative, infinite or not a number.
        """
        if not 0 <= amount < math.inf:
            raise ValueError(f"{self.name}: a counter only rises; add 0 or more, not {amount}")
        place = self._place(labels)
        # This line calls no function, so no other thread of the process runs between the read and the write.
        counts.values[place] += amount


class Histogram(_Metric):
    """Counts how many values fall into each bucket, and adds them up."""

    def observe(self, value: float, /, **labels: str) -> None:
        """Count a value.

        Args:
            value: in the unit that the name ends with.
            labels: a value for each label that was declared.

        Raises:
            TypeError: a label is missing, or was not declared.
            ValueError: the value is infinite or not a number.
        """
        if not math.isfinite(value):
            raise ValueError(f"{self.name}: must be a finite number; given: {value}")
        counts.observe(self._place(labels), self.bounds, value)


def counter(name: str, description: str, *, labels: LabelSpec = (), limit: int = 100) -> Counter:
    """Declare a counter.

    Args:
        name: what is counted, ending in `_total`; with a unit, `_bytes_total` or `_seconds_total`.
        description: one sentence, for the HELP line.
        labels: the values of each label, as in `{"kind": ("web", "shop")}`. They are reported from the start, as 0.
            Every other value is counted as `other`. If the values are not known, give only the names: `("kind",)`.
        limit: if only names are given, the largest number of sets of values. All further sets are counted as `other`.

    Raises:
        MetricError: the name, a label or the limit is wrong, or the metric exists.
    """
    if not name.endswith("_total"):
        raise MetricError(f"{name}: the name of a counter must end in _total, as in orders_total")
    return _register(Counter(name, description, labels=labels, limit=limit), name.removesuffix("_total"))


def histogram(
    name: str, description: str, *, labels: LabelSpec = (), buckets: Sequence[float] = REQUEST_SECONDS, limit: int = 100
) -> Histogram:
    """Declare a histogram.

    Args:
        name: what is measured, ending in its unit, such as `_seconds` or `_bytes`.
        description, labels, limit: as for a counter.
        buckets: at most 20 upper bounds, in rising order. Values above the last bound share one more bucket. The
            default suits times from 5 milliseconds to 10 seconds.

    Raises:
        MetricError: the name, a label, the buckets or the limit is wrong, or the metric exists.
    """
    bounds = tuple(float(bound) for bound in buckets)
    rising = all(low < high for low, high in pairwise(bounds))
    if not (1 <= len(bounds) <= BUCKET_LIMIT and rising and all(map(math.isfinite, bounds))):
        raise MetricError(f"{name}: buckets must be 1 to {BUCKET_LIMIT} finite numbers, each above the one before")
    return _register(Histogram(name, description, labels=labels, limit=limit, bounds=bounds), name)


def declared() -> list[Counter | Histogram]:
    """All metrics that this process has declared, in the order of their declarations."""
    return list(_declared.values())


_declared: dict[str, Counter | Histogram] = {}


_Kind = TypeVar("_Kind", Counter, Histogram)


def _register(metric: _Kind, family: str) -> _Kind:
    _check_name(metric.name, family)
    if not metric.description.strip() or "\n" in metric.description:
        raise MetricError(f"{metric.name}: the description must be one line of text")
    # A counter x_total and a histogram x would be one family to OpenMetrics.
    if family in _declared:
        other = _declared[family].name
        raise MetricError(f"{metric.name}: {other} is already declared; use it, or choose another name")
    most = sum(each.most_series for each in [*_declared.values(), metric])
    if most > CUSTOM_SERIES_LIMIT:
        raise MetricError(
            f"{metric.name}: with it, a team's own metrics could have {most} series, and {CUSTOM_SERIES_LIMIT} is the"
            " limit; declare fewer values for its labels, or a lower limit"
        )
    _declared[family] = metric
    return metric


def _check_name(name: str, family: str) -> None:
    if not _is_name(name) or len(name) > _NAME_BYTES:
        rule = f"ASCII letters, digits and underscores, begin with a letter, and have at most {_NAME_BYTES} characters"
        raise MetricError(f"{name!r}: a metric's name must be {rule}")
    if name.startswith(OWN_PREFIXES):
        raise MetricError(
            f"{name}: names that begin with {', '.join(OWN_PREFIXES)} are for the service's own metrics; choose another"
        )
    if family.endswith(_RESERVED_SUFFIXES):
        raise MetricError(f"{name}: Prometheus itself adds {', '.join(_RESERVED_SUFFIXES)} to names; leave it out")
    unit = family.rpartition("_")[2].lower()
    for base, others in _BASE_UNITS.items():
        if unit in others:
            raise MetricError(f"{name}: Prometheus' unit is {base}; count in {base}, and say so in the name")


def _label_names(name: str, labels: LabelSpec) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise MetricError(f'{name}: labels must be a tuple of names, as in labels=("{labels}",)')
    names = tuple(labels)
    wrong = [label for label in names if not _is_name(label) or label in _RESERVED_LABELS]
    if wrong or len(set(names)) != len(names) or len(names) > _LABEL_LIMIT:
        rule = "different names of ASCII letters, digits and underscores, without le and quantile"
        raise MetricError(f"{name}: labels must be at most {_LABEL_LIMIT} {rule}")
    return names


def _declared_values(name: str, labels: LabelSpec) -> tuple[tuple[str, ...], ...] | None:
    """The values of each label; None if only the names are declared."""
    if not isinstance(labels, Mapping):
        return None if labels else ()
    for label, values in labels.items():
        if isinstance(values, str) or not values or len(set(values)) != len(values):
            raise MetricError(f'{name}: the values of {label} must be different texts, as in {{"{label}": ("a", "b")}}')
        if any(value != cut(value, _VALUE_BYTES) or "\0" in value for value in values):
            raise MetricError(
                f"{name}: a value of {label} is longer than {_VALUE_BYTES} bytes of UTF-8 text; give a shorter one"
            )
    return tuple(tuple(values) for values in labels.values())
