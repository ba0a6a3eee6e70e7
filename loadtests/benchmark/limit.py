"""The load generator's own limit. The figures of the services must stay well below it."""

import subprocess
import sys
import tempfile

from loadtests.benchmark import cores
from loadtests.benchmark.cost import CONNECTIONS
from loadtests.benchmark.load import send
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section
from loadtests.benchmark.servers import Service, free_port, wait_until_ready
from loadtests.benchmark.wire import request

_SECONDS = 2


def measure() -> list[Section]:
    say("the load generator's own limit")
    port = free_port()
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [sys.executable, "-m", "loadtests.benchmark.responder", str(port)],
            stderr=log,
            preexec_fn=cores.child_on(cores.SERVER),  # noqa: PLW1509
        ) as process,
    ):
        try:
            wait_until_ready(process, port, "/", log)
            service = Service(process.pid, port, cores.SERVER, 0)
            outcome = send(service, [request("GET", "/")], connections=CONNECTIONS, seconds=_SECONDS, warm_up_seconds=1)
        finally:
            process.terminate()
    return [
        Section(
            "The load generator",
            "What it reaches against a server that does nothing (`responder.py`) on the other core: a service that is"
            " well below is not held back by it.",
            [
                ["", "requests/s"],
                [f"{CONNECTIONS} connections", f"{outcome.answers / outcome.seconds:,.0f}"],
            ],
        )
    ]
