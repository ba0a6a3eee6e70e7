"""Whether a command can work with the database: it answers, and has the schema that the code needs."""

import logging

from groundwork.data.database import Database
from groundwork.errors import Unavailable
from groundwork.http.health import DatabaseBehind, DatabaseUnfit, ready

# What it logs is in the sentence.
logging.getLogger(ready.__module__).setLevel(logging.ERROR)


async def why_not(database: Database, command: str) -> str | None:
    """What is wrong with the database and what to do, as a sentence; None if nothing is.

    Args:
        command: what to run again afterwards.
    """
    try:
        await ready(database)
    except DatabaseBehind:
        return (
            "The database is not migrated: its schema is missing, or older than the code."
            f" Run make migrate, then {command} again."
        )
    except DatabaseUnfit as error:
        return f"The database does not fit the code: {error.__cause__}."
    except Unavailable as error:
        return f"The database does not answer: {error.__cause__ or error}. Is DATABASE_URL right, and is it running?"
    return None
