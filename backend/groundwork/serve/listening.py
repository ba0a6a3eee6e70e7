"""The addresses that the service can listen on."""

import socket
from ipaddress import IPv6Address, ip_address


def readable_host(host: str) -> str:
    """The address without the brackets that IPv6 addresses have in URLs.

    All names but localhost are refused, because a name can have several addresses, which may change.

    Raises:
        ValueError: it is neither an IP address nor localhost.
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
    """The address as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def probe(host: str, port: int = 0) -> None:
    """Listen on the address for a moment, on any free port unless one is given.

    Raises:
        OSError: this process cannot listen there.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))


def no_address(host: str) -> str:
    """The sentence for an address that cannot be listened on."""
    return f"HOST: {host} is no address of this machine; leave it out, or set 0.0.0.0 for all of them."
