"""The answers of fast routes, and the errors that they pass to FastAPI's exception handlers."""

from typing import Any

from fastapi import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")


class JSONAnswer:
    """A JSON response that is ready to be sent.

    It is no ASGI application, because that would cost each response one more coroutine.
    """

    def __init__(self, status: int, body: bytes, headers: Headers) -> None:
        headers = [(b"content-length", b"%d" % len(body)), _JSON, *headers]
        self.messages = (
            {"type": "http.response.start", "status": status, "headers": headers},
            {"type": "http.response.body", "body": body},
        )


class CapturedHeaders(Response):
    """The handler's `response` parameter. Only its headers and its status are used."""

    body = b""
    background = None

    def __init__(self) -> None:
        self.status_code = None  # type: ignore[assignment]
        self.raw_headers = []


def raising(error: Exception) -> ASGIApp:
    """An ASGI application that raises the error."""
    # `pop` drops the reference to the error, whose traceback refers to this function. The cycle would keep the request
    # in memory.
    errors = [error]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise errors.pop()

    return app


def is_complete(answer: Any) -> bool:
    """Whether all bytes of the answer exist already. A stream, a file or a background task can still raise."""
    return isinstance(answer, Response) and type(answer).__call__ is Response.__call__ and answer.background is None
