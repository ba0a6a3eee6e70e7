"""The access log: one line for each request, or for a sample of them."""

import logging
import os
import sys
import time
from functools import lru_cache
from hashlib import blake2b
from random import random

from groundwork.observe.current_request import CurrentRequest
from groundwork.observe.logging import clock_time, iso_time
from groundwork.observe.metrics import SERVER_ERROR

_JSON = (
    '{"time": "%s", "level": "%s", "logger": "app.access", "message": "request", "request_id": "%s", "method": "%s",'
    ' "route": "%s", "status": %d, "duration_ms": %.2f, "database_ms": %.2f, "pool_wait_ms": %.2f, "user": "%s"%s%s%s'
    "}\n"
)
_TEXT = (
    "%s %s request request_id=%s method=%s route=%s status=%d duration_ms=%.2f database_ms=%.2f pool_wait_ms=%.2f"
    " user=%s%s%s%s\n"
)
_CACHED_USERS = 4096


class AccessLog:
    """Writes a line to standard error, in the same format as every other line.

    It uses no log record, formatter or handler, because they cost as much as a third of a whole request. The level of
    the logger `app.access` applies all the same.

    Args:
        json: whether lines are JSON objects, or else plain text.
        sample: the share of ordinary requests that get a line, from 0 to 1. Slow requests and those answered with 5xx
            always get one, with the level warning.
        slow_seconds: a request that takes at least as long is slow. For a stream, this is the time until its head.
        user_key: the key of the users' hashes; see `UserHash`.
    """

    def __init__(
        self, *, json: bool, sample: float = 1, slow_seconds: float = 0.5, user_key: str | None = None
    ) -> None:
        self._line, self._time = (_JSON, iso_time) if json else (_TEXT, clock_time)
        self._levels = ("info", "warning") if json else ("INFO   ", "WARNING")
        self._slow = ', "slow": true' if json else " slow=true"
        self._trace = ', "trace_id": "%s"' if json else " trace_id=%s"
        self._stream = ', "stream": "%s", "stream_bytes": %d' if json else ' stream="%s" stream_bytes=%d'
        self._sample = sample
        self._slow_seconds = slow_seconds
        # Most users send many requests.
        self._hash = lru_cache(_CACHED_USERS)(UserHash(user_key))
        self._logger = logging.getLogger("app.access")

    def __call__(
        self, request: CurrentRequest, method: str, route: str, status: int, seconds: float, user_id: str | None
    ) -> None:
        """Write the request's line.

        Every value is safe without escaping: a checked id, a method, a route's template, numbers and hashes. The line
        has no path, because paths contain users' ids.

        Args:
            route: the route's template; "" if no route matched.
            status: the response's status; 0 if there was no response.
            seconds: the time from the request's beginning to its end.
            user_id: the user in the path, if there is one. The line holds a hash of it.
        """
        stream = request.stream
        slow = (seconds if stream is None else stream.head_seconds) >= self._slow_seconds
        remarkable = slow or status >= SERVER_ERROR
        if not remarkable and self._sample != 1 and random() >= self._sample:  # noqa: S311
            return
        if self._logger.isEnabledFor(logging.WARNING if remarkable else logging.INFO):
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
                self._slow if slow else "",
                self._trace % request.span.trace_id if request.span else "",
                "" if stream is None else self._stream % (stream.end, stream.sent_bytes),
            )
            sys.stderr.write(line)


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
