"""How routes reach the database.

A route takes `database: Database` and passes it to its service. A service takes an `Executor`. That is either the
database, where each statement is a transaction of its own, or one transaction with several statements:
`await database.run_in_transaction(work)` calls `work` with such an executor.
"""

from groundwork.data.database import Executor
from groundwork.http.routing import DatabaseDependency as Database

__all__ = ["Database", "Executor"]
