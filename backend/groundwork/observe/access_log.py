"""The access log: one line for each request, or for a sample of them."""

import logging
import os
import sys
import time
from collections.abc import Callable
from hashlib import blake2b
from random import random
from typing import Any, Literal, TypeVar

from groundwork.observe.current_request import CurrentRequest
from groundwork.observe.log_members import Members, escaped
from groundwork.observe.log_times import iso_time
from groundwork.observe.metrics import SERVER_ERROR

# The members of a line. Formatting takes time for each character, so what is the same in many lines is formatted once
# and inserted as a whole: the head, the client and its user agent.
_JSON = (
    '{{"{time}": "%s%s%s", "{method}": "%s", "{route}": "%s", "{status}": %d, "{duration_ms}": %.2f,'
    ' "{database_ms}": %.2f, "{pool_wait_ms}": %.2f, "{bytes_in}": %d, "{bytes_out}": %d, "{user}": "%s"%s%s%s}}\n'
)
_MEMBER = ', "%s": "%s"'
_SLOW = ', "slow": true'
_STREAM = ', "stream": "%s", "stream_bytes": %d'
_AGENT_BYTES = 200
"""How much of a user agent is logged."""
_LENGTH_DIGITS = 20
_AGENT, _LENGTH = b"user-agent", b"content-length"
_KNOWN_LIMIT = 4096

Key = TypeVar("Key", str, bytes)
Addresses = Literal["off", "hash", "full"]
Headers = dict[bytes, bytes]


class AccessLog:
    """Writes a JSON line to standard error, in the same form as every other line.

    It uses no log record, formatter or handler, because they cost as much as a third of a whole request. The level of
    the logger `app.access` applies all the same.

    Args:
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
        sample: float = 1,
        slow_seconds: float = 0.5,
        user_key: str | None = None,
        addresses: Addresses = "hash",
        members: Members | None = None,
    ) -> None:
        self._members = members = members or Members()
        self._line = _JSON.format_map(members)
        self._heads = [_json_head(members, level) for level in ("INFO", "WARNING")]
        self._sample = sample
        self._slow_seconds = slow_seconds
        # Most users send many requests.
        hash_ = UserHash(user_key)
        self._users = _Known[str](hash_)
        shown = hash_ if addresses == "hash" else escaped
        self._clients = _Known[str](lambda value: self._named("client", shown(value)) if addresses != "off" else "")
        self._agents = _Known[bytes](lambda value: self._named("user_agent", escaped(value.decode("latin-1"))))
        self._logger = logging.getLogger("app.access")

    def __call__(
        self, request: CurrentRequest, method: str, route: str, seconds: float, scope: Any, headers: Headers
    ) -> None:
        """Write the request's line, unless it is an ordinary request that is not in the sample.

        Args:
            route: the route's template; "" if no route matched.
            seconds: the time from the request's beginning to its end.
            scope: the request's scope, for the user in the path and the client's address.
            headers: the request's headers.
        """
        stream = request.stream
        request.is_slow = slow = (seconds if stream is None else stream.head_seconds) >= self._slow_seconds
        remarkable = slow or request.status >= SERVER_ERROR
        if not remarkable and self._sample != 1 and random() >= self._sample:  # noqa: S311
            return
        if self._logger.isEnabledFor(logging.WARNING if remarkable else logging.INFO):
            self._write(request, method, route, seconds, scope, headers)

    def _write(
        self, request: CurrentRequest, method: str, route: str, seconds: float, scope: Any, headers: Headers
    ) -> None:
        """Write the line.

        Only the user agent and an address need escaping. The other values are a checked id, a method, a route's
        template, numbers and hashes. The line has no path, because paths contain users' ids. `TextAccessLog` shows it.
        """
        user_id = scope["path_params"].get("user_id") if "path_params" in scope else None
        client = scope.get("client")
        line = self._line % (
            iso_time(time.time()),
            self._heads[request.is_slow or request.status >= SERVER_ERROR],
            request.id,
            method,
            route,
            request.status,
            seconds * 1000,
            request.database_seconds * 1000,
            request.pool_seconds * 1000,
            int(headers[_LENGTH][:_LENGTH_DIGITS]) if _LENGTH in headers else request.received_bytes,
            0 if method == "HEAD" else request.sent_bytes,
            self._users[user_id] if user_id else "",
            self._clients[client[0]] if client else "",
            self._agents[headers[_AGENT][:_AGENT_BYTES]] if _AGENT in headers else "",
            self._rest(request) if request.is_slow or request.span or request.stream else "",
        )
        sys.stderr.write(line)

    def _rest(self, request: CurrentRequest) -> str:
        """The members that few lines have."""
        stream = "" if request.stream is None else _STREAM % (request.stream.end, request.sent_bytes)
        trace = [self._named(name, value) for name, value in self._members.trace(request.span).items()]
        return "".join([_SLOW if request.is_slow else "", *trace, stream])

    def _named(self, name: str, value: str) -> str:
        return _MEMBER % (self._members[name], value)


class _Known(dict[Key, str]):
    """A cache of what is logged for a value. A bounded `lru_cache` costs three times as much."""

    def __init__(self, show: Callable[[Key], str]) -> None:
        super().__init__()
        self._show: Callable[[Key], str] = show

    def __missing__(self, value: Key) -> str:
        if len(self) >= _KNOWN_LIMIT:
            self.clear()
        shown: str = self._show(value)
        self[value] = shown
        return shown


def _json_head(members: Members, level: str) -> str:
    """The part of a line between the time and the request's id."""
    head = {"level": members.level(level), "logger": "app.access", "message": "request"}
    parts = [f'"{name}": "{escaped(value)}"' for name, value in members.renamed(head).items()]
    return f'", {", ".join(parts)}, "{members["request_id"]}": "'


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
