"""`python -m groundwork.dev.install FOLDER LIST` makes a virtual environment with the locked packages of a list.

`make` runs this first, so it needs only the standard library. It shows its progress. A failure is explained in a line.
uv installs the packages if it is found, because it takes only seconds. Otherwise, or if uv fails, pip installs them.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from groundwork.dev import progress

# What uv, pip or venv writes when it fails, and what to do about it. The first match counts.
REASONS = (
    ("No space left on device", "The disk is full: free some space."),
    (
        "No module named '?(ensurepip|venv)|ensurepip is not",
        "Python's venv module is missing: install it, on Debian with apt install python3-venv.",
    ),
    (
        "DO NOT MATCH THE HASHES|Hash mismatch",
        "A package differs from the one that was locked: ask the owner of your package index.",
    ),
    (
        "new connection|Connection refused|name resolution|[Tt]imed? ?out|ProxyError|SSLError|from versions: none"
        "|client error",
        "The package index does not answer: mend the network or pip's settings until `pip download pip` works.",
    ),
    (
        "No matching distribution",
        "A package does not exist for this Python: try another version, as in make PYTHON=python3.13 …",
    ),
)

# For each option of pip, the variable of uv.
_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


_AGAIN = "Run the command again afterwards."


class InstallError(Exception):
    """The environment cannot be made; the message is a sentence for people."""


def main(folder: Path, requirements: Path) -> int:
    try:
        install(folder, requirements)
    except InstallError as error:
        progress.show("")
        print(error, file=sys.stderr)
        return 1
    return 0


def install(folder: Path, requirements: Path) -> None:
    """Make the environment, and install the list's packages into it.

    Raises:
        InstallError: venv or pip failed. pip's output is in the folder's install.log.
    """
    listed = requirements.read_text()
    total = len(re.findall(r"^[\w.\[\]-]+==", listed, re.MULTILINE))
    uv = shutil.which("uv")
    duration = "seconds, by uv" if uv else "a minute or so; seconds where uv is installed"
    print(f"Installing {total} packages into {folder.name} ({duration}) …", flush=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if made.returncode:
        raise InstallError(explained(made.stdout))
    if not (uv and install_by_uv(uv, folder, requirements)):
        install_by_pip(folder, requirements)
    # Written last, because this file shows that the environment is complete.
    (folder / requirements.name).write_text(listed)
    progress.show("")


def install_by_uv(uv: str, folder: Path, requirements: Path) -> bool:
    """Install the packages by uv. Returns False if it cannot; then a line says why, and nothing is lost."""
    python = str(folder / "bin/python")
    command = [uv, "pip", "install", "--python", python, "--require-hashes", "-r", str(requirements)]
    lines: list[str] = []
    status = run(command, lines.append, uv_variables(python))
    if status:
        progress.show("")
        reason = explain("\n".join(lines)).removesuffix(".")
        print(f"uv cannot install them ({reason}). pip tries now, which takes a minute or so …", flush=True)
    return not status


def uv_variables(python: str) -> dict[str, str]:
    """The environment for uv, with pip's indexes and certificates, which uv does not read. uv's own variables win."""
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    # Take a package from any index that has it, as pip does. The hashes say which file is the right one.
    variables = {"UV_INDEX_STRATEGY": "unsafe-best-match", **os.environ}
    for option, name in _VARIABLES.items():
        values = dict(re.findall(rf"^(global|install|:env:)\.{option}='(.*)'$", listed, re.MULTILINE))
        value = values.get(":env:") or values.get("install") or values.get("global")
        if value:
            # pip separates several indexes by lines or blanks, uv by blanks.
            variables.setdefault(name, " ".join(value.replace("\\n", " ").split()))
    return variables


def install_by_pip(folder: Path, requirements: Path) -> None:
    """Install the packages by pip.

    Raises:
        InstallError: as for `install`.
    """
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
    # With --require-hashes, pip installs exactly what was locked or nothing.
    command = [*pip, "--retries=2", "--require-hashes", "-r", str(requirements)]
    with (folder / "install.log").open("w") as log:
        status = run(command, lambda line: print(line, file=log))
    if status:
        said = (folder / "install.log").read_text()
        raise InstallError(f"{explained(said)} The whole output is in {folder.name}/install.log.")


def run(command: list[str], note: Callable[[str], object], variables: dict[str, str] | None = None) -> int:
    """Run pip or uv, and show on a terminal what it does. Returns its status.

    Args:
        note: is called with each line of its output.
    """
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in map(str.rstrip, process.stdout or ()):
            note(line)
            if step := step_of(line):
                progress.show(f"  {step}")
    return process.returncode


def step_of(line: str) -> str | None:
    """What a line of pip or uv says for people; None if it says nothing of interest."""
    if match := re.match(r"Collecting ([\w.-]+)", line):
        return match[1]
    if match := re.match(r" *Downloading ([a-z][\w.]*(?:-[a-z][\w.]*)*)\S* \(([\d.]+ ?Mi?B)\)", line, re.IGNORECASE):
        return f"{match[1]}, {match[2]}"
    if line.startswith("Prepared "):
        return "putting them in place …"
    if line.startswith("Installing collected packages"):
        return "putting them in place, which takes about as long again …"
    if "Retrying" in line:
        return "the package index does not answer; trying again …"
    return None


def explained(output: str) -> str:
    """Why the environment is not there, as sentences for somebody who can only try again."""
    reason = explain(output)
    known = any(reason == sentence for _, sentence in REASONS)
    return f"{reason} {_AGAIN}" if known else reason


def explain(output: str) -> str:
    """What went wrong, judged by a program's output, and what to do where it is known."""
    for pattern, sentence in REASONS:
        if re.search(pattern, output):
            return sentence
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line]
    return (errors or lines or ["it ended without any output"])[-1].strip()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
