from app.core.database import Database
from app.core.postgres import Connector, connection_target


def database_at(url: str, *, pool_size: int = 5, wait_seconds: float = 10, statement_seconds: float = 10) -> Database:
    """The service's own database layer on this address."""
    return Database(
        Connector(connection_target(url), timeout_seconds=wait_seconds),
        pool_size=pool_size,
        wait_seconds=wait_seconds,
        statement_seconds=statement_seconds,
    )
