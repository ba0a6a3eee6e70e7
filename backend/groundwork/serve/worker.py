"""The gunicorn worker that runs uvicorn."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from weakref import WeakMethod

from starlette.routing import BaseRoute
from uvicorn_worker import UvicornWorker

from groundwork.fast.connection import BoundedProtocol
from groundwork.http.byte_budget import budget
from groundwork.observe.metrics import counts
from groundwork.serve.settings import Settings, load_settings

# gunicorn kills a worker after its own timeout; by then the worker's end, closing its connections included, is over.
_MARGIN_SECONDS = 1
# How long an idle connection stays open when its worker ends.
_LINGER_SECONDS = 1.0
_CLOSE = (b"connection", b"close")


class Protocol(BoundedProtocol):
    """Says goodbye before it closes an idle connection.

    Args:
        ports: what answers on these ports in place of the service.
    """

    def __init__(self, *args: Any, ports: dict[int | None, Any], **options: Any) -> None:
        super().__init__(*args, **options)
        self._ports = ports
        self._goodbye: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_LingeringTransport(transport, self.linger))  # type: ignore[arg-type]
        if self._ports and self.server:
            self.app = self._ports.get(self.server[1], self.app)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._goodbye:
            self._goodbye.cancel()

    def shutdown(self) -> None:
        """End the connection, at the end of its worker, with the answer to the request that is on its way.

        An idle one may have a request on its way too, that closing it now would lose: the next answer says that it is
        the last (RFC 9112, 9.6), and only a connection that goes on being idle is closed without.
        """
        headers = self.server_state.default_headers
        if _CLOSE not in headers:
            self.server_state.default_headers = [*headers, _CLOSE]
        if self.cycle is None or self.cycle.response_complete:
            linger_seconds = min(_LINGER_SECONDS, (self.config.timeout_graceful_shutdown or 0) / 2)
            self._goodbye = self.loop.call_later(linger_seconds, super().shutdown)
        else:
            super().shutdown()


class _LingeringTransport:
    """Closes when the client has been heard to the end, and writes nothing after that."""

    def __init__(self, transport: asyncio.Transport, linger: Callable[[], bool]) -> None:
        self._transport = transport
        # Weak: the protocol holds this transport, and both shall be free as soon as the connection has ended.
        self._linger = WeakMethod(linger)
        self._closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        # The client may be gone by now, which uvicorn notes of the newest of several pipelined requests only.
        if not self.is_closing():
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        linger = self._linger()
        if self.is_closing() or linger is None or not linger():
            self._transport.close()
        self._closing = True


def _ports(settings: Settings, routes: Callable[[], list[BaseRoute]]) -> dict[int | None, Any]:
    """Looked at once for each connection, so that the public port knows nothing of the metrics' and pays nothing."""
    if settings.metrics_port is None:
        return {}
    # In gunicorn's process, before the fork: prometheus-client is imported once for all workers.
    from groundwork.serve.metrics_endpoint import MetricsEndpoint  # noqa: PLC0415

    endpoint = MetricsEndpoint(counts, version=settings.version, revision=settings.revision, routes=routes)
    return {settings.metrics_port: endpoint}


class Worker(UvicornWorker):  # type: ignore[misc]
    """uvicorn's worker, with what it does not take from gunicorn's configuration.

    The stock class drops gunicorn's graceful timeout: requests in flight would be cut at the kill instead of being
    cancelled in order, and after a reload an old worker could stay for ever.
    """

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "lifespan": "on",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The stock class takes this logger out of the process's logging: its lines would be no JSON.
        logger = logging.getLogger("uvicorn.error")
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
        settings = load_settings()
        # Nothing here depends on the client's address or scheme, links are relative: to read them for a team's own
        # code costs each request, so it is done only where a proxy is named.
        self.config.proxy_headers = settings.forwarded_allow_ips is not None
        self.config.forwarded_allow_ips = settings.forwarded_allow_ips or ""
        budget.limit_bytes = settings.memory_budget_bytes
        self.config.http = partial(
            Protocol, client_seconds=settings.client_wait_seconds, ports=_ports(settings, lambda: self.wsgi.routes)
        )
        self.config.timeout_graceful_shutdown = max(1, self.cfg.graceful_timeout - _MARGIN_SECONDS)

    def init_process(self) -> None:
        # uvloop has closed the listening sockets when uvicorn closes them once more; gunicorn calls that an error.
        self.log.error_log.addFilter(lambda record: record.msg != "Error while closing socket %s")
        super().init_process()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """gunicorn's quick stop, SIGQUIT, which the stock class notes and does not obey."""
        super().handle_exit(sig, frame)
        signal.raise_signal(signal.SIGTERM)

    async def callback_notify(self) -> None:
        """Tell gunicorn that this worker lives, every half of its `timeout`; end when gunicorn itself was killed."""
        await super().callback_notify()
        if os.getppid() != self.ppid:
            signal.raise_signal(signal.SIGTERM)
