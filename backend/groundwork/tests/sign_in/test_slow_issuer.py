"""A slow issuer: it sends a byte now and then, sends nothing, or never stops sending."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from groundwork.auth import download
from groundwork.auth import issuer as module
from groundwork.auth.issuer import IssuerKeys
from groundwork.errors import Unavailable
from groundwork.tests.core import eventually
from groundwork.tests.sign_in.issuer import KEYS, Issuer, new_key

Stop = threading.Event
Behaviour = Callable[[socket.socket, Stop], None]
DRIP_SECONDS = 0.02
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _until_stopped(connection: socket.socket, stop: Stop, part: bytes) -> None:
    while not stop.wait(DRIP_SECONDS):
        connection.sendall(part)


def says_nothing(connection: socket.socket, stop: Stop) -> None:
    stop.wait()


def drips_the_status_line(connection: socket.socket, stop: Stop) -> None:
    connection.sendall(b"HTTP/1.1 200 ")
    _until_stopped(connection, stop, b"O")


def drips_interim_answers(connection: socket.socket, stop: Stop) -> None:
    _until_stopped(connection, stop, b"HTTP/1.1 100 Continue\r\n\r\n")


def drips_headers(connection: socket.socket, stop: Stop) -> None:
    connection.sendall(HEAD)
    _until_stopped(connection, stop, b"X-Slow: a\r\n")


def drips_a_body(connection: socket.socket, stop: Stop) -> None:
    connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    _until_stopped(connection, stop, b" ")


def drips_chunks(connection: socket.socket, stop: Stop) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    _until_stopped(connection, stop, b"1\r\n \r\n")


def drips_a_body_without_an_end(connection: socket.socket, stop: Stop) -> None:
    connection.sendall(HEAD + b"\r\n")
    _until_stopped(connection, stop, b" ")


BEHAVIOURS = [
    says_nothing,
    drips_the_status_line,
    drips_interim_answers,
    drips_headers,
    drips_a_body,
    drips_chunks,
    drips_a_body_without_an_end,
]
slow = pytest.mark.parametrize("behaviour", BEHAVIOURS)


@contextmanager
def listening(behaviour: Behaviour) -> Iterator[int]:
    """The port of a server that behaves like this on every connection, and reads no requests."""
    stop = Stop()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            behaviour(connection, stop)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=[connection]))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


async def no_thread_is_left() -> bool:
    return all(thread.name != download.THREAD_NAME for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCH_SECONDS", 0.3)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)


@slow
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_issuer_holds_a_fetch_for_longer_than_its_time(behaviour: Behaviour, scheme: str) -> None:
    with listening(behaviour) as port:
        async with IssuerKeys("https://issuer.example.com", f"{scheme}://127.0.0.1:{port}/keys") as keys:
            async with asyncio.timeout(10):
                for _ in range(10):
                    with pytest.raises(Unavailable):
                        await keys.get()
        await eventually(no_thread_is_left)


async def test_an_issuer_that_sends_without_end_is_not_listened_to(caplog: pytest.LogCaptureFixture) -> None:
    def endless(connection: socket.socket, stop: Stop) -> None:
        connection.sendall(HEAD + b"\r\n")
        while not stop.is_set():
            connection.sendall(b" " * 65536)

    with listening(endless) as port:
        async with IssuerKeys("https://issuer.example.com", f"http://127.0.0.1:{port}/keys") as keys:
            async with asyncio.timeout(10):
                with pytest.raises(Unavailable):
                    await keys.get()
        await eventually(no_thread_is_left)
    assert "larger than" in str([vars(record).get("cause") for record in caplog.records])


async def test_discovery_and_keys_have_one_time_together(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCH_SECONDS", 1)
    issuer.delay_seconds = 0.7
    async with IssuerKeys(issuer.url, None) as keys:
        with pytest.raises(Unavailable):
            await keys.get()


@slow
async def test_it_is_asked_again_and_its_keys_are_taken_when_it_is_quick_again(
    issuer: Issuer, behaviour: Behaviour
) -> None:
    async with IssuerKeys(issuer.url, f"{issuer.url}{KEYS}") as keys:
        known = await keys.get()
        with listening(behaviour) as port:
            keys._jwks_url = f"http://127.0.0.1:{port}/keys"
            with pytest.raises(Unavailable):
                await keys.get(newer=True)
            assert await keys.get() is known
        issuer.use(new_key("ES256", "second"))
        keys._jwks_url = f"{issuer.url}{KEYS}"
        assert (await keys.get(newer=True)).find("ES256", "second")


async def test_lookups_that_hang_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup cannot be interrupted. The process can still end, because the threads are daemons."""
    answered = threading.Event()

    def hanging(*_: object, **__: object) -> list[object]:
        answered.wait()
        raise socket.gaierror

    def fetches() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == download.THREAD_NAME]

    monkeypatch.setattr(module, "FETCH_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    async with IssuerKeys("https://issuer.example.com", "https://issuer.example.com/keys") as keys:
        for _ in range(20):
            with pytest.raises(Unavailable):
                await keys.get()
        assert 0 < len(fetches()) <= 4
        assert all(thread.daemon for thread in fetches())
    answered.set()
    await eventually(no_thread_is_left)


async def test_a_connection_that_opens_too_late_is_closed() -> None:
    attempt = download._Attempt()
    attempt.close()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        attempt.watch(ours)
        assert theirs.recv(1) == b""


def test_the_systems_certificates_verify_an_issuer() -> None:
    assert download._context().verify_mode is ssl.CERT_REQUIRED
    assert download._context().check_hostname
