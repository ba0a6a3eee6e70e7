"""openapi-typescript with openapi-fetch, the TypeScript example of docs/clients.md, and two linters of the document."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.config import Settings
from app.main import create_app
from groundwork.tests.clients import example, run
from groundwork.tests.process.server import running

pytestmark = pytest.mark.clients

FILES = Path(__file__).parent
SIGN_IN = {"auth_issuer": "https://issuer.example.com/", "auth_audience": "https://api.example.com"}
# Redocly's linter would report its use, and ask whether it is the newest.
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "CI": "true"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One where the packages of package.json are."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("typescript")
    for name in ("package.json", "tsconfig.json", "redocly.yaml", "spectral.yaml", "use.ts"):
        shutil.copy(FILES / name, folder)
    run(folder, "npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
    return folder


@pytest.fixture(params=[{}, SIGN_IN], ids=["open", "sign-in"])
def document(request: pytest.FixtureRequest, folder: Path) -> str:
    """The name of a file with the OpenAPI document."""
    settings = Settings(database_url="postgresql://user@host/database", **request.param)
    (folder / "openapi.json").write_text(json.dumps(create_app(settings).openapi()))
    return "openapi.json"


def test_redocly_finds_nothing(folder: Path, document: str) -> None:
    run(folder, "npx", "redocly", "lint", "--config", "redocly.yaml", document, **QUIET)


def test_spectral_finds_nothing(folder: Path, document: str) -> None:
    run(folder, "npx", "spectral", "lint", "--ruleset", "spectral.yaml", "--fail-severity", "hint", document)


@pytest.fixture
def url(tmp_path: Path, service_url: str) -> Iterator[str]:
    with running(tmp_path, DATABASE_URL=service_url) as server:
        yield server.url


def test_every_operation_can_be_called(folder: Path, url: str) -> None:
    run(folder, "npx", "openapi-typescript", f"{url}/openapi.json", "--output", "tasks-api.ts")
    (folder / "tasks.ts").write_text(example("ts", url))
    run(folder, "npx", "tsc")
    assert run(folder, "node", "use.js") == "all of it\n"
