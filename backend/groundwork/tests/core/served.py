"""The worker's protocol on uvloop and real sockets, in a thread of this process, so that a test can look inside."""

import asyncio
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httptools
import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from groundwork.fast.worker_protocol import WorkerProtocol

CLIENT_SECONDS = 1


class Parser(httptools.HttpRequestParser):
    """A subclass, because weak references to the compiled class are not possible."""


class Served:
    """A listening port. `references` are weak references to all objects of its connections."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.loop = uvloop.new_event_loop()
        self.state = ServerState()
        self.references: list[weakref.ref[Any]] = []
        self._config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, **options)

    async def listen(self) -> None:
        self._server = await self.loop.create_server(self._protocol, "127.0.0.1", 0, backlog=512)
        [listening] = self._server.sockets  # type: ignore[attr-defined]
        self.port: int = listening.getsockname()[1]

    def _protocol(self) -> WorkerProtocol:
        return _Recorded(
            self.references,
            config=self._config,
            server_state=self.state,
            app_state={},
            _loop=self.loop,
            client_seconds=CLIENT_SECONDS,
            ports={},
        )

    def connect(self, *, receive_bytes: int = 0) -> socket.socket:
        client = socket.socket()
        client.settimeout(20)
        if receive_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.connect(("127.0.0.1", self.port))
        return client

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the loop's thread, and wait for its result."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def alive(self) -> list[Any]:
        return [each for each in (reference() for reference in self.references) if each is not None]


class _Recorded(WorkerProtocol):
    def __init__(self, references: list[weakref.ref[Any]], **options: Any) -> None:
        super().__init__(**options)
        self._references = references
        references += [weakref.ref(self), weakref.ref(self.parser)]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._references += [weakref.ref(self.transport), weakref.ref(self.flow)]

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.cycle is not None:
            self._references.append(weakref.ref(self.cycle))


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[Served]:
    served = Served(app, **options)
    thread = threading.Thread(target=served.loop.run_forever)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httptools, "HttpRequestParser", Parser)
        thread.start()
        asyncio.run_coroutine_threadsafe(served.listen(), served.loop).result(10)
        try:
            yield served
        finally:
            asyncio.run_coroutine_threadsafe(_stop(served), served.loop).result(10)
            served.loop.call_soon_threadsafe(served.loop.stop)
            thread.join()
            served.loop.close()


async def _stop(served: Served) -> None:
    served._server.close()
    for connection in list(served.state.connections):
        connection.transport.abort()
    for task in list(served.state.tasks):
        task.cancel()
    await asyncio.gather(*served.state.tasks, return_exceptions=True)
    await asyncio.sleep(0)
