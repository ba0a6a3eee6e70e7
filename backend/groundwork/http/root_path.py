"""Behind a proxy that serves this service below a path of its own, such as `/orders` of a shared host."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Makes links begin with the proxy's path, whether the proxy takes it off each request's path or leaves it there.

    From a setting, not from `X-Forwarded-Prefix`: a client can send that header through a proxy that does not know it.

    Args:
        root_path: begins with `/` and does not end with it.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "root_path": self._root_path}
            if not scope["path"].startswith(f"{self._root_path}/"):
                # In ASGI, the path holds the root path.
                scope["path"] = self._root_path + scope["path"]
                if (raw_path := scope.get("raw_path")) is not None:  # ASGI leaves it to the server
                    scope["raw_path"] = self._root_path.encode("ascii") + raw_path
        await self._app(scope, receive, send)
