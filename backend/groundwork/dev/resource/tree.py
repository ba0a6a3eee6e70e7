"""The files of the service as a command sees them: read, changed in memory, and written all at once."""

import ast
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from groundwork.dev.resource.errors import LineError, ResourceError

Change = Callable[[str], str]
# A list of imports that was long before the unused ones were gone comes back into one line.
_ONE_LINE = "lint.isort.split-on-trailing-comma=false"
_IMPORTS = ["check", "--fix", "--quiet", "--select", "I,F401", "--config", _ONE_LINE]
_SORT = ["check", "--fix", "--quiet", "--select", "I"]
_FORMAT = ["format", "--quiet"]


class Tree:
    """Files below a folder.

    Args:
        backend: the folder `backend`.
        texts: by path below it: what a file shall have. None if it shall be gone.
        kept: files that others write, which `undo` puts back too.
    """

    def __init__(self, backend: Path, texts: dict[str, str | None] | None = None, kept: Iterable[str] = ()) -> None:
        self.backend = backend
        self.texts = dict(texts or {})
        self._kept = [*kept]
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

    def parsed(self, path: str) -> ast.Module:
        """The syntax tree of a file.

        Raises:
            ResourceError: Python cannot read it.
        """
        try:
            return ast.parse(self.read(path))
        except SyntaxError as error:
            raise ResourceError(f"backend/{path}, line {error.lineno}: Python cannot read this. Correct it.") from None

    def add(self, path: str, text: str) -> None:
        """Write a new file.

        Raises:
            ResourceError: there is one already.
        """
        if self.exists(path):
            raise ResourceError(f"backend/{path} is there already: choose another NAME, or add to it by hand.")
        self.texts[path] = text

    def change(self, path: str, *changes: Change) -> None:
        """Change a file, and nothing in it that the changes do not name.

        Raises:
            ResourceError: it has not the lines that a change needs. The sentence names the file.
        """
        self.texts[path] = self._changed(path, self.read(path), changes)

    def change_back(self, path: str, back: Callable[[bool], Sequence[Change]], changes: Sequence[Change]) -> None:
        """Take changes of a file back.

        Args:
            path: the file.
            back: makes what takes them back. With True, lines are joined that the changes may have made too long.
            changes: what was done once. It tells whether those lines were longer than the formatter allows.

        Raises:
            ResourceError: the file no longer has what the changes have put there. The sentence names the file.
        """
        text = self.read(path)
        joined = self._changed(path, text, back(True))  # noqa: FBT003
        again = self._changed(path, joined, changes)
        same = sorted(again.splitlines()) == sorted(text.splitlines())
        self.texts[path] = joined if same else self._changed(path, text, back(False))  # noqa: FBT003

    def _changed(self, path: str, text: str, changes: Sequence[Change]) -> str:
        before = text
        try:
            for change in changes:
                text = change(text)
        except LineError as error:
            raise ResourceError(f"backend/{path} {error}") from None
        _require_python(path, text)
        return text if text == before else self._tidied(path, before, text)

    def _tidied(self, path: str, before: str, after: str) -> str:
        """The changed text, as `make format` leaves it if it has left the text before."""
        for command in (_SORT, _FORMAT):
            if _tidy(path, before, self.backend, *command) == before:
                after = _tidy(path, after, self.backend, *command)
        return after

    def remove(self, path: str) -> None:
        self.read(path)
        self.texts[path] = None

    def paths(self, pattern: str) -> list[str]:
        """The files that match the pattern, those in memory too."""
        found = {path.relative_to(self.backend).as_posix() for path in self.backend.glob(pattern)}
        found |= {path for path in self.texts if Path(path).match(pattern)}
        return sorted(path for path in found if self.exists(path))

    def add_all(self, texts: dict[str, str]) -> None:
        """Write new files, formatted.

        Raises:
            ResourceError: one of them is there already.
        """
        for path in texts:
            self.add(path, "")
        self.texts |= formatted(texts, self.backend)

    def write(self) -> None:
        """Write all changes."""
        files = {path: self.backend / path for path in [*self.texts, *self._kept]}
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


def formatted(texts: dict[str, str], backend: Path) -> dict[str, str]:
    """The texts as `make format` leaves them, without imports that nothing uses.

    Args:
        texts: modules, by path below `backend`. Their imports may be too many and in any order.
        backend: the folder with ruff's settings.
    """
    return _ruff(texts, backend, _IMPORTS, _FORMAT)


@cache
def _tidy(path: str, text: str, backend: Path, *command: str) -> str:
    return _ruff({path: text}, backend, [*command])[path]


def _ruff(texts: dict[str, str], backend: Path, *commands: list[str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        files = {path: Path(folder, path) for path in texts}
        for path, file in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(texts[path])
        for command in commands:
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


def _require_python(path: str, text: str) -> None:
    try:
        ast.parse(text)
    except SyntaxError as error:
        line = text.splitlines()[(error.lineno or 1) - 1].strip()
        raise ResourceError(
            f"backend/{path} would no longer be Python, at {line!r}: change that place by hand, as docs/add-a-resource.md"
            " has it, then run the command again."
        ) from None
