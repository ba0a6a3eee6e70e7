"""Target 8: what an idempotency key costs, against the same request without one.

The cost of conditional requests is measured too, but has no target.
"""

from collections import defaultdict

from loadtests.benchmark.client import Outcome
from loadtests.benchmark.cost import CONNECTIONS, WARM_UP_SECONDS, describe_errors
from loadtests.benchmark.database import SMALL_ROWS, Database, Server
from loadtests.benchmark.figures import median, ratio
from loadtests.benchmark.load import create, get, send, toggle
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section, Verdict, microseconds, times
from loadtests.benchmark.servers import OURS, running

WITHOUT = {"get, 304": "get", "toggle with If-Match": "toggle", "create with a key": "create"}
"""Each operation with a header, and the same operation without it."""
KEY_LIMIT = 1.3
_MATCH, _NONE_MATCH, _KEY = "If-Match: {etag}\r\n", "If-None-Match: {etag}\r\n", 'Idempotency-Key: "{number}"\r\n'


def measure(server: Server, template: str, *, rounds: int, seconds: float) -> list[Section]:
    outcomes: defaultdict[str, list[Outcome]] = defaultdict(list)
    for round_ in range(rounds):
        with server.database("headers", copy_of=template) as database, running(OURS, database.url) as service:
            for operation, requests in _requests(database).items():
                say(f"headers, round {round_ + 1} of {rounds}: {operation}")
                outcome = send(
                    service,
                    requests,
                    connections=CONNECTIONS,
                    seconds=seconds,
                    warm_up_seconds=WARM_UP_SECONDS,
                    fill=True,
                    database_pid=server.process_id,
                )
                outcomes[operation].append(outcome)
    return [_section(outcomes)]


def _requests(database: Database) -> dict[str, list[bytes]]:
    """The requests of each operation. Each connection has a task of its own, so that nobody else changes its tag."""
    keys = database.some_tasks(2 * CONNECTIONS, SMALL_ROWS)
    return {
        "get": [get(key) for key in keys],
        "get, 304": [get(key, _NONE_MATCH) for key in keys],
        "toggle": [toggle(key) for key in keys],
        "toggle with If-Match": [toggle(key, _MATCH) for key in keys],
        "create": [create()],
        "create with a key": [create(_KEY)],
    }


def _section(outcomes: dict[str, list[Outcome]]) -> Section:
    service = {name: median([each.server_cpu_seconds / each.answers for each in of]) for name, of in outcomes.items()}
    database = {
        name: median([each.database_cpu_seconds / each.answers for each in of]) for name, of in outcomes.items()
    }
    rows = [["CPU per request", "service", "to that without", "PostgreSQL", "to that without", "errors"]]
    for name, of in outcomes.items():
        plain = WITHOUT.get(name, name)
        rows.append(
            [
                name,
                microseconds(service[name]),
                times(ratio(service[name], service[plain])),
                microseconds(database[name]),
                times(ratio(database[name], database[plain])),
                describe_errors([of]),
            ]
        )
    return Section(
        "Conditions and keys",
        f"As in the first table: one worker, {CONNECTIONS} connections, here each with a task of its own.",
        rows,
        [
            Verdict(
                8,
                "CPU of create with a key to create's",
                ratio(service["create with a key"], service["create"]),
                KEY_LIMIT,
            )
        ],
    )
