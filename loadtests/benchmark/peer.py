"""The packages of Fastify, the peer in Node. Nothing else here needs Node, and without it the peer is left out."""

import re
import shutil
import subprocess
from pathlib import Path

from loadtests.benchmark.progress import say

FOLDER = Path(__file__).with_name("fastify")
_INSTALLED = FOLDER / "node_modules" / ".package.json"
"""A copy of the package.json that the packages were installed from."""
_OLDEST_NODE = 20
_INSTALL = ["npm", "install", "--omit=dev", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
_INSTALL_SECONDS = 180


def reason_without() -> str:
    """Why Fastify cannot be measured here, or "" if it can. Missing packages are installed."""
    if not (shutil.which("node") and shutil.which("npm")):
        return "Node and npm are not installed."
    version = node_version()
    if int(version.partition(".")[0]) < _OLDEST_NODE:
        return f"Node {_OLDEST_NODE} or newer is needed; this is {version}."
    if not is_installed():
        say("installing Fastify")
        return _install()
    return ""


def is_installed() -> bool:
    return _INSTALLED.exists() and _INSTALLED.read_bytes() == (FOLDER / "package.json").read_bytes()


def describe() -> str:
    """The versions of Node and of the packages, in the form of RESULTS.md."""
    packages = re.findall(r'"([a-z-]+)": "(\d[\d.]*)"', (FOLDER / "package.json").read_text())
    return ", ".join([f"Node {node_version()}", *(f"{name} {version}" for name, version in packages)])


def node_version() -> str:
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip().lstrip("v")


def _install() -> str:
    try:
        done = subprocess.run(
            _INSTALL, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"npm did not install its packages within {_INSTALL_SECONDS} seconds."
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        return f"npm could not install its packages: {said[0]}"
    shutil.copy(FOLDER / "package.json", _INSTALLED)
    return ""
