"""The TypeScript client of `make clients` in Node.js and in a browser, and two linters for the OpenAPI document."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from queue import Queue

import pytest

from app.core.config import Settings
from app.main import create_app
from groundwork.dev.build_clients import build_typescript
from groundwork.dev.names import Names
from groundwork.tests.clients import run
from groundwork.tests.clients.losing_proxy import losing_proxy, serving
from groundwork.tests.process.server import running

pytestmark = pytest.mark.clients

FILES = Path(__file__).parent
SIGN_IN = {"auth_issuer": "https://issuer.example.com/", "auth_audience": "https://api.example.com"}
# Without these, Redocly's linter would report its use and look for a newer version.
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "CI": "true"}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
USER = "a/b c"
PAGE = """\
<script type="importmap">{"imports": {"openapi-fetch": "/client/node_modules/openapi-fetch/dist/index.mjs"}}</script>
<script type="module">
const tell = (body) => fetch("/result", { method: "POST", body });
import("/use.js").then(({ use }) => use(URL, USER)).then(tell, (error) => tell(String(error.stack)));
</script>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of package.json."""
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
    settings = Settings.model_validate({"database_url": "postgresql://user@host/database", **request.param})
    (folder / "openapi.json").write_text(json.dumps(create_app(settings).openapi()))
    return "openapi.json"


def test_redocly_finds_nothing(folder: Path, document: str) -> None:
    run(folder, "npx", "redocly", "lint", "--config", "redocly.yaml", document, **QUIET)


def test_spectral_finds_nothing(folder: Path, document: str) -> None:
    run(folder, "npx", "spectral", "lint", "--ruleset", "spectral.yaml", "--fail-severity", "hint", document)


@pytest.fixture(scope="module")
def built(folder: Path) -> Path:
    """The folder with the built client and the compiled code that uses it."""
    build_typescript(Names.of("Tasks API"), "1.2.3", folder / "client")
    assert json.loads((folder / "client" / "package.json").read_text())["version"] == "1.2.3"
    run(folder, "npx", "tsc")
    return folder


def test_node_uses_the_client(built: Path, tmp_path: Path, service_url: str) -> None:
    with running(tmp_path, DATABASE_URL=service_url) as server, losing_proxy(server.url) as url:
        script = f'import("./use.js").then(({{ use }}) => use("{url}", "{USER}")).then(console.log)'
        assert run(built, "node", "--eval", script) == "all of it\n"


@pytest.fixture
def results() -> Queue[str]:
    return Queue()


@pytest.fixture
def origin(built: Path, results: Queue[str]) -> Iterator[str]:
    """The address of a server with the page and the client. What the page posts to it is a result."""

    class Handler(SimpleHTTPRequestHandler):
        extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(built))  # type: ignore[arg-type]

        def do_POST(self) -> None:
            results.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with serving(Handler) as address:
        yield address


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_a_page_of_another_origin_uses_the_client(
    built: Path, origin: str, results: Queue[str], tmp_path: Path, service_url: str
) -> None:
    with (
        running(tmp_path, DATABASE_URL=service_url, CORS_ORIGINS=origin) as server,
        losing_proxy(server.url) as url,
    ):
        page = PAGE.replace("URL", json.dumps(url)).replace("USER", json.dumps(USER))
        (built / "page.html").write_text(page)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command = [str(BROWSER), *options, f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0"]
        with (tmp_path / "browser.log").open("wb") as log:
            browser = subprocess.Popen([*command, f"{origin}/page.html"], stdout=log, stderr=log)
        try:
            assert results.get(timeout=120) == "all of it"
        finally:
            browser.terminate()
            browser.wait(60)
