"""Tells when connections of the pool may lead to the former primary, after a failover."""

from math import inf
from time import monotonic

from asyncpg import Connection

# The shortest time between two replacements of idle connections: new ones may lead to the same server again.
_REPLACEMENT_SECONDS = 0.5


class Failover:
    """Follows a failover from the first refused write to the first new connection that takes writes."""

    def __init__(self) -> None:
        self._refused = False
        self._replaced = -inf

    def note_refused_write(self) -> bool:
        """Note that a server refused a write because it is read-only.

        Returns:
            Whether to replace the idle connections now.
        """
        self._refused = True
        now = monotonic()
        if now - self._replaced < _REPLACEMENT_SECONDS:
            return False
        self._replaced = now
        return True

    def ends_with(self, connection: Connection) -> bool:
        """Whether this new connection is the first one that takes writes after some were refused."""
        if not (self._refused and _takes_writes(connection)):
            return False
        self._refused = False
        return True


def _takes_writes(connection: Connection) -> bool:
    """Whether the server last reported that it takes writes. Before PostgreSQL 14, no server reports that."""
    settings = connection.get_settings()
    read_only = [getattr(settings, name, None) for name in ("default_transaction_read_only", "in_hot_standby")]
    return read_only == ["off", "off"]
