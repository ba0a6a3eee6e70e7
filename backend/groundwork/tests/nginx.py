"""Runs nginx in front of the service, on a free port and in a folder of the test."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from groundwork.dev.children import end_with_parent
from groundwork.tests.process.server import free_port

MISSING = "nginx is not installed"
_PROGRAM = shutil.which("nginx") or "/usr/sbin/nginx"
_START_SECONDS = 20
_CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
{server}
    }}
}}
"""


def is_installed() -> bool:
    return Path(_PROGRAM).exists()


@contextmanager
def running_nginx(folder: Path, server: str) -> Iterator[str]:
    """nginx with these directives in its only `server`. Yields its URL."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    (folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=folder, port=port, server=server))
    log = folder / "nginx.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [_PROGRAM, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=end_with_parent(),  # noqa: PLW1509
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_serves(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_it_serves(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"nginx does not serve:\n{log.read_text()}")
