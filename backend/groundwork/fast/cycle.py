"""An answer that leaves in one piece."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from groundwork.http.byte_budget import Charge

# What uvicorn looks for in each name and value, one by one: here, once in all of them. Horizontal tabs may be there.
_CONTROLS = bytes({*range(32), 127} - {9})
_LINE_END = b"\r\n"
# All that this service, its problems, CORS and FastAPI answer with. Those that change how the answer is written, such
# as Connection and Transfer-Encoding, are not among them.
_PLAIN = frozenset(
    {
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-allow-origin",
        b"access-control-expose-headers",
        b"access-control-max-age",
        b"allow",
        b"cache-control",
        b"content-length",
        b"content-type",
        b"date",
        b"etag",
        b"link",
        b"location",
        b"retry-after",
        b"vary",
        b"www-authenticate",
        b"x-content-type-options",
        b"x-request-id",
    }
)


class SingleWriteCycle(RequestResponseCycle):
    """One request and its answer: uvicorn's, but head and body are one write, where their length is known.

    uvicorn writes them one by one, which is a system call each, and costs about as much as all of the routing. What is
    not plain it writes, or refuses, itself.
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
            # It may have to wait until the client has taken the answers before it.
            with Charge(len(message.get("body", b""))):
                await super().send(head)
                await super().send(message)
            return
        self.transport.write(answer)
        self.response_complete = True
        self.message_event.set()
        self.on_response()

    def _may_hold(self, head: Any) -> bool:
        """Whether the head can wait for the body: that of a stream, whose length is not known, must not."""
        headers = head.get("headers")
        return not self.response_started and isinstance(headers, list) and b"content-length" in dict(headers)

    def _whole(self, head: Any, body: Any) -> bytes | None:
        """The answer as it is sent; None when uvicorn has to see to it."""
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
