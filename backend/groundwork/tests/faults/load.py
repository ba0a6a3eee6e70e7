"""A load of 50 clients. They read and write, remember what was acknowledged, and look for it at the end."""

import asyncio
import itertools
import json
import ssl
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import asyncpg

CLIENTS = 50
ROWS = "SELECT user_id, title, bool_and(completed) AS completed, count(*) FROM tasks GROUP BY 1, 2"
"""The query for the rows that `Load.compare` needs."""

Row = Mapping[str, Any] | asyncpg.Record

_numbers = itertools.count()
_PAUSE_SECONDS = 0.1
_GIVE_UP_SECONDS = 60
"""How long a client waits. It is longer than any deadline of the service, so it only ends if no answer ever comes."""


class Answer(NamedTuple):
    """The result of a request. If `status` is 0, there was no answer, and `error` says why."""

    operation: str
    started: float
    ended: float
    status: int
    error: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.started

    @property
    def is_success(self) -> bool:
        return self.status in (200, 201)


@dataclass
class Expected:
    """What the database must hold for one task. None means that it is not known, because no answer came."""

    exists: bool | None = None
    completed: bool | None = False


class Lost(Exception):
    """No complete answer came. It is not known whether the service got the request."""


class Refused(Exception):
    """The service took no connection, so no request was sent."""


class Client:
    """One keep-alive connection. It is opened again when the service has closed it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
        """The answer's status, headers and content.

        Raises:
            Lost, Refused.
        """
        reader, writer = await self._connection()
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        try:
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                status, headers, answer = await _read(reader)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise Lost(type(error).__name__) from error
        if headers.get("connection") == "close":
            self.close()
        return status, headers, json.loads(answer)

    def close(self) -> None:
        if self._stream:
            self._stream[1].close()
            self._stream = None

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # If a client sees that its connection was closed, it opens another one and loses nothing.
        if self._stream and self._stream[0].at_eof():
            self.close()
        if not self._stream:
            try:
                self._stream = await asyncio.open_connection(
                    "127.0.0.1", self._port, ssl=self._tls, server_hostname="localhost" if self._tls else None
                )
            except ConnectionRefusedError:
                raise Refused from None
            except OSError as error:
                raise Lost(type(error).__name__) from error
        return self._stream


async def _read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split(" ")[1]), headers, await reader.readexactly(int(headers["content-length"]))


class Load:
    """`async with Load(port) as load` sends requests until the block ends, and waits for their answers.

    `tls` is for a service of the name `localhost` behind HTTPS.
    """

    def __init__(self, port: int, *, clients: int = CLIENTS, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[Answer] = []
        self.refused = 0
        """The number of connections that the service did not take."""
        self._port = port
        self._tls = tls
        self._clients = clients
        self._expected: dict[tuple[str, str], Expected] = {}
        self._mistakes: list[str] = []
        self._ending = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client(f"client-{next(_numbers)}")) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._ending = True
        await asyncio.gather(*self._tasks)

    async def run(self, seconds: float) -> None:
        """Let the load run for this time. It ends early with the error of a client that finds a wrong answer."""
        done, _ = await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def _client(self, user: str) -> None:
        client = Client(self._port, self._tls)
        number = 0
        while not self._ending:
            title = f"{user}-{number}"
            await self._one_task(client, user, title, delete=number % 5 == 4)
            number += 1
        client.close()

    async def _one_task(self, client: Client, user: str, title: str, *, delete: bool) -> None:
        """Create a task, complete it and read it. With `delete`, then delete it."""
        expected = self._expected[user, title] = Expected()
        tasks = f"/api/{user}/tasks"
        status, created = await self._request(client, "create", "POST", tasks, {"title": title})
        expected.exists = True if status == 201 else None
        if status != 201:
            await self._request(client, "read", "GET", tasks)
            return
        task = f"{tasks}/{created['id']}"
        status, _ = await self._request(client, "toggle", "PATCH", f"{task}/complete")
        expected.completed = True if status == 200 else None
        status, found = await self._request(client, "read", "GET", task)
        if status == 200 and expected.completed and not found["completed"]:
            self._mistakes.append(f"{title}: read before it was completed, though that was acknowledged")
        if delete:
            status, _ = await self._request(client, "delete", "DELETE", task)
            expected.exists = False if status == 200 else None

    async def _request(self, client: Client, operation: str, *request: Any) -> tuple[int, Any]:
        await asyncio.sleep(_PAUSE_SECONDS)
        started = time.monotonic()
        try:
            status, headers, content = await client.request(*request)
        except Refused:
            self.refused += 1
            return 0, None
        except Lost as error:
            self.answers.append(Answer(operation, started, time.monotonic(), 0, str(error)))
            return 0, None
        self.answers.append(Answer(operation, started, time.monotonic(), status))
        if status == 503 and "retry-after" not in headers:
            self._mistakes.append("503 without Retry-After")
        if status not in (200, 201, 503):
            self._mistakes.append(f"{operation}: {status} {content}")
        return status, content

    def acknowledged(self) -> dict[tuple[str, str], Expected]:
        """What has been acknowledged so far about existing tasks, by user and title."""
        return {key: replace(expected) for key, expected in self._expected.items() if expected.exists}

    async def check(self, url: str) -> None:
        """Compare what the clients were told with what is in the database."""
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(ROWS)
        await connection.close()
        self.compare(rows)

    def compare(self, rows: Iterable[Row]) -> None:
        """Compare what the clients were told with these rows of `ROWS`."""
        found = {(row["user_id"], row["title"]): row for row in rows}
        for key, expected in self._expected.items():
            row = found.pop(key, None)
            if row and row["count"] > 1:
                self._mistakes.append(f"{key[1]}: created {row['count']} times")
            if expected.exists is not None and expected.exists != bool(row):
                self._mistakes.append(f"{key[1]}: {'lost' if expected.exists else 'there, though deleted'}")
            if row and expected.completed is not None and row["completed"] != expected.completed:
                self._mistakes.append(f"{key[1]}: completed is {row['completed']}, not {expected.completed}")
        assert not self._mistakes, self._mistakes[:10]

    def compare_with_dump(self, before: dict[tuple[str, str], Expected], rows: Iterable[Row]) -> None:
        """Check that a dump has what was acknowledged `before` it. Tasks that were deleted since may be missing."""
        found = {(row["user_id"], row["title"]): row for row in rows}
        kept = {key: before[key] for key in before.keys() & self.acknowledged().keys()}
        assert kept
        assert not [title for user, title in kept.keys() - found.keys()]
        assert all(found[key]["completed"] for key, expected in kept.items() if expected.completed)

    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    def slowest(self) -> float:
        return max(answer.seconds for answer in self.answers)

    def first_success_after(self, moment: float, operation: str = "") -> float:
        """The seconds from `moment` to the first success of the operation after it."""
        of_kind = (answer for answer in self.answers if answer.is_success and answer.operation.startswith(operation))
        return min(answer.ended for answer in of_kind if answer.ended >= moment) - moment

    def successes(self, start: float, end: float) -> int:
        """The number of successful answers between two moments."""
        return sum(answer.is_success and start <= answer.ended < end for answer in self.answers)

    def describe(self) -> str:
        failed = sorted((status, count) for status, count in self.statuses().items() if status not in (200, 201))
        failures = [f"{count:,} of them {status or 'without an answer'}" for status, count in failed] or ["none failed"]
        return f"{len(self.answers):,} requests, {', '.join(failures)}, slowest {self.slowest():.2f} s"
