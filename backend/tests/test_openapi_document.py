"""`openapi.json` is the document that the service serves: a change of the API shows in its diff.

`make openapi` writes it. The failure of the test says whether the change breaks clients or only adds.
"""

from pathlib import Path
from typing import Any

from app.core.config import Settings
from app.main import create_app
from groundwork.testing.openapi_changes import render, require_current

COPY = Path(__file__).parents[1] / "openapi.json"


def served() -> dict[str, Any]:
    """The document of the service with its default settings. It needs no database."""
    return create_app(Settings.model_validate({"database_url": "postgresql://localhost/unused"})).openapi()


def test_the_committed_document_is_the_one_that_is_served() -> None:
    require_current(COPY, served())


if __name__ == "__main__":
    COPY.write_text(render(served()), "utf-8")
