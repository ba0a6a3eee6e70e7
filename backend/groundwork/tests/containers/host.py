"""deploy/vm as on a real host: its files are in a folder, and the project name and the ports are the tests' own."""

import json
import os
import re
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx

from groundwork.tests.containers.stack import ROOT, docker, wait_until
from groundwork.tests.faults.load import ROWS

IMAGE = "groundwork-vm-test"
PROJECT = "groundwork-vm-test"
HTTP_PORT, HTTPS_PORT = 18083, 18084
URL = f"https://localhost:{HTTPS_PORT}"
VM = ROOT / "deploy/vm"
SERVICES = ("caddy", "backend", "pgbouncer", "db", "backup", "migrate")


class Host:
    """One host. `folder` holds the files of deploy/vm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if name.startswith(("DOCKER_", "PATH", "HOME"))}
        self._environment = {**inherited, "COMPOSE_PROJECT_NAME": PROJECT}
        shutil.copytree(VM, folder, ignore=shutil.ignore_patterns(".env", "service.env", "backups"))
        self._write_settings()

    def _write_settings(self) -> None:
        """Write .env by the README's own commands, then change it to fit this machine."""
        [commands] = re.findall(r"```sh\n(\(umask 077 && cat > \.env.*?)```", (VM / "README.md").read_text(), re.DOTALL)
        self.run("bash", "-ec", commands)
        here = {"DOMAIN": "localhost", "IMAGE": IMAGE, "VERSION": "1"}
        ports = f"HTTP_PORT={HTTP_PORT}\nHTTPS_PORT={HTTPS_PORT}\n"
        text = (self.folder / ".env").read_text()
        for name, value in here.items():
            text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        (self.folder / ".env").write_text(text + ports)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}\n{self._log()}"
        return done

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("docker", "compose", *arguments, check=check)

    def roll_out(self, version: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("./roll-out", version, check=check)

    def restore(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("./restore", *arguments, check=check)

    def up(self) -> None:
        self.compose("up", "--detach", "--wait")
        # Caddy makes its certificate when it starts.
        wait_until(self.is_ready, "the service answers through Caddy")

    def down(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans")

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{URL}/health/ready", verify=self.tls, timeout=20).is_success
        except (OSError, httpx.TransportError):
            return False

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts Caddy's own certificate authority, and nobody else."""
        path = "/data/caddy/pki/authorities/local/root.crt"
        done = self.compose("exec", "--no-TTY", "caddy", "cat", path, check=False)
        if done.returncode:
            raise OSError(done.stderr)
        return ssl.create_default_context(cadata=done.stdout)

    def dumps(self) -> list[Path]:
        return sorted((self.folder / "backups").glob("*.dump"))

    def sql(self, statement: str) -> str:
        psql = ("psql", "--username=app", "--tuples-only", "--no-align", "-c", statement)
        return self.compose("exec", "--no-TTY", "db", *psql).stdout.strip()

    def rows(self) -> list[dict[str, Any]]:
        """The rows that `Load.compare` needs."""
        rows: list[dict[str, Any]] = json.loads(self.sql(f"SELECT coalesce(json_agg(r), '[]') FROM ({ROWS}) r"))
        return rows

    def inspect(self, service: str) -> Any:
        """What the engine knows of the service's container, even if it does not run."""
        identifier = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        (container,) = json.loads(docker("inspect", identifier))
        return container

    def events(self, since: str, until: str) -> list[str]:
        """The starts and ends of containers between two times in seconds: `start next`, `die migrate 0`."""
        kinds = ("--filter", "event=start", "--filter", "event=die")
        ours = ("--filter", f"label=com.docker.compose.project={PROJECT}")
        names = ("com.docker.compose.service", "exitCode")
        form = " ".join(["{{.Action}}", *(f'{{{{index .Actor.Attributes "{name}"}}}}' for name in names)])
        output = docker("events", "--since", since, "--until", until, *kinds, *ours, "--format", form)
        return [line.strip() for line in output.splitlines()]

    def _log(self) -> str:
        return self.run("docker", "compose", "logs", "--tail", "50", check=False).stdout if self._is_up() else ""

    def _is_up(self) -> bool:
        return (self.folder / ".env").exists()
