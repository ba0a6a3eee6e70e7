"""The rules about what a migration's statement must not do to a table in use, each with the safe form."""

from typing import NamedTuple

BLOCK = "with op.get_context().autocommit_block():"
BY_BLOCK = f"into a migration of its own: {BLOCK}"
# The functions that PostgreSQL computes once for a default, and words that look like calls of functions. A default with
# any other function makes PostgreSQL write a value into every row.
_CONSTANT = (
    "NOW|STATEMENT_TIMESTAMP|TRANSACTION_TIMESTAMP|CURRENT_SETTING|COALESCE|LOWER|UPPER|JSONB?_BUILD_\\w+"
    "|(VAR)?CHAR|CHARACTER|VARYING|NUMERIC|DECIMAL|TIME|TIMESTAMP|CHECK"
)


class Rule(NamedTuple):
    """A statement that is refused, and the sentence."""

    statement: str
    """A regular expression."""
    sentence: str
    """Why it is refused, and the safe form. `{table}` is the table's name."""


_CHECK_STEPS = (
    "op.create_check_constraint(…, postgresql_not_valid=True), and in a migration after it"
    f' {BLOCK} op.execute("ALTER TABLE {{table}} VALIDATE CONSTRAINT …")'
)
RULES = (
    Rule(
        r"^CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)(?!.* ON ONLY )",
        "CREATE INDEX blocks every write to {table} until it is built. In a migration of its own:"
        f" {BLOCK} op.drop_index(NAME, if_exists=True, postgresql_concurrently=True), because a run that was ended"
        " leaves half of one, and then op.create_index(…, postgresql_concurrently=True)",
    ),
    Rule(
        rf"ADD COLUMN .*DEFAULT (?!NULL)(?=.*\b(?!(?:{_CONSTANT})\b)\w+ ?\()|ADD COLUMN .*\b(SMALL|BIG)?SERIAL\b"
        r"|ADD COLUMN .*GENERATED (ALWAYS|BY DEFAULT) AS(?!.*VIRTUAL)",
        "PostgreSQL computes this column for every row and writes {table} anew, while nobody can read it. Add it"
        " without a default, set the default in a second step (op.alter_column(…, server_default=…)), and fill the old"
        " rows with a backfill",
    ),
    Rule(
        r"ADD COLUMN (?=.*NOT NULL)(?!.*(DEFAULT|GENERATED))",
        "A new column that is NOT NULL fails on a table with rows, and the running version does not write it. Add it"
        " with nullable=True or with a constant server_default, and fill it with a backfill. For NOT NULL, write"
        " op.alter_column(…, nullable=False) in a later migration: its refusal has the steps",
    ),
    Rule(
        r"\bADD (?!.*USING INDEX).*\b(UNIQUE|PRIMARY KEY|EXCLUDE)\b",
        "The constraint's index is built while nobody can read or write {table}. First create a unique index with"
        " postgresql_concurrently=True, in a migration of its own; then"
        ' op.execute("ALTER TABLE {table} ADD CONSTRAINT … UNIQUE USING INDEX …")',
    ),
    Rule(
        r"\bADD (CONSTRAINT \S+ )?CHECK\b(?!.*NOT VALID)|ADD COLUMN .*\bCHECK\b",
        "Every row is checked while nobody can read or write {table}. Write " + _CHECK_STEPS,
    ),
    Rule(
        r"\bADD (CONSTRAINT \S+ )?FOREIGN KEY\b(?!.*NOT VALID)|ADD COLUMN .*\bREFERENCES\b",
        "Every row is checked while nobody can write {table}, or the table that it refers to. Write "
        + _CHECK_STEPS.replace("create_check_constraint", "create_foreign_key"),
    ),
    Rule(
        r"ALTER COLUMN \S+ (SET DATA )?TYPE",
        "Another type may write {table} anew, and build its indexes, while nobody can read it. Add a column of the new"
        " type, let a version write both, fill it with a backfill, and drop the old one when no version reads it. A"
        " longer VARCHAR, and TEXT for VARCHAR, change no row: # lock: only longer. Another"
        " collation builds the column's indexes anew: backend/groundwork/docs/collations.md",
    ),
    Rule(
        r"\bRENAME (TO|COLUMN|VALUE)\b|\bSET SCHEMA\b",
        "The running version uses the old name until the roll-out ends, and fails. Add what has the new name, write"
        " both, and drop the old one in a later release",
    ),
    Rule(
        r"DROP COLUMN|^DROP (TABLE|VIEW|MATERIALIZED VIEW|SCHEMA|SEQUENCE|FUNCTION|PROCEDURE|OWNED)\b"
        r"|^DROP .*\bCASCADE\b|^TRUNCATE",
        "The running version may still use it. Roll out a version whose models do not have it; then drop it, with the"
        " comment # lock: not read since VERSION",
    ),
    Rule(
        r"^(WITH .*)?(UPDATE|DELETE FROM|MERGE INTO|INSERT INTO .*\bSELECT)\b",
        "A migration that changes many rows holds their locks, and those of the steps before it, until it ends. Write a"
        " backfill, backend/migrations/backfills/NAME.py, and run it between two migrations: make backfill NAME=…",
    ),
    Rule(
        r"^(LOCK|CLUSTER)\b|^VACUUM .*FULL|^REINDEX (?!.*CONCURRENTLY)"
        r"|SET (UNLOGGED|LOGGED|TABLESPACE|ACCESS METHOD|EXPRESSION)\b|^REFRESH MATERIALIZED VIEW (?!CONCURRENTLY)",
        "This keeps everybody from the table until it ends. Use the form with CONCURRENTLY, where there is one, "
        + BY_BLOCK,
    ),
    Rule(r"^(DO|CALL)\b", "What this does cannot be seen before it runs. Write its statements, one by one"),
)
"""The rules about a single statement. `migration_rules._Upgrade` has those that also look at earlier statements."""
