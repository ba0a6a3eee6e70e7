"""The addresses from which an issuer's keys may be fetched."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def trusted(url: str) -> str:
    """The URL, if nobody can replace the keys on their way to the service. Otherwise tokens could be forged.

    Raises:
        ValueError: the URL is neither https nor on this machine. The message continues after the setting's name.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise ValueError("must be a URL that begins with https:// (or http:// on this machine)")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
