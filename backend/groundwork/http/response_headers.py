"""The headers of every response, including the server's own refusals."""

from collections.abc import Iterable

# A browser must not guess another type than Content-Type (Fetch standard, X-Content-Type-Options).
_NOSNIFF = (b"x-content-type-options", b"nosniff")
# Responses hold one user's data: no cache may store them.
_NO_STORE = (b"cache-control", b"no-store")
_CACHING = (b"cache-control", b"etag")


def with_headers(given: Iterable[tuple[bytes, bytes]], id_: str) -> list[tuple[bytes, bytes]]:
    """A new list with the response's own headers and the headers of every response.

    The given list is not changed, because a mounted application may send it again.
    """
    headers = [*given]
    own = [_NOSNIFF, (b"x-request-id", id_.encode("ascii"))]
    for name, _ in reversed(headers):  # `with_etag` adds them last
        if name in _CACHING:
            return headers + own
    return [*headers, *own, _NO_STORE]
