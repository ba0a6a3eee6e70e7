"""Downloads a document over HTTP, with a time limit for the whole download.

The timeout of a socket starts again with each read, so a server that sends a byte now and then never exceeds it. Here
each download runs in a thread of its own. When its time is over, its connection is closed, and the thread ends. Only
the lookup of a name cannot be interrupted. The threads are daemons, so that the process does not wait for them.
"""

import asyncio
import os
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from http.client import HTTPConnection, HTTPSConnection
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

THREAD_NAME = "download"
_HEADERS = {"Accept": "application/json", "User-Agent": "groundwork"}
# The largest number of downloads at once. Threads with a hanging lookup could otherwise pile up.
_THREADS_LIMIT = 4


async def download(url: str, *, timeout_seconds: float, limit_bytes: int) -> bytes:
    """The body of the response. Redirects are not followed.

    Args:
        url: an address that is trusted: see `trusted_urls`.
        timeout_seconds: for the whole download, from the lookup of the name to the last byte.
        limit_bytes: the largest body.

    Raises:
        TimeoutError: the download takes too long, or too many earlier ones hang.
        HTTPError: the status is not a success. A redirect is not a success.
        OSError, HTTPException: the connection failed, or the response is not HTTP.
        ValueError: the body is larger than the limit.
    """
    if sum(thread.name == THREAD_NAME for thread in threading.enumerate()) >= _THREADS_LIMIT:
        raise TimeoutError("too many earlier downloads still wait, for the lookup of a name or for a connection")
    attempt = _Attempt()
    arguments = (url, timeout_seconds, limit_bytes)
    threading.Thread(target=attempt.run, args=arguments, name=THREAD_NAME, daemon=True).start()
    try:
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.wrap_future(attempt.body)
    finally:
        attempt.close()


class _Attempt(HTTPHandler, HTTPSHandler):
    """One download. It is also the handler with which urllib opens the download's connections."""

    def __init__(self) -> None:
        super().__init__(context=_context())
        self.body: Future[bytes] = Future()
        # So a request that stops waiting cannot cancel the future, which the thread still sets.
        self.body.set_running_or_notify_cancel()
        self._lock = threading.Lock()
        self._closed = False
        self._connections: list[socket] = []

    def run(self, url: str, timeout_seconds: float, limit_bytes: int) -> None:
        """Download in the thread."""
        try:
            self.body.set_result(self._read(url, timeout_seconds, limit_bytes))
        except Exception as error:
            self.body.set_exception(error)

    def close(self) -> None:
        """Close the connection, so that the thread ends."""
        with self._lock:
            self._closed = True
            while self._connections:
                with self._connections.pop() as connection, suppress(OSError):
                    connection.shutdown(SHUT_RDWR)

    def watch(self, connection: socket) -> None:
        """Store a duplicate of a new connection's socket for `close`. TLS detaches the original one."""
        with self._lock:
            self._connections.append(socket(fileno=os.dup(connection.fileno())))
        if self._closed:
            self.close()

    def http_open(self, req: Request) -> Any:
        return self.do_open(_ObservedHTTP, req, watch=self.watch)  # type: ignore[arg-type]

    def https_open(self, req: Request) -> Any:
        return self.do_open(_ObservedHTTPS, req, context=_context(), watch=self.watch)  # type: ignore[arg-type]

    def _read(self, url: str, timeout_seconds: float, limit_bytes: int) -> bytes:
        request = Request(url, headers=_HEADERS)  # noqa: S310 - trusted
        with build_opener(_NoRedirects, self).open(request, timeout=timeout_seconds) as response:
            body: bytes = response.read(limit_bytes + 1)
        if len(body) > limit_bytes:
            raise ValueError(f"larger than {limit_bytes} bytes")
        return body


class _ObservedConnection:
    """A connection of http.client that passes its socket to `watch` as soon as it is open, before TLS begins."""

    def __init__(self, *args: Any, watch: Callable[[socket], None], **options: Any) -> None:
        self._watch = watch
        super().__init__(*args, **options)

    @property
    def sock(self) -> socket | None:
        return self._sock

    @sock.setter
    def sock(self, connection: socket | None) -> None:
        self._sock = connection
        if connection is not None:
            self._watch(connection)


class _ObservedHTTP(_ObservedConnection, HTTPConnection):
    """A connection without TLS, to this machine."""


class _ObservedHTTPS(_ObservedConnection, HTTPSConnection):
    """A connection with TLS."""


class _NoRedirects(HTTPRedirectHandler):
    """Makes a redirect an error, because only the given address was checked."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
