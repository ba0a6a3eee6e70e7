"""Clients that are generated from the OpenAPI document, and the examples of docs/clients.md, which use them."""

import os
import re
import subprocess
from pathlib import Path

DOCUMENT = Path(__file__).parents[4] / "docs" / "clients.md"


def example(language: str, url: str) -> str:
    """The document's example in that language, for the service at `url`."""
    [code] = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8000" in code
    return str(code.replace("http://127.0.0.1:8000", url))


def run(folder: Path, *command: str, **variables: str) -> str:
    """Run a command, which must succeed. Returns what it printed."""
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
