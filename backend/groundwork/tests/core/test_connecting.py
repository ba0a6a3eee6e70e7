"""Several hosts and addresses: the first ones are silent, refuse, or are of the wrong kind, and a later one serves."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import pytest

from groundwork.data.connecting import Attempt, first_connection
from groundwork.data.connector import connection_target
from groundwork.data.dsn import Host
from groundwork.data.password_file import find_password
from groundwork.tests.core import eventually, session_count
from groundwork.tests.faults.proxy import Proxy
from groundwork.tests.silent import listener, with_first

TIMEOUT_SECONDS = 30
QUICK_SECONDS = 10
"""Far less than the time limit, but enough for a busy machine."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def full_listener(stack: ExitStack) -> socket.socket:
    """A host that drops every packet, so that not even a TCP connection opens."""
    full = stack.enter_context(socket.socket())
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    for _ in range(5):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(full.getsockname())
    return full


async def tls_that_hangs(stack: ExitStack) -> socket.socket:
    """A host that agrees to TLS and then falls silent."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    stack.callback(server.close)
    return server.sockets[0]


async def connects_quickly(url: str) -> None:
    started = time.monotonic()
    connection = await connection_target(url).connect(timeout_seconds=TIMEOUT_SECONDS)
    try:
        assert time.monotonic() - started < QUICK_SECONDS
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()


@pytest.mark.parametrize("how", ["accepts and is silent", "drops packets", "TLS hangs", "refuses", "silent socket"])
@pytest.mark.parametrize("attributes", ["any", "read-write", "primary", "prefer-standby"])
async def test_a_second_host_serves(
    stack: ExitStack, database_url: str, tmp_path: Path, how: str, attributes: str
) -> None:
    if how == "silent socket":
        silent = stack.enter_context(socket.socket(socket.AF_UNIX))
        silent.bind(str(tmp_path / ".s.PGSQL.5432"))
        silent.listen(100)
        first = str(tmp_path).replace("/", "%2F")
    else:
        made = {"drops packets": full_listener, "accepts and is silent": listener, "refuses": listener}.get(how)
        port = (made(stack) if made else await tls_that_hangs(stack)).getsockname()[1]
        if how == "refuses":
            stack.close()
        first = f"127.0.0.1:{port}"
    limit = 8 if attributes == "prefer-standby" else TIMEOUT_SECONDS
    url = f"{with_first(database_url, first)}?target_session_attrs={attributes}"
    connection = await connection_target(url).connect(timeout_seconds=limit)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


@pytest.fixture
async def two_addresses(stack: ExitStack, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A URL whose host name has two addresses: a silent one, and the database's."""
    server = urlsplit(database_url)
    async with Proxy(cast("int", server.port)).serving() as proxy:
        listener(stack, "127.0.0.2", proxy.port)
        loop = asyncio.get_running_loop()

        async def getaddrinfo(host: str, port: int, **options: Any) -> Any:
            assert host == "db.example"
            return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.2", "127.0.0.1")]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        user = server.netloc.rpartition("@")[0]
        yield server._replace(netloc=f"{user}@db.example:{proxy.port}").geturl()


async def test_a_second_address_of_one_name_serves(two_addresses: str) -> None:
    await connects_quickly(two_addresses)


