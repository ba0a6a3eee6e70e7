"""Errors outside the resources: routing, defects, a database that cannot be reached, a client that disconnects."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from groundwork.observe.logging import JSONFormatter
from groundwork.serve.settings import Settings
from groundwork.tests.http import ALICE, MISSING_ID, assert_problem, send_raw

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "INVENTED"}
ONE = f"{ALICE}/{MISSING_ID}"
SIX_OPERATIONS: list[tuple[str, str, Any]] = [
    ("GET", ALICE, None),
    ("POST", ALICE, {"title": "Buy milk"}),
    ("GET", ONE, None),
    ("PUT", ONE, {"title": "Buy milk"}),
    ("DELETE", ONE, None),
    ("PATCH", f"{ONE}/complete", None),
]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Any:
    """A function that returns the log so far, as the service formats it."""
    caplog.handler.setFormatter(JSONFormatter())
    caplog.set_level(logging.INFO)
    accesses: list[str] = []

    def lines() -> list[Any]:
        accesses.append(capsys.readouterr().err)
        return [json.loads(line) for line in (caplog.text + "".join(accesses)).splitlines()]

    return lines


class TestRouting:
    @pytest.mark.parametrize(
        "path",
        ["/api", "/api/", "/api/alice", f"{ONE}/other", f"{ONE}/other/", "/health", "/health/", "/redoc", "/redoc/",
         "/docs/oauth2-redirect", "/docs/files/", "/docs/files/missing.js", "/docs/files/missing.js/",
         "/docs/files/%2E%2E/%2E%2E/__init__.py", "/favicon.ico", "/API/alice/tasks"],
    )  # fmt: skip
    async def test_an_unknown_path_is_not_found(self, client: httpx.AsyncClient, path: str) -> None:
        problem = assert_problem(await client.get(path), 404)
        assert problem["detail"] == "There is nothing at this path."

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    @pytest.mark.parametrize("path", [ALICE, ONE, f"{ONE}/complete", "/health/live", "/docs", "/openapi.json"])
    async def test_a_slash_too_many_is_not_found_and_the_answer_says_so(
        self, client: httpx.AsyncClient, path: str, method: str
    ) -> None:
        response = await client.request(method, f"{path}/")
        problem = assert_problem(response, 404)
        assert problem["detail"] == "There is nothing at this path; leave out the slash at its end."
        assert "location" not in response.headers

    @pytest.mark.parametrize("path", ["//", "//evil.example/", "///docs/", "/docs//", "/%2Fdocs/"])
    async def test_no_path_is_redirected(self, app: FastAPI, path: str) -> None:
        sent = await send_raw(app, "GET", path, [{"type": "http.request", "body": b""}])
        assert sent[0]["status"] == 404
        assert not [value for name, value in sent[0]["headers"] if name == b"location"]

    async def test_another_method_is_refused_and_the_allowed_ones_are_named(
        self, client: httpx.AsyncClient, app: FastAPI
    ) -> None:
        for template, operations in app.openapi()["paths"].items():
            path = template.format(user_id="alice", task_id=MISSING_ID)
            allowed = {method.upper() for method in operations}
            if "GET" in allowed:
                allowed.add("HEAD")
            for method in METHODS - allowed:
                response = await client.request(method, path)
                problem = assert_problem(response, 405)
                assert response.headers["allow"] == ", ".join(sorted(allowed)), (method, template)
                assert "Allow" in problem["detail"]

    @pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/docs/files/swagger-ui.css"])
    async def test_the_documentation_is_only_read(self, client: httpx.AsyncClient, path: str) -> None:
        response = await client.post(path)
        assert_problem(response, 405)
        assert response.headers["allow"] == "GET, HEAD"
        assert (await client.head(path)).status_code == 200


class TestDefect:
    async def test_is_answered_with_nothing_internal_and_logged_with_the_request(
        self, client: httpx.AsyncClient, app: FastAPI, log: Any
    ) -> None:
        @app.get("/defect")
        async def defect() -> None:
            raise RuntimeError("the password is hunter2")

        response = await client.get("/defect", headers={"X-Request-ID": "find-me"})
        assert_problem(response, 500)
        assert "hunter2" not in response.text
        assert "RuntimeError" not in response.text
        assert response.headers["x-request-id"] == "find-me"
        [error] = [line for line in log() if line["level"] == "error"]
        assert error["request_id"] == "find-me"
        assert "RuntimeError: the password is hunter2" in error["traceback"]
        [access] = [line for line in log() if line["logger"] == "app.access"]
        assert (access["request_id"], access["route"], access["status"]) == ("find-me", "/defect", 500)

    async def test_in_a_statement_reveals_nothing_of_it(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        await connection.execute("ALTER TABLE tasks RENAME TO things")
        for method, path, body in SIX_OPERATIONS:
            response = await client.request(method, path, json=body)
            assert_problem(response, 500)
            assert "relation" not in response.text

    async def test_after_the_answer_began_cuts_it(self, client: httpx.AsyncClient, app: FastAPI, log: Any) -> None:
        @app.get("/half")
        async def half() -> StreamingResponse:
            async def chunks() -> AsyncIterator[bytes]:
                yield b"half"
                raise RuntimeError("the other half")

            return StreamingResponse(chunks())

        with pytest.raises(RuntimeError, match="the other half"):
            await client.get("/half", headers={"X-Request-ID": "find-me"})
        [error] = [line for line in log() if line["level"] == "error"]
        assert error["request_id"] == "find-me"
        assert "RuntimeError: the other half" in error["traceback"]


class TestDatabaseAway:
    @pytest.fixture
    def settings(self) -> Iterator[Settings]:
        """Settings whose database is a port without a listener. The port stays reserved during the test."""
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            url = f"postgresql://user:hunter2@127.0.0.1:{held.getsockname()[1]}/tasks"
            yield Settings.model_validate({"database_url": url})

    async def test_is_answered_with_when_to_try_again(self, client: httpx.AsyncClient, log: Any) -> None:
        """Each operation waits for a connection as long as it may. They wait at once, because that takes seconds."""
        operations = [*SIX_OPERATIONS, ("GET", "/health/ready", None)]
        responses = await asyncio.gather(
            *(client.request(method, path, json=body) for method, path, body in operations)
        )
        lines = [line for line in log() if line["logger"] != "httpx"]
        for operation, response in zip(operations, responses, strict=True):
            problem = assert_problem(response, 503)
            assert response.headers["retry-after"] == "1", operation
            assert "try again" in problem["detail"], operation
            assert "hunter2" not in response.text, operation
            written = {line["level"] for line in lines if line["request_id"] == response.headers["x-request-id"]}
            assert written == {"warning"}, operation
        assert {line["level"] for line in lines} == {"warning"}
        assert "hunter2" not in str(log())

    async def test_is_no_reason_to_restart_the_process(self, client: httpx.AsyncClient) -> None:
        response = await client.get("/health/live")
        assert (response.status_code, response.json()) == (200, {"status": "ok"})

    async def test_does_not_hide_what_is_wrong_with_the_request(self, client: httpx.AsyncClient) -> None:
        assert_problem(await client.post(ALICE, json={}), 400)


async def test_connections_that_the_server_closed_are_replaced(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    """A request whose database connection ends may get 503, at any moment, but never 500."""
    for _ in range(10):
        assert (await client.get(ALICE)).status_code == 200
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert (await client.get(ALICE)).status_code in (200, 503)


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.disconnect"}],
        [{"type": "http.request", "body": b'{"title": ', "more_body": True}, {"type": "http.disconnect"}],
    ],
)
async def test_a_client_that_leaves_is_no_error(app: FastAPI, log: Any, messages: list[Any]) -> None:
    assert await send_raw(app, "POST", ALICE, messages) == []
    [line] = log()
    assert (line["logger"], line["level"], line["status"]) == ("app.access", "info", 499)
