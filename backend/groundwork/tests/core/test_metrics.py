"""Counting in memory that several workers share. Here one process plays each worker in turn."""

import logging

import pytest

from groundwork.observe.metrics import DATABASE_ERROR, IN_FLIGHT, OTHER, REQUEST, SHED, WORKERS, Counts


@pytest.fixture
def counts() -> Counts:
    counts = Counts()
    counts.share(workers=2)
    return counts


def start_worker(counts: Counts) -> int:
    slot = counts.reserve()
    counts.take(slot)
    return slot


def test_the_totals_are_the_sums_over_all_workers(counts: Counts) -> None:
    for status in (200, 404):
        start_worker(counts)
        counts.values[SHED] += 2
        counts.request("GET", "/things", 200, 0.003)
        counts.request("GET", "/things", status, 7)
        counts.database_error("23")
    totals = counts.totals()
    assert (totals.fixed[SHED], totals.fixed[WORKERS], totals.restarts) == (4, 2, 0)
    assert totals.labelled == {
        (REQUEST, "GET", "/things", "200"): [pytest.approx(7.006), 2, *[0] * 9, 1, *[0] * 10],
        (REQUEST, "GET", "/things", "404"): [7, *[0] * 10, 1, *[0] * 10],
        (DATABASE_ERROR, "23"): [2, *[0] * 21],
    }


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, 0), (0.005, 0), (0.0051, 1), (0.5, 6), (10, 10), (10.1, 11), (1e9, 11)]
)
def test_a_bucket_holds_what_is_at_most_its_bound(counts: Counts, seconds: float, bucket: int) -> None:
    counts.request("GET", "/", 200, seconds)
    (numbers,) = counts.totals().labelled.values()
    assert numbers[0] == seconds
    assert [place for place, number in enumerate(numbers[1:]) if number] == [bucket]


def test_the_next_worker_counts_on_where_one_ended(counts: Counts) -> None:
    first, second = start_worker(counts), start_worker(counts)
    counts.take(first)
    counts.values[IN_FLIGHT] += 3
    counts.request("GET", "/things", 200, 1)
    counts.release(first)
    assert counts.totals().fixed[IN_FLIGHT] == 0
    assert counts.totals().labelled[REQUEST, "GET", "/things", "200"][0] == 1
    assert start_worker(counts) == first != second
    counts.request("GET", "/things", 200, 1)
    counts.request("GET", "/others", 200, 1)
    totals = counts.totals()
    assert totals.labelled[REQUEST, "GET", "/things", "200"][0] == 2
    assert totals.labelled[REQUEST, "GET", "/others", "200"][0] == 1
    assert totals.restarts == 2  # `take` by hand, and the successor


def test_there_are_slots_for_those_that_begin_before_others_end(counts: Counts) -> None:
    slots = {start_worker(counts) for _ in range(6)}
    assert len(slots) == 6
    assert counts.totals().restarts == 4


def test_the_memory_is_made_once(counts: Counts) -> None:
    start_worker(counts)
    counts.values[SHED] += 1
    counts.share(workers=4)
    assert counts.totals().fixed[SHED] == 1


def test_methods_that_nobody_serves_are_one(counts: Counts) -> None:
    for number in range(100):
        counts.request(f"METHOD{number}", "", 404, 0)
    assert list(counts.totals().labelled) == [(REQUEST, OTHER, "", "404")]


def test_a_name_of_any_length_and_alphabet_is_kept_apart_from_the_numbers(counts: Counts) -> None:
    long = "/" + "👋" * 200
    for route in ("/größe/{👋}", long):
        counts.request("GET", route, 200, 1)
    (one, first), (two, second) = counts.totals().labelled.items()
    assert one == (REQUEST, "GET", "/größe/{👋}", "200")
    assert two == (REQUEST, "GET", long[:112], "200")
    assert first == second


def test_what_is_beyond_the_limit_harms_nothing(counts: Counts, caplog: pytest.LogCaptureFixture) -> None:
    slot, other = counts.reserve(), counts.reserve()
    counts.take(other)
    counts.request("GET", "/", 200, 1)
    counts.take(slot)
    with caplog.at_level(logging.ERROR):
        for number in range(6200):
            counts.request("GET", f"/{number}", 200, 1)
    labelled = counts.totals().labelled
    assert len(labelled) == 6144 + 1
    assert labelled[REQUEST, "GET", "/", "200"][0] == 1
    assert "more series than 6144" in caplog.text
