"""Webhooks: how they are signed, which addresses are refused, and which answers count as success."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from groundwork.jobs import webhooks
from groundwork.jobs.handlers import Job
from groundwork.jobs.webhooks import WebhookFailed, new_secret, send_webhook, sign
from groundwork.tests.core.certificates import Authority
from groundwork.tests.jobs.example import SECRET
from groundwork.tests.jobs.workers import add, until_empty, working

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
JOB = Job(
    id=7, user_id=None, name="n", key=None, payload={}, request_id=None, attempts=1, running_since=NOW, created_at=NOW
)
BODY = json.dumps({"type": "task.created"}).encode()
NO_ANSWER = re.compile("no answer|could not be sent")
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def test_a_signature_is_that_of_the_specifications_example() -> None:
    """The libraries of the specification test themselves with this example."""
    key = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    arguments = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert sign([key], *arguments) == expected
    other = new_secret()
    assert sign([other, key], *arguments) == f"{sign([other], *arguments)} {expected}"
    with pytest.raises(ValueError):
        sign(["whsec_no base64!"], *arguments)


@pytest.mark.parametrize("secrets", ["", SECRET, [], ()], ids=repr)
async def test_a_webhook_without_a_list_of_secrets_is_refused(secrets: Any) -> None:
    with pytest.raises(TypeError, match=r"needs its receiver's secret: give a list, as in \[secret\]"):
        await send_webhook(JOB, "https://example.com", secrets, BODY)


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def receiver(
    answer: bytes | None, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that notes each request and answers it. With None, it does not answer."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        received.append(head + await reader.readexactly(len(BODY)))
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], received


async def send(url: str, **options: Any) -> None:
    await send_webhook(JOB, url, [new_secret()], BODY, **{"timeout_seconds": 5, "loopback": True, **options})


async def test_a_receiver_gets_what_the_specification_says() -> None:
    secrets = [new_secret(), new_secret()]
    async with receiver(OK) as (port, received):
        url = f"http://127.0.0.1:{port}/hooks/a%20b?c=d&e=%C3%BC"
        await send_webhook(JOB, url, secrets, BODY, loopback=True)
    head, _, body = received[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "POST /hooks/a%20b?c=d&e=%C3%BC HTTP/1.1"
    headers = dict(line.split(": ") for line in lines)
    assert headers["host"] == f"127.0.0.1:{port}"
    assert headers["content-type"] == "application/json"
    # The id is the same in each attempt. No other job gets it, even after a restore of the database.
    assert headers["webhook-id"] == "msg_20260102030405000678_7"
    timestamp = int(headers["webhook-timestamp"])
    assert abs(timestamp - datetime.now(UTC).timestamp()) < 60
    assert headers["webhook-signature"] == sign(secrets, headers["webhook-id"], timestamp, body)
    assert body == BODY


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "299", "200"])
async def test_success_is_any_2xx(status: str) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with receiver(interim + f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode()) as (port, _):
        await send(f"http://localhost:{port}")


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 429, 500, 503])
async def test_every_other_status_has_failed_and_no_redirect_is_followed(status: int) -> None:
    async with receiver(OK) as (other, followed):
        answer = f"HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:{other}/\r\n\r\n".encode()
        async with receiver(answer) as (port, _):
            with pytest.raises(WebhookFailed, match=f"status {status}") as failed:
                await send(f"http://127.0.0.1:{port}/")
    assert failed.value.status == status
    assert not followed


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200" + b"x" * 100_000]
)
async def test_what_is_no_answer_has_failed(answer: bytes) -> None:
    async with receiver(answer) as (port, _):
        with pytest.raises(WebhookFailed, match=NO_ANSWER):
            await send(f"http://127.0.0.1:{port}/", timeout_seconds=0.5)


async def test_a_receiver_that_is_silent_or_away_has_failed(unused_tcp_port: int) -> None:
    async with receiver(None) as (port, _):
        with pytest.raises(WebhookFailed, match=r"no answer in 0\.2 s"):
            await send(f"http://127.0.0.1:{port}/", timeout_seconds=0.2)
    with pytest.raises(WebhookFailed, match=NO_ANSWER):
        await send(f"http://127.0.0.1:{unused_tcp_port}/")


PRIVATE = [
    *("127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1"),
    # IPv6 addresses that stand for IPv4 addresses.
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::1", "::127.0.0.1"),
    *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "::ffff:0:127.0.0.1"),
]


class Found:
    """Stands in for the lookup of a name, and counts the lookups."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.lookups = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.lookups += 1
        return self.addresses


