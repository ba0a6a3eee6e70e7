"""Writes the head and the body of an answer in one system call."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from groundwork.http.byte_budget import Charge

# The characters that no header may contain. uvicorn checks each name and value; here all are checked at once.
_CONTROLS = bytes({*range(32), 127} - {9})
_LINE_END = b"\r\n"
# The headers that the service, its problem details, CORS and FastAPI send. None of them changes how the answer is
# written, as Connection or Transfer-Encoding would.
_PLAIN = frozenset(
    b"""
    access-control-allow-credentials access-control-allow-headers access-control-allow-methods
    access-control-allow-origin access-control-expose-headers access-control-max-age
    allow cache-control content-length content-type date etag link location retry-after server-timing vary
    www-authenticate x-content-type-options x-request-id
    """.split()
)


class SingleWriteCycle(RequestResponseCycle):
    """uvicorn's cycle of one request and its answer. It writes the head and the body at once if the length is known.

    uvicorn writes them one after the other, and the second system call costs about as much as all of the routing. An
    answer with a header that is not in `_PLAIN` uses uvicorn's send().
    """

    _head: Any = None

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and self._may_hold(message):
            self._head = message
            self.response_started = True
            return
        if self._head is None:
            await super().send(message)
            return
        head, self._head = self._head, None
        answer = self._whole(head, message)
        if answer is None:
            self.response_started = False
            # uvicorn may wait here until the client has taken the answers before this one.
            with Charge(len(message.get("body", b""))):
                await super().send(head)
                await super().send(message)
            return
        self.transport.write(answer)
        self.response_complete = True
        self.message_event.set()
        self.on_response()

    def _may_hold(self, head: Any) -> bool:
        """Whether the head can wait for the body. A stream has no known length, and its head must not wait."""
        headers = head.get("headers")
        return not self.response_started and isinstance(headers, list) and _has_length(headers)

    def _whole(self, head: Any, body: Any) -> bytes | None:
        """The bytes of the answer; None if uvicorn has to write it."""
        if body["type"] != "http.response.body" or body.get("more_body"):
            return None
        if not self.keep_alive or self.disconnected or self.flow.write_paused:
            return None
        headers = self.default_headers + head["headers"]
        fields = dict(headers)
        if not _PLAIN.issuperset(fields) or self.scope["method"] == "HEAD":
            return None
        lines = _LINE_END.join(map(b": ".join, headers))
        if len(lines) - len(lines.translate(None, _CONTROLS)) != len(_LINE_END) * (len(headers) - 1):
            return None
        content = body.get("body", b"")
        if fields[b"content-length"] != b"%d" % len(content):
            return None
        return b"%b%b\r\n\r\n%b" % (STATUS_LINE[head["status"]], lines, content)


def _has_length(headers: list[tuple[bytes, bytes]]) -> bool:
    for name, _ in headers:  # noqa: SIM110 - a loop is faster, and the length usually comes first
        if name == b"content-length":
            return True
    return False
