"""Every refusal says what to write or to do instead, so that a mistake can be mended from its message alone.

Of the library: the ownership compiler and the declarations, the settings and everything else that ends a start, the
check of migrations, and the commands of `make`. test_shell_refusals.py does the same for shell scripts.
"""

import re

import pytest
from pydantic import ValidationError

from groundwork.data.dsn import EXAMPLE
from groundwork.dev.install import REASONS
from groundwork.dev.lock_rules import RULES
from groundwork.serve.origins import _FAULTS
from groundwork.serve.settings import Settings, describe
from groundwork.serve.trace_variables import _EXPECTED
from groundwork.tests.dev.asks import ASKS
from groundwork.tests.dev.refusals import OTHERS, REFUSALS, Message, Unread, messages, raised

# What is written and is no text where it is written, with the place of its text.
PASSED_ON = {
    # An exit code.
    *("128 + number", "Arbiter.WORKER_BOOT_ERROR", "main()", "main(sys.argv[1:])", "os.EX_CONFIG", "os.EX_DATAERR"),
    *("os.EX_USAGE", "run_command(init)", "run_command(lambda: main(sys.argv[1:]))", "run_command(update)"),
    "main(Path(sys.argv[1]), Path(sys.argv[2]))",
    "run_command(lambda: build(sys.argv[1:] or ['python', 'typescript']))",
    # The text of an exception, which is one of REFUSALS.
    *("error", "str(error)", "reply['error']"),
    # What one of SENTENCES says, or an exception.
    *("*problems", "explanation", "heads", "no_address(settings.host)", "problem", "sentence"),
    "'\\n'.join(found)",
    *("each", "misspelt", "self._sentence(self._log_complaint(log_start))", "self._sentence(problem)"),
    "self._sentence(f'it does not start: {answer.stderr.strip()}')",
    # A sentence of a table, or the last line of the tool's own.
    "explained(made.stdout)",
    # What the command said that `make resource` runs.
    "said",
    # test_settings_* below.
    "*describe(error, kind, variables)",
    # The commands of git are its lines: tests/template/test_update.py.
    *("'\\n'.join(lines)", "advise(conflicts, moved(before, after))"),
    # A line for each use, then a sentence: test_private_names.py.
    "'\\n'.join(problems)",
    # How the module is used.
    "__doc__",
    # A line of the access log; a name for the module itself.
    *("line", "name"),
}
# Each is a sentence that is checked where it is made, with something before or behind it.
AROUND_A_SENTENCE = {
    "DATABASE_POOL_SIZE: x",
    "DATABASE_URL: x",
    "x (x is set: is it misspelt?)",
    "backend/x x",
    "x The whole output is in x/install.log.",
    "The migration x has failed: x",
}
NO_REFUSALS = {"Starting PostgreSQL in xx …"}

FOUND = [*messages()]
TEXTS = [each for each in FOUND if isinstance(each, Message)]
TABLES = {
    "lock_rules": [rule.sentence for rule in RULES],
    "install": [sentence for _, sentence in REASONS],
    "trace_variables": [expected for _, _, expected in _EXPECTED],
    "origins": [*_FAULTS.values()],
}


def test_they_are_found() -> None:
    assert len(TEXTS) > 200


def test_every_error_that_is_raised_is_of_a_known_kind() -> None:
    assert raised() <= REFUSALS | OTHERS.keys(), "say in refusals.py who reads it"


def test_no_message_is_missing() -> None:
    unknown = {each for each in FOUND if isinstance(each, Unread) and each.source not in PASSED_ON}
    assert not unknown, "write the text where it is raised or printed, or say in PASSED_ON where it is checked"


@pytest.mark.parametrize("message", TEXTS, ids=str)
def test_it_says_what_to_write(message: Message) -> None:
    assert message.text in AROUND_A_SENTENCE | NO_REFUSALS or ASKS.search(message.text), message


@pytest.mark.parametrize("table", TABLES)
def test_each_sentence_of_a_table_says_what_to_write(table: str) -> None:
    assert [sentence for sentence in TABLES[table] if not ASKS.search(sentence)] == []


@pytest.mark.parametrize("field", Settings.model_fields)
def test_settings_that_are_wrong_say_what_is_right(field: str) -> None:
    """Those that take any text have no wrong value, and say so here."""
    lines = [line for value in ("\0 no value \0", "-1", "99999999999") for line in _refused(field, value)]
    any_text = {"auth_audience", "auth_roles_claim", "google_cloud_project", "log_user_key", "otel_service_name"}
    assert bool(lines) != (field in {*any_text, "revision", "version"}), lines
    for line in lines:
        assert line.startswith(f"{field.upper()}: ")
        # "Input should be …" is pydantic's way of saying it.
        assert ASKS.search(line) or "should be" in line, line


def _refused(field: str, value: str) -> list[str]:
    given = {"database_url": EXAMPLE, "auth_issuer": "https://id.example.com", "auth_audience": "api"}
    try:
        Settings.model_validate({**given, field: value})
    except ValidationError as error:
        return describe(error)
    return []


@pytest.mark.parametrize(
    "message",
    [
        "a statement may hold no SQL text, because nobody can check whose rows the text reaches: x",
        "no table has a constraint x",
        "x or x has no owner_column()",
        "has lists of hosts, addresses and ports that differ in length",
        "x cannot be read",
        "x is missing: groundwork/docs/jobs.md says what stands in it",
        "x is no longer there.",
        "x for x has no x. CI attaches one; this was built elsewhere.",
        "git x failed: x",
        "is not set, and has no default",
        "docker with its plugin buildx is what reads a published image.",
        "The migration has not succeeded; the old version goes on serving. Its log is above.",
    ],
)
def test_what_only_says_what_is_wrong_is_noticed(message: str) -> None:
    assert not ASKS.search(message)


def test_what_is_allowed_beside_is_there() -> None:
    """So that no list allows what is gone."""
    assert {each.text for each in TEXTS} >= AROUND_A_SENTENCE | NO_REFUSALS
    assert {each.source for each in FOUND if isinstance(each, Unread)} == PASSED_ON


def test_a_verb_counts_only_where_a_part_of_a_sentence_begins() -> None:
    assert not ASKS.search("the table of users has the name x, and nobody runs it")
    assert re.match(ASKS, "Run it again.")
