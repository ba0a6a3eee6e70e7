"""One line in the log for each request, or for some."""

import logging
import os
import sys
import time
from functools import lru_cache
from hashlib import blake2b
from random import random

from groundwork.observe.current_request import SERVER_ERROR, CurrentRequest
from groundwork.observe.logging import clock_time, iso_time

_JSON = (
    '{"time": "%s", "level": "%s", "logger": "app.access", "message": "request", "request_id": "%s", "method": "%s",'
    ' "route": "%s", "status": %d, "duration_ms": %.2f, "database_ms": %.2f, "pool_wait_ms": %.2f, "user": "%s"%s%s}\n'
)
_TEXT = (
    "%s %s request request_id=%s method=%s route=%s status=%d duration_ms=%.2f database_ms=%.2f pool_wait_ms=%.2f"
    " user=%s%s%s\n"
)
_CACHED_USERS = 4096


class AccessLog:
    """Writes to standard error, in the same form as every other line.

    A log record, its formatter and its handler cost as much as a third of the whole request; this is the request's
    own path, so it has a shorter one. The level of the logger `app.access` counts all the same.

    Args:
        sample: the share of ordinary requests that get a line. Slow ones, and those answered with 5xx, all get theirs,
            at level warning.
        slow_seconds: a request that takes as long is slow.
        user_key: see `UserHash`.
    """

    def __init__(
        self, *, json: bool, sample: float = 1, slow_seconds: float = 0.5, user_key: str | None = None
    ) -> None:
        self._line, self._time = (_JSON, iso_time) if json else (_TEXT, clock_time)
        self._levels = ("info", "warning") if json else ("INFO   ", "WARNING")
        self._slow = ', "slow": true' if json else " slow=true"
        self._trace = ', "trace_id": "%s"' if json else " trace_id=%s"
        self._sample = sample
        self._slow_seconds = slow_seconds
        # A user seldom asks only once.
        self._hash = lru_cache(_CACHED_USERS)(UserHash(user_key))
        self._logger = logging.getLogger("app.access")

    def __call__(
        self, request: CurrentRequest, method: str, route: str, status: int, seconds: float, user_id: str | None
    ) -> None:
        """Only what needs no escaping: a sane id, a method, a route's template and hashes; paths hold user ids."""
        slow = seconds >= self._slow_seconds
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
            )
            sys.stderr.write(line)


class UserHash:
    """Tells users apart in the log without naming them.

    Without a key of the deployment's own it has one that is made at the start and that nobody knows: the lines of one
    user are then alike only until the service restarts. With none at all, whoever reads the log could try all ids.
    """

    def __init__(self, key: str | None) -> None:
        secret = blake2b(key.encode()).digest() if key else os.urandom(32)
        self._keyed = blake2b(key=secret, digest_size=6)

    def __call__(self, user_id: str) -> str:
        hash_ = self._keyed.copy()
        hash_.update(user_id.encode(errors="replace"))
        return hash_.hexdigest()
