"""Tells whether FastAPI's routes have changed since something was derived from them."""

from collections.abc import Iterator
from operator import is_

from fastapi import APIRouter


class RoutesSnapshot:
    """The routes of a router and of the routers that it includes, as they were when this was made."""

    def __init__(self, router: APIRouter | None) -> None:
        self._router = router
        self._routes = list(router.routes) if router else []
        self._included = [(each, each._routes_version) for each in _included_routers(router)] if router else []

    def is_current(self) -> bool:
        """Whether FastAPI would find the same routes now."""
        if self._router is None:
            return False
        routes = self._router.routes
        # By identity: two routes are equal if their paths, endpoints and methods are, but other options may differ.
        if len(routes) != len(self._routes) or not all(map(is_, routes, self._routes)):
            return False
        for router, version in self._included:  # noqa: SIM110 - a loop is faster, and this runs for each request
            if router._routes_version != version:
                return False
        return True


def _included_routers(router: APIRouter) -> Iterator[APIRouter]:
    for route in router.routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield included
            yield from _included_routers(included)
