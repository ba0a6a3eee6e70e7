"""Each type of a body and of a column: accepted values are read back equal, and no value causes a 500."""

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sqlmodel import select

from app.core.config import Settings
from app.main import create_app
from groundwork.data.ownership import owned
from groundwork.data.rows import optional_equals
from groundwork.data.statement import Statement
from groundwork.serve import user_data
from groundwork.serve.maintenance_connection import maintenance_connection
from groundwork.testing.contract import bad_input
from groundwork.testing.http import INTERNAL, assert_problem, client_of
from groundwork.testing.resource import Differs, Resource
from groundwork.tests.http import all_types
from groundwork.tests.http.all_types import Members, Place
from groundwork.tests.stock import create_stock_app

PATH = "/api/alice/specimens"
JSON = {"content-type": "application/json"}
SPOT = {"name": "Tivoli", "distance": "1.50"}
PLACE = {"name": "Rome", "since": "2026-11-23", "near": [SPOT]}
SPECIMEN: dict[str, Any] = {
    "note": "größer",
    "nickname": "Alice",
    "code": "ABC",
    "website": "https://example.com/a?b=%C3%BC",
    "small": 5,
    "big": 2**63 - 1,
    "level": 2,
    "weight": 0.1,
    "done": True,
    "price": "12.50",
    "ratio": "0.333333333333333333333333333333",
    "day": "2026-11-23",
    "born": "2000-02-29",
    "moment": "2026-11-23T17:39:08.123456Z",
    "opens": "09:30:00",
    "lasts": "P1DT2H",
    "reference": "0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c",
    "colour": "dark red",
    "mood": "fine",
    "tags": ["a", 'b,"c"'],
    "scores": [1, -2],
    "prices": ["1.10", "-2.00"],
    "place": PLACE,
    "places": [PLACE, PLACE],
    "counts": {"0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c": 5},
    "extra": {"a": [1, 2.5, None, True, {"b": "ü"}]},
    "anything": [{"a": 1}, "b", None],
    "maybe": None,
}


def deep(levels: int, value: Any = None) -> Any:
    for _ in range(levels):
        value = [value]
    return value


# JSON that json.dumps does not write.
RAW = {"<huge>": "1e999", "<tiny>": "1e-999", "<exponent>": "1e1000000000"}
VALUES: dict[str, list[Any]] = {
    "any": [None, True, *RAW, [], {}, [None], [[]], [{}], {"a": None}, {"": ""}, deep(198), deep(250), "", "\ud800"],
    "integers": [0, -1, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**400],
    "long integers": [10**4299, -(10**4299)],
    "doubles": [1.0, 1.5, -0.0, 1e308, -1e308, 5e-324, math.inf, math.nan],
    "texts": [
        "\0",
        "a\0b",
        "\\u0000",
        "\ud800",
        "\udfff\ud800",
        "\uffff",
        "\u2028",
        "👋",
        "x" * 10_000,
        "'; --",
        "{}",
        "NULL",
    ],
    "numbers": ["5", "-0", "0.10", "007", "9999999999.99", "-9999999999.99", "99999999999", "0.001", "1." + "1" * 100],
    "no numbers": [
        "1e5",
        "1e999999999",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        " 1",
        "1_0",
        "+1",
        "1.",
        ".5",
        "\uff11\uff12",
        "9" * 101,
    ],
    "codes": ["XYZ", "xyz", "ABC\n"],
    "addresses": [
        "HTTP://EXAMPLE.com:80",
        "https://example.com/" + "ü" * 340,
        "ftp://example.com",
        "https://example.com/\0",
        " https://example.com",
    ],
    "dates": [
        "0001-01-01",
        "9999-12-31",
        "2000-02-29",
        "0000-01-01",
        "10000-01-01",
        "2026-02-29",
        "2026-1-1",
        "20260101",
    ],
    "moments": [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00.000001Z",
        "0001-01-01T00:00:00+23:59",
        "0001-01-01T23:59:59-00:01",
        "9999-12-31T23:59:59.999998Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-23:59",
        "0000-12-31T23:59:59-12:00",
        "2026-11-23T17:39:08+05:45",
        "2026-11-23t17:39:08z",
        "2026-11-23T17:39:08",
        "2026-11-23 17:39:08Z",
        "2026-11-23T17:39:08.1234567Z",
        "2026-11-23T23:59:60Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T17:39:08+24:00",
        "2026-11-23T17:39:08+00:00:30",
        "infinity",
        "1577836800",
    ],
    "times": ["00:00:00", "23:59:59.999999", "24:00:00", "12:30", "12:30:00Z", "12:30:00+02:00", "12:30:61"],
    "durations": [
        "PT0S",
        "-P1D",
        "P1Y35D",
        "P999999999D",
        "-P999999999D",
        "P1000000000D",
        "PT0.000001S",
        "P1W",
        "P1M",
        "P",
        "PT",
        "1 day, 2:00:00",
        "12:30:00",
        "P2739726Y9DT23H59M59.999999S",
        f"P{'9' * 30}D",
    ],
    "ids": ["0198C0DE-7A3E-7C41-9D5B-3F6F0F1E2D3C", "0198c0de7a3e7c419d5b3f6f0f1e2d3c", "0198c0de"],
    "enumerations": ["DARK_RED", "GREEN", "green", "poor", "GOOD", "1", 1, 3],
    "objects": [
        {"\0": 1},
        {"a": {"b": ["\0"]}},
        {"0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c": 2**63},
        {"0198C0DE7A3E7C419D5B3F6F0F1E2D3C": 2**63 - 1},
        {"a": "<huge>"},
        {"\ud800": 1},
        {"__proto__": {"toString": 1}, "$ref": "x", "a.b": [10**4299]},
        {**PLACE, "name": "\0"},
        {**PLACE, "name": 1},
        {**PLACE, "near": [{**SPOT, "distance": 1.5}]},
        {**PLACE, "near": [SPOT, {**SPOT, "name": "a\0"}]},
        {**PLACE, "since": "2026"},
        {**PLACE, "unknown": "\0"},
    ],
}
EACH = [value for values in VALUES.values() for value in values]


