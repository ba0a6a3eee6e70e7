"""Builds the typed clients from backend/openapi.json into clients/, for `make clients`.

`python -m groundwork.dev.build_clients [python] [typescript]` builds both unless one is named. First it raises the
version in clients/version.json, if the document has changed. With `version`, it does only that, for `make openapi`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from groundwork.dev.client_version import RECORD, bumped, digest, major, render
from groundwork.dev.names import Names
from groundwork.dev.repository import PROJECT, ROOT, TemplateError, names_in, run_command

SOURCES = Path(__file__).parent / "clients"
DOCUMENT = "backend/openapi.json"
CLIENTS = ROOT / "clients"
_QUIET = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]


def build(languages: list[str]) -> None:
    """Raise the version if the document has changed, and build the clients of these languages."""
    if unknown := set(languages) - {"python", "typescript", "version"}:
        raise TemplateError(f"There is no client for {', '.join(sorted(unknown))}: name python, typescript or both.")
    document = json.loads((ROOT / DOCUMENT).read_text())
    version = current_version(document)
    names = names_in((ROOT / PROJECT).read_text())
    if "python" in languages:
        build_python(names, version, CLIENTS / "python")
        print(f"clients/python: {names.slug}-client {version}. Next: pip install ./clients/python")
    if "typescript" in languages:
        build_typescript(names, version, CLIENTS / "typescript")
        print(f"clients/typescript: {names.slug}-client {version}. Next: npm install ./clients/typescript")


def current_version(document: dict[str, Any]) -> str:
    """The version for this document. A changed document gets a new one, which is written to the record.

    It is the one after the committed version. So a change that is made in several steps raises it once, and a change
    that is taken back restores it. A major version that was set by hand stays.
    """
    file = ROOT / RECORD
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(render("0.1.0", document))
    record = json.loads(file.read_text())
    version: str = record["version"]
    text = _committed(RECORD)
    committed = json.loads(text) if text else record
    is_by_hand = major(version) > major(committed["version"])
    if committed["document"] == digest(document) and not is_by_hand:
        if text and text != file.read_text():  # a change was taken back
            file.write_text(text)
        return str(committed["version"])
    if record["document"] == digest(document):
        return version
    why = "as it was set by hand"
    if not is_by_hand:
        breaks, reason = _breaks(committed["document"])
        version = bumped(committed["version"], breaking=breaks)
        why = f"a new {'minor' if breaks else 'patch'} version because {reason}"
    file.write_text(render(version, document))
    print(f"The document has changed: the clients' version is {version} now, {why}. Commit {RECORD} with {DOCUMENT}.")
    return version


def _breaks(recorded: str) -> tuple[bool, str]:
    """Whether the document breaks clients of the recorded one, and why. If that one is not committed, it may: True."""
    old = json.loads(_committed(DOCUMENT) or "{}")
    if digest(old) != recorded:
        return True, "the document before was not committed, and without it nobody can tell whether clients break"
    compare = [sys.executable, "-m", "groundwork.testing.openapi_changes", f"HEAD:{DOCUMENT}", "openapi.json"]
    if subprocess.run(compare, cwd=ROOT / "backend", capture_output=True, check=False).returncode:
        return True, "something that clients use was removed or changed"
    return False, "it only adds, and earlier clients go on working"


def _committed(path: str) -> str:
    """The text of a file in the last commit; empty if there is none."""
    show = ["git", "show", f"HEAD:{path}"]
    done = subprocess.run(show, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def build_python(names: Names, version: str, output: Path, document: Path = ROOT / DOCUMENT) -> None:
    settings = {
        "project_name_override": f"{names.slug}-client",
        "package_name_override": f"{names.identifier}_client",
        "package_version_override": version,
    }
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(settings))
        _run(ROOT, sys.executable, "-m", "openapi_python_client", "generate", "--path", str(document), "--meta", "uv",
            "--config", str(config), "--output-path", str(output), "--overwrite", "--fail-on-warning")  # fmt: skip
    shutil.copy(SOURCES / "helpers.py.in", output / f"{names.identifier}_client" / "helpers.py")


def build_typescript(names: Names, version: str, output: Path, document: Path = ROOT / DOCUMENT) -> None:
    if shutil.which("npm") is None:
        raise TemplateError(
            "The TypeScript client needs Node.js 20 or newer with npm, and there is no npm: install Node.js, or build"
            " only the other client with make clients LANGUAGES=python."
        )
    output.mkdir(parents=True, exist_ok=True)
    package = json.loads((SOURCES / "package.json").read_text())
    package |= {"name": f"{names.slug}-client", "version": version}
    (output / "package.json").write_text(json.dumps(package, indent=2) + "\n")
    for name in ("tsconfig.json", "index.ts"):
        shutil.copy(SOURCES / name, output)
    print("clients/typescript: npm fetches the compiler, which takes some seconds …", flush=True)
    _run(output, "npm", "install", *_QUIET)
    print("clients/typescript: writing and compiling …", flush=True)
    _run(output, "npx", "openapi-typescript", str(document), "--output", "schema.ts")
    shutil.rmtree(output / "dist", ignore_errors=True)
    _run(output, "npx", "tsc")


def _run(folder: Path, *command: str) -> None:
    """Run a generator. It finds the formatter beside this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = f"{done.stdout}{done.stderr}".strip()
        raise TemplateError(f"{' '.join(command[:4])} failed. Mend what it says, and run make clients again:\n{said}")


if __name__ == "__main__":
    sys.exit(run_command(lambda: build(sys.argv[1:] or ["python", "typescript"])))
