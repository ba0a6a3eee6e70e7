"""What the service can listen on."""

import socket
from ipaddress import IPv6Address, ip_address


def readable_host(host: str) -> str:
    """An address without the brackets that IPv6 has in URLs.

    Other names than localhost are refused: they can have several addresses, which may change.

    Raises:
        ValueError: a sentence on what is expected.
    """
    if host.lower() == "localhost":
        return "localhost"
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if address is None or (isinstance(address, IPv6Address) and address.scope_id) or (text != host and ":" not in text):
        raise ValueError(
            "must be an IP address of this machine or localhost, without a port;"
            " 127.0.0.1 for this machine alone, 0.0.0.0 or :: for all of its addresses"
        )
    return text


def in_url(host: str) -> str:
    """An address as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def probe(host: str, port: int = 0) -> None:
    """Listen there for a moment; on any free port unless one is given.

    Raises:
        OSError: nothing can listen there.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))


def no_address(host: str) -> str:
    """What to say when nothing can listen on an address."""
    return f"HOST: {host} is no address of this machine; leave it out, or set 0.0.0.0 for all of them."