def written(body: Any) -> bytes:
    text = json.dumps(body)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode()


def meant(member: str, value: Any) -> Any:
    """The value in one normal form: 1.5 and 1.50, for example, mean the same."""
    if member in ("extra", "anything"):
        return as_doubles(value)
    if member == "weight":
        return 0.0 if value == "<tiny>" else float(value)
    parsed = _ADAPTERS[member].validate_python(value)
    return parsed.model_dump() if isinstance(parsed, Place) else parsed


def as_doubles(value: Any) -> Any:
    """The value with its numbers as doubles, as most programs read JSON."""
    if isinstance(value, dict):
        return {name: as_doubles(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_doubles(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) > sys.float_info.max else float(value)
    return 0.0 if value == "<tiny>" else value


_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter[Any](field.annotation or Any) for name, field in Members.model_fields.items()
}


@pytest.fixture
async def clients(settings: Settings, connection: asyncpg.Connection) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two services on one database: with the fast routes, and with FastAPI's own."""
    await all_types.create_table(connection)
    async with AsyncExitStack() as stack:
        clients = []
        for app in (create_app(settings), create_stock_app(settings)):
            app.include_router(all_types.router)
            await stack.enter_async_context(app.router.lifespan_context(app))
            clients.append(await stack.enter_async_context(client_of(app)))
        yield clients


@pytest.fixture
def client(clients: list[httpx.AsyncClient]) -> httpx.AsyncClient:
    return clients[0]


def shown(answer: httpx.Response) -> Any:
    """The parts of an answer that must be the same from both services."""
    body = answer.json()
    if isinstance(body, dict):
        for own in ("id", "created_at", "updated_at"):
            body.pop(own, None)
        body["tags"] = sorted(body.get("tags", ()))
    return answer.status_code, body


async def judge(answers: list[httpx.Response], changes: dict[str, Any]) -> bool:
    """Check the answers of both services. Returns whether the value was accepted."""
    first, second = answers
    assert shown(first) == shown(second)
    if first.status_code == 400:
        errors = assert_problem(first, 400)["errors"]
        assert all(error["type"] == "json_invalid" or error["loc"][1] in changes for error in errors), errors
        return False
    assert first.status_code in (200, 201), first.text
    body = first.json()
    for member, value in changes.items():
        assert meant(member, body[member]) == meant(member, value), member
    return True


async def test_each_type_comes_back_as_it_was_sent(clients: list[httpx.AsyncClient]) -> None:
    for client in clients:
        created = await client.post(PATH, json=SPECIMEN)
        assert created.status_code == 201, created.text
        body = created.json()
        location, tag = created.headers["location"], created.headers["etag"]
        read = await client.get(location)
        assert (read.content, read.headers["etag"]) == (created.content, tag)
        assert (await client.get(PATH)).json()[0] == body
        assert (await client.get(location, headers={"If-None-Match": tag})).status_code == 304
        # A client may send back what it has read.
        again = await client.put(location, json=body, headers={"If-Match": tag})
        assert again.status_code == 200, again.text
        assert again.json() == {**body, "updated_at": again.json()["updated_at"]}
        assert (await client.put(location, json=body, headers={"If-Match": tag})).status_code == 412
        body["tags"].sort()
        assert {name: body[name] for name in SPECIMEN} == SPECIMEN


@pytest.mark.parametrize("member", SPECIMEN)
async def test_no_value_is_a_defect(clients: list[httpx.AsyncClient], member: str) -> None:
    location = (await clients[0].post(PATH, json=SPECIMEN)).headers["location"]
    accepted = []
    for number, value in enumerate(EACH):
        changes = {member: value}
        body = written({**SPECIMEN, **changes})
        headers = {**JSON, "idempotency-key": f"{number}"} if number % 2 else JSON
        created = [await client.post(PATH, content=body, headers=headers) for client in clients]
        is_accepted = await judge(created, changes)
        changed = await clients[number % 2].put(location, content=written(changes), headers=JSON)
        assert await judge([changed, changed], changes) is is_accepted
        if is_accepted:
            accepted.append(value)
    assert 0 < len(accepted) < len(EACH)


_DIGITS = st.text("0123456789", min_size=1, max_size=12)
_DECIMALS = st.builds(lambda sign, whole, places: f"{sign}{whole}{places}", st.sampled_from(["", "-"]), _DIGITS,
                      st.one_of(st.just(""), _DIGITS.map(lambda digits: f".{digits}")))  # fmt: skip
# An error names the key that is wrong. Hypothesis takes some texts from the source, SQL among them.
_TEXTS = st.text(max_size=20).filter(lambda text: not any(word in text.lower() for word in INTERNAL))
_FREE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXTS, inner, max_size=4)),
    max_leaves=20,
)
_SPOTS = st.fixed_dictionaries({"name": _TEXTS, "distance": _DECIMALS})
_PLACES = st.fixed_dictionaries({"name": _TEXTS, "since": st.dates().map(str), "near": st.lists(_SPOTS, max_size=2)})
_MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "note": _TEXTS,
    "nickname": _TEXTS,
    "small": st.integers(-(2**32), 2**32),
    "big": st.integers(-(2**64), 2**64),
    "level": st.integers(0, 3),
    "weight": st.one_of(st.floats(), st.integers()),
    "done": st.booleans(),
    "price": _DECIMALS,
    "ratio": _DECIMALS,
    "day": st.dates().map(str),
    "moment": st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    "opens": st.times().map(str),
    "lasts": st.timedeltas().map(lambda value: TypeAdapter(Any).dump_python(value, mode="json")),
    "reference": st.uuids().map(str),
    "colour": st.sampled_from([*(each.value for each in all_types.Colour), "red"]),
    "mood": st.sampled_from([*all_types.Mood, "bad"]),
    "tags": st.lists(_TEXTS, max_size=4),
    "scores": st.lists(st.integers(-(2**32), 2**32), max_size=4),
    "prices": st.lists(_DECIMALS, max_size=4),
    "place": _PLACES,
    "places": st.lists(_PLACES, max_size=3),
    "counts": st.dictionaries(st.uuids().map(str), st.integers(-(2**64), 2**64), max_size=3),
    "extra": st.dictionaries(_TEXTS, _FREE, max_size=4),
    "anything": _FREE,
    "maybe": st.one_of(st.none(), _DECIMALS),
}
_SOME = st.lists(st.sampled_from(list(_MEMBERS)), max_size=3, unique=True)
_CHANGES = _SOME.flatmap(
    lambda names: st.fixed_dictionaries({name: st.one_of(*[_MEMBERS[name]] * 4, _FREE) for name in names})
)


