import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest

from groundwork import ids

MANY = 20_000


@pytest.fixture(autouse=True)
def fresh_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No id was made before."""
    monkeypatch.setattr(ids, "_last_tick", 0)


def set_clock(monkeypatch: pytest.MonkeyPatch, nanoseconds: int) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds)


def test_ids_have_the_layout_of_rfc_9562(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 0x0198_C0DE_7A3E * 1_000_000 + 500_000)
    id = ids.uuid7()
    assert id.version == 7
    assert id.variant == RFC_4122
    assert id.int >> 80 == 0x0198_C0DE_7A3E, "48 bits of milliseconds"
    assert id.int >> 64 & 0xFFF == 2048, "12 bits of the millisecond's fraction"


def test_the_rest_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 10**18)
    tails = {ids.uuid7().int & (2**62 - 1) for _ in range(1000)}
    assert len(tails) == 1000
    seen = 0
    for tail in tails:
        seen |= tail
    assert seen == 2**62 - 1, "every bit is used"


def test_ids_are_unique_and_in_order() -> None:
    made = [ids.uuid7() for _ in range(MANY)]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert [str(id) for id in made] == sorted(str(id) for id in made)


def test_creation_times_follow_the_order_of_ids() -> None:
    times = [ids.created_at(ids.uuid7()) for _ in range(MANY)]
    assert times == sorted(times)


@pytest.mark.parametrize("steps", [[0, -1], [0, -3600 * 10**9, 10], [0] * 50], ids=["by 1 ns", "by an hour", "stopped"])
def test_ids_stay_in_order_when_the_clock_does_not(monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> None:
    now = time.time_ns()
    made = []
    for step in steps:
        set_clock(monkeypatch, now := now + step)
        made.append(ids.uuid7())
    assert all(earlier < later for earlier, later in pairwise(made))


def test_a_clock_that_was_set_back_is_followed_again_when_it_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 2 * 10**18)
    ids.uuid7()
    set_clock(monkeypatch, 10**18)
    ids.uuid7()
    set_clock(monkeypatch, 3 * 10**18)
    assert ids.created_at(ids.uuid7()) == datetime.fromtimestamp(3 * 10**9, UTC)


@pytest.mark.parametrize("nanoseconds", [0, 1, 999, 1_000, 123_456_789, 999_999_999, 10**18 + 987_654_321])
def test_the_creation_time_is_that_of_the_clock_to_the_microsecond(
    monkeypatch: pytest.MonkeyPatch, nanoseconds: int
) -> None:
    exact = datetime(2026, 11, 23, 17, 39, 8, tzinfo=UTC)
    set_clock(monkeypatch, int(exact.timestamp()) * 10**9 + nanoseconds)
    difference = exact + timedelta(microseconds=nanoseconds // 1000) - ids.created_at(ids.uuid7())
    assert timedelta(0) <= difference <= timedelta(microseconds=1)


def test_the_creation_time_can_be_read_from_any_uuid7() -> None:
    assert ids.created_at(UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")) == datetime(
        2022, 2, 22, 19, 22, 22, 797, tzinfo=UTC
    ), "the example of RFC 9562, appendix A.6: 2022-02-22 19:22:22.000 UTC, whose fraction is random there"


def test_largest_is_greater_than_every_id(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ids.uuid7() < ids.LARGEST
    set_clock(monkeypatch, (2**48 - 1) * 1_000_000)
    assert ids.uuid7() < ids.LARGEST


@pytest.mark.parametrize("year", [2026, 2037, 2241])
def test_every_creation_time_is_exact_to_the_microsecond(year: int) -> None:
    start = int(datetime(year, 12, 31, 23, 59, 58, tzinfo=UTC).timestamp()) * 10**6
    for microsecond in range(start, start + 10**6, 97):
        # The tick that begins in this microsecond, as the id's first 64 bits hold it.
        milliseconds, fraction = divmod(-(-(microsecond << 12) // 1000), 1 << 12)
        id = UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 1 << 63)
        assert ids.created_at(id) == datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microsecond)
