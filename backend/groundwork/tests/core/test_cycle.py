"""`SingleWriteCycle` sends the same bytes as uvicorn's own cycle, in fewer pieces."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from groundwork.fast.cycle import SingleWriteCycle

_DATE = (b"date", b"Tue, 24 Nov 2026 11:14:34 GMT")
_PLAIN = [(b"content-length", b"2"), (b"content-type", b"application/json"), (b"x-request-id", b"a")]
_START = {"type": "http.response.start", "status": 200, "headers": _PLAIN}
_BODY = {"type": "http.response.body", "body": b"{}"}


class _Transport:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.closed = True


class _Sent:
    """What a cycle sent for these messages."""

    def __init__(
        self, cycle: type[RequestResponseCycle], messages: Iterable[dict[str, Any]], *, method: str, keep_alive: bool
    ) -> None:
        self.transport = _Transport()
        self.completions = 0
        self.error: Exception | None = None
        asyncio.run(self._send(cycle, messages, method, keep_alive))

    async def _send(
        self, cycle: type[RequestResponseCycle], messages: Iterable[dict[str, Any]], method: str, keep_alive: bool
    ) -> None:
        transport: Any = self.transport
        scope: Any = {"type": "http", "method": method}
        self.cycle = cycle(
            scope=scope,
            transport=transport,
            flow=FlowControl(transport),
            logger=logging.getLogger(),
            access_logger=logging.getLogger(),
            access_log=False,
            default_headers=[_DATE],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self._complete,
        )
        try:
            for message in messages:
                await self.cycle.send(message)  # type: ignore[arg-type]
        except Exception as error:  # the kinds of errors are compared
            self.error = error

    def _complete(self) -> None:
        self.completions += 1

    def outcome(self) -> tuple[Any, ...]:
        return (
            b"".join(self.transport.pieces),
            self.transport.closed,
            self.completions,
            self.cycle.response_started,
            self.cycle.response_complete,
            repr(self.error),
        )


def _start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


_CASES: dict[str, list[dict[str, Any]]] = {
    "plain": [_START, _BODY],
    "no body": [_start((b"content-length", b"0")), {"type": "http.response.body"}],
    "not modified": [_start((b"etag", b'"1-a"'), status=304), {"type": "http.response.body", "body": b""}],
    "in parts": [_START, {**_BODY, "body": b"{", "more_body": True}, {**_BODY, "body": b"}"}],
    "no length": [_start((b"content-type", b"text/plain")), {**_BODY, "more_body": True}, _BODY],
    "chunked": [_start((b"content-length", b"2"), (b"transfer-encoding", b"chunked")), _BODY],
    "too long": [_START, {**_BODY, "body": b"{} "}],
    "too short": [_START, {**_BODY, "body": b"{"}],
    "no such length": [_start((b"content-length", b"two")), _BODY],
    "connection: close": [_start(*_PLAIN, (b"connection", b"close")), _BODY],
    "upper case": [_start((b"Content-Length", b"2"), (b"ETag", b'"1-a"')), _BODY],
    "a header of the template's user": [_start(*_PLAIN, (b"x-mine", b"1")), _BODY],
    "headers in a tuple": [{**_START, "headers": tuple(_PLAIN)}, _BODY],
    "no headers": [{"type": "http.response.start", "status": 200}, _BODY],
    "twice the same header": [_start(*_PLAIN, (b"vary", b"Origin"), (b"vary", b"Accept")), _BODY],
    "a tab": [_start(*_PLAIN, (b"link", b"a\tb")), _BODY],
    "a split response": [_start(*_PLAIN, (b"link", b"a\r\nset-cookie: b")), _BODY],
    "a line feed": [_start(*_PLAIN, (b"link", b"a\nb")), _BODY],
    "a NUL": [_start(*_PLAIN, (b"link", b"a\0b")), _BODY],
    "not ASCII": [_start(*_PLAIN, (b"link", "ä".encode())), _BODY],
    "no start": [_BODY],
    "two starts": [_START, _START, _BODY],
    "more after the end": [_START, _BODY, _BODY],
    "a file": [_START, {"type": "http.response.pathsend", "path": "/"}],
}


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("case", _CASES)
def test_what_is_sent_is_what_uvicorn_would_have_sent(case: str, method: str, keep_alive: bool) -> None:
    ours, reference = (
        _Sent(cycle, _CASES[case], method=method, keep_alive=keep_alive)
        for cycle in (SingleWriteCycle, RequestResponseCycle)
    )

    assert ours.outcome() == reference.outcome()


def test_head_and_body_are_one_write() -> None:
    assert len(_Sent(SingleWriteCycle, [_START, _BODY], method="GET", keep_alive=True).transport.pieces) == 1


def test_the_head_of_a_stream_does_not_wait_for_its_body() -> None:
    sent = _Sent(SingleWriteCycle, [_start((b"content-type", b"text/event-stream"))], method="GET", keep_alive=True)

    assert b"text/event-stream" in sent.transport.pieces[0]
