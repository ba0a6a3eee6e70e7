"""Refuses a request and ends its connection. The answers to earlier requests still arrive."""

import logging
import os
from collections import deque
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from groundwork.http.byte_budget import Charge
from groundwork.http.problems import RETRY_AFTER_SECONDS, problem
from groundwork.http.response_headers import with_headers

logger = logging.getLogger(__name__)

DISCARDED: Any = deque(maxlen=0)
"""Takes the place of a request's list of headers, and drops the headers that still come."""


class RefusingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which can refuse the request that it receives.

    It also counts the bytes that were received and are not answered yet, and knows whether a request has begun.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle_since: float | None = None
        """Since when the connection is idle, in the event loop's time; None while a request is received or answered."""
        self._received_bytes = 0
        """The bytes that were received and are not answered yet."""
        self._received = Charge()
        """The part of these bytes that is charged to the budget of all connections."""
        self._refusal: bytes | None = None
        """The last answer of this connection; empty if it needs none or has sent it; None while it goes on."""
        self._at_eof = False
        self._lingering = False

    def eof_received(self) -> bool:  # type: ignore[override]
        """Note that the client sends no more. It still gets the answers to its whole requests."""
        self._at_eof = True
        cycle = self.cycle
        if self._refusal is None and cycle is not None and not cycle.response_complete:
            if cycle.more_body and self.pipeline:
                self.pipeline.popleft()
                self._refusal = b""
            elif not cycle.more_body:
                self._refusal = b""
        if self._refusal is None or self.transport.is_closing():
            self.transport.close()
        return True

    def linger(self) -> bool:
        """Whether a connection must stay open, although it is to be closed, for what the client still sends.

        Closing a connection with unread data resets it, and the client loses the last answers (RFC 9112, 9.6). So only
        this side is closed, and incoming data is discarded until the client closes too. The connection is cut if, for
        `client_seconds`, the client takes nothing of its last answers, or has taken all of them and does not close.
        """
        begun = self.cycle is not None and (self.cycle.more_body or self.scope is not self.cycle.scope)
        if self._at_eof or not (begun or self._refusal is not None):
            return False
        self._refusal = b""
        self.transport.write_eof()
        self.transport.resume_reading()
        self._lingering = True
        return True

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Refuse the request that is being received, after the answers to earlier ones, and close the connection."""
        id_ = os.urandom(16).hex()
        logger.info("request refused", extra={"request_id": id_, "status": status.value, "detail": detail})
        headers = {"connection": "close"}
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["retry-after"] = str(RETRY_AFTER_SECONDS)
        answer = problem(status, detail, headers=headers)
        # A dictionary, because `connection` is in both lists when the worker is about to end.
        fields = dict([*self.server_state.default_headers, *with_headers(answer.raw_headers, id_)])
        head = b"".join(b"%s: %s\r\n" % field for field in fields.items())
        self._refusal = STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body)
        self._idle_since = None
        self._drop_unfinished()
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            # No earlier request waits for an answer. A request that was answered before its body was whole needs no
            # refusal.
            self._send_refusal(answered=cycle is not None and cycle.scope is self.scope)
        elif cycle.scope is self.scope and cycle.more_body:
            cycle.disconnected = True
            cycle.message_event.set()
            if self.pipeline:
                self.pipeline.popleft()
            else:
                self._send_refusal(answered=cycle.response_started)

    def _drop_unfinished(self) -> None:
        """Free the received part of a refused request, because its connection stays until the refusal is read."""
        if self.scope is not None and "method" not in self.scope:
            self.headers = DISCARDED
            self.scope["headers"] = []
            self.parser = None  # it holds an unfinished field
        elif self.cycle is not None and self.cycle.more_body:
            self.cycle.body = bytearray()
        if not self.pipeline and (self.cycle is None or self.cycle.response_complete or self.cycle.more_body):
            self._release(0)

    def _send_refusal(self, *, answered: bool = False) -> None:
        if self.transport.is_closing():
            return
        if self._refusal and not answered:
            self.transport.write(self._refusal)
        self.transport.close()

    def _release(self, kept_bytes: int) -> None:
        """Reduce the number of counted bytes to `kept_bytes`."""
        self._received_bytes = kept_bytes
        if self._received.size:
            self._received.set(kept_bytes)

    def _is_unfinished(self) -> bool:
        """Whether a request has begun and is not whole."""
        return self._idle_since is None and ("method" not in self.scope or self.cycle.more_body)
