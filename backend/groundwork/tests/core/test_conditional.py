"""Entity tags: how they are made from versions, read back, and found in the lists that clients send."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import Request

from groundwork.data.versions import ALWAYS, Condition
from groundwork.errors import Invalid, PreconditionFailed
from groundwork.http.conditional import entity_tag, get_condition

FIRST = datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=UTC)
SECOND = FIRST + timedelta(microseconds=1)
A, B = entity_tag(FIRST), entity_tag(SECOND)
FOREIGN = b'"33a64df5"'


@dataclass
class Resource:
    updated_at: datetime


async def read(*fields: tuple[bytes, bytes]) -> Condition:
    return await get_condition(Request({"type": "http", "headers": [(b"host", b"test"), *fields]}))


async def if_match(*values: bytes) -> Any:
    return (await read(*((b"if-match", value) for value in values))).any_of


async def if_none_match(*values: bytes) -> Any:
    return (await read(*((b"if-none-match", value) for value in values))).none_of


@pytest.mark.parametrize(
    "version", [FIRST, SECOND, datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(2999, 12, 31, tzinfo=UTC)]
)
async def test_a_tag_is_read_as_the_version_from_which_it_was_made(version: datetime) -> None:
    assert await if_match(entity_tag(version)) == [version]


def test_two_versions_have_two_tags() -> None:
    assert A != B
    assert not A.startswith(b"W/")


async def test_without_the_headers_there_is_no_condition() -> None:
    assert await read() is ALWAYS


@pytest.mark.parametrize(
    ("values", "versions"),
    [
        ([A], [FIRST]),
        ([A + b"," + B], [FIRST, SECOND]),
        ([A + b" \t, " + B], [FIRST, SECOND]),
        ([b" ,, " + A + b",\t," + B + b", ,"], [FIRST, SECOND]),
        ([A, B], [FIRST, SECOND]),
        ([FOREIGN + b", " + B], [SECOND]),
        ([b'"a,b", ' + B], [SECOND]),
        ([b'"", "' + bytes(range(0x80, 0x100)) + b'"'], []),
        ([b""], []),
        ([b" , "], []),
        ([b"*"], None),
        ([b" * "], None),
    ],
    ids=str,
)
async def test_a_list_of_tags(values: list[bytes], versions: list[datetime] | None) -> None:
    assert await if_match(*values) == versions
    assert await if_none_match(*values) == versions


async def test_a_weak_tag_counts_only_where_the_comparison_is_weak() -> None:
    assert await if_match(b"W/" + A) == []
    assert await if_none_match(b"W/" + A) == [FIRST]
    assert await if_match(b"W/" + A + b", " + B) == [SECOND]


@pytest.mark.parametrize("tag", [b'"1-0"', b'"1-01"', b'"1-A"', b'"1-"', b'"1-fffffffffffffff"', b'"2-1"', b'"1--1"'])
async def test_what_only_looks_like_a_tag_of_ours_names_no_version(tag: bytes) -> None:
    assert await if_match(tag) == []


@pytest.mark.parametrize(
    "value",
    [b"1-a", b'"1-a', b'1-a"', b"'1-a'", b'"a" "b"', b'"a";"b"', b'w/"a"', b'W/ "a"', b'"a"b"', b'*, "a"', b"**",
     b'"a b"', b'"\x7f"', b"W/*", b"null"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
async def test_what_is_no_list_of_tags_is_refused(name: str, value: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        await read((name.lower().encode(), value))
    (error,) = caught.value.errors
    assert (error["loc"], error["type"]) == (["header", name], "etags")


async def test_a_hostile_list_takes_no_time() -> None:
    for value in (b", " * 30_000 + b"x", b'"a"' + b" \t" * 30_000 + b"x", b'"a", ' * 12_000 + b'"'):
        with pytest.raises(Invalid):
            await if_match(value)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (ALWAYS, True),
        (Condition(any_of=[SECOND, FIRST]), True),
        (Condition(any_of=[SECOND]), False),
        (Condition(any_of=[]), False),
        (Condition(none_of=[SECOND]), True),
        (Condition(none_of=[SECOND, FIRST]), False),
        (Condition(none_of=None), False),
        (Condition(any_of=[FIRST], none_of=[FIRST]), False),
        (Condition(any_of=[FIRST], none_of=[SECOND]), True),
    ],
)
def test_a_condition_holds_or_not(condition: Condition, holds: bool) -> None:
    one = Resource(FIRST)
    if holds:
        condition.require(one)
    else:
        with pytest.raises(PreconditionFailed):
            condition.require(one)
