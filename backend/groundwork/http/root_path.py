"""The root path: the prefix under which a proxy serves this service, such as `/orders` of a shared host."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Sets ASGI's `root_path`, with which links begin. The proxy may remove the prefix from the path or leave it there.

    The prefix comes from a setting and not from `X-Forwarded-Prefix`, because a client could send that header through a
    proxy that does not know it.

    Args:
        app: the next layer.
        root_path: begins with `/` and does not end with it.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "root_path": self._root_path}
            if not scope["path"].startswith(f"{self._root_path}/"):
                # In ASGI, the path includes the root path.
                scope["path"] = self._root_path + scope["path"]
                if (raw_path := scope.get("raw_path")) is not None:  # optional in ASGI
                    scope["raw_path"] = self._root_path.encode("ascii") + raw_path
        await self._app(scope, receive, send)