async def test_what_is_accepted_is_read_back_equal(clients: list[httpx.AsyncClient]) -> None:
    loop = asyncio.get_running_loop()
    accepted = 0

    async def send(changes: dict[str, Any]) -> bool:
        body = written({**SPECIMEN, **changes})
        return await judge([await client.post(PATH, content=body, headers=JSON) for client in clients], changes)

    @profile(
        max_examples=500,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType] - its metaclass has no types
    )
    @given(_CHANGES)
    def try_bodies(changes: dict[str, Any]) -> None:
        nonlocal accepted
        accepted += asyncio.run_coroutine_threadsafe(send(changes), loop).result()

    await asyncio.to_thread(try_bodies)
    assert accepted > 100


@pytest.mark.parametrize("member", ["moment", "price", "big", "note", "mood"])
async def test_no_value_of_a_parameter_is_a_defect(clients: list[httpx.AsyncClient], member: str) -> None:
    for value in EACH:
        text = value if isinstance(value, str) else json.dumps(value)
        query = urlencode({member: text}, errors="surrogatepass")
        answers = [await client.get(f"{PATH}?{query}") for client in clients]
        assert answers[0].content == answers[1].content
        if answers[0].status_code != 200:
            [error] = assert_problem(answers[0], 400)["errors"]
            assert error["loc"][:1] == ["query"]


