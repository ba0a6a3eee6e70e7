"""Target 8 in CPU instructions. Valgrind counts them, and a busy machine gives the same numbers as an idle one."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from itertools import cycle
from pathlib import Path

from loadtests.benchmark.database import Database, Server
from loadtests.benchmark.figures import ratio
from loadtests.benchmark.load import OPERATIONS, create, requests_of_each_operation
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section, Verdict, times
from loadtests.benchmark.servers import FLOOR, OURS, Service, Variant, running
from loadtests.benchmark.wire import read_answer

CONNECTIONS = 20
_TURNS = 25
_WARM_UP_TURNS = 10
# It has the name of the service that it stands for.
_ALONE = Variant(OURS.name, "loadtests.benchmark.alone -c gunicorn.conf.py app.main:app")
_VARIANTS = (FLOOR, _ALONE)
_TITLE = "Instructions per request"
_KEY = 'Idempotency-Key: "{}"\r\n'
_KEYED, _REPLAYED = "create with a key", "its retry"
_COUNTED = (*OPERATIONS, _KEYED, _REPLAYED)
_LIMITS = {"get": 1.15, "list of 20": 1.2, "create": 1.2, "toggle": 1.15}
_KEYED_LIMIT = 1.3


def measure(server: Server, template: str) -> list[Section]:
    if shutil.which("valgrind") is None:
        return [Section(_TITLE, "Not counted: Valgrind is not installed here.", [["", *_COUNTED]])]
    counts: dict[tuple[str, str], float] = {}
    for variant in _VARIANTS:
        with server.database("instructions", copy_of=template) as database, tempfile.TemporaryDirectory() as folder:
            requests = _requests(database)
            with running(variant, database.url, under=_valgrind(folder), settings={"PYTHONHASHSEED": "0"}) as service:
                counter = _Counter(service, Path(folder))
                for operation in _COUNTED:
                    say(f"instructions: {operation}, {variant.name}")
                    counts[variant.name, operation] = counter.of_one(requests[operation])
    return [_section(counts)]


def _requests(database: Database) -> dict[str, list[bytes]]:
    """The requests of each operation. The floor ignores a key, so its create is the reference for both keyed ones."""
    every_request = CONNECTIONS * (_WARM_UP_TURNS + 1 + _TURNS)
    keyed = [create(_KEY.format(number)) for number in range(every_request)]
    return {**requests_of_each_operation(database), _KEYED: keyed, _REPLAYED: keyed}


def _valgrind(folder: str) -> list[str]:
    return ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/%p"]


class _Counter:
    def __init__(self, service: Service, folder: Path) -> None:
        self._port = service.port
        self._pid = service.pid
        self._folder = folder
        self._dumps = 0

    def of_one(self, requests: Sequence[bytes]) -> float:
        """Instructions for one of these requests."""
        endless = cycle(requests)
        with _connections(self._port) as connections:
            _take_turns(connections, endless, _WARM_UP_TURNS)
            self._control("--instr=on")
            _take_turns(connections, endless, 1)
            self._control("--zero")
            _take_turns(connections, endless, _TURNS)
            self._control("--dump")
            self._control("--instr=off")
        self._dumps += 1
        text = Path(self._folder, f"{self._pid}.{self._dumps}").read_text()
        total = next(line for line in text.splitlines() if line.startswith("totals:"))
        return int(total.split()[1]) / (_TURNS * CONNECTIONS)

    def _control(self, option: str) -> None:
        """
        Raises:
            RuntimeError: Valgrind does not take the command. Its exit code is 0 even so.
        """
        command = ["callgrind_control", option, str(self._pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if done.returncode or "Error" in said:
            raise RuntimeError(f"Valgrind cannot be told to count instructions ({option}): {said.strip()}")


@contextmanager
def _connections(port: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(CONNECTIONS)
        ]


def _take_turns(connections: Sequence[socket.socket], requests: Iterator[bytes], turns: int) -> None:
    """Send a request on each connection at once, `turns` times."""
    for _ in range(turns):
        for connection in connections:
            connection.sendall(next(requests))
        for connection in connections:
            _read(connection)


def _read(connection: socket.socket) -> None:
    """
    Raises:
        RuntimeError: the answer is an error, or the connection was closed.
    """
    data = b""
    while (answer := read_answer(data)) is None:
        part = connection.recv(65536)
        if not part:
            raise RuntimeError("the service closed a connection")
        data += part
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise RuntimeError(f"the service answered {answer.status}")


def _section(counts: dict[tuple[str, str], float]) -> Section:
    return Section(
        _TITLE,
        f"Of the worker, counted by Valgrind over {_TURNS * CONNECTIONS} requests on {CONNECTIONS} connections, in"
        " thousands, and the ratio to the floor. The kernel's are not among them. Two runs differ by less than a"
        " hundredth, however busy the machine is.",
        [
            ["instructions per request", *_COUNTED],
            *(
                [
                    variant.name,
                    *(
                        f"{counts[variant.name, operation] / 1000:,.0f} ="
                        f" {times(ratio(counts[variant.name, operation], counts[FLOOR.name, operation]))}"
                        for operation in _COUNTED
                    ),
                ]
                for variant in _VARIANTS
            ),
        ],
        _verdicts(counts),
    )


def _verdicts(counts: dict[tuple[str, str], float]) -> list[Verdict]:
    def of(operation: str, to: tuple[str, str]) -> float:
        return ratio(counts[OURS.name, operation], counts[to])

    return [
        *(
            Verdict(8, f"instructions of {operation} to the floor's", of(operation, (FLOOR.name, operation)), limit)
            for operation, limit in _LIMITS.items()
        ),
        *(
            Verdict(8, f"instructions of {operation} to create's", of(operation, (OURS.name, "create")), _KEYED_LIMIT)
            for operation in (_KEYED, _REPLAYED)
        ),
    ]
