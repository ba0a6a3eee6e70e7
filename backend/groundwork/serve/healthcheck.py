"""Asks the service in this container whether it is alive or ready. Health checks run this, so the image has no curl."""

import http.client
import os

_TIMEOUT_SECONDS = 4
# With these values of HOST, the service can be reached at 127.0.0.1.
_LOCAL = ("", "0.0.0.0", "::", "localhost")  # noqa: S104 - nothing listens here


def main(what: str) -> int:
    """Ask `/health/…`, `live` or `ready`; returns the exit status."""
    # Read as the settings read it: 8000.0 is a number too, and an empty variable counts as not set.
    port = int(float(os.environ.get("PORT", "").strip() or 8000))
    host = os.environ.get("HOST", "").strip()
    host = "127.0.0.1" if host in _LOCAL else host
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"/health/{what}")
        answer = connection.getresponse()
        # `docker inspect` shows what a health check prints.
        print(answer.status, answer.read().decode())  # noqa: T201
    except OSError as error:
        print(f"the service does not answer: {error}")  # noqa: T201
        return 1
    return 0 if answer.status == http.HTTPStatus.OK else 1
