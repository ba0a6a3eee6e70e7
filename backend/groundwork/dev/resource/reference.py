"""A reference to rows of another resource, which then refuses to delete a row that is referred to."""

import ast
import re
from dataclasses import dataclass

from groundwork.dev.resource.description import Resource
from groundwork.dev.resource.errors import LineError, ResourceError
from groundwork.dev.resource.imports import imported, no_longer_imported
from groundwork.dev.resource.members import Member
from groundwork.dev.resource.names import Name
from groundwork.dev.resource.places import Source, Span, put, with_item, without_item, without_statement
from groundwork.dev.resource.tree import Change, Tree

_CONFLICT = ("groundwork.http.idempotency", "CONFLICT")
# What a route answers without a reason of its own.
_USUAL = {"DELETED", "REFUSED"}
_LINE = 120


@dataclass(frozen=True)
class Target:
    """The resource to whose rows a reference leads.

    Args:
        name: the singular, as its model's name says.
        table: its table, which also is the name of its modules.
        owner: the column that says whose its rows are.
    """

    name: str
    table: str
    owner: str

    @property
    def constant(self) -> str:
        """The name of its entry in the tests."""
        return self.name.upper()

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")

    @property
    def key(self) -> str:
        """The columns of its primary key, as a foreign key names them."""
        return f'["{self.table}.{self.owner}", "{self.table}.id"]'


def targets_of(resource: Resource, tree: Tree) -> dict[str, Target]:
    """The resources that it refers to, by table.

    Raises:
        ResourceError: there is none with this table, or its rows have another owner.
    """
    found: dict[str, Target] = {}
    problems: dict[str, None] = {}
    for each in resource.references:
        try:
            found[each.refers_to] = _target(each, resource, tree)
        except ResourceError as error:
            problems[str(error)] = None
    for target in found.values():
        if target.owner != resource.owner:
            problems[
                f"The rows of {target.table} belong to {_whose(target.owner)}, those of {resource.name.many} to"
                f" {_whose(resource.owner)}. A reference stays with one owner: set OWNER accordingly, or leave"
                " ref(…) out."
            ] = None
    if problems:
        raise ResourceError("\n".join(problems))
    return found


def _whose(owner: str) -> str:
    return f"each {owner.removesuffix('_id')}"


def _target(member: Member, resource: Resource, tree: Tree) -> Target:
    table = member.refers_to
    if table == resource.name.many:
        return Target(resource.name.one, table, resource.owner)
    for path in tree.paths("app/models/*.py"):
        text = tree.read(path)
        classes = re.split(r"(?m)^class (?=\w+\(SQLModel, table=True\))", text)[1:]
        for each in classes:
            if f'__tablename__ = "{table}"' in each:
                owner = re.search(r"(\w+): \w+ = owner_column\(", each)
                if not owner or not tree.exists(f"app/services/{table}.py"):
                    raise ResourceError(
                        f"ref({table}): write backend/app/services/{table}.py first, as every resource has it."
                    )
                return Target(_snake(each.partition("(")[0]), table, owner[1])
    raise ResourceError(
        f"ref({table}): no model in backend/app/models has this table. Write one that is there"
        f" ({', '.join(_tables(tree)) or 'none yet'}), or the resource of {table} first."
    )


def _tables(tree: Tree) -> list[str]:
    """The tables to which a resource can refer."""
    texts = [tree.read(path) for path in tree.paths("app/models/*.py")]
    tables = [table for text in texts for table in re.findall(r'__tablename__ = "(\w+)"', text)]
    return sorted(table for table in tables if tree.exists(f"app/services/{table}.py"))


