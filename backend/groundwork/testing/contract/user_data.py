"""One user's data: an export has every row of the user, and nothing of others; an erasure leaves nothing.

What groups own is not the user's alone: it is not exported, and it stays.
"""

import json

import asyncpg
import httpx

from groundwork.serve.maintenance_connection import maintenance_connection
from groundwork.serve.settings import Settings
from groundwork.serve.user_data import erase, export
from groundwork.testing.parametrize import promise
from groundwork.testing.resource import Resource


@promise("ownership", "create")
async def test_an_export_has_every_row_of_the_user_and_an_erasure_leaves_none(
    client: httpx.AsyncClient, connection: asyncpg.Connection, settings: Settings, resource: Resource
) -> None:
    made = [await resource.create(client, user) for user in ("alice", "alice", "bob")]
    bobs = await resource.rows(connection, "bob")
    async with maintenance_connection(settings) as maintenance:
        lines = [json.loads(line) async for line in export(maintenance, "alice")]
        of_table = [line["row"] for line in lines if line["table"] == resource.plural]
        if resource.within or resource.membership:
            kept = await connection.fetch(f'SELECT * FROM "{resource.plural}"')
            await erase(maintenance, "alice")
            assert (of_table, await connection.fetch(f'SELECT * FROM "{resource.plural}"')) == ([], kept)
            return
        assert sorted(row["id"] for row in of_table) == sorted(each["id"] for each in made[:2])
        assert all(row["user_id"] == "alice" for row in of_table)
        assert (await erase(maintenance, "alice"))[resource.plural] == 2
    assert await resource.rows(connection, "alice") == []
    assert await resource.rows(connection, "bob") == bobs
