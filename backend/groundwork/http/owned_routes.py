"""Whether sign-in stands before every route that names a user.

A router that is included without the sign-in dependency would serve anybody's rows to whoever asks, and nothing would
show it: so the program does not start with one.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import Message, Send

_OWNER = "user_id"
_REST = "/{path}"
"""The end of a mount's template."""


class OpenRoute(Exception):
    """The message names the route, and says what to do."""


def require_sign_in(routes: Sequence[BaseRoute], require_owner: Callable[..., Any]) -> None:
    """
    Args:
        routes: of the application, with all that it includes and mounts.
        require_owner: the dependency that lets only the path's user pass.

    Raises:
        OpenRoute: a route takes a `user_id` without that dependency, or has the dependency and no `user_id`.
    """
    for template, names_owner, dependant in _walk(routes):
        if _depends_on(dependant, require_owner):
            if not names_owner:
                raise OpenRoute(
                    f"The route {template} has the sign-in dependency, and no {{{_OWNER}}} in its path to compare with:"
                    " put the user into its path, or include its router apart from `RESOURCES`."
                )
        elif names_owner or _takes_owner(dependant):
            raise OpenRoute(
                f"Sign-in is on, and the route {template} takes a {_OWNER} without it: add its router to `resources` in"
                " app/main.py, which includes it with sign-in."
            )


def in_a_sentence(send: Send) -> Send:
    """`send`, for the lifespan: a start that fails for this is reported in a sentence, without a traceback."""

    async def send_sentence(message: Message) -> None:
        error = sys.exc_info()[1]
        if message["type"] == "lifespan.startup.failed" and isinstance(error, OpenRoute):
            message = {**message, "message": str(error)}
        await send(message)

    return send_sentence


def _walk(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, bool, Any]]:
    """Each route's template, whether its path names the user, and what FastAPI knows of its parameters, if anything."""
    for context in iter_route_contexts(routes):
        template = f"{prefix}{getattr(context, 'path_format', None) or getattr(context, 'host', '')}"
        names_owner = f"{{{_OWNER}}}" in template
        below = _routes_below(context)
        if below is None:
            yield template, names_owner, getattr(context, "dependant", None)
        elif below:
            yield from _walk(below, template.removesuffix(_REST))
        else:
            # Of an application whose routes cannot be seen only the path in front of it is known.
            yield template, names_owner, None


def _routes_below(context: Any) -> Sequence[BaseRoute] | None:
    """What a mount or host leads to, past the middleware around it; None for a route."""
    if not hasattr(context, "routes"):
        return None
    app = getattr(context, "app", None)
    while app is not None and not hasattr(app, "routes"):
        app = getattr(app, "app", None)
    return getattr(app, "routes", ())


def _depends_on(dependant: Any, call: Callable[..., Any]) -> bool:
    if dependant is None:
        return False
    return any(each.call == call or _depends_on(each, call) for each in dependant.dependencies)


def _takes_owner(dependant: Any) -> bool:
    """Whether the user is named in the query, a header, a cookie or the body."""
    if dependant is None:
        return False
    parameters = (*dependant.query_params, *dependant.header_params, *dependant.cookie_params, *dependant.body_params)
    return any(map(_names_owner, parameters)) or any(map(_takes_owner, dependant.dependencies))


def _names_owner(field: Any) -> bool:
    members = getattr(field.field_info.annotation, "model_fields", {})
    names = {field.name, field.alias, *members, *(each.alias for each in members.values())}
    return _OWNER in {str(name).lower().replace("-", "_") for name in names}
