"""Asks the service of the same container whether it lives, or is ready.

The image holds no curl, and needs none for this.
"""

import http.client
import os

_TIMEOUT_SECONDS = 4


def main(what: str) -> int:
    """Ask `/health/…`, `live` or `ready`; returns the exit status."""
    # As the settings read it: 8000.0 is a number too, and what is empty is not set.
    port = int(float(os.environ.get("PORT", "").strip() or 8000))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"/health/{what}")
        answer = connection.getresponse()
        # Docker keeps what a health check prints: `docker inspect` shows it.
        print(answer.status, answer.read().decode())  # noqa: T201
    except OSError as error:
        print(f"the service does not answer: {error}")  # noqa: T201
        return 1
    return 0 if answer.status == http.HTTPStatus.OK else 1
