"""What sign-in costs: the same requests with tokens, to the service with sign-in and to the service without it."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joserfc import jwt
from joserfc.jwk import RSAKey

from loadtests.benchmark.client import Outcome
from loadtests.benchmark.cost import CONNECTIONS, WARM_UP_SECONDS, describe_errors
from loadtests.benchmark.database import Server
from loadtests.benchmark.figures import median, ratio
from loadtests.benchmark.load import OPERATIONS, requests_of_each_operation, send
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section, Verdict, microseconds, times
from loadtests.benchmark.servers import OURS, running

LIMIT = 1.15
_AUDIENCE = "https://api.example.com"
_NAMES = ("off", "on")


def measure(server: Server, template: str, *, rounds: int, seconds: float) -> list[Section]:
    """Measure both services and all operations in turns. Each round starts both services anew."""
    outcomes: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
    with ExitStack() as stack:
        databases = {name: stack.enter_context(server.database(f"sign_in_{name}", copy_of=template)) for name in _NAMES}
        key = RSAKey.generate_key(2048, {"kid": "benchmark"})
        issuer = stack.enter_context(_issuer(key))
        tokens = _Tokens(key, issuer)
        requests = {
            operation: [tokens.add_to(request) for request in plain]
            for operation, plain in requests_of_each_operation(databases["off"]).items()
        }
        settings = {"off": {}, "on": {"AUTH_ISSUER": issuer, "AUTH_AUDIENCE": _AUDIENCE, "AUTH_JWKS_URL": issuer}}
        for round_ in range(rounds):
            with ExitStack() as services:
                started = {
                    name: services.enter_context(
                        running(OURS, databases[name].url, ready="/health/live", settings=settings[name])
                    )
                    for name in _NAMES
                }
                for operation in OPERATIONS:
                    for name, service in started.items():
                        say(f"sign-in, round {round_ + 1} of {rounds}: {operation}, {name}")
                        outcome = send(
                            service,
                            requests[operation],
                            connections=CONNECTIONS,
                            seconds=seconds,
                            warm_up_seconds=WARM_UP_SECONDS,
                        )
                        outcomes[name, operation].append(outcome)
            for database in databases.values():
                database.tidy()
    cost = {
        key: median([each.server_cpu_seconds / max(1, each.answers) for each in of]) for key, of in outcomes.items()
    }
    rows = [["CPU per request, sign-in", *OPERATIONS, "errors"]]
    for name in _NAMES:
        figures = (
            f"{microseconds(cost[name, each])} = {times(ratio(cost[name, each], cost['off', each]))}"
            for each in OPERATIONS
        )
        rows.append([name, *figures, describe_errors(outcomes[name, each] for each in OPERATIONS)])
    return [
        Section(
            "Sign-in",
            "The same load, each request with its user's token (RS256), to this service with sign-in off, which does"
            " not look at it, and on, which has verified each token once.",
            rows,
            [
                Verdict(6, f"CPU of {each} with sign-in, to that without", cost["on", each] / cost["off", each], LIMIT)
                for each in OPERATIONS
            ],
        )
    ]


class _Tokens:
    """A token for each user."""

    def __init__(self, key: RSAKey, issuer: str) -> None:
        self._key = key
        self._issuer = issuer
        self._tokens: dict[str, str] = {}

    def add_to(self, request: bytes) -> bytes:
        user_id = request.split(b"/")[2].decode()
        if user_id not in self._tokens:
            now = int(time.time())
            claims = {"iss": self._issuer, "aud": _AUDIENCE, "sub": user_id, "iat": now, "exp": now + 24 * 3600}
            self._tokens[user_id] = jwt.encode({"alg": "RS256", "kid": self._key.kid}, claims, self._key)
        header = f"\r\nAuthorization: Bearer {self._tokens[user_id]}\r\n\r\n"
        return request.replace(b"\r\n\r\n", header.encode(), 1)


@contextmanager
def _issuer(key: RSAKey) -> Iterator[str]:
    """Serve the public key at every path. Yields the URL."""
    body = json.dumps({"keys": [key.as_dict(private=False)]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object, **__: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
