"""The rate limit: a token bucket for each user, in memory that the workers of a container share.

It is our own code, because the known libraries keep an entry for each user in each worker, or need Redis. Here the
memory has a fixed size. A user's bucket is one number, and a hash of the user's id chooses its place. Two users can
share a bucket by chance. Nobody can choose with whom, because Python's hash of a text has a secret key.

A bucket is stored as the time at which it is full again. There is no lock. If two workers take a token of the same user
at the same moment, the two tokens may count as one.
"""

import mmap
from math import ceil
from time import monotonic

from fastapi.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork.errors import TooManyRequests

_BUCKETS = 1 << 20
_FIELDS = "groundwork.rate_limit_fields"
# A small part of a token, which makes up for rounding errors.
_ROUNDING = 0.001


class RateLimitFields:
    """Adds the fields of draft-ietf-httpapi-ratelimit-headers-10 to each answer to a user, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A list that `require_token` extends. A key that a route adds to its own copy of the scope is not seen here.
        fields: list[tuple[bytes, bytes]] = []
        scope[_FIELDS] = fields

        async def send_with_fields(message: Message) -> None:
            if fields and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *fields]}
            await send(message)

        await self.app(scope, receive, send_with_fields)


class RateLimit:
    """Takes a token for each request, and refuses a request when there is none.

    Workers share the buckets if they are forked from a process that has made this object.

    Args:
        per_minute: how many tokens a user gets in a minute.
        burst: how many tokens a bucket holds.
    """

    fields = RateLimitFields

    def __init__(self, *, per_minute: int, burst: int) -> None:
        self._token_seconds = 60 / per_minute
        self._burst = burst
        self._full_at = memoryview(mmap.mmap(-1, 8 * _BUCKETS)).cast("d")  # 8 bytes each
        policy = f'"user";q={burst};w={ceil(burst * self._token_seconds)}'
        self._policy = (b"ratelimit-policy", policy.encode())

    async def require_token(self, request: HTTPConnection) -> None:
        """Take a token of the user in the path. This runs after sign-in, so nobody uses up another user's tokens.

        Raises:
            TooManyRequests: there is no token.
        """
        user_id = request.path_params.get("user_id")
        if user_id is None:
            return
        place, now = hash(user_id) % _BUCKETS, monotonic()
        # How many tokens the bucket lacks after this request.
        lacks = max(0.0, self._full_at[place] - now) / self._token_seconds + 1
        refused = lacks > self._burst + _ROUNDING
        if refused:
            left, next_seconds = 0, (lacks - self._burst) * self._token_seconds
        else:
            self._full_at[place] = now + lacks * self._token_seconds
            left, next_seconds = int(self._burst - lacks + _ROUNDING), (lacks % 1 or 1) * self._token_seconds
        seconds = ceil(next_seconds)
        fields = (b"ratelimit", f'"user";r={left};t={seconds}'.encode())
        request.scope[_FIELDS].extend((self._policy, fields))
        if refused:
            raise TooManyRequests(seconds)
