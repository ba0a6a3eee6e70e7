"""Sign-in on the real service: workers that each know the issuer's keys, over real sockets."""

import threading
import time
from collections import Counter
from pathlib import Path

import httpx

from groundwork.tests.http import ALICE, assert_problem
from groundwork.tests.process.server import Server, running
from groundwork.tests.sign_in.issuer import AUDIENCE, KEYS, Issuer, encoded, new_key, public, sign

WORKERS = 2
# The pause between two fetches, and some time for slow machines.
SOON_SECONDS = 20


def variables(issuer: Issuer, database_url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "WEB_CONCURRENCY": str(WORKERS),
        "AUTH_ISSUER": issuer.url,
        "AUTH_AUDIENCE": AUDIENCE,
        "LOG_LEVEL": "debug",
    }


def until(server: Server, status: int, headers: dict[str, str]) -> None:
    """Wait until several requests in a row, to any worker, get this answer."""
    deadline, in_a_row = time.monotonic() + SOON_SECONDS, 0
    while in_a_row < 10:
        assert time.monotonic() < deadline, server.log()[-2000:]
        answered = httpx.get(f"{server.url}{ALICE}", headers=headers).status_code
        in_a_row = in_a_row + 1 if answered == status else 0
        if not in_a_row:
            time.sleep(0.1)


def test_an_issuer_that_comes_later(tmp_path: Path, service_url: str, issuer: Issuer) -> None:
    issuer.status = 503
    with running(tmp_path, **variables(issuer, service_url)) as server:
        refused = httpx.get(f"{server.url}{ALICE}", headers=issuer.bearer())
        assert_problem(refused, 503)
        assert refused.headers["retry-after"]
        issuer.status = 200
        until(server, 200, issuer.bearer())
        assert server.stop() == 0


def test_a_rotation_under_load_and_a_storm_of_forged_tokens(tmp_path: Path, service_url: str, issuer: Issuer) -> None:
    """Users send tokens that the new key signs, while an attacker sends invented `kid`s."""
    answers: Counter[int] = Counter()
    forged: Counter[int] = Counter()
    ends = threading.Event()

    def use(server: Server) -> None:
        with httpx.Client(base_url=server.url) as client:
            while not ends.is_set():
                answers[client.get(ALICE, headers=issuer.bearer()).status_code] += 1

    def forge(server: Server, name: int) -> None:
        # Each request has a new connection, so that every worker gets some.
        while not ends.is_set():
            headers = issuer.forged(f"forged-{name}-{forged.total()}")
            forged[httpx.get(f"{server.url}{ALICE}", headers=headers).status_code] += 1

    with running(tmp_path, **variables(issuer, service_url)) as server:
        until(server, 200, issuer.bearer())
        started = time.monotonic()
        threads = [threading.Thread(target=use, args=(server,)) for _ in range(2)]
        threads += [threading.Thread(target=forge, args=(server, name)) for name in range(2)]
        for thread in threads:
            thread.start()
        try:
            old, new = issuer.key, new_key("RS256", "second")
            issuer.answers[KEYS] = {"keys": [public(old), public(new)]}
            # The forged tokens make every worker fetch the keys again, with the pause between fetches.
            until(server, 200, {"Authorization": f"Bearer {sign(new, issuer.claims(), algorithm='RS256')}"})
            issuer.signs_with = (new, "RS256")
            time.sleep(1)
            issuer.answers[KEYS] = {"keys": [public(new)]}
            until(server, 401, {"Authorization": f"Bearer {sign(old, issuer.claims())}"})
        finally:
            ends.set()
            for thread in threads:
                thread.join()
        seconds = time.monotonic() - started
        assert server.stop() == 0
    assert set(answers) == {200}
    assert set(forged) == {401}
    assert issuer.asked[KEYS] <= WORKERS * (2 + seconds / 5), (issuer.asked, seconds)


def test_no_token_is_in_the_log(tmp_path: Path, service_url: str, issuer: Issuer) -> None:
    good, expired = issuer.token(), issuer.token(exp=1)
    unsigned = f"{encoded({'alg': 'none'})}.{encoded(issuer.claims())}."
    with running(tmp_path, **variables(issuer, service_url)) as server:
        for token in (good, expired, unsigned, f"{good}x", good[:-9]):
            for path in (ALICE, "/api/mallory/tasks", "/nowhere"):
                httpx.get(f"{server.url}{path}", headers={"Authorization": f"Bearer {token}"})
        assert server.stop() == 0
        log = server.log()
    assert [event for event in server.events() if event.get("route") and event["status"] == 401]
    for token in (good, expired, unsigned):
        for part in token.split("."):
            assert not part or part not in log
