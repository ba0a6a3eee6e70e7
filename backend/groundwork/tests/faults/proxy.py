"""Stands between the service and PostgreSQL, and fails as networks do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class _Link:
    """One connection that the service opened, and the one that it is passed on to."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.silent = False


class Proxy:
    """Passes new connections on to `target_port`. Its behaviour can be changed while it runs."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.reply_delay_seconds = 0.0
        self.mute = False
        """Whether new connections are accepted and never answered."""
        self.attempts = 0
        """The number of connections that it has taken so far."""
        self._awake = asyncio.Event()
        self._awake.set()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Proxy"]:
        await self.accept()
        try:
            yield self
        finally:
            self.refuse()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(self) -> None:
        """Take new connections. After `refuse`, it does so on the same port."""
        if not self._server:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def hold(self) -> None:
        """Take new connections, but pass nothing on before `wake`."""
        self._awake.clear()

    async def wake(self) -> None:
        """Take connections and pass them on again."""
        self._awake.set()
        await self.accept()

    def refuse(self) -> None:
        """Refuse new connections."""
        if self._server:
            self._server.close()
            self._server = None

    def silence(self) -> None:
        """From now on, read what the present connections send and answer nothing. Neither side learns of it."""
        for link in self._links:
            link.silent = True

    def cut(self) -> None:
        """Close the present connections."""
        for link in self._links:
            link.client.transport.abort()

    async def is_idle(self) -> bool:
        """Whether there is no connection."""
        return not self._links

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        link = _Link(writer)
        link.silent = self.mute
        self._links.add(link)
        # asyncio would log the cancelled task of a stream as an error.
        with suppress(OSError, asyncio.CancelledError):
            await self._awake.wait()
            await self._pass_on(link, reader)
        writer.transport.abort()
        self._links.discard(link)
        self._tasks.discard(task)

    async def _pass_on(self, link: _Link, reader: asyncio.StreamReader) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        try:
            await asyncio.gather(
                self._pipe(link, reader, server_writer, delayed=False),
                self._pipe(link, server_reader, link.client, delayed=True),
            )
        finally:
            server_writer.transport.abort()

    async def _pipe(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delayed: bool
    ) -> None:
        with suppress(OSError):  # the end of one side ends the other
            while data := await reader.read(65536):
                if delayed and self.reply_delay_seconds:
                    await asyncio.sleep(self.reply_delay_seconds)
                if not link.silent:
                    writer.write(data)
        # A silent link does not pass on that one of its sides is gone.
        if not link.silent:
            writer.close()
