"""Lists that clients sort and filter."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from sqlalchemy import ARRAY, Text, bindparam
from sqlalchemy.orm import aliased
from sqlmodel import Field, col, select

from groundwork.data.listing import Listing
from groundwork.data.ownership import owned
from groundwork.data.tables import owner_column
from groundwork.fast.plain_conditions import why_not_plain
from groundwork.http.ordering import checksum, pages
from groundwork.http.paging import encode_cursor
from groundwork.serve.application import Application
from groundwork.serve.settings import Settings
from groundwork.testing import postgres, statements
from groundwork.testing.contract.document import PROBLEM, examples_of
from groundwork.testing.contract.paging import ids_from
from groundwork.testing.contract.sorting import *  # noqa: F403
from groundwork.testing.contract.sorting import cursor_of
from groundwork.testing.http import assert_problem, assert_rejected, client_of, statements_reported
from groundwork.testing.service import Service
from groundwork.testing.statements import Sent
from groundwork.tests.errands import ERRAND, LIST, Base, Errand, ErrandRead, create_app, create_template

ERRANDS = ERRAND.of("alice")
RESOURCES = [ERRAND]
DIFFERS: dict[str, Any] = {}


@pytest.fixture(scope="module")
def service_under_test() -> Service:
    return Service(create_app, Settings)


@pytest.fixture(scope="module")
def template_database(postgres_server: postgres.Server) -> Iterator[str]:
    name = create_template(postgres_server, postgres.TEMPLATE)
    yield name
    postgres_server.drop_database(name)


@pytest.fixture(autouse=True)
def errands_are_owned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell the plugin of this table. It looks for owned tables in the service's metadata, where this one is not."""
    monkeypatch.setattr(statements, "owned_tables", lambda: ["errands"])
    monkeypatch.setattr(statements, "_users_columns", lambda: {"errands": "user_id"})


async def titles(client: httpx.AsyncClient, **params: Any) -> list[str]:
    answer = await client.get(ERRANDS, params={"sort": "title", **params})
    assert answer.status_code == 200, answer.text
    return [one["title"] for one in answer.json()]


@pytest.fixture
async def three(connection: asyncpg.Connection) -> list[str]:
    """The ids of three errands, the oldest first."""
    return [
        await ERRAND.insert(connection, title="A", status="open", due_at="2026-01-01T00:00:00Z"),
        await ERRAND.insert(connection, title="B", status="late", due_at="2026-02-01T00:00:00Z"),
        await ERRAND.insert(connection, title="C", status="done"),
    ]