def _snake(model: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", model).lower()


def sentence(target: Target, resource: Resource, member: Member) -> str:
    """What a client is told that deletes a row which is referred to."""
    many = resource.name.words_of_many
    texts = [f"The {target.words} has {many}: delete them first.", f"Delete its {many} first."]
    if member.nullable:
        texts.insert(0, f"The {target.words} has {many}: delete them, or change their {member.name}, first.")
    room = _LINE - len(f'    "{resource.foreign_key(member)}": "",')
    return next((text for text in texts if len(text) <= room), texts[-1])


def refer(tree: Tree, resource: Resource, targets: dict[str, Target]) -> None:
    """Let the resources that are referred to say so when they are deleted."""
    for target in _others(resource, targets):
        tree.change(_service(target), *_told(resource, target))
        tree.change(_routes(target), *_answered(target))


def unrefer(tree: Tree, resource: Resource, targets: dict[str, Target]) -> None:
    """Take back what `refer` has done."""
    for target in _others(resource, targets):
        path = _service(target)

        def told_no_longer(loose: bool, target: Target = target) -> list[Change]:  # noqa: FBT001
            sentences = _sentences(resource, target)
            told = [_tells_no_longer(*each, loose=loose) for each in sentences.items()]
            return [*told, _raises_no_longer(target, resource.name)]

        def answered_no_longer(loose: bool, target: Target = target) -> list[Change]:  # noqa: FBT001
            return [
                _answers_no_conflict(target, resource.name, loose=loose),
                _imports_no_conflict(loose=loose),
            ]

        tree.change_back(path, told_no_longer, _told(resource, target))
        if not _conflicts(Source(tree.read(path))):
            tree.change_back(_routes(target), answered_no_longer, _answered(target))


def _others(resource: Resource, targets: dict[str, Target]) -> list[Target]:
    """The resources that are referred to, each once."""
    return list({each.refers_to: targets[each.refers_to] for each in resource.references}.values())


def _service(target: Target) -> str:
    return f"app/services/{target.table}.py"


def _routes(target: Target) -> str:
    return f"app/routes/{target.table}.py"


def _sentences(resource: Resource, target: Target) -> dict[str, str]:
    references = [each for each in resource.references if each.refers_to == target.table]
    return {resource.foreign_key(each): sentence(target, resource, each) for each in references}


def _told(resource: Resource, target: Target) -> list[Change]:
    return [
        *[_tells(*each) for each in _sentences(resource, target).items()],
        _raises(target, resource.name),
    ]


def _answered(target: Target) -> list[Change]:
    return [_answers_conflict(target), imported(*_CONFLICT)]


def _delete(source: Source) -> ast.Call:
    """The statement that deletes."""
    statement = source.assigned("_DELETE")
    call = statement.value if statement else None
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != "VersionedStatement":
        raise LineError(
            "has no line _DELETE = VersionedStatement(…): let it delete by one, as docs/add-a-resource.md does."
        )
    return call


def _conflicts(source: Source) -> ast.expr | None:
    """What the statement that deletes tells about constraints."""
    return next((each.value for each in _delete(source).keywords if each.arg == "conflicts"), None)


def _dictionary(source: Source, value: ast.expr) -> ast.Dict:
    """The dictionary that stands there, or that has this name in the module."""
    statement = source.assigned(value.id) if isinstance(value, ast.Name) else None
    found = statement.value if statement else value
    if not isinstance(found, ast.Dict):
        raise LineError(f"has conflicts={ast.unparse(value)} in _DELETE: write a dictionary there, as conflicts={{…}}.")
    return found


def _tells(constraint: str, said: str) -> Change:
    """Let the statement that deletes tell about one more constraint."""
    entry = f"{constraint!r}: {said!r}".replace("'", '"')

    def change(text: str) -> str:
        source = Source(text)
        if value := _conflicts(source):
            items = source.items(source.span(_dictionary(source, value)).start)
            return with_item(source, items, entry)
        call = _delete(source)
        text = with_item(source, source.items(source.span(call.func).end), "conflicts=_IN_USE")
        if source.assigned("_IN_USE"):
            raise LineError("has an _IN_USE that _DELETE does not use: give it another name.")
        return put(text, source.above_comments(_first_statement(source)), f"_IN_USE = {{{entry}}}\n\n")

    return change


def _first_statement(source: Source) -> int:
    kinds = {"Statement", "Listing", "VersionedStatement"}
    return min(
        source.span(node).start
        for node in source.tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in kinds
    )


def _tells_no_longer(constraint: str, said: str, *, loose: bool) -> Change:
    def change(text: str) -> str:
        source = Source(text)
        value = _conflicts(source)
        found = _dictionary(source, value) if value else None
        keys = [getattr(each, "value", None) for each in found.keys] if found else []
        if not value or not found or constraint not in keys:
            return _require_gone(source, constraint)
        index = keys.index(constraint)
        place = source.span(found).start
        if getattr(found.values[index], "value", None) != said:
            line = source.line(source.span(found.values[index]).start)
            raise LineError(f"tells about {constraint} by another sentence, in {line!r}: take it out by hand.")
        if len(keys) > 1 or not isinstance(value, ast.Name):
            text = without_item(source, source.items(place), index, loose=loose)
            return text if len(keys) > 1 else _without_argument(Source(text), loose=loose)
        text = _without_argument(source, loose=loose)
        source = Source(text)
        source.require_unused(value.id)
        statement = source.assigned(value.id)
        return without_statement(source, statement) if statement else text

    return change


def _require_gone(source: Source, constraint: str) -> str:
    if place := source.text.find(constraint) + 1:
        raise LineError(f"has {constraint} where _DELETE does not, in {source.line(place)!r}: take it out by hand.")
    return source.text


def _without_argument(source: Source, *, loose: bool) -> str:
    call = _delete(source)
    index = len(call.args) + [each.arg for each in call.keywords].index("conflicts")
    return without_item(source, source.items(source.span(call.func).end), index, loose=loose)


def _raises(target: Target, name: Name) -> Change:
    """Name the error in the docstring of the function that deletes, if it has a part `Raises`."""
    line = _raised(target, name)

    def change(text: str) -> str:
        span = _docstring(Source(text), target)
        found = re.search(r"\n    Raises:\n(        .*\n)*", text[span.start : span.end])
        return put(text, span.start + found.end(), line) if found and line not in found[0] else text

    return change


def _raises_no_longer(target: Target, name: Name) -> Change:
    def change(text: str) -> str:
        start, end = _docstring(Source(text), target)
        return text[:start] + text[start:end].replace(_raised(target, name), "", 1) + text[end:]

    return change


def _docstring(source: Source, target: Target) -> Span:
    """Where the docstring of the function that deletes stands. Empty if there is none."""
    function = source.function(f"delete_{target.name}")
    return source.span(function.body[0]) if function and ast.get_docstring(function) else Span(0, 0)


def _raised(target: Target, name: Name) -> str:
    return f"        Conflict: the {target.words} has {name.words_of_many}.\n"


def _responses(source: Source, target: Target) -> ast.expr:
    """What the route that deletes declares as its answers."""
    routes = [
        (node, each)
        for node in source.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for each in node.decorator_list
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "router.delete"
    ]
    named = [call for node, call in routes if node.name == f"delete_{target.name}"] or [call for _, call in routes][:1]
    for call in named:
        for each in call.keywords:
            if each.arg == "responses":
                return each.value
    raise LineError("has no @router.delete(…, responses=DELETED, …): declare its answers so.")


def _parts(value: ast.expr) -> list[str]:
    """What the answers are put together from, as text."""
    if isinstance(value, ast.Dict):
        return [ast.unparse(each) for key, each in zip(value.keys, value.values, strict=True) if key is None] + [
            f"{ast.unparse(key)}: …" for key in value.keys if key
        ]
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        return [*_parts(value.left), *_parts(value.right)]
    return [ast.unparse(value)]


def _answers_conflict(target: Target) -> Change:
    def change(text: str) -> str:
        source = Source(text)
        value = _responses(source, target)
        start, end = source.span(value)
        if "CONFLICT" in _parts(value):
            return text
        if isinstance(value, ast.Dict):
            return with_item(source, source.items(start), "**CONFLICT")
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
            return put(text, end, " | CONFLICT")
        return f"{text[:start]}{{**{text[start:end]}, **CONFLICT}}{text[end:]}"

    return change


def _answers_no_conflict(target: Target, name: Name, *, loose: bool) -> Change:
    def change(text: str) -> str:
        source = Source(text)
        value = _responses(source, target)
        start, end = source.span(value)
        parts = _parts(value)
        if "CONFLICT" not in parts:
            return text
        if set(parts) <= {"CONFLICT", *_USUAL} and not _is_plain(source, target):
            raise LineError(
                f"may answer **CONFLICT for more than {name.words_of_many}, in {source.line(start)!r}: write"
                " **problem_responses(Conflict) instead if it does, or take **CONFLICT out if not. Then run the command"
                " again."
            )
        if isinstance(value, ast.BinOp):
            if ast.unparse(value.right) != "CONFLICT":
                raise LineError(f"has CONFLICT in {source.line(start)!r}: take it out by hand, and run it again.")
            return text[: source.span(value.left).end] + text[end:]
        if not isinstance(value, ast.Dict):
            raise LineError(f"has CONFLICT in {source.line(start)!r}: take it out by hand, and run it again.")
        index = next(n for n, each in enumerate(value.values) if ast.unparse(each) == "CONFLICT")
        others = [each for key, each in zip(value.keys, value.values, strict=True) if key is None]
        others = [each for each in others if ast.unparse(each) != "CONFLICT"]
        if len(others) == 1 and not value.values[2:] and "\n" not in text[start:end]:
            left = source.span(others[0])
            return f"{text[:start]}{text[left.start : left.end]}{text[end:]}"
        return without_item(source, source.items(start), index, loose=loose)

    return change


def _is_plain(source: Source, target: Target) -> bool:
    """Whether the route only calls the service and answers, so that nothing else in it can be in conflict."""
    function = source.function(f"delete_{target.name}")
    body = [each for each in function.body if not _is_text(each)] if function else []
    if body and _is_partial(body[0]):  # the call, which the next line runs in a transaction
        body = body[1:]
    return [type(each) for each in body] == [ast.Expr, ast.Return]


def _is_partial(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Assign) else None
    return isinstance(value, ast.Call) and ast.unparse(value.func) == "partial"


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _imports_no_conflict(*, loose: bool) -> Change:
    """The import, unless something else uses it."""

    def change(text: str) -> str:
        used = any(True for _ in Source(text).uses("CONFLICT"))
        return text if used else no_longer_imported(*_CONFLICT, loose=loose)(text)

    return change
