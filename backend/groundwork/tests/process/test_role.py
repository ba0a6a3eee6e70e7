"""The service with no more rights than it needs: the role that SECURITY.md recommends."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from groundwork.tests.process import server

SECURITY = Path(__file__).parents[4] / "SECURITY.md"
PASSWORD = "only-for-this-test"


@pytest.fixture
async def role_url(connection: asyncpg.Connection, database_url: str) -> AsyncIterator[str]:
    """The URL of the database for the role that the SQL in SECURITY.md makes."""
    [sql] = re.findall(r"```sql\n(.*?)```", SECURITY.read_text(), re.DOTALL)
    await connection.execute(sql.replace("…", PASSWORD))
    url = urlsplit(database_url)
    yield url._replace(netloc=f"service:{PASSWORD}@{url.hostname}:{url.port}").geturl()
    await connection.execute("DROP OWNED BY service; DROP ROLE service")


async def test_the_service_needs_no_more_rights_than_recommended(tmp_path: Path, role_url: str) -> None:
    with server.running(tmp_path, DATABASE_URL=role_url) as service:
        tasks = f"{service.url}/api/alice/tasks"
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{service.url}/health/ready")).status_code == 200
            task = f"{tasks}/{(await client.post(tasks, json={'title': 'Buy milk'})).json()['id']}"
            assert (await client.put(task, json={"title": "Buy oat milk"})).status_code == 200
            assert (await client.patch(f"{task}/complete")).status_code == 200
            assert len((await client.get(tasks)).json()) == 1
            assert (await client.delete(task)).status_code == 200


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE tasks",
        "ALTER TABLE tasks ADD COLUMN x int",
        "TRUNCATE tasks",
        "CREATE TABLE x (y int)",
        "UPDATE alembic_version SET version_num = 'x'",
    ],
)
async def test_the_recommended_role_changes_no_schema(role_url: str, statement: str) -> None:
    connection = await asyncpg.connect(role_url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)
    await connection.close()
