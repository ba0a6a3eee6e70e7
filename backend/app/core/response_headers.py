"""The headers that every answer carries: the application's, and the server's own refusals."""

# The answer is what its Content-Type says it is.
_NOSNIFF = (b"x-content-type-options", b"nosniff")
# One user's data: no cache on the way may keep it.
_NO_STORE = (b"cache-control", b"no-store")
_CACHING = (b"cache-control", b"etag")


def add_headers(headers: list[tuple[bytes, bytes]], id_: str) -> None:
    caches = False
    for name, _ in headers:
        if name in _CACHING:
            caches = True
    headers.append(_NOSNIFF)
    headers.append((b"x-request-id", id_.encode("ascii")))
    if not caches:
        headers.append(_NO_STORE)
