"""The largest request body that is read. A limit keeps one request from filling the worker's memory."""

from typing import Any

from fastapi import Depends
from starlette.types import Message, Receive, Scope

from groundwork.errors import ContentTooLarge, Invalid
from groundwork.http.route_template import find_route
from groundwork.observe.current_request import CurrentRequest

STREAMED = "app.body_is_streamed"
"""A key of the scope. If it is there, the route reads a large body part by part and does not keep it."""
# Enough for every number below 2**64, the largest that the parser accepts without leading zeros.
_MAX_DIGITS = 20
_declared: list[int] = []


class _RouteLimit:
    """A dependency that does nothing. `BodyLimits` finds it at the route before the body is read."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes

    async def __call__(self) -> None:
        pass


def body_limit(limit_bytes: int) -> Any:
    """A route's own limit, in place of REQUEST_BODY_LIMIT_BYTES: `dependencies=[body_limit(50 * 1024 * 1024)]`.

    A route without body parameters can read a large body part by part with `request.stream()`. Then only the bytes that
    it has not read yet count as memory. The whole body may take any time as long as it keeps coming.

    Args:
        limit_bytes: the largest body that the route takes.

    Raises:
        ValueError: no body is that small.
    """
    if limit_bytes < 1:
        raise ValueError(f"the limit of a body is {limit_bytes} bytes: give 1 or more")
    _declared.append(limit_bytes)
    return Depends(_RouteLimit(limit_bytes))


class BodyLimits:
    """The limits of all routes. The route is only looked up if the body is larger than the lowest limit.

    Args:
        default_bytes: the limit of a route that declares none.
    """

    def __init__(self, default_bytes: int) -> None:
        self._default_bytes = default_bytes
        self._lowest_bytes = min([default_bytes, *_declared])

    def require_length(self, content_length: bytes, scope: Scope, server_scope: Scope) -> None:
        """Check the length that the client declares.

        Args:
            content_length: the value of the header Content-Length. The server has checked that it consists of digits.
            scope: the request's scope, with its path decoded.
            server_scope: the scope that the server made. `STREAMED` is set there, where the server sees it.

        Raises:
            Invalid: there are more than 20 digits, such as leading zeros. `int()` cannot read very long numbers.
            ContentTooLarge: the length is larger than the limit.
        """
        if len(content_length) > _MAX_DIGITS:
            msg = f"A length of more than {_MAX_DIGITS} digits"
            raise Invalid.at("header", "Content-Length", msg=msg, type="content_length")
        if (length := int(content_length)) > self._lowest_bytes and length > (limit := self._of(scope, server_scope)):
            raise ContentTooLarge(limit)

    def receive_within(self, receive: Receive, scope: Scope, server_scope: Scope, request: CurrentRequest) -> Receive:
        """A `receive` that raises `ContentTooLarge` as soon as the body is larger than the limit.

        It is for bodies that come in chunks and declare no length. Their bytes are counted in the request.
        """
        limit = self._lowest_bytes

        async def counting_receive() -> Message:
            nonlocal limit
            message = await receive()
            request.received_bytes = received = request.received_bytes + len(message.get("body", b""))
            if received > limit and received > (limit := self._of(scope, server_scope)):
                raise ContentTooLarge(limit)
            return message

        return counting_receive

    def _of(self, scope: Scope, server_scope: Scope) -> int:
        """The limit of the request's route."""
        route: Any = find_route(scope) if _declared else None
        for each in getattr(getattr(route, "dependant", None), "dependencies", ()):
            if isinstance(each.call, _RouteLimit):
                if route.body_field is None:
                    server_scope[STREAMED] = True
                return each.call.limit_bytes
        return self._default_bytes