async def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("it connected")


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("beside", [(), ("93.184.215.14",)])
async def test_nothing_is_sent_into_a_private_network(
    monkeypatch: pytest.MonkeyPatch, address: str, beside: tuple[str, ...]
) -> None:
    """This holds for every name that leads there, even if public addresses come first."""
    monkeypatch.setattr(webhooks, "addresses", Found(*beside, address))
    monkeypatch.setattr(asyncio, "open_connection", _never)
    with pytest.raises(WebhookFailed, match="not on the public internet"):
        await send("https://hooks.example.com/", loopback=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "0"])
async def test_a_private_address_in_the_url_is_refused(host: str) -> None:
    with pytest.raises(WebhookFailed):
        await send(f"https://{host}/", loopback=False)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1111"])
async def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The certificate must be that of the host."""
    found, asked = Found(address), []

    async def refuse(*to: Any, **options: Any) -> Any:
        asked.append((to, options["server_hostname"], options["ssl"].check_hostname))
        raise OSError("far away")

    monkeypatch.setattr(webhooks, "addresses", found)
    monkeypatch.setattr(asyncio, "open_connection", refuse)
    with pytest.raises(WebhookFailed, match="far away"):
        await send("https://hooks.example.com:8443/", loopback=False)
    assert asked == [((address, 8443), "hooks.example.com", True)]
    assert found.lookups == 1


async def test_a_certificate_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    certificate, key, _ = Authority(tmp_path).issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with receiver(OK, context) as (port, received):
        with pytest.raises(WebhookFailed, match="certificate"):
            await send(f"https://localhost:{port}/")
    assert not received


@pytest.mark.parametrize(
    "url",
    [
        *("http://hooks.example.com/", "ftp://hooks.example.com/", "hooks.example.com", "https://", "", "file:///etc"),
        *("https://a:b@hooks.example.com/", "https://a@hooks.example.com/", "https://hooks.example.com /"),
        *("https://hooks.example.com/\r\nx: y", "https://hooks.example.com/a b", "https://bücher.example/", "\0"),
        *("https://hooks.example.com:x/", "https://hooks.example.com:99999/", "https://[::1/"),
    ],
)
async def test_a_url_that_is_no_public_https_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(asyncio, "open_connection", _never)
    with pytest.raises(WebhookFailed):
        await send(url, loopback=False)


async def test_webhooks_arrive_at_least_once_and_in_order_per_receiver(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    """One receiver fails every second time, and another fails always. They do not hold back the other receivers."""
    received: dict[str, list[tuple[int, str, int]]] = {"/flaky": [], "/broken": []}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        headers = dict(line.split(": ") for line in head.split("\r\n")[1:-2])
        body = await reader.readexactly(int(headers["content-length"]))
        id_, timestamp = headers["webhook-id"], int(headers["webhook-timestamp"])
        assert headers["webhook-signature"] == sign([SECRET], id_, timestamp, body)
        status = 503 if path == "/broken" or len(received[path]) % 2 == 0 else 200
        received[path].append((json.loads(body)["number"], id_, status))
        writer.write(f"HTTP/1.1 {status} X\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for number in range(8):
            for path in received if number < 2 else ("/flaky",):
                payload = json.dumps({"url": url + path, "number": number})
                await add(queue, "webhook", payload=payload, key=path)
        with working(tmp_path, DATABASE_URL=database_url), working(tmp_path, DATABASE_URL=database_url):
            await until_empty(queue)
    accepted = [number for number, _, status in received["/flaky"] if status == 200]
    assert accepted == list(range(8))
    # A repetition has the id of the first attempt.
    assert len({id_ for _, id_, _ in received["/flaky"]}) == 8
    assert [number for number, *_ in received["/broken"]] == [0] * 4 + [1] * 4
    errors = await queue.fetch("SELECT error FROM jobs ORDER BY id")
    assert [row["error"] for row in errors] == ["WebhookFailed: the receiver answered with status 503"] * 2