async def test_a_name_that_is_never_resolved_does_not_keep_from_the_next_host(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def getaddrinfo(host: str, *rest: Any, **options: Any) -> Any:
        if host == "db.example":
            await asyncio.Event().wait()
        return await resolve(host, *rest, **options)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    await connects_quickly(with_first(database_url, "db.example"))
    with pytest.raises(TimeoutError, match=r"no answer in 0\.3 s"):
        await connection_target("postgresql://u@db.example/app").connect(timeout_seconds=0.3)


async def test_a_name_that_does_not_exist_does_not_keep_from_the_next_host(database_url: str) -> None:
    await connects_quickly(with_first(database_url, "nobody.invalid"))


async def test_the_time_is_bounded_over_all_hosts_together(stack: ExitStack) -> None:
    hosts = ",".join(f"127.0.0.1:{listener(stack).getsockname()[1]}" for _ in range(5))
    with pytest.raises(TimeoutError, match="no answer in 1 s"):
        async with asyncio.timeout(QUICK_SECONDS):
            await connection_target(f"postgresql://u@{hosts}/app").connect(timeout_seconds=1)


async def test_a_little_time_is_enough_for_the_last_of_many_hosts(stack: ExitStack, database_url: str) -> None:
    for _ in range(20):
        database_url = with_first(database_url, f"127.0.0.1:{listener(stack).getsockname()[1]}")
    connection = await connection_target(database_url).connect(timeout_seconds=8)  # half of it is for the last
    await connection.close()


async def test_no_server_of_the_wanted_kind_is_known_at_once(database_url: str) -> None:
    target = connection_target(f"{database_url}?target_session_attrs=standby")
    async with asyncio.timeout(QUICK_SECONDS):
        with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
            await target.connect(timeout_seconds=TIMEOUT_SECONDS)


async def test_no_session_is_left_where_two_addresses_lead_to_one_server(
    database_url: str, connection: asyncpg.Connection
) -> None:
    server = urlsplit(database_url)
    url = with_first(database_url, f"localhost:{server.port}")
    connections = [await connection_target(url).connect(timeout_seconds=TIMEOUT_SECONDS) for _ in range(3)]
    assert await session_count(connection) == 3
    for each in connections:
        await each.close()

    async def alone() -> bool:
        return await session_count(connection) == 0

    await eventually(alone)


class FakeConnection:
    terminated = False

    def terminate(self) -> None:
        self.terminated = True


class FakeHost:
    """Answers when `gate` is open, with `error` or a connection."""

    def __init__(self, error: Exception | None = None, *, silent: bool = False) -> None:
        self.begun = self.ended = False
        self.connection = FakeConnection()
        self.gate = asyncio.Event()
        self._error = error
        if not silent:
            self.gate.set()

    async def connect(self) -> asyncpg.Connection:
        self.begun = True
        try:
            await self.gate.wait()
        finally:
            self.ended = True
        if self._error:
            raise self._error
        return cast("asyncpg.Connection", self.connection)


def attempts(*hosts: FakeHost) -> list[Attempt]:
    return [host.connect for host in hosts]


async def first(*hosts: FakeHost, within_seconds: float = TIMEOUT_SECONDS) -> Any:
    async with asyncio.timeout(QUICK_SECONDS):
        return await first_connection(attempts(*hosts), within_seconds=within_seconds)


async def test_the_order_counts_while_the_first_answers() -> None:
    one, two = FakeHost(), FakeHost()
    assert await first(one, two) is one.connection
    assert not two.begun


async def test_those_that_are_silent_are_given_up_when_one_has_answered() -> None:
    silent, other = FakeHost(silent=True), FakeHost()
    assert await first(silent, other, within_seconds=0.1) is other.connection
    await asyncio.sleep(0)
    assert silent.ended


async def test_a_slow_one_may_answer_beside_the_next() -> None:
    slow, silent = FakeHost(silent=True), FakeHost(silent=True)
    waiting = asyncio.create_task(first(slow, silent, within_seconds=0.01))
    while not silent.begun:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)
    slow.gate.set()
    assert await waiting is slow.connection


async def test_two_that_answer_at_once_leave_one_connection() -> None:
    one, two = FakeHost(silent=True), FakeHost(silent=True)
    waiting = asyncio.create_task(first(one, two, within_seconds=0.01))
    while not two.begun:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)
    one.gate.set()
    two.gate.set()
    winner = await waiting
    await asyncio.sleep(0.01)
    assert [host.connection.terminated for host in (one, two)] == [host.connection is not winner for host in (one, two)]


async def test_a_wrong_password_is_said_at_once() -> None:
    wrong, other = FakeHost(asyncpg.InvalidPasswordError("no")), FakeHost()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await first(wrong, other)
    assert not other.begun


async def test_when_all_fail_the_last_says_why() -> None:
    with pytest.raises(asyncpg.CannotConnectNowError):
        await first(FakeHost(ConnectionRefusedError()), FakeHost(asyncpg.CannotConnectNowError("starting")))


async def test_to_be_cancelled_ends_every_attempt() -> None:
    hosts = [FakeHost(silent=True) for _ in range(3)]
    waiting = asyncio.create_task(first(*hosts, within_seconds=0.01))
    while not hosts[-1].begun:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.sleep(0)
    assert all(host.ended for host in hosts)


PASSWORDS = r"""# host:port:database:user:password
db:5432:app:alice:one
db:5433:*:*:t\:w\\o
localhost:*:app:*:three
*:*:*:carol:four:and more
not a line
"""


@pytest.mark.parametrize(
    ("host", "user", "password"),
    [
        (Host("db", "192.0.2.1", 5432), "alice", "one"),
        (Host("db", "db", 5433), "bob", r"t:w\o"),
        (Host("/run/postgresql", "/run/postgresql", 5432), "bob", "three"),
        (Host("db", "db", 5432), "carol", "four:and more"),
        (Host("other", "other", 5432), "bob", None),
    ],
)
def test_the_password_file(tmp_path: Path, host: Host, user: str, password: str | None) -> None:
    file = tmp_path / "passwords"
    file.write_text(PASSWORDS)
    assert find_password(file, host, database="app", user=user) == password


async def test_the_password_in_the_file_is_used(database_url: str, tmp_path: Path) -> None:
    server = urlsplit(database_url)
    file = tmp_path / "passwords"
    file.write_text(f"{server.hostname}:{server.port}:*:{server.username}:{server.password}\n")
    file.chmod(0o600)
    url = server._replace(netloc=f"{server.username}@{server.hostname}:{server.port}").geturl()
    await connects_quickly(f"{url}?passfile={file}")
    file.chmod(0o644)
    with pytest.raises(ValueError, match="can be read by others"):
        connection_target(f"{url}?passfile={file}")
