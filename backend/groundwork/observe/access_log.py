"""The access log: one line for each request, or for a sample of them."""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from json import dumps
from random import random
from typing import Any, Literal

from groundwork.observe.current_request import CurrentRequest
from groundwork.observe.log_members import Members
from groundwork.observe.logging import clock_time, iso_time
from groundwork.observe.metrics import SERVER_ERROR

# The members of each line, and how their values are written.
_MEMBERS = {
    "time": '"%s"',
    "level": '"%s"',
    "logger": '"app.access"',
    "message": '"request"',
    "request_id": '"%s"',
    "method": '"%s"',
    "route": '"%s"',
    "status": "%d",
    "duration_ms": "%.2f",
    "database_ms": "%.2f",
    "pool_wait_ms": "%.2f",
    "user": '"%s"',
    "client": '"%s"',
    "user_agent": '"%s"',
    "bytes_in": "%d",
    "bytes_out": "%d",
}
_TEXT = (
    "%s %s request request_id=%s method=%s route=%s status=%d duration_ms=%.2f database_ms=%.2f pool_wait_ms=%.2f"
    ' user=%s client=%s user_agent="%s" bytes_in=%d bytes_out=%d%s%s%s\n'
)
_AGENT_BYTES = 200
"""How much of a user agent is logged."""
_LENGTH_DIGITS = 20
_NO_HEADERS: Mapping[bytes, bytes] = {}
_CACHED_USERS = 4096
_CACHED_CLIENTS = 1024

Addresses = Literal["off", "hash", "full"]


class AccessLog:
    """Writes a line to standard error, in the same format as every other line.

    It uses no log record, formatter or handler, because they cost as much as a third of a whole request. The level of
    the logger `app.access` applies all the same.

    Args:
        json: whether lines are JSON objects, or else plain text.
        sample: the share of ordinary requests that get a line, from 0 to 1. Slow requests and those answered with 5xx
            always get one, with the level warning.
        slow_seconds: a request that takes at least as long is slow. For a stream, this is the time until its head.
        user_key: the key of the hashes; see `UserHash`.
        addresses: whether lines have the clients' addresses, their hashes, or neither.
        members: the members of JSON lines.
    """

    def __init__(
        self,
        *,
        json: bool,
        sample: float = 1,
        slow_seconds: float = 0.5,
        user_key: str | None = None,
        addresses: Addresses = "hash",
        members: Members | None = None,
    ) -> None:
        self._members = members or Members()
        self._line, self._time = (_json_line(self._members), iso_time) if json else (_TEXT, clock_time)
        self._levels = (self._members.level("INFO"), self._members.level("WARNING")) if json else ("INFO   ", "WARNING")
        self._member = ', "%s": "%s"' if json else " %s=%s"
        self._slow = ', "slow": true' if json else " slow=true"
        self._stream = ', "stream": "%s", "stream_bytes": %d' if json else ' stream="%s" stream_bytes=%d'
        self._sample = sample
        self._slow_seconds = slow_seconds
        # Most users send many requests.
        hash_ = UserHash(user_key)
        self._hash = lru_cache(_CACHED_USERS)(hash_)
        shown: dict[str, Callable[[str], str]] = {"hash": hash_, "full": _escaped, "off": lambda _: ""}
        self._client = lru_cache(_CACHED_CLIENTS)(shown[addresses])
        self._agent = lru_cache(_CACHED_CLIENTS)(lambda value: _escaped(value.decode("latin-1")))
        self._logger = logging.getLogger("app.access")

    def __call__(
        self,
        request: CurrentRequest,
        method: str,
        route: str,
        status: int,
        seconds: float,
        user_id: str | None,
        client: tuple[str, int] | None = None,
        headers: Mapping[bytes, bytes] = _NO_HEADERS,
    ) -> None:
        """Write the request's line.

        Only the user agent and an address need escaping. The other values are a checked id, a method, a route's
        template, numbers and hashes. The line has no path, because paths contain users' ids.

        Args:
            route: the route's template; "" if no route matched.
            status: the response's status; 0 if there was no response.
            seconds: the time from the request's beginning to its end.
            user_id: the user in the path, if there is one. The line holds a hash of it.
            client: the client's address and port, if the server knows them.
            headers: the request's headers.
        """
        stream = request.stream
        slow = (seconds if stream is None else stream.head_seconds) >= self._slow_seconds
        remarkable = slow or status >= SERVER_ERROR
        if not remarkable and self._sample != 1 and random() >= self._sample:  # noqa: S311
            return
        if self._logger.isEnabledFor(logging.WARNING if remarkable else logging.INFO):
            length = headers.get(b"content-length")
            line = self._line % (
                self._time(time.time()),
                self._levels[remarkable],
                request.id,
                method,
                route,
                status,
                seconds * 1000,
                request.database_seconds * 1000,
                request.pool_seconds * 1000,
                self._hash(user_id) if user_id else "",
                self._client(client[0]) if client else "",
                self._agent(headers.get(b"user-agent", b"")[:_AGENT_BYTES]),
                int(length[:_LENGTH_DIGITS]) if length else request.received_bytes,
                0 if method == "HEAD" else request.sent_bytes,
                self._slow if slow else "",
                self._traced(request.span) if request.span else "",
                "" if stream is None else self._stream % (stream.end, request.sent_bytes),
            )
            sys.stderr.write(line)

    def _traced(self, span: Any) -> str:
        trace = self._members.trace(span)
        return "".join([self._member % (self._members.name(name), value) for name, value in trace.items()])


def _json_line(members: Members) -> str:
    """The template of a JSON line. Three members that few lines have follow at its end."""
    parts = [f'"{members.name(name)}": {value}' for name, value in _MEMBERS.items()]
    parts += [f'"{name}": "{_escaped(value)}"'.replace("%", "%%") for name, value in members.constant.items()]
    return "{" + ", ".join(parts) + "%s%s%s}\n"


def _escaped(text: str) -> str:
    """The text as it stands in a JSON string, in ASCII and without control characters."""
    return dumps(text)[1:-1]


class UserHash:
    """A keyed hash that tells users apart in the log without naming them: 12 hexadecimal digits.

    An unkeyed hash would not hide them: a reader of the log could hash every known id and compare.

    Args:
        key: the deployment's key. Without one, a random key is made at the start, so a user's hash changes at every
            restart.
    """

    def __init__(self, key: str | None) -> None:
        secret = blake2b(key.encode()).digest() if key else os.urandom(32)
        self._keyed = blake2b(key=secret, digest_size=6)

    def __call__(self, user_id: str) -> str:
        hash_ = self._keyed.copy()
        hash_.update(user_id.encode(errors="replace"))
        return hash_.hexdigest()
