"""The gunicorn worker that runs uvicorn."""

import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from gunicorn.arbiter import Arbiter
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from groundwork.http.byte_budget import budget
from groundwork.http.streams import stop_event_streams
from groundwork.observe.metrics import counts
from groundwork.serve.settings import Settings, load_settings

# gunicorn kills a worker after its own timeout. The worker must end and close its connections this much earlier.
_MARGIN_SECONDS = 1

Ports = dict[int | None, ASGIApp]


def by_port(app: ASGIApp, ports: Ports) -> ASGIApp:
    """An application that chooses another one by the port that the client connected to.

    Args:
        app: the application of every port that is not in `ports`.
    """

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server")
        await (ports.get(server[1], app) if server else app)(scope, receive, send)

    return choose


def _ports(settings: Settings, routes: Callable[[], list[BaseRoute]]) -> Ports:
    """The applications of ports other than the service's own: the metrics, if they have a port."""
    if settings.metrics_port is None:
        return {}
    # This runs in gunicorn's process before the fork, so prometheus-client is imported once for all workers.
    from groundwork.serve.metrics_endpoint import MetricsEndpoint  # noqa: PLC0415

    endpoint = MetricsEndpoint(counts, version=settings.version, revision=settings.revision, routes=routes)
    return {settings.metrics_port: endpoint}


def _fast_protocol(application: Any) -> Any:
    """The protocol of `groundwork.fast`; None for an `Application` that must not use it.

    A service that does not use it depends on no private name of uvicorn.
    """
    if not getattr(application, "fast", True):
        return None
    from groundwork.fast.worker_protocol import WorkerProtocol  # noqa: PLC0415

    return WorkerProtocol


class _StockProtocol(HttpToolsProtocol):
    """uvicorn's own protocol. Here it also ends event streams when the worker ends."""

    def shutdown(self) -> None:
        stop_event_streams()
        super().shutdown()

    def handle_websocket_upgrade(self) -> None:
        protocol: Any = self.ws_protocol_class
        if protocol.takes(self.scope["method"], self.url, self.headers):
            super().handle_websocket_upgrade()
        else:
            self.send_400_response("The request is not a valid WebSocket handshake.")


class Worker(UvicornWorker):  # type: ignore[misc]
    """uvicorn's worker, which here also obeys gunicorn's graceful timeout.

    With the stock class, gunicorn would kill the worker while requests are in flight, and they could not end in order.
    An old worker could stay for ever after a reload.
    """

    CONFIG_KWARGS: dict[str, Any] = {  # noqa: RUF012 - as the stock class declares it
        "loop": "uvloop",
        "http": "httptools",
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "lifespan": "on",
    }
    wsgi: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The stock class takes this logger out of the process's logging. Its lines would not be JSON.
        logger = logging.getLogger("uvicorn.error")
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
        settings = load_settings()
        # The library needs neither the client's address nor the scheme, because links are relative. Reading them for a
        # team's own code costs each request, so this is done only if a proxy is named.
        self.config.proxy_headers = settings.forwarded_allow_ips is not None
        self.config.forwarded_allow_ips = settings.forwarded_allow_ips or ""
        self.config.timeout_graceful_shutdown = max(1, self.cfg.graceful_timeout - _MARGIN_SECONDS)
        budget.limit_bytes = settings.memory_budget_bytes
        self._client_seconds = settings.client_wait_seconds
        if settings.websockets:
            from groundwork.http.socket_protocol import SocketProtocol  # noqa: PLC0415 - needs a package of its own

            self.config.ws = SocketProtocol
            self.config.ws_max_size = settings.request_body_limit_bytes
            self.config.ws_ping_interval = self.config.ws_ping_timeout = settings.client_wait_seconds
            self.config.ws_per_message_deflate = False  # it takes memory for each connection
        self._application: Any = self.app.callable
        self._ports = _ports(settings, lambda: self._application.routes)
        # This runs in gunicorn's process. If it has loaded the application, the protocol is imported once for all
        # workers.
        if self._application is not None:
            _fast_protocol(self._application)

    def load_wsgi(self) -> None:
        """Load the application, and choose its protocol."""
        # The stock method is not used. After a SyntaxError it would serve a WSGI application, which uvicorn cannot run.
        try:
            self._application = self.wsgi = self.app.wsgi()
        except (Exception, SystemExit) as error:
            if not isinstance(error, SystemExit):
                self.log.exception("the code cannot be loaded")
            elif error.code != os.EX_CONFIG:  # then the reasons are written already
                self.log.exception("the code ends the program while it is loaded: %s", error.code)
            # After any other exit code, gunicorn starts the worker again at once, and does so for ever.
            raise SystemExit(Arbiter.WORKER_BOOT_ERROR) from None
        protocol = _fast_protocol(self._application)
        if protocol is not None:
            # uvicorn only calls it, though its types want a class.
            limited: Any = partial(protocol, client_seconds=self._client_seconds, ports=self._ports)
            self.config.http = limited
            return
        self.config.http = _StockProtocol
        if self._ports:
            self.wsgi = by_port(self._application, self._ports)

    def init_process(self) -> None:
        # uvloop has already closed the listening sockets when uvicorn closes them again. gunicorn logs an error then.
        self.log.error_log.addFilter(lambda record: record.msg != "Error while closing socket %s")
        super().init_process()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Obey SIGQUIT, gunicorn's quick stop. The stock class only notes the signal."""
        super().handle_exit(sig, frame)
        signal.raise_signal(signal.SIGTERM)

    async def callback_notify(self) -> None:
        """Tell gunicorn that this worker lives. End if gunicorn itself was killed."""
        await super().callback_notify()
        if os.getppid() != self.ppid:
            signal.raise_signal(signal.SIGTERM)
