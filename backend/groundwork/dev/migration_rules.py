"""Refuses migrations that lock a table in use, or that remove what the running version still reads.

`.ci/check` runs this file: `python -m groundwork.dev.migration_rules`. It runs each `upgrade()` without a database, as
`alembic upgrade --sql` does, and judges the statements. A table that the same migration creates is not in use.

A comment `# lock: REASON` says why a step is right nevertheless. It stands in the step's lines or above them. Above
`def upgrade`, it holds for all steps.

The package squawk-cli knows more rules. It is not used, because it brings a program of 25 MB for each platform, shows
the safe form in SQL and not as Alembic's operations, and cannot tell what an earlier migration has validated.
"""

import ast
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

from groundwork.data.tables import metadata
from groundwork.dev.lock_rules import BLOCK, BY_BLOCK, RULES
from groundwork.dev.migration import read_migrations, two_heads

_NAME = r"((?:\"[^\"]+\"|[\w.])+)"
_PARTS = "COLUMN|CONSTRAINT|CHECK|FOREIGN KEY|UNIQUE|PRIMARY KEY|EXCLUDE"
_OUTSIDE = re.compile(
    r"(CREATE (UNIQUE )?INDEX|DROP INDEX|REINDEX \w+|REFRESH MATERIALIZED VIEW) CONCURRENTLY|VALIDATE CONSTRAINT"
    r"|ALTER TYPE .* ADD VALUE|DETACH PARTITION .* CONCURRENTLY|^SET |^VACUUM"
)


@dataclass
class _Schema:
    """What the earlier migrations have done."""

    checks: dict[str, str] = field(default_factory=dict)
    """The conditions that were added NOT VALID, by the table's and the constraint's names."""
    validated: set[str] = field(default_factory=set)
    """The conditions that hold for every row, each after its table's name."""


class Refusal(NamedTuple):
    path: Path
    line: int
    sentence: str

    def __str__(self) -> str:
        return f"{os.path.relpath(self.path)}:{self.line}: {self.sentence}."


