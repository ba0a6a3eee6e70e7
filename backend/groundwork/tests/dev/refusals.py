"""Finds the sentences by which the library's code refuses something.

A sentence is the text of an exception that a person reads, or what a command writes to standard error. Some functions
return a sentence for others to write, and some sentences stand in tables.
"""

import ast
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

LIBRARY = Path(__file__).parents[2]

# Whoever writes code for the service, sets its variables or runs a command reads these.
REFUSALS = {
    "AssertionError", "ChangedError", "CommandError", "ConnectionLimitError", "EmbeddedPostgresError", "InstallError",
    "LineError", "LookupError", "MetricError", "ResourceError", "RuntimeError",
    "SystemExit", "TemplateError", "TypeError", "Unavailable", "Unfit", "Unreachable",
    "UnprotectedRoute", "UnusableNameError", "UsageError", "ValueError", "_InUseError", "_NotWritten",
    "config_error",
}  # fmt: skip
# Others read these.
OTHERS = {
    "AttributeError": "Python, when a module has no such name",
    "ContentTooLarge": "a client",
    "Forbidden": "a client",
    "Invalid.at": "a client",
    "InvalidToken": "a client",
    "JSONDecodeError": "FastAPI, which answers a client",
    "NotFound": "a client",
    "PydanticCustomError": "a client",
    "Refused": "a client",
    "TimeoutError": "the code that waits; its own message says more",
    "TooManyRequests": "a client",
    "WebhookFailed": "the log of a worker, which tries again",
    "_FetchError": "the log of a service, which tries again",
    "bad_cursor": "a client",
    "_unreadable_host": "makes one of REFUSALS",
    "self._wrong_labels": "makes one of REFUSALS",
    "self._wrong_names": "makes one of REFUSALS",
    "errors.pop": "the caller, whose error is raised again",
    "kind": "the log of a service, which tries again",
}
# Errors of REFUSALS that code catches, or that only the log shows.
NOT_READ = {
    "auth/download.py": "the log of a service",
    "auth/issuer.py": "the log of a service",
    "fast/plain_parameters.py": "the module itself",
    "jobs/attempt.py": "the row of a job",
    "jobs/webhooks.py": "the row of a job",
    "data/pool.py: the pool is closed": "the code that waits for a connection",
    "serve/application.py: the application cannot be made: x": "shown with the error that it names, and its line",
    "serve/worker.py: the code ends the program while it is loaded: x": "shown with the code, and its line",
}
# Functions that return or yield sentences, by module.
SENTENCES = {
    "dev/__main__.py": {"why_not_listen"},
    "dev/migration.py": {"_mistake", "_why_unknown", "two_heads"},
    "dev/migration_rules.py": {"_judge", "_not_null", "_placed"},
    "dev/production_imports.py": {"_refusals"},
    "dev/reset.py": {"_problem"},
    "dev/resource/__main__.py": {"_misspelt"},
    "dev/supervisor.py": {"_sentence"},
    "serve/gunicorn_conf.py": {"changed_options"},
    "serve/listening.py": {"no_address"},
    "serve/migrations.py": {"_explain"},
    "serve/settings.py": {"_missing"},
    "serve/trace_variables.py": {"_batch_problems"},
    "testing/body_columns.py": {"_unfit"},
    "testing/parametrize.py": {"_problems_of_differs", "_problems_of_entry", "_problems_of_resources"},
}


class Message(NamedTuple):
    module: str
    line: int
    text: str
    """With `x` for what is inserted."""

    def __str__(self) -> str:
        return f"{self.module}: {self.text[:60]}"


class Unread(NamedTuple):
    """An argument that is no text here."""

    module: str
    source: str


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(LIBRARY.rglob("*.py")):
        name = path.relative_to(LIBRARY).as_posix()
        if not name.startswith("tests/"):
            yield name, ast.parse(path.read_text("utf-8"))


def raised() -> set[str]:
    """The name of each class or function whose result is raised."""
    calls = (
        node.exc
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    )
    return {ast.unparse(each.func).removeprefix("schema_state.").removeprefix("pytest.") for each in calls}


def messages() -> Iterator[Message | Unread]:
    shared = {name: text for _, tree in modules() for name, text in _constants(tree) if not name.startswith("_")}
    for module, tree in modules():
        constants = {**shared, **dict(_constants(tree))}
        for node in ast.walk(tree):
            for argument in _arguments(module, node):
                found = texts_of(argument, constants)
                # A part of the program's control flow has a number or nothing.
                if not found and not isinstance(argument, ast.Constant):
                    yield Unread(module, ast.unparse(argument))
                for text in found:
                    if " " in text and module not in NOT_READ and f"{module}: {text}" not in NOT_READ:
                        yield Message(module, argument.lineno, text)


def texts_of(node: ast.expr, constants: Mapping[str, str]) -> list[str]:
    """Every text that the expression can have, as far as it is written there."""
    found: list[str] = []
    match node:
        case ast.Constant(value=str(text)):
            found = [text]
        case ast.JoinedStr(values=parts):
            found = _joined([texts_of(part, constants) for part in parts])
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.Name(id=name):
            found = [constants[name]] if name in constants else []
        case ast.IfExp(body=first, orelse=second):
            found = [*texts_of(first, constants), *texts_of(second, constants)]
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            found = _joined([texts_of(left, constants), texts_of(right, constants)])
        case ast.Call(func=ast.Attribute(value=value, attr="strip" | "format")):
            found = texts_of(value, constants)
    return found


def _joined(parts: list[list[str]]) -> list[str]:
    """All combinations of the parts' texts; none if no part has one."""
    return ["".join(each) for each in product(*(part or ["x"] for part in parts))] if any(parts) else []


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The module's names that stand for a text."""
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text)))
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text)))
            ):
                yield name, text


def _arguments(module: str, node: ast.AST) -> Iterator[ast.expr]:
    """The expressions whose value is a message."""
    match node:
        case ast.Call(func=ast.Name(id="print"), args=[first, *_], keywords=[*keywords]):
            if any(ast.unparse(each.value) == "sys.stderr" for each in keywords):
                yield first
        case ast.Call(func=ast.Attribute() as function, args=[first, *_]) if ast.unparse(function) in (
            "sys.stderr.write",
            "sys.exit",
            "self.refuse",
        ):
            yield first
        # What a maintenance command says before the database's own words.
        case ast.Call(func=ast.Name(id="run_command"), args=[_, _, last]):
            yield last
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]) if name in REFUSALS:
            yield first
        case ast.FunctionDef(name=name) if name in SENTENCES.get(module, ()):
            for part in ast.walk(node):
                if isinstance(part, ast.Return | ast.Yield) and part.value and texts_in(part.value):
                    yield part.value


def texts_in(node: ast.expr) -> bool:
    """Whether this is a sentence, and not a list of them or None."""
    return isinstance(node, ast.JoinedStr | ast.BinOp | ast.IfExp) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
