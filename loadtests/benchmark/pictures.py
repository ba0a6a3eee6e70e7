"""`make pictures`: the pictures of README.md, from the last benchmark's figures and from the running service."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from groundwork.dev.postgres import EmbeddedPostgresError
from loadtests.benchmark import drawings
from loadtests.benchmark.database import running_server
from loadtests.benchmark.results import results
from loadtests.benchmark.servers import OURS, running

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
PLOTS = {"cpu.svg": drawings.cpu, "tail.svg": drawings.tail}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_BROWSER_SECONDS = 120


def main() -> int:
    for name, draw in PLOTS.items():
        (FOLDER / name).write_text(draw(results()))
        print(f"docs/pictures/{name} is drawn from RESULTS.md.")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("docs/pictures/docs.png stays as it is: install chromium to make it again.", file=sys.stderr)
        return os.EX_UNAVAILABLE
    print("docs/pictures/docs.png: starting the service and a browser …", flush=True)
    try:
        photograph(browser)
    except (EmbeddedPostgresError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"docs/pictures/docs.png stays as it is: {error}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    print("docs/pictures/docs.png is the page /docs of this service.")
    return os.EX_OK


def photograph(browser: str) -> None:
    """Take a picture of `/docs`, served as in production from a database of its own."""
    with running_server() as server, server.database("pictures") as database:
        database.migrate()
        with running(OURS, database.url, ready="/health/ready") as service, tempfile.TemporaryDirectory() as profile:
            command = [
                browser,
                "--headless",
                "--no-sandbox",
                "--hide-scrollbars",
                "--disable-gpu",
                f"--user-data-dir={profile}",
                "--window-size=1100,860",
                "--virtual-time-budget=10000",
                f"--screenshot={FOLDER / 'docs.png'}",
                f"http://127.0.0.1:{service.port}/docs",
            ]
            subprocess.run(command, check=True, capture_output=True, timeout=_BROWSER_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
