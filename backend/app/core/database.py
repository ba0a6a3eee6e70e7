"""The dependencies by which routes reach the database."""

from groundwork.data.database import Executor
from groundwork.http.routing import DatabaseDependency as Database

__all__ = ["Database", "Executor"]
