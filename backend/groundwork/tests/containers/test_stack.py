"""The stack of docker-compose.yml: its data, the order of its start, stops, and the rights of its containers."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from groundwork.serve.settings import Settings
from groundwork.tests.containers.stack import ROOT, TASKS, Stack, create, status, titles, wait_until


def test_data_outlives_a_restart_and_new_containers(stack: Stack) -> None:
    assert create("Buy milk").status_code == 201
    stack.compose("restart", "backend")
    wait_until(lambda: status("/health/ready") == 200, "the restarted backend is ready")
    assert "Buy milk" in titles()

    before = stack.inspect("db")["Id"], stack.inspect("backend")["Id"]
    stack.compose("down")
    stack.up()
    assert not {stack.inspect("db")["Id"], stack.inspect("backend")["Id"]} & set(before)
    assert "Buy milk" in titles()


def test_migrations_ran_once_and_run_again_without_harm(stack: Stack) -> None:
    assert stack.inspect("migrate")["State"]["ExitCode"] == 0
    before = stack.sql("SELECT version_num FROM alembic_version")
    assert before
    stack.compose("run", "--rm", "--no-deps", "migrate")
    assert stack.sql("SELECT version_num FROM alembic_version") == before


def test_the_order_of_texts_is_postgresqls_own(stack: Stack) -> None:
    assert stack.sql("SELECT DISTINCT datlocprovider, datlocale FROM pg_database") == "b|C.UTF-8"


def test_the_backend_may_start_before_its_database(stack: Stack) -> None:
    stack.compose("stop", "backend", "db")
    stack.compose("up", "--detach", "--no-deps", "backend")
    wait_until(lambda: status("/health/live") == 200, "the backend is live without a database")
    assert status("/health/ready") == 503
    answer = httpx.get(TASKS, timeout=30)
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    stack.compose("start", "db")
    wait_until(lambda: status("/health/ready") == 200, "the backend is ready once the database is back")
    assert stack.inspect("backend")["RestartCount"] == 0
    stack.up()


def test_sigterm_lets_a_request_finish_and_exits_0(stack: Stack) -> None:
    with ThreadPoolExecutor() as threads:
        with tasks_locked(stack):
            answer = threads.submit(create, "Finish me")
            wait_until(lambda: stack.sql(_WAITING) == "1", "the request waits in the database")
            stopped = threads.submit(stack.compose, "stop", "backend")
            # When the port takes no new connections, the signal has arrived.
            wait_until(lambda: status("/health/live") == 0, "the backend takes no new request")
            assert not answer.done()
        assert answer.result().status_code == 201
        stopped.result()
    state = stack.inspect("backend")["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    stack.up()
    assert "Finish me" in titles()


def test_the_backend_can_write_to_its_tmpfs_and_nowhere_else(stack: Stack) -> None:
    assert stack.exec("backend", "id", "-u").stdout.strip() == "10001"
    stack.exec("backend", "touch", "/tmp/file", "/dev/shm/file")
    for path in ("/app", "/venv", "/var/tmp", "/etc"):
        done = stack.exec("backend", "touch", f"{path}/file", check=False)
        assert "Read-only file system" in done.stderr


def test_the_backend_has_no_capability_and_can_get_none(stack: Stack) -> None:
    lines = stack.exec("backend", "cat", "/proc/1/status").stdout
    # The bounding set is checked too, because a capability outside of it cannot be regained.
    assert re.findall(r"^Cap(?:Prm|Eff|Bnd):\t(\w+)$", lines, re.MULTILINE) == ["0" * 16] * 3
    assert "NoNewPrivs:\t1" in lines


def test_everything_is_published_on_loopback_only(stack: Stack) -> None:
    for name in ("db", "backend"):
        (bindings,) = stack.inspect(name)["NetworkSettings"]["Ports"].values()
        assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"], name


def test_every_container_has_limits(stack: Stack) -> None:
    for name in ("db", "backend", "migrate"):
        limits = stack.inspect(name)["HostConfig"]
        assert limits["Memory"] > 0, name
        assert limits["NanoCpus"] > 0, name


def test_every_log_is_bounded() -> None:
    for service in json.loads(Stack().compose("config", "--format", "json").stdout)["services"].values():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_a_slow_statement_is_in_the_log_and_counted_under_the_same_id(stack: Stack) -> None:
    statement = r"SELECT pg_sleep($1), $2::text \bind 1.1 a-value-of-a-user \g"
    stack.exec("db", "bash", "-c", 'echo "$0" | psql --username="$POSTGRES_USER"', statement)
    lines = stack.compose("logs", "db").stdout
    found = re.search(r"query_id=(-?\d+) .*duration: \d+\.\d+ ms .*pg_sleep\(\$1\), \$2::text", lines)
    assert found
    assert "a-value-of-a-user" not in lines
    assert stack.sql(f"SELECT calls, query FROM pg_stat_statements WHERE queryid = {found[1]}").startswith("1|")


def test_a_developers_database_url_is_left_alone() -> None:
    theirs = "postgresql://me:secret@db.example.com/mine"
    done = Stack(DATABASE_URL=theirs, DATABASE_DIRECT_URL=theirs).compose("config")
    assert "example.com" not in done.stdout


def test_every_setting_reaches_the_backend_and_is_explained() -> None:
    example = (ROOT / ".env.example").read_text()
    # The image itself sets its version and revision.
    settings = {name.upper() for name in Settings.model_fields} - {"VERSION", "REVISION"}
    services = json.loads(Stack().compose("config", "--format", "json").stdout)["services"]
    of_the_sdk = {"OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
    # The worker of the jobs reads this setting, and is another service of the stack.
    of_the_worker = {"JOBS_POLL_SECONDS"}
    assert settings - {"RELOAD"} - of_the_worker | of_the_sdk == set(services["backend"]["environment"])
    read = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    explained = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    assert settings | read <= explained


_HELD = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'tasks'::regclass"
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'relation'"


@contextmanager
def tasks_locked(stack: Stack) -> Iterator[None]:
    """Every statement on the tasks waits during the block."""
    hold = "BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)"
    holder = threading.Thread(target=lambda: stack.psql("-c", hold, check=False))
    holder.start()
    wait_until(lambda: stack.sql(_HELD) == "1", "the tasks are locked")
    try:
        yield
    finally:
        stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        holder.join()
