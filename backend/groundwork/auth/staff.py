"""Routes for staff. They reach everybody's rows, so they ask for a role instead of the user in the path."""

from typing import Any

from fastapi.requests import HTTPConnection

from groundwork.auth.owner import OwnerCheck, RoleCheck
from groundwork.observe.current_request import current_request


class RequireRole:
    """The dependency of routes for staff. After it, a request may run a statement with `everybody=`.

    Args:
        sign_in: the sign-in that knows the user's roles. None without sign-in: the routes are then open to everybody,
            as the routes of users are.
        role: the role that the caller must have.

    Raises:
        TypeError: the sign-in knows no roles.
    """

    def __init__(self, sign_in: OwnerCheck | None, role: str) -> None:
        if sign_in is not None and not isinstance(sign_in, RoleCheck):
            raise TypeError(
                f"{type(sign_in).__name__} has no require_role(), which routes for staff need;"
                " pass a sign-in that has it"
            )
        self._sign_in: Any = sign_in
        self._role = role

    async def __call__(self, request: HTTPConnection) -> None:
        if self._sign_in is not None:
            await self._sign_in.require_role(request, self._role)
        served = current_request.get()
        if served is not None:
            served.role = self._role
