"""The table of resources accepts members of any type, and unusual names."""

from datetime import date
from decimal import Decimal

import asyncpg

from groundwork.testing.resource import PROMISES, Differs, Resource

DISPATCH = Resource(
    "order_dispatch",
    required={"due": "2026-12-24", "weight": 2.5, "tags": ["a", "b"], "address": {"city": "Ghent"}},
    optional={"order": 3},
    more={"send_order_dispatch": lambda client, one: client.post(f"{one}/send")},
    more_on_all={"export_order_dispatches": lambda client, own: client.get(f"{own}/export")},
    irregular_plural="order_dispatches",
)
TABLE = """
    CREATE TABLE order_dispatches (
        user_id text, id uuid, due date NOT NULL, weight numeric NOT NULL, tags text[] NOT NULL, address jsonb NOT NULL,
        "order" int DEFAULT 1, PRIMARY KEY (user_id, id)
    )
"""


async def test_samples_of_any_type_are_written_past_the_service(connection: asyncpg.Connection) -> None:
    await connection.execute(TABLE)
    id_ = await DISPATCH.insert(connection, order=7)
    await DISPATCH.insert(connection, "bob")
    [row] = await DISPATCH.rows(connection)
    assert dict(row) == {
        "user_id": "alice",
        "id": row["id"],
        "due": date(2026, 12, 24),
        "weight": Decimal("2.5"),
        "tags": ["a", "b"],
        "address": '{"city": "Ghent"}',
        "order": 7,
    }
    assert str(row["id"]) == id_
    await DISPATCH.insert_many(connection, 20)
    assert len(await DISPATCH.rows(connection, "user 3")) == 2


def test_names_follow_from_the_resources() -> None:
    assert DISPATCH.of("a/b") == "/api/a%2Fb/order_dispatches"
    assert DISPATCH.schema == "OrderDispatch"
    assert DISPATCH.members == ["due", "weight", "tags", "address", "order"]
    assert DISPATCH.change() == {"order": 3}
    assert {operation.name: operation.is_on_one for operation in DISPATCH.operations()} == {
        "list_order_dispatches": False,
        "create_order_dispatch": False,
        "export_order_dispatches": False,
        "get_order_dispatch": True,
        "update_order_dispatch": True,
        "delete_order_dispatch": True,
        "send_order_dispatch": True,
    }


def test_without_more_an_entry_is_out_of_all_promises() -> None:
    assert Differs("A reason.").from_all
    assert Differs("A reason.", list(PROMISES)).from_all
    assert not Differs("A reason.", ["paging"]).from_all
