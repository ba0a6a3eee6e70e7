"""The examples in README.md work as they are: its session in a shell, and its script in a browser."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import pytest

from groundwork.tests.process import server

README = (Path(__file__).parents[4] / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8000"
SECONDS = 120
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def blocks(heading: str, language: str) -> list[str]:
    """The blocks of code below a heading."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found


def test_the_session_goes_as_its_comments_say(tmp_path: Path, service_url: str) -> None:
    session = "\n".join(blocks("A session", "sh"))
    shown = [line for line in session.splitlines() if line.startswith("curl -i ")]
    said = [re.search(r"# (?:the same )?(\d{3})\b", line) for line in shown]
    with server.running(tmp_path, DATABASE_URL=service_url) as service:
        command = ["bash", "-euo", "pipefail", "-c", session.replace(ADDRESS, service.url)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert re.findall(r"HTTP/1\.1 (\d{3})", done.stdout) == [one[1] if one else "200" for one in said]
    assert '"description":"Two litres"' in done.stdout
    assert done.stdout.endswith('{"message":"Task deleted successfully"}\n')


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_the_script_runs_in_a_browser_on_another_origin(tmp_path: Path, service_url: str) -> None:
    [script] = blocks("From a browser", "js")
    with files_of(tmp_path) as port:
        origin = f"http://localhost:{port}"
        with server.running(tmp_path, DATABASE_URL=service_url, CORS_ORIGINS=origin) as service:
            said = script.replace(ADDRESS, service.url).replace("console.log(", "show(")
            (tmp_path / "index.html").write_text(page_of(said))
            written = browse(f"{origin}/index.html", tmp_path / "profile")
    task = json.loads(written)
    assert (task["title"], task["completed"]) == ("Buy milk", True)


def page_of(script: str) -> str:
    """A page that runs the script. It writes the script's output, or the reason of a failure, into its body."""
    return f"""<!DOCTYPE html><meta charset="utf-8"><pre></pre><script type="module">
const show = (value) => (document.querySelector("pre").textContent = JSON.stringify(value));
try {{
{script}
}} catch (error) {{
  show(String(error));
}}
</script>"""


def browse(url: str, profile: Path) -> str:
    """The text of the page when all its requests are answered."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    command = [str(BROWSER), *options, f"--user-data-dir={profile}", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    found = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert found, done.stdout
    return unescape(found[1])


@contextmanager
def files_of(folder: Path) -> Iterator[int]:
    """A web server for these files. Yields its port."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", server.free_port()), handler) as files:
        thread = threading.Thread(target=files.serve_forever)
        thread.start()
        try:
            yield files.server_port
        finally:
            files.shutdown()
            thread.join()
