import pytest

from groundwork.data import queue_estimate
from groundwork.data.queue_estimate import QueueEstimate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as a list of one number."""
    now = [1000.0]
    monkeypatch.setattr(queue_estimate, "monotonic", lambda: now[0])
    return now


def serve(queue: QueueEstimate, clock: list[float], count: int, seconds_each: float) -> None:
    for _ in range(count):
        clock[0] += seconds_each
        queue.served()


def test_nobody_waits_behind_nobody(clock: list[float]) -> None:
    assert QueueEstimate().seconds(0) == 0


def test_a_quick_database_is_assumed_until_more_is_known(clock: list[float]) -> None:
    queue = QueueEstimate()
    queue.begin()
    assert queue.seconds(2000) == pytest.approx(0.5)
    serve(queue, clock, 63, 0.01)
    assert queue.seconds(2000) == pytest.approx(0.5)


def test_the_wait_follows_the_pace(clock: list[float]) -> None:
    queue = QueueEstimate()
    queue.begin()
    serve(queue, clock, 448, 0.01)
    assert queue.seconds(50) == pytest.approx(0.5)
    serve(queue, clock, 448, 0.001)
    assert queue.seconds(50) == pytest.approx(0.05)


@pytest.mark.parametrize("seconds", [0.15, 3])
def test_a_hiccup_is_no_pace(clock: list[float], seconds: float) -> None:
    queue = QueueEstimate()
    queue.begin()
    serve(queue, clock, 640, 0.0005)
    clock[0] += seconds
    serve(queue, clock, 64, 0.0005)
    assert queue.seconds(1000) == pytest.approx(0.5)


def test_a_database_that_becomes_slow_is_known_to_be_after_four_measurements(clock: list[float]) -> None:
    queue = QueueEstimate()
    queue.begin()
    serve(queue, clock, 640, 0.0005)
    serve(queue, clock, 4 * 64, 0.01)
    assert queue.seconds(50) == pytest.approx(0.5)


def test_a_stall_is_forgotten_with_the_queue_that_it_made(clock: list[float]) -> None:
    queue = QueueEstimate()
    queue.begin()
    serve(queue, clock, 320, 1)
    assert queue.seconds(1) > 0.4
    clock[0] += 3600
    queue.begin()
    assert queue.seconds(500) == pytest.approx(0.5)


def test_an_ordinary_pace_is_remembered_when_the_next_queue_begins(clock: list[float]) -> None:
    queue = QueueEstimate()
    queue.begin()
    serve(queue, clock, 448, 0.0005)
    queue.begin()
    assert queue.seconds(1000) == pytest.approx(0.5)


def test_a_queue_faster_than_assumed_stays_known_as_such(clock: list[float]) -> None:
    queue = QueueEstimate()
    queue.begin()
    serve(queue, clock, 448, 0.0001)
    queue.begin()
    assert queue.seconds(1000) == pytest.approx(0.1)
