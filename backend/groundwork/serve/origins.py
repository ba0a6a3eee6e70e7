"""Origins as browsers send them (the Fetch standard): scheme, host, and the port unless it is the scheme's default."""

import re
from ipaddress import IPv6Address, ip_network

_is_origin = re.compile(r"[a-z][a-z0-9+.-]*://(\[([0-9a-f:.]+)\]|[a-z0-9._-]+)(:[1-9][0-9]{0,4})?").fullmatch
_LAST_PORT = 65535
_FAULTS = {
    r"\s": "one holds white space: separate them with commas",
    r"^null$|^file:": "leave out null and file:, which stand for every page without an origin of its own",
    r"^(?!.*://)": "one has no scheme: write https://, capacitor:// or the like before its host",
    r"://.*\*": "* is no part of an origin: name each one",
    r"://[^/?#]*@": "one holds a user: leave out what stands before the @",
    r"://[^/?#]*[/?#]": "write each without a path, and without a / at its end",
    r"[A-Z]": "one has upper-case letters: write lower case, as browsers send",
    r"[^\x00-\x7f]": "one is not ASCII: write its host as browsers send it, as in xn--bcher-kva.example",
    r"^http:.*:80$|^https:.*:443$": "leave out :80 after http and :443 after https, as browsers do",
}


def origin(value: str) -> str:
    """The value, which is an origin or `*`.

    Raises:
        ValueError: no browser sends this origin, so it could never match. The message does not contain the origin.
    """
    faults = [sentence for pattern, sentence in _FAULTS.items() if re.search(pattern, value)]
    if not _has_form(value):
        faults.append("write each as scheme://host or scheme://host:port")
    if faults and value != "*":
        raise ValueError(f"must be origins such as https://app.example.com, or *; {faults[0]}")
    return value


def networks(value: str) -> str:
    """The value, which is `*` or a list of addresses and networks.

    Raises:
        ValueError: it is not.
    """
    try:
        for part in value.split(",") if value != "*" else ():
            ip_network(part.strip())
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, separated by commas, or *") from None
    return value


def _has_form(origin: str) -> bool:
    parts = _is_origin(origin)
    if parts is None or int((parts[3] or ":1")[1:]) > _LAST_PORT:
        return False
    try:
        return parts[2] is None or str(IPv6Address(parts[2])) == parts[2]
    except ValueError:
        return False
