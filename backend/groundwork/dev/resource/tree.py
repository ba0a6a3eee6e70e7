"""The files of the service as a command sees them: read, changed in memory, and written all at once."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from groundwork.dev.resource.errors import ResourceError

Change = Callable[[str], str]
# A list of imports that was long before the unused ones were gone comes back into one line.
_ONE_LINE = "lint.isort.split-on-trailing-comma=false"
_IMPORTS = ["check", "--fix", "--quiet", "--select", "I,F401", "--config", _ONE_LINE]


class Tree:
    """Files below a folder.

    Args:
        backend: the folder `backend`.
        texts: by path below it: what a file shall have. None if it shall be gone.
    """

    def __init__(self, backend: Path, texts: dict[str, str | None] | None = None) -> None:
        self.backend = backend
        self.texts = dict(texts or {})
        self._before: dict[str, str | None] = {}

    def exists(self, path: str) -> bool:
        return self.texts[path] is not None if path in self.texts else (self.backend / path).is_file()

    def read(self, path: str) -> str:
        """The text of a file.

        Raises:
            ResourceError: there is no such file.
        """
        if not self.exists(path):
            raise ResourceError(f"backend/{path} is not there: write it, as the template has it.")
        text = self.texts.get(path)
        return text if text is not None else (self.backend / path).read_text()

    def add(self, path: str, text: str) -> None:
        """Write a new file.

        Raises:
            ResourceError: there is one already.
        """
        if self.exists(path):
            raise ResourceError(f"backend/{path} is there already: choose another NAME, or add to it by hand.")
        self.texts[path] = text

    def change(self, path: str, *changes: Change) -> None:
        """Change a file.

        Raises:
            ResourceError: it has not the lines that a change needs. The sentence names the file.
        """
        text = self.read(path)
        try:
            for change in changes:
                text = change(text)
        except LineError as error:
            raise ResourceError(f"backend/{path} {error}") from None
        self.texts[path] = text

    def remove(self, path: str) -> None:
        self.read(path)
        self.texts[path] = None

    def paths(self, pattern: str) -> list[str]:
        """The files that match the pattern, those in memory too."""
        found = {path.relative_to(self.backend).as_posix() for path in self.backend.glob(pattern)}
        found |= {path for path in self.texts if Path(path).match(pattern)}
        return sorted(path for path in found if self.exists(path))

    def format(self) -> None:
        """Format what was added and changed."""
        self.texts |= formatted({path: text for path, text in self.texts.items() if text is not None}, self.backend)

    def write(self) -> None:
        """Write all changes."""
        files = {path: self.backend / path for path in self.texts}
        self._before = {path: file.read_text() if file.exists() else None for path, file in files.items()}
        self._put(self.texts)

    def undo(self) -> None:
        """Write what was there before `write`."""
        self._put(self._before)

    def _put(self, texts: dict[str, str | None]) -> None:
        for path, text in texts.items():
            if text is None:
                (self.backend / path).unlink(missing_ok=True)
            else:
                (self.backend / path).write_text(text)


class LineError(Exception):
    """A file has not the line that a change needs. The message goes on after the file's name."""


def formatted(texts: dict[str, str], backend: Path) -> dict[str, str]:
    """The texts as `make format` leaves them, without imports that nothing uses.

    Args:
        texts: modules, by path below `backend`. Their imports may be too many and in any order.
        backend: the folder with ruff's settings.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {path: Path(folder, path) for path in texts}
        for path, file in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(texts[path])
        for command in (_IMPORTS, ["format", "--quiet"]):
            settings = ["--no-cache", "--config", str(backend / "pyproject.toml")]
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *command, *settings, "."],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise ResourceError(
                    f"ruff refuses what would be written: use other names. {done.stdout.strip() or done.stderr}"
                )
        return {path: file.read_text() for path, file in files.items()}
