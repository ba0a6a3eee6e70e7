"""The headers of every response, whether the application sends it or the server refuses the request."""

from collections.abc import Iterable

# A browser must not guess another type than Content-Type (Fetch standard, X-Content-Type-Options).
_NOSNIFF = (b"x-content-type-options", b"nosniff")
# Responses hold one user's data: no cache may store them.
_NO_STORE = (b"cache-control", b"no-store")
_CACHING = (b"cache-control", b"etag")


def with_headers(given: Iterable[tuple[bytes, bytes]], id_: str) -> list[tuple[bytes, bytes]]:
    """A new list with the given headers and those of every response.

    The given ones are not changed: a mounted application may send the same list again.

    Args:
        given: the response's own headers.
        id_: the request's id.
    """
    headers = [*given, _NOSNIFF, (b"x-request-id", id_.encode("ascii"))]
    for name, _ in headers:
        if name in _CACHING:
            return headers
    headers.append(_NO_STORE)
    return headers