class TestFilters:
    async def test_several_values_of_one_parameter_select_the_rows_of_each(
        self, client: httpx.AsyncClient, three: list[str]
    ) -> None:
        assert await titles(client) == ["A", "B", "C"]
        assert await titles(client, status=["open"]) == ["A"]
        assert await titles(client, status=["open", "done"]) == ["A", "C"]

    async def test_a_range_has_its_first_and_not_its_last_and_no_row_without_a_value(
        self, client: httpx.AsyncClient, three: list[str]
    ) -> None:
        january, february = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
        for sort in ("title", "due_at"):
            assert await titles(client, sort=sort, due_from=january, due_before=february) == ["A"]
            assert await titles(client, sort=sort, due_from=february) == ["B"]
            assert await titles(client, sort=sort, due_before=february) == ["A"]
        assert await titles(client, status=["late", "done"], due_from=january) == ["B"]

    async def test_filters_are_kept_from_page_to_page(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, three: list[str]
    ) -> None:
        await ERRAND.insert(connection, title="Another's", status="done", due_at="2026-01-01T00:00:00Z")
        url = f"{ERRANDS}?status=open&status=late&sort=-due_at&due_before=2027-01-01T00%3A00%3A00Z&limit=1"
        assert await ids_from(client, url) == [three[1], three[0]]
        [link] = [(await client.get(url)).links["next"]["url"]]
        assert link.startswith(f"{url}&cursor=")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("status", "unknown"),
            ("status", ""),
            ("status", "\0"),
            ("due_from", "2026-01-01T00:00:00"),
            ("due_from", "yesterday"),
            ("word", "\0"),
            ("word", "x" * 101),
            ("total", "many"),
        ],
    )
    async def test_what_a_filter_cannot_be_is_refused(self, client: httpx.AsyncClient, name: str, value: str) -> None:
        problem = assert_problem(await client.get(ERRANDS, params={name: value}), 400)
        assert [error["loc"][:2] for error in problem["errors"]] == [["query", name]]

    async def test_a_search_takes_every_character_as_it_is(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        for title in ("50 % off", "a_b", "axb", "back\\slash", "Ärger"):
            await ERRAND.insert(connection, title=title)
        for word, found in (("%", "50 % off"), ("A_B", "a_b"), ("k\\s", "back\\slash"), ("äRG", "Ärger")):
            assert await titles(client, word=word) == [found]
        assert await titles(client, word="%%") == []

    async def test_a_lone_surrogate_finds_nothing(self, client: httpx.AsyncClient, three: list[str]) -> None:
        assert (await client.get(f"{ERRANDS}?word=%ED%A0%80")).json() == []


class TestTheTotal:
    async def total(self, client: httpx.AsyncClient, **params: Any) -> Any:
        answer = await client.get(ERRANDS, params=params)
        assert answer.status_code == 200
        return answer.headers.get("x-total-count")

    async def test_is_of_all_pages_and_of_the_filter(self, client: httpx.AsyncClient, three: list[str]) -> None:
        assert await self.total(client) is None
        assert await self.total(client, total="false") is None
        for limit in (1, 2, 3, 1000):
            assert await self.total(client, total="true", limit=limit) == "3"
            assert await self.total(client, total="true", limit=limit, status=["late", "done"]) == "2"
        assert await self.total(client, total="true", status="open", due_from="2027-01-01T00:00:00Z") == "0"

    async def test_is_not_asked_for_again_by_the_next_page_but_can_be(
        self, client: httpx.AsyncClient, three: list[str]
    ) -> None:
        first = await client.get(ERRANDS, params={"total": "true", "limit": 1})
        url = first.links["next"]["url"]
        assert "x-total-count" not in (await client.get(url)).headers
        assert (await client.get(f"{url}&total=true")).headers["x-total-count"] == "3"

    async def test_is_counted_only_where_the_page_does_not_tell_it(
        self, client: httpx.AsyncClient, sent_statements: list[Sent], three: list[str]
    ) -> None:
        await statements_reported()
        sent_statements.clear()
        for limit, count in ((3, 1), (2, 2)):
            await client.get(ERRANDS, params={"total": "true", "limit": limit})
            await statements_reported()
            assert len(sent_statements) == count
            assert {owner for each in sent_statements for owner in each.owners()} == {"alice"}
            sent_statements.clear()

    async def test_is_of_ones_own_rows(self, client: httpx.AsyncClient, three: list[str]) -> None:
        assert (await client.get(ERRAND.of("mallory"), params={"total": "true"})).headers["x-total-count"] == "0"


# Values that no row can hold, and values that PostgreSQL or the driver would refuse.
STRANGE = {
    "title": ["null", '"\\u0000"', '"\\ud800"', '"a', "1", "[]", ""],
    "due_at": ['"0001-01-01T00:00:00+23:59"', '"2026-01-01T00:00:00"', '"2026-01-01T00:00:00+00:00"', "0"],
    "read_at": ['"2026-01-01T00:00:00Z"', '"2026-01-01"', "1767225600"],
    "rank": ["1.0", "true", '"1"'],
    "steps": [str(2**63)],
    "size": [str(2**63), "9" * 5000],
    "price": ['"1E+100000000"', '"0E+100000000"', '"0E-20000"', '"-0E-100000000"', '"1E-100000000"', "12.5", '"abc"'],
    "weight": ["1e999", '"1.0"', "01.0"],
    "day": ['"2026-02-30"', '"2026-01-01T00:00:00"'],
    "urgent": ["1", '"true"'],
    "parent_id": ['"0"', '"{00000000-0000-0000-0000-000000000000}"'],
    "status": ['"OPEN"', '"unknown"'],
}
# No row has these values, and the page after them is well defined.
EXTREME = {
    "due_at": ["null", '"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"'],
    "rank": [str(2**31), str(-(2**31) - 1), str(2**63 - 1), str(-(2**63))],
    "steps": [str(2**15)],
    "price": ['"1E+999"', '"1E-999"', '"-0E+1000"', '"0E-1000"', '"-1E+999"'],
    "weight": ["NaN", "Infinity", "-Infinity", "5e-324", "-0.0"],
    "day": ['"0001-01-01"', '"9999-12-31"'],
}


@pytest.mark.parametrize("sort", STRANGE)
async def test_a_cursor_whose_value_cannot_be_the_columns_is_refused(client: httpx.AsyncClient, sort: str) -> None:
    """This holds even if somebody computes the checksum of such a cursor."""
    for value in STRANGE[sort]:
        for answer in await answers_after(client, sort, value):
            assert assert_rejected(answer, "query", "cursor") == "cursor", value


@pytest.mark.parametrize("sort", EXTREME)
async def test_a_cursor_with_a_value_at_the_edge_is_answered(client: httpx.AsyncClient, sort: str) -> None:
    for value in EXTREME[sort]:
        for answer in await answers_after(client, sort, value):
            assert answer.status_code == 200, (value, answer.text)


async def answers_after(client: httpx.AsyncClient, sort: str, value: str) -> list[httpx.Response]:
    """The answers to cursors that are made from a value in JSON, in both directions."""
    answers = []
    for order in (LIST.orders[sort], LIST.orders[f"-{sort}"]):
        packed = f'[{value},"{UUID(int=0)}"]'.encode()
        cursor = urlsafe_b64encode(b"\x02" + checksum(order, packed) + packed).decode().rstrip("=")
        answers.append(await client.get(ERRANDS, params={"sort": order.name, "cursor": cursor}))
    return answers


async def test_the_order_by_id_is_that_of_every_list(client: httpx.AsyncClient, three: list[str]) -> None:
    """So links from the time before the list could be sorted keep working."""
    assert await ids_from(client, f"{ERRANDS}?limit=1") == three[::-1]
    assert await ids_from(client, f"{ERRANDS}?limit=1&sort=-id") == three[::-1]
    assert await ids_from(client, f"{ERRANDS}?limit=1&sort=id") == three
    cursor = encode_cursor(UUID(three[1]))
    assert await ids_from(client, f"{ERRANDS}?cursor={cursor}") == [three[0]]
    assert await ids_from(client, f"{ERRANDS}?cursor={cursor}&sort=id") == [three[2]]
    assert_rejected(await client.get(ERRANDS, params={"cursor": "AQ"}), "query", "cursor")


async def test_the_document_names_the_orders(client: httpx.AsyncClient) -> None:
    operation = (await client.get("/openapi.json")).json()["paths"]["/api/{user_id}/errands"]["get"]
    parameters = {each["name"]: each for each in operation["parameters"]}
    assert parameters["sort"]["schema"]["enum"] == list(LIST.orders)
    assert parameters["sort"]["schema"]["default"] == "-id"
    assert parameters["cursor"]["schema"]["format"] == "cursor"
    assert parameters["status"]["schema"]["anyOf"][0]["type"] == "array"
    assert {"limit", "total", "due_from", "due_before"} <= {*parameters}
    assert {*operation["responses"]["200"]["headers"]} == {"Link", "X-Total-Count", "X-Request-ID"}


async def test_the_examples_of_parameters_and_of_rejections_are_true(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/api/{user_id}/errands"]["get"]
    for parameter in operation["parameters"][1:]:
        [example] = parameter["schema"]["examples"]
        [value] = example if isinstance(example, list) else [example]
        answer = await client.get("/api/alice/errands", params={parameter["name"]: value})
        assert answer.status_code == 200, (parameter, answer.text)
    examples = examples_of(document, operation["responses"]["400"]["content"][PROBLEM])
    del examples["path.user_id"]
    assert {name.split(".")[1] for name in examples} >= {"sort", "limit", "total", "status", "due_from"}
    for example in examples.values():
        [rejected] = example["errors"]
        assert assert_problem(await client.get("/api/alice/errands", params={rejected["loc"][1]: "-"}), 400) == example


@pytest.mark.fast
async def test_a_list_without_filters_of_several_values_is_plain(app: Application) -> None:
    plain = {context.name: why_not_plain(context, app.router) for context in iter_route_contexts(app.routes)}
    assert plain["list_by_due_date"] is None
    assert "a list" in str(plain["list_errands"])


async def test_answers_are_the_same_with_and_without_fast_routes(
    settings: Settings, client: httpx.AsyncClient, three: list[str]
) -> None:
    stock = create_app(settings, fast=False)
    async with stock.router.lifespan_context(stock), client_of(stock) as other:
        seen = {str(client.base_url.join("/api/alice/plain")): 200}
        for path in ("/api/alice/plain", ERRANDS):
            first = await client.get(path, params={"limit": 1, "total": "true", "sort": "-due_at"})
            cursor = cursor_of(first)
            for query in (
                "", "?limit=1&total=true&sort=-due_at", f"?limit=1&sort=-due_at&cursor={cursor}", f"?cursor={cursor}",
                f"?sort=due_at&cursor={cursor}", "?sort=nothing", "?sort=%00", "?sort=%ED%A0%80", "?limit=0",
                "?total=2", "?sort=title&sort=-title", "?cursor=%00&limit=0", "?status=open&status=late", "?status=no",
            ):  # fmt: skip
                answers = [await each.get(f"{path}{query}") for each in (client, other)]
                found = [
                    (each.status_code, each.content, {**each.headers, "x-request-id": ""}.items()) for each in answers
                ]
                assert found[0] == found[1], query
                seen[query] = answers[0].status_code
    assert {*seen.values()} == {200, 400}


class TestAListing:
    """What is refused at import."""

    def make(self, rows: Any = None, **options: Any) -> Any:
        rows = select(Errand).where(owned(Errand)) if rows is None else rows
        return Listing(rows, ErrandRead, **{"orders": [col(Errand.title)], **options})

    def test_must_name_the_owner(self) -> None:
        with pytest.raises(TypeError, match="owned"):
            self.make(select(Errand))

    def test_has_no_filter_that_reaches_other_rows(self) -> None:
        other = aliased(Errand)
        of_anybody = col(Errand.parent_id).in_(select(col(other.id)).where(col(other.title) == bindparam("parent")))
        with pytest.raises(TypeError, match="owned"):
            self.make(filters=[of_anybody])
        assert self.make(
            filters=[
                col(Errand.parent_id).in_(select(col(other.id)).where(owned(other), col(other.title) == bindparam("p")))
            ]
        )

    @pytest.mark.parametrize(
        "condition",
        [col(Errand.title) == "x", col(Errand.rank).between(bindparam("low"), bindparam("high")), owned(Errand)],
    )
    def test_has_filters_with_one_parameter_each(self, condition: Any) -> None:
        with pytest.raises(TypeError, match="one parameter"):
            self.make(filters=[condition])

    def test_has_filters_with_a_parameter_of_their_own(self) -> None:
        twins = [col(Errand.title) == bindparam("word"), col(Errand.title) > bindparam("word")]
        with pytest.raises(TypeError, match=r"two filters take one parameter, of \['word'\]: give each a name"):
            self.make(filters=twins)

    @pytest.mark.parametrize(
        "rows", [select(Errand).order_by(col(Errand.title)), select(Errand).limit(5)], ids=["order", "limit"]
    )
    def test_has_no_order_and_limit_of_its_own(self, rows: Any) -> None:
        with pytest.raises(TypeError, match=r"leave out order_by\(\) and limit\(\)"):
            self.make(rows.where(owned(Errand)))

    def test_selects_what_it_is_sorted_by(self) -> None:
        class Short(BaseModel):
            id: UUID
            title: str

        rows = select(col(Errand.id), col(Errand.title)).where(owned(Errand))
        assert Listing(rows, Short, orders=[col(Errand.title)])
        with pytest.raises(TypeError, match=r"does not select \['rank'\]"):
            Listing(rows, Short, orders=[col(Errand.rank)])

    def test_is_given_to_a_route_with_an_order_that_it_has(self) -> None:
        with pytest.raises(TypeError, match="the list has no order due_at; choose one of -id, id, -title, title"):
            pages(self.make(), default="due_at")

    def test_is_sorted_by_what_a_cursor_can_hold(self) -> None:
        class Tagged(Base, table=True):
            user_id: str = owner_column()
            id: UUID = Field(primary_key=True)
            tags: list[str] = Field(sa_type=ARRAY(Text))

        class TaggedRead(BaseModel):
            id: UUID
            user_id: str
            tags: list[str]

        with pytest.raises(TypeError, match="cannot be sorted by a column of the type ARRAY"):
            Listing(select(Tagged).where(owned(Tagged)), TaggedRead, orders=[col(Tagged.tags)])


async def test_the_document_has_the_error_of_a_wrong_cursor(client: httpx.AsyncClient, app: Application) -> None:
    document = app.openapi()
    operation = document["paths"]["/api/{user_id}/errands"]["get"]
    examples = examples_of(document, operation["responses"]["400"]["content"][PROBLEM])
    answer = await client.get(ERRANDS, params={"sort": "title", "cursor": "-"})
    assert examples["query.cursor"] == assert_problem(answer, 400)
