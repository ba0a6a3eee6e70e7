"""A body and an answer with every type, in generated clients."""

import importlib
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.core.config import Settings
from app.main import create_app
from groundwork.serve.application import Application
from groundwork.tests.clients import run
from groundwork.tests.clients.test_python import run_module
from groundwork.tests.clients.test_typescript import folder
from groundwork.tests.http import all_types
from groundwork.tests.http.test_values import SPECIMEN

__all__ = ["folder"]

USE = """
import type { components } from "./types-api.js";
type Schemas = components["schemas"];
const body: Schemas["SpecimenCreate"] = BODY;
const read: Schemas["SpecimenRead"] = { ...body, anything: null, id: "", user_id: "", created_at: "", updated_at: "" };
// A client may send back what it has read.
export const back: Schemas["SpecimenCreate"] = read;
export const change: Schemas["SpecimenUpdate"] = read;
// @ts-expect-error A number has lost digits.
export const number: Schemas["SpecimenUpdate"] = { price: 12.5 };
// @ts-expect-error It is none of the values.
export const colour: Schemas["SpecimenUpdate"] = { colour: "DARK_RED" };
"""


@pytest.fixture
async def app(settings: Settings, connection: asyncpg.Connection) -> AsyncIterator[Application]:
    await all_types.create_table(connection)
    app = create_app(settings)
    app.include_router(all_types.router)
    async with app.router.lifespan_context(app):
        yield app


async def test_python_keeps_every_value(app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(app.openapi()))
    run_module(tmp_path, "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none",
        "--output-path", "types_client", "--fail-on-warning")  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    api: Any = importlib.import_module("types_client.api.specimens.create_specimen")
    models: Any = importlib.import_module("types_client.models")
    transport = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
    client = importlib.import_module("types_client").Client(base_url="http://test").set_async_httpx_client(transport)
    created = await api.asyncio("alice", client=client, body=models.SpecimenCreate.from_dict(SPECIMEN))
    await transport.aclose()
    assert (created.price, created.lasts, created.opens) == ("12.50", "P1DT2H", "09:30:00")
    assert created.day == date(2026, 11, 23)
    assert created.moment == datetime(2026, 11, 23, 17, 39, 8, 123456, UTC)
    assert created.reference == UUID(SPECIMEN["reference"])
    assert (created.colour, created.mood, created.level) == (models.Colour.DARK_RED, models.Mood.FINE, 2)
    assert created.place.near[0].distance == "1.50"
    answered = created.to_dict()
    answered["tags"].sort()
    moment = datetime.fromisoformat(answered.pop("moment"))
    assert moment == datetime.fromisoformat(SPECIMEN["moment"])
    assert answered.items() >= {name: value for name, value in SPECIMEN.items() if name != "moment"}.items()
    for name in [name for name in sys.modules if name.split(".")[0] == "types_client"]:
        del sys.modules[name]


@pytest.mark.clients
async def test_typescript_knows_every_type(app: Application, folder: Path) -> None:
    (folder / "types.json").write_text(json.dumps(app.openapi()))
    run(folder, "npx", "openapi-typescript", "types.json", "--output", "types-api.ts")
    (folder / "types.ts").write_text(USE.replace("BODY", json.dumps(SPECIMEN)))
    run(folder, "npx", "tsc", "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "types.ts")
