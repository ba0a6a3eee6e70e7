"""Cross-origin requests (CORS): Starlette's middleware as two layers, with problem details instead of plain text.

`ReadableAnswers` is outside `RequestMiddleware`, so that a page may read every response, including the 500 of a defect.
`Preflights` is inside, so that preflights have a request id, a log line and metrics.
"""

from http import HTTPStatus

from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from groundwork.errors import Invalid, Rejection
from groundwork.http.problems import problem_of

_REFUSED = {
    "origin": ("Origin", "Pages of this origin may not call the service"),
    "method": ("Access-Control-Request-Method", "No page may use this method here"),
    "private-network": ("Access-Control-Request-Private-Network", "No page may reach the service as a private network"),
}
# The headers that a page may read, in addition to those that the Fetch standard always allows, such as Content-Type.
EXPOSED = ["Allow", "Content-Disposition", "ETag", "Link", "Location", "Retry-After", "WWW-Authenticate"]
EXPOSED += ["X-Request-ID", "X-Total-Count"]


class ReadableAnswers(CORSMiddleware):
    """Adds the headers that let pages of the allowed origins read the response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_preflight(scope):
            await self.app(scope, receive, send)
        else:
            await self.simple_response(scope, receive, send, request_headers=Headers(scope=scope))


class Preflights(CORSMiddleware):
    """Answers preflights: a browser asks whether a page may send a request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _is_preflight(scope):
            await self.preflight_response(Headers(scope=scope))(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == HTTPStatus.OK:
            return answer
        words = bytes(answer.body).decode().replace(",", "").split()
        refused = [_REFUSED[word] for word in words if word in _REFUSED]
        rejections: list[Rejection] = [{"loc": ["header", name], "msg": msg, "type": "cors"} for name, msg in refused]
        refusal = problem_of(Invalid(rejections))
        refusal.headers["Vary"] = answer.headers["Vary"]
        return refusal


def _is_preflight(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "OPTIONS":
        return False
    headers = Headers(scope=scope)
    return "origin" in headers and "access-control-request-method" in headers
