"""The headers that every answer carries: the application's, and the server's own refusals."""

from collections.abc import Iterable

# The answer is what its Content-Type says it is.
_NOSNIFF = (b"x-content-type-options", b"nosniff")
# One user's data: no cache on the way may keep it.
_NO_STORE = (b"cache-control", b"no-store")
_CACHING = (b"cache-control", b"etag")


def with_headers(given: Iterable[tuple[bytes, bytes]], id_: str) -> list[tuple[bytes, bytes]]:
    """The given headers and those of every answer, as a new list; other applications may keep the given one.

    Args:
        id_: the request's.
    """
    headers = [*given, _NOSNIFF, (b"x-request-id", id_.encode("ascii"))]
    for name, _ in headers:
        if name in _CACHING:
            return headers
    headers.append(_NO_STORE)
    return headers
