"""Which addresses keys may be fetched from."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def require_trusted(url: str) -> None:
    """Keys that come over a connection that anybody on the way can change verify nothing.

    Raises:
        ValueError: the URL is neither of https nor of this machine.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise ValueError("must be a URL that begins with https:// (or http:// on this machine)")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
