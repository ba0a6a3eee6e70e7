"""Counts the round trips between the service and its database, by the messages that the service sends."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

from groundwork.tests.faults.proxy import Proxy

# PostgreSQL answers after Sync, Flush and a simple query. asyncpg waits for the answer before it sends more.
_ENDS = frozenset(b"SHQ")


class CountingProxy(Proxy):
    """Passes everything on to `target_port`, and counts the round trips."""

    def __init__(self, url: str) -> None:
        """
        Args:
            url: the database's URL.
        """
        parts = urlsplit(url)
        assert parts.port
        super().__init__(parts.port)
        self._parts = parts
        self.round_trips = 0

    @property
    def url(self) -> str:
        """The URL of the same database through this proxy. It has no TLS, because the proxy reads the messages."""
        user_info = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{user_info}@127.0.0.1:{self.port}", query="sslmode=disable").geturl()

    async def _pipe(self, link: Any, reader: Any, writer: asyncio.StreamWriter, *, delayed: bool) -> None:
        counted: Any = _Counted(reader, self)
        await super()._pipe(link, reader if delayed else counted, writer, delayed=delayed)


class _Counted:
    """Counts the messages of one client. Each message has a type, except the first one, and a length."""

    def __init__(self, reader: asyncio.StreamReader, proxy: CountingProxy) -> None:
        self._reader, self._proxy = reader, proxy
        self._rest = b""
        self._type_bytes = 0

    async def read(self, limit: int) -> bytes:
        data = await self._reader.read(limit)
        self._rest += data
        while len(self._rest) >= self._type_bytes + 4:
            size = self._type_bytes + int.from_bytes(self._rest[self._type_bytes : self._type_bytes + 4])
            if len(self._rest) < size:
                break
            if self._type_bytes:
                self._proxy.round_trips += self._rest[0] in _ENDS
            self._type_bytes = 1
            self._rest = self._rest[size:]
        return data