async def test_an_export_has_every_digit(
    clients: list[httpx.AsyncClient], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await clients[0].post(PATH, json=SPECIMEN)).status_code == 201
    monkeypatch.setattr(user_data, "metadata", all_types.Specimen.metadata)
    async with maintenance_connection(settings) as connection:
        [line] = [line async for line in user_data.export(connection, "alice")]
    row = json.loads(line, parse_float=str)["row"]
    kept = {
        "ratio": SPECIMEN["ratio"],
        "price": "12.50",
        "big": 2**63 - 1,
        "extra": {"a": [1, "2.5", None, True, {"b": "ü"}]},
    }
    assert {name: row[name] for name in kept} == kept


RESOURCE = Resource("specimen", required=SPECIMEN)


async def test_the_contract_holds(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    await bad_input.test_no_value_is_a_defect(client, connection, RESOURCE)
    with_types = {member: value for member, value in SPECIMEN.items() if member != "anything"}
    await bad_input.test_each_member_is_of_its_type(client, connection, Resource("specimen", required=with_types))


@pytest.mark.parametrize(
    ("member", "narrower"),
    [
        ("big", "integer"),
        ("note", "varchar(100)"),
        ("price", "numeric(4, 2)"),
        ("ratio", "numeric(8, 6)"),
        ("scores", "smallint[]"),
    ],
)
async def test_the_contract_finds_a_column_that_is_narrower_than_its_member(
    client: httpx.AsyncClient, connection: asyncpg.Connection, member: str, narrower: str
) -> None:
    await connection.execute(
        f"ALTER TABLE specimens ALTER {member} TYPE {narrower} USING NULL, ALTER {member} DROP NOT NULL"
    )
    resource = Resource("specimen", required={**SPECIMEN, "note": "x", "big": 1, "ratio": "1.5", "price": "1.50"})
    with pytest.raises(AssertionError, match=f"^{member}: .* give the member the bounds of its column"):
        await bad_input.test_no_value_is_a_defect(client, connection, resource)


async def test_the_contract_finds_a_parameter_without_bounds(client: httpx.AsyncClient) -> None:
    app: Any = client._transport.app  # type: ignore[attr-defined]
    await bad_input.test_no_value_of_a_parameter_is_a_defect(app, client, {})
    app.include_router(all_types.unbounded)
    app.openapi_schema = None
    with pytest.raises(AssertionError, match=r"^list_small_ones: small=.* give the parameter bounds"):
        await bad_input.test_no_value_of_a_parameter_is_a_defect(app, client, {})
    differs = {"list_small_ones": Differs("It is meant so.")}
    await bad_input.test_no_value_of_a_parameter_is_a_defect(app, client, differs)


async def test_a_list_may_be_filtered_by_each_type(connection: asyncpg.Connection) -> None:
    """PostgreSQL must know the type of a parameter that a statement compares with NULL first."""
    await all_types.create_table(connection)
    table: Any = all_types.Specimen.__table__  # type: ignore[attr-defined]
    for column in (each for each in table.columns if not each.primary_key):
        statement = Statement(
            select(all_types.Specimen).where(owned(all_types.Specimen), optional_equals(column)),
            returns=all_types.SpecimenRead,
        )
        await connection.prepare(statement.sql)