class _Upgrade:
    """Judges one migration's statements. Alembic writes them to it as to a file."""

    def __init__(self, path: Path, schema: _Schema) -> None:
        self.refusals: list[Refusal] = []
        self._path = path
        self._schema = schema
        self._source = path.read_text().splitlines()
        self._tree = ast.parse(path.read_text())
        self._created: set[str] = set()
        self._in_block = False
        self._limited = False
        self._steps = 0

    def flush(self) -> None:
        """Alembic calls it after each statement."""

    def write(self, text: str) -> None:
        for statement in _statements(text):
            for sentence in self._judge(statement):
                self.refuse(sentence)

    def refuse(self, sentence: str, frames: Iterable[tuple[FrameType, int]] | None = None) -> None:
        """Refuse the step that now runs, unless a comment gives a reason."""
        frames = traceback.walk_stack(None) if frames is None else frames
        lines = [line for frame, line in frames if frame.f_code.co_filename == str(self._path)]
        comments = (comment for line in lines for comment in self._comments(line))
        if not any(re.search(r"#\s*lock:\s*\S", each) for each in comments):
            self.refusals.append(Refusal(self._path, lines[0] if lines else 1, sentence))

    def _comments(self, line: int) -> Iterator[str]:
        """The lines of the step at this line, and those above it and above the blocks that it is in."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line):
                above = node.lineno - 1
                while above and self._source[above - 1].lstrip().startswith("#"):
                    above -= 1
                body = getattr(node, "body", None)
                yield from self._source[above : body[0].lineno - 1 if body else node.end_lineno]

    def _judge(self, sql: str) -> Iterator[str]:
        if sql in ("BEGIN", "COMMIT"):
            self._in_block = sql == "COMMIT"
            self._limited = False
            if self._in_block and self._steps:
                yield (
                    "The block commits the steps before it, and a run that fails in it repeats them. Make two"
                    " migrations: the block is the first step of the second"
                )
            return
        if re.match(r"SET (LOCAL )?LOCK_TIMEOUT", sql):
            self._limited = True
            return
        if match := re.match(rf"CREATE TABLE (?:IF NOT EXISTS )?{_NAME}", sql):
            self._created.add(match[1])
        table = _table(sql)
        if table not in self._created and not re.match("(SET|COMMENT|SELECT)\\b", sql):
            yield from self._placed(sql)
            yield from (rule.sentence.format(table=table.lower()) for rule in RULES if re.search(rule.statement, sql))
            yield from self._not_null(sql, table)
        if not self._in_block:
            self._steps += not re.match("(SET|SELECT)\\b", sql)

    def _placed(self, sql: str) -> Iterator[str]:
        outside = bool(_OUTSIDE.search(sql))
        if self._in_block and not outside:
            yield (
                f"Only what cannot run in a transaction belongs into {BLOCK[:-1]}, where no lock_timeout holds. Put"
                " this step into a migration of its own"
            )
        elif outside and not self._in_block:
            yield (
                "All migrations of a run are one transaction. In it, this fails, or holds the locks of the steps before"
                f" it for as long as it takes, or cannot be used by the next migration. Put it {BY_BLOCK}"
            )
        elif not self._in_block and not self._limited and re.match("ALTER|DROP|CREATE (UNIQUE )?INDEX|LOCK", sql):
            yield (
                "No limit holds for the wait for the lock, and every request queues behind it. Write"
                " op.execute(LOCK_TIMEOUT) before this step"
            )

    def _not_null(self, sql: str, table: str) -> Iterator[str]:
        """PostgreSQL reads the whole table for SET NOT NULL, unless a valid check says that there is no NULL."""
        if match := re.search(rf"ADD CONSTRAINT {_NAME} CHECK \((.*)\)", sql):
            self._schema.checks[f"{table} {match[1]}"] = f"{table} {match[2].strip('() ')}"
        if match := re.search(rf"VALIDATE CONSTRAINT {_NAME}", sql):
            self._schema.validated.add(self._schema.checks.get(f"{table} {match[1]}", ""))
        match = re.search(rf"ALTER COLUMN {_NAME} SET NOT NULL", sql)
        if match and f"{table} {match[1]} IS NOT NULL" not in self._schema.validated:
            table, column = table.lower(), match[1].lower()
            name = f"{table}_{column}_not_null_check"
            yield (
                f"SET NOT NULL reads every row while nobody can read or write {table}, unless a check has said before"
                f' that there is no NULL. Three migrations: op.create_check_constraint(op.f("{name}"), "{table}",'
                f' "{column} IS NOT NULL", postgresql_not_valid=True); {BLOCK}'
                f' op.execute("ALTER TABLE {table} VALIDATE CONSTRAINT {name}"); and SET NOT NULL, then'
                f' op.drop_constraint(op.f("{name}"), "{table}")'
            )


def _statements(text: str) -> Iterator[str]:
    """The statements, in capitals and on one line, without comments and without quoted texts.

    ALTER TABLE becomes one statement for each action, with the word COLUMN, which may be left out in SQL.
    """
    text = re.sub(r"'(?:[^']|'')*'|(\$\w*\$).*?\1", "''", text, flags=re.DOTALL)
    text = re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    for part in text.split(";"):
        sql = " ".join(part.split()).upper()
        if match := re.match(rf"(ALTER TABLE (?:IF EXISTS )?(?:ONLY )?{_NAME}) (.*)", sql):
            for action in re.split(r", ?(?=(?:ADD|ALTER|DROP|SET|VALIDATE|ATTACH|DETACH) )", match[3]):
                full = re.sub(r"^(ADD|ALTER|DROP|RENAME) (?!TO |VALUE |" + _PARTS + ")", r"\1 COLUMN ", action)
                yield f"{match[1]} {full}"
        elif sql:
            yield sql


def _table(sql: str) -> str:
    match = re.search(
        rf"^(?:ALTER|DROP|CREATE) TABLE (?:IF (?:NOT )?EXISTS )?(?:ONLY )?{_NAME}"
        rf"|^CREATE .*?INDEX .*?\bON (?:ONLY )?{_NAME}"
        rf"|^(?:UPDATE|DELETE FROM|INSERT INTO|MERGE INTO|TRUNCATE(?: TABLE)?|LOCK(?: TABLE)?) (?:ONLY )?{_NAME}",
        sql,
    )
    return next(filter(None, match.groups()), "the table") if match else "the table"


def refusals(scripts: ScriptDirectory) -> list[Refusal]:
    """The refusals, from the first migration to the last."""
    schema = _Schema()
    found: list[Refusal] = []
    for script in reversed([*scripts.walk_revisions()]):
        upgrade = _Upgrade(Path(script.path), schema)
        _run(script, upgrade)
        found += upgrade.refusals
    return found


def _run(script: Script, upgrade: _Upgrade) -> None:
    # The tables' metadata has the rules for the names of constraints.
    options: dict[str, Any] = {"as_sql": True, "output_buffer": upgrade, "target_metadata": metadata}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options, dialect_opts={"paramstyle": "named"})
    try:
        with Operations.context(context):
            script.module.upgrade()
    except Exception as error:
        sentence = (
            f"It does not run without a database ({type(error).__name__}: {error}). Correct it, if that is a mistake."
            " If it reads rows, write a backfill instead, backend/migrations/backfills/NAME.py: neither this check nor"
            " alembic upgrade --sql can run it"
        )
        upgrade.refuse(sentence, reversed([*traceback.walk_tb(error.__traceback__)]))


def main() -> int:
    """Print what is refused; returns the exit status."""
    try:
        scripts = read_migrations(Config("alembic.ini"))
        heads = two_heads(scripts)
        found = refusals(scripts)
    except CommandError as error:
        print(error, file=sys.stderr)
        return os.EX_DATAERR
    for each in found:
        print(each, file=sys.stderr)
    if heads:
        print(heads, file=sys.stderr)
    return os.EX_DATAERR if found or heads else os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
