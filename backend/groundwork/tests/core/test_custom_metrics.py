"""A team's own counters and histograms: declarations, label values, bounded memory."""

import logging
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from groundwork.observe import custom_metrics, metrics
from groundwork.observe.custom_metrics import MetricError, counter, histogram
from groundwork.observe.metrics import Counts
from groundwork.serve.metrics_endpoint import MetricsEndpoint, ServiceCollector


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Fresh memory and declarations for each test. The test's process plays each worker in turn."""
    counts = Counts()
    counts.share(workers=2)
    counts.take(counts.reserve())
    monkeypatch.setattr(custom_metrics, "counts", counts)
    monkeypatch.setattr(custom_metrics, "_declared", {})
    return counts


def next_worker(counts: Counts) -> None:
    counts.take(counts.reserve())


async def told(counts: Counts) -> list[str]:
    """The lines of the scrape that are about custom metrics."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError

    scope = {"type": "http", "path": "/metrics", "method": "GET", "headers": []}
    await MetricsEndpoint(counts, version="1", revision="a")(scope, receive, send)
    lines: list[str] = sent[1]["body"].decode().splitlines()
    names = [metric.name for metric in custom_metrics.declared()]
    return [line for line in lines if re.sub("^# (HELP|TYPE) ", "", line).startswith(tuple(names))]


async def test_a_counter_of_declared_values_begins_at_0(counts: Counts) -> None:
    orders = counter("orders_total", "Orders placed.", labels={"kind": ("web", "shop")})
    orders.inc(kind="web")
    orders.inc(2.5, kind="web")
    next_worker(counts)
    orders.inc(kind="web")
    orders.inc(kind="fax")
    orders.inc(kind="telex")
    assert await told(counts) == [
        "# HELP orders_total Orders placed.",
        "# TYPE orders_total counter",
        'orders_total{kind="web"} 4.5',
        'orders_total{kind="shop"} 0.0',
        'orders_total{kind="other"} 2.0',
    ]


async def test_without_labels_there_is_one_series(counts: Counts) -> None:
    counter("orders_total", "Orders placed.")
    assert (await told(counts))[2:] == ["orders_total 0.0"]
    custom_metrics.declared()[0].inc()  # type: ignore[union-attr]
    assert (await told(counts))[2:] == ["orders_total 1.0"]


async def test_a_histogram_has_its_own_buckets(counts: Counts) -> None:
    sizes = histogram("upload_bytes", "Size of an upload.", labels={"kind": ("photo",)}, buckets=(10, 100.5))
    for value in (10, 11, 100.5, 101, 5000):
        sizes.observe(value, kind="photo")
    assert await told(counts) == [
        "# HELP upload_bytes Size of an upload.",
        "# TYPE upload_bytes histogram",
        'upload_bytes_bucket{kind="photo",le="10.0"} 1.0',
        'upload_bytes_bucket{kind="photo",le="100.5"} 3.0',
        'upload_bytes_bucket{kind="photo",le="+Inf"} 5.0',
        'upload_bytes_count{kind="photo"} 5.0',
        'upload_bytes_sum{kind="photo"} 5222.5',
    ]


async def test_a_histogram_may_have_twenty_buckets(counts: Counts) -> None:
    times = histogram("order_seconds", "Time.", buckets=range(20))
    times.observe(18.5)
    times.observe(20)
    lines = await told(counts)
    assert 'order_seconds_bucket{le="19.0"} 1.0' in lines
    assert 'order_seconds_bucket{le="+Inf"} 2.0' in lines


def values(counts: Counts, metric: custom_metrics.Counter) -> dict[tuple[str, ...], float]:
    labelled = counts.totals().labelled
    return {labels[1:-1]: numbers[0] for labels, numbers in labelled.items() if labels[-1] == metric.key}


def test_the_first_values_are_kept_and_the_others_are_other(counts: Counts, caplog: pytest.LogCaptureFixture) -> None:
    visits = counter("visits_total", "Visits.", labels=("country",), limit=3)
    for country in ("at", "be", "ch", "de", "at", "es"):
        visits.inc(country=country)
    next_worker(counts)
    for country in ("be", "fr", "at", "gb"):
        visits.inc(country=country)
    expected = {("at",): 3, ("be",): 2, ("ch",): 1, ("other",): 4}
    assert values(counts, visits) == expected
    # Once in each worker, which is one process here.
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "visits_total: the limit of 3 sets of label values is reached" in caplog.text


def test_values_without_end_take_no_memory(counts: Counts, caplog: pytest.LogCaptureFixture) -> None:
    visits = counter("visits_total", "Visits.", labels=("country", "city"), limit=10)
    orders = counter("orders_total", "Orders.", labels={"kind": ("web",)})
    with caplog.at_level(logging.ERROR):
        for number in range(3000):
            visits.inc(country=str(number), city="x" * number)
            orders.inc(kind=str(number))
    assert len(values(counts, visits)) == 11
    assert sum(values(counts, visits).values()) == 3000
    assert values(counts, orders) == {("other",): 3000}
    assert len(counts.known_places) <= 11


@pytest.mark.parametrize(
    ("value", "kept"), [("", ""), ("é" * 40, "é" * 32), ("a\0b", "a b"), ("\ud800", "?"), ("a" * 65, "a" * 64)]
)
def test_any_text_is_a_value(counts: Counts, value: str, kept: str) -> None:
    visits = counter("visits_total", "Visits.", labels=("country",))
    visits.inc(country=value)
    visits.inc(country=value)
    assert values(counts, visits) == {(kept,): 2}


def test_what_a_worker_counted_before_it_was_killed_is_counted_on(counts: Counts) -> None:
    visits = counter("visits_total", "Visits.", labels=("country",))
    slot = counts.reserve()
    counts.take(slot)
    visits.inc(country="at")
    counts.release(slot)
    assert counts.reserve() == slot
    counts.take(slot)
    visits.inc(country="at")
    assert values(counts, visits) == {("at",): 2}


def test_the_name_that_a_killed_worker_had_begun_to_write_leaves_nothing_behind(counts: Counts) -> None:
    visits = counter("visits_total", "Visits.", labels=("country",))
    number = metrics._SERIES
    place = counts.place(("request", "GET", "/a/very/long/route/that/was/written/but/not/yet/counted", "200"))
    assert counts.values[number] == 1
    counts.values[number] = 0  # it was killed here
    counts.take(len(counts._slots) - 2)
    visits.inc(country="at")
    assert values(counts, visits) == {("at",): 1}
    assert counts.place(("custom", "at", visits.key)) == place


def test_counts_of_another_declaration_are_left_alone(counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    """This happens in development, when changed code is loaded again."""
    counter("orders_total", "Orders.", labels=("kind", "country")).inc(kind="a", country="b")
    monkeypatch.setattr(custom_metrics, "_declared", {})
    orders = counter("orders_total", "Orders.", labels=("kind",))
    orders.inc(kind="a")
    assert values(counts, orders) == {("a",): 1}


def test_threads_lose_no_count(counts: Counts) -> None:
    visits = counter("visits_total", "Visits.", labels=("country",))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for each in [threads.submit(_count, visits, f"{number % 3}") for number in range(8)]:
                each.result()
    finally:
        sys.setswitchinterval(before)
    assert sum(values(counts, visits).values()) == 8 * 5000


def _count(visits: custom_metrics.Counter, prefix: str) -> None:
    for number in range(5000):
        visits.inc(country=f"{prefix}{number % 7}")


@pytest.mark.parametrize("labels", [{}, {"kind": "web", "colour": "red"}, {"colour": "red"}])
def test_labels_that_were_not_declared_are_an_error(labels: dict[str, str]) -> None:
    orders = counter("orders_total", "Orders placed.", labels={"kind": ("web",)})
    with pytest.raises(TypeError, match="orders_total has these labels: kind; give these, and not "):
        orders.inc(**labels)


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf")])
def test_a_counter_only_rises(amount: float) -> None:
    with pytest.raises(ValueError, match="orders_total: a counter only rises"):
        counter("orders_total", "Orders placed.").inc(amount)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_histogram_takes_numbers(value: float) -> None:
    with pytest.raises(ValueError, match="order_seconds: must be a finite number"):
        histogram("order_seconds", "Time.").observe(value)


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda: counter("orders", "Orders."), "must end in _total"),
        (lambda: counter("_total", "Orders."), "begin with a letter"),
        (lambda: counter("new-orders_total", "Orders."), "ASCII letters, digits and underscores"),
        (lambda: counter("a:orders_total", "Orders."), "ASCII letters, digits and underscores"),
        (lambda: counter("größe_total", "Orders."), "ASCII letters"),
        (lambda: counter("o" * 95 + "_total", "Orders."), "at most 100 characters"),
        (lambda: counter("http_orders_total", "Orders."), "are for the service's own metrics"),
        (lambda: histogram("database_seconds", "Time."), "are for the service's own metrics"),
        (lambda: counter("wait_milliseconds_total", "Time."), "Prometheus' unit is seconds"),
        (lambda: histogram("order_ms", "Time."), "Prometheus' unit is seconds"),
        (lambda: histogram("upload_kb", "Size."), "Prometheus' unit is bytes"),
        (lambda: histogram("order_seconds_total", "Time."), "leave it out"),
        (lambda: histogram("order_count", "Orders."), "leave it out"),
        (lambda: counter("orders_total", ""), "the description must be one line of text"),
        (lambda: counter("orders_total", "Two\nlines."), "the description must be one line of text"),
        (lambda: counter("orders_total", "Orders.", labels="kind"), 'as in labels=\\("kind",\\)'),
        (lambda: counter("orders_total", "Orders.", labels=("ki nd",)), "without le and quantile"),
        (lambda: counter("orders_total", "Orders.", labels=("__kind",)), "without le and quantile"),
        (lambda: histogram("order_seconds", "Time.", labels=("le",)), "without le and quantile"),
        (lambda: counter("orders_total", "Orders.", labels=("a", "a")), "different names"),
        (lambda: counter("orders_total", "Orders.", labels=("a", "b", "c", "d", "e")), "at most 4"),
        (lambda: counter("orders_total", "Orders.", labels={"kind": ()}), "must be different texts"),
        (lambda: counter("orders_total", "Orders.", labels={"kind": "web"}), "must be different texts"),
        (lambda: counter("orders_total", "Orders.", labels={"kind": ("a", "a")}), "must be different texts"),
        (lambda: counter("orders_total", "Orders.", labels={"kind": ("a" * 65,)}), "longer than 64 bytes"),
        (lambda: counter("orders_total", "Orders.", labels=("kind",), limit=0), "the limit must be 1 or more"),
        (lambda: counter("orders_total", "Orders.", labels=("kind",), limit=5000), "2048 is the limit"),
        (lambda: histogram("order_seconds", "Time.", buckets=()), "buckets must be 1 to 20"),
        (lambda: histogram("order_seconds", "Time.", buckets=range(21)), "buckets must be 1 to 20"),
        (lambda: histogram("order_seconds", "Time.", buckets=(1, 1)), "each above the one before"),
        (lambda: histogram("order_seconds", "Time.", buckets=(1, float("inf"))), "finite"),
    ],
)
def test_a_wrong_declaration_says_what_to_do(declare: Callable[[], object], sentence: str) -> None:
    with pytest.raises(MetricError, match=sentence):
        declare()
    assert not custom_metrics.declared()


@pytest.mark.parametrize(
    "declare", [lambda: counter("order_seconds_total", "Orders."), lambda: histogram("order_seconds", "Time.")]
)
def test_a_name_is_declared_once(declare: Callable[[], object]) -> None:
    histogram("order_seconds", "Time.")
    with pytest.raises(MetricError, match="order_seconds is already declared"):
        declare()


def test_all_metrics_together_have_a_limit() -> None:
    for number in range(20):
        counter(f"orders_{number}_total", "Orders.", labels=("kind",))
    with pytest.raises(MetricError, match="could have 2121 series, and 2048 is the limit"):
        counter("orders_total", "Orders.", labels=("kind",))


def test_every_name_of_the_services_own_begins_as_no_teams_may(counts: Counts) -> None:
    families = ServiceCollector(counts, "1", "a", list).collect()
    names = [family.name for family in families]
    assert len(names) > 10
    assert [name for name in names if not name.startswith(custom_metrics.OWN_PREFIXES)] == []
