"""A value of every type goes through a generated client, the API and the database, and comes back equal."""

import importlib
import json
import shutil
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from pydantic_core import to_jsonable_python

from groundwork.dev.build_clients import build_python, build_typescript
from groundwork.dev.names import Names
from groundwork.tests.clients import run
from groundwork.tests.http import all_types
from groundwork.tests.http.all_types import SpecimenCreate
from groundwork.tests.http.test_values import PLACE, SPECIMEN, meant
from groundwork.tests.process.server import Server, running

NAMES = Names.of("Types")
SAFE = 2**53 - 1
"""JavaScript has no larger integer."""
SMALLEST: dict[str, Any] = {
    **SPECIMEN, "note": "", "small": -(2**31), "big": -SAFE, "level": 1, "weight": -1e308, "done": False,
    "price": "-9999999999.99", "ratio": f"-{'9' * 100}.{'9' * 100}", "day": "0001-01-01",
    "moment": "0001-01-01T00:00:00.000001Z", "opens": "00:00:00", "lasts": "-P999999999D", "mood": "poor",
    "colour": "green", "reference": str(UUID(int=0)), "tags": [], "scores": [], "prices": [], "places": [],
    "counts": {}, "extra": {}, "anything": None,
}  # fmt: skip
LARGEST: dict[str, Any] = {
    **SPECIMEN, "note": "\u2028\uffff\U0001f600\\'\"</script>", "small": 2**31 - 1, "big": SAFE, "weight": 5e-324,
    "price": "9999999999.99", "ratio": "0", "day": "9999-12-31", "moment": "9999-12-31T23:59:59.999998Z",
    "opens": "23:59:59.999999", "lasts": "P2739726Y9DT23H59M59.999999S", "reference": str(UUID(int=2**128 - 1)),
    "tags": ["", "NULL", "{}"], "scores": [2**31 - 1, -(2**31)], "places": [{**PLACE, "near": []}],
    "counts": {SPECIMEN["reference"]: -SAFE}, "extra": {"": {"$ref": [[], {}, "\u00e4"]}}, "anything": "text",
    "maybe": "-0.50",
}  # fmt: skip
BODIES = [{**SPECIMEN, "big": SAFE}, SMALLEST, LARGEST]


@pytest.fixture
async def server(tmp_path: Path, connection: asyncpg.Connection, service_url: str) -> AsyncIterator[Server]:
    await all_types.create_table(connection)
    with running(
        tmp_path, application="groundwork.tests.clients.types_service:app", DATABASE_URL=service_url
    ) as server:
        yield server


@pytest.fixture
def document(server: Server, tmp_path: Path) -> Path:
    file = tmp_path / "openapi.json"
    file.write_text(httpx.get(f"{server.url}/openapi.json").text)
    return file


def assert_equal(answer: dict[str, Any], body: dict[str, Any]) -> None:
    for member, value in body.items():
        assert meant(member, answer[member]) == meant(member, value), member


async def assert_stored(connection: asyncpg.Connection, id: str, body: dict[str, Any]) -> None:
    """The row has the values as PostgreSQL's own types."""
    row: Any = await connection.fetchrow("SELECT * FROM specimens WHERE id = $1", UUID(id))
    for member, value in SpecimenCreate.model_validate(body):
        stored = row[member]
        if member in ("place", "places", "counts", "extra", "anything"):
            assert json.loads(stored) == to_jsonable_python(value), member
        elif member in ("tags", "prices"):
            assert (type(value)(stored), len(stored)) == (value, len(value)), member
        else:
            assert stored == getattr(value, "value", value), member


async def test_python_keeps_every_value(
    server: Server, document: Path, tmp_path: Path, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_python(NAMES, "1.0.0", tmp_path / "client", document)
    monkeypatch.syspath_prepend(tmp_path / "client")
    create, get, list_, update = (
        importlib.import_module(f"types_client.api.specimens.{name}")
        for name in ("create_specimen", "get_specimen", "list_specimens", "update_specimen")
    )
    helpers, models, package = (importlib.import_module(f"types_client{name}") for name in (".helpers", ".models", ""))
    with package.Client(base_url=server.url) as client:
        # Python's integers have as many digits as the column.
        for body in (*BODIES, {**SPECIMEN, "big": -(2**63)}):
            new = models.SpecimenCreate.from_dict(body)
            made = helpers.create(
                lambda key, new=new: create.sync_detailed("alice", client=client, body=new, idempotency_key=key)
            )
            one = {"user_id": "alice", "specimen_id": made.id, "client": client}
            assert get.sync(**one) == made == list_.sync("alice", client=client)[0]
            back = helpers.update(
                lambda one=one: get.sync_detailed(**one),
                lambda read, tag, one=one: update.sync_detailed(
                    **one, body=models.SpecimenUpdate.from_dict(read.to_dict()), if_match=tag
                ),
            )
            for answer in (made, back):
                assert_equal(answer.to_dict(), body)
            await assert_stored(connection, str(made.id), body)
        made = create.sync("alice", client=client, body=models.SpecimenCreate.from_dict(SPECIMEN))
    assert (made.price, made.lasts, made.opens) == ("12.50", "P1DT2H", "09:30:00")
    assert made.day == date(2026, 11, 23)
    assert made.moment == datetime(2026, 11, 23, 17, 39, 8, 123456, UTC)
    assert made.reference == UUID(SPECIMEN["reference"])
    assert (made.colour, made.mood, made.level) == (models.Colour.DARK_RED, models.Mood.FINE, 2)
    assert made.place.near[0].distance == "1.50"
    for name in [name for name in sys.modules if name.split(".")[0] == "types_client"]:
        del sys.modules[name]


@pytest.mark.clients
async def test_typescript_keeps_every_value(
    server: Server, document: Path, tmp_path: Path, connection: asyncpg.Connection
) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    client = tmp_path / "client"
    build_typescript(NAMES, "1.0.0", client, document)
    shutil.copy(Path(__file__).with_name("types.ts"), client)
    config = json.loads((client / "tsconfig.json").read_text())
    (client / "tsconfig.json").write_text(json.dumps({**config, "files": ["types.ts"]}))
    run(client, "npx", "tsc")
    script = f'import("./dist/types.js").then(({{ use }}) => use("{server.url}", {json.dumps(BODIES)}))'
    answers = json.loads(run(client, "node", "--eval", f"{script}.then((all) => console.log(JSON.stringify(all)))"))
    for body, read in zip(BODIES, answers, strict=True):
        assert len(read) == 4
        for answer in read:
            assert_equal(answer, body)
        await assert_stored(connection, read[0]["id"], body)
