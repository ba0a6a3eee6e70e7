"""Checks at the start that every route with a `user_id` requires sign-in.

A router without the sign-in dependency would serve every user's rows to everybody, and nobody would notice. So the
program does not start with such a route.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute

from groundwork.auth.staff import RequireRole
from groundwork.http.route_template import REST

_USER_ID = "user_id"


class UnprotectedRoute(Exception):
    """A route lacks sign-in, or its path lacks the user. The message names the route and says what to do."""


def require_sign_in(routes: Sequence[BaseRoute], require_owner: Callable[..., Any]) -> None:
    """Check every route.

    Args:
        routes: the application's routes. Included routers and mounted applications are checked too.
        require_owner: the dependency that refuses everybody but the user in the path.

    Raises:
        UnprotectedRoute: a route takes a `user_id` without that dependency, or has the dependency and no `user_id`.
    """
    for template, names_owner, dependant in _walk(routes):
        functions = [*functions_of(dependant)]
        calls = [each.call for each in functions]
        # A route for staff asks for a role, and may reach the rows of any user.
        for_staff = any(isinstance(call, RequireRole) for call in calls)
        if require_owner in calls:
            if not names_owner:
                raise UnprotectedRoute(
                    f"The route {template} has the sign-in dependency, but no {{{_USER_ID}}} in its path:"
                    " put the user into its path, or include its router outside `resources`."
                )
        elif (names_owner or any(map(_takes_owner, functions))) and not for_staff:
            raise UnprotectedRoute(
                f"Sign-in is on, and the route {template} takes a {_USER_ID} without it: add its router to `resources`"
                " in app/main.py, whose routers all get sign-in."
            )


def _walk(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, bool, Any]]:
    """Each route's template, whether the template contains `user_id`, and FastAPI's `dependant` or None."""
    for context in iter_route_contexts(routes):
        template = f"{prefix}{getattr(context, 'path_format', None) or getattr(context, 'host', '')}"
        names_owner = f"{{{_USER_ID}}}" in template
        below = _routes_below(context)
        if below is None:
            yield template, names_owner, getattr(context, "dependant", None)
        elif below:
            yield from _walk(below, template.removesuffix(REST))
        else:
            # The mounted application does not show its routes. Only the path of the mount is known.
            yield template, names_owner, None


def _routes_below(context: Any) -> Sequence[BaseRoute] | None:
    """The routes of a mount or host, found through the middleware around its application; None for a route."""
    if not hasattr(context, "routes"):
        return None
    app = getattr(context, "app", None)
    while app is not None and not hasattr(app, "routes"):
        app = getattr(app, "app", None)
    return getattr(app, "routes", ())


def functions_of(dependant: Any) -> Iterator[Any]:
    """FastAPI's description of a route's handler, of its dependencies and of theirs; nothing for None."""
    if dependant is not None:
        yield dependant
        for each in dependant.dependencies:
            yield from functions_of(each)


def _takes_owner(dependant: Any) -> bool:
    """Whether the query, a header, a cookie or the body names the user."""
    parameters = (*dependant.query_params, *dependant.header_params, *dependant.cookie_params, *dependant.body_params)
    return any(map(_names_owner, parameters))


def _names_owner(field: Any) -> bool:
    members = getattr(field.field_info.annotation, "model_fields", {})
    names = {field.name, field.alias, *members, *(each.alias for each in members.values())}
    return _USER_ID in {str(name).lower().replace("-", "_") for name in names}
