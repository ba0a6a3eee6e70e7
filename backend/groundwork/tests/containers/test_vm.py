"""deploy/vm, started from its own files, with the certificate that Caddy makes itself."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from groundwork.tests.containers.host import HTTP_PORT, HTTPS_PORT, SERVICES, URL, Host
from groundwork.tests.faults.load import Load

TASKS = "/api/alice/tasks"


@pytest.fixture(scope="module")
def tls(host: Host) -> ssl.SSLContext:
    return host.tls


@pytest.fixture
async def client(tls: ssl.SSLContext) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=URL, verify=tls, timeout=30) as client:
        yield client


async def test_it_serves_over_https(client: httpx.AsyncClient) -> None:
    created = await client.post(TASKS, json={"title": "Buy milk"}, headers={"X-Request-ID": "mine"})
    assert created.status_code == 201
    assert created.headers["X-Request-ID"] == "mine"
    assert created.headers["ETag"]
    task = (await client.get(created.headers["Location"])).raise_for_status()
    assert task.json() == created.json()
    unchanged = await client.get(created.headers["Location"], headers={"If-None-Match": task.headers["ETag"]})
    assert unchanged.status_code == 304


async def test_the_services_limits_are_the_ones_that_hold(client: httpx.AsyncClient) -> None:
    answer = await client.post(TASKS, content=b"x" * (1024 * 1024 + 1), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_http_redirects_to_https(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"http://localhost:{HTTP_PORT}{TASKS}")
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{URL}{TASKS}"


def test_only_caddy_can_be_reached_from_outside(host: Host) -> None:
    published = {
        name: {binding["HostPort"] for bindings in ports.values() for binding in bindings or []}
        for name in SERVICES
        if (ports := host.inspect(name)["NetworkSettings"]["Ports"])
    }
    assert published.pop("caddy") == {str(HTTP_PORT), str(HTTPS_PORT)}
    assert not any(published.values())


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_container_may_do(host: Host, service: str) -> None:
    limits = host.inspect(service)["HostConfig"]
    assert limits["ReadonlyRootfs"]
    assert limits["CapDrop"] == ["ALL"]
    assert limits["CapAdd"] == (["NET_BIND_SERVICE"] if service == "caddy" else None)
    assert limits["SecurityOpt"] == ["no-new-privileges:true"]
    assert limits["Memory"] > 0
    assert limits["LogConfig"] == {"Type": "local", "Config": {"max-size": "20m", "max-file": "5"}}


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit", "data_checksums"])
def test_the_database_is_durable(host: Host, setting: str) -> None:
    assert host.sql(f"SHOW {setting}") == "on"


def test_the_service_goes_through_pgbouncer_as_a_role_that_changes_no_table(host: Host) -> None:
    assert host.sql("SELECT DISTINCT usename FROM pg_stat_activity WHERE client_addr IS NOT NULL") == "service"
    for statement in ("DROP TABLE tasks", "CREATE TABLE x (y int)", "DELETE FROM alembic_version"):
        psql = ("exec", "--no-TTY", "db", "psql", "--username=app", "-c", f"SET ROLE service; {statement}")
        done = host.compose(*psql, check=False)
        assert done.returncode == 1
        assert "permission denied" in done.stderr or "must be owner" in done.stderr


async def test_a_roll_out_with_a_migration_loses_no_request_nor_does_the_way_back(
    host: Host, tls: ssl.SSLContext
) -> None:
    async with Load(HTTPS_PORT, tls=tls) as load:
        await load.run(2)
        async with recorded(host) as events:
            await asyncio.to_thread(host.roll_out, "2")
        assert serves(host) == "2"
        assert host.sql("SELECT version_num FROM alembic_version") == "next"
        await load.run(1)
        await asyncio.to_thread(host.roll_out, "1")
        await load.run(1)
    assert set(load.statuses()) == {200, 201}, load.describe()
    assert not load.refused
    load.compare(host.rows())
    # The migration runs once and to its end before the new version starts. That is ready before the old one ends.
    assert events == [
        "start migrate", "die migrate 0", "start next", "die backend 0", "start backend", "die next 0",
    ]  # fmt: skip
    # After the roll-back, the schema and the new migration's changes stay.
    assert serves(host) == "1"
    assert host.sql("SELECT version_num FROM alembic_version") == "next"
    assert host.sql("SELECT count(*) > 0 AND bool_and(priority = 3) FROM tasks") == "t"


@pytest.mark.parametrize(
    ("version", "reason"), [("3", "The migration has not succeeded"), ("none", "There is no image of version none")]
)
def test_a_failed_roll_out_leaves_the_old_version_alone(host: Host, version: str, reason: str) -> None:
    before = host.inspect("backend")["Id"]
    done = host.roll_out(version, check=False)
    assert done.returncode == 1
    assert reason in done.stderr.splitlines()[-1]
    assert (host.inspect("backend")["Id"], serves(host)) == (before, "1")
    assert host.is_ready()


def test_a_restore_does_not_overwrite_tasks(host: Host) -> None:
    before = host.rows()
    host.compose("exec", "--no-TTY", "backup", "bash", "/scripts/backup", "now")
    done = host.restore(host.dumps()[-1].name, check=False)
    assert done.returncode == 1
    assert "The database holds rows: nothing was changed." in done.stderr
    assert host.rows() == before
    assert host.is_ready()


def test_a_dump_that_is_none_changes_nothing(host: Host) -> None:
    before = host.rows()
    (host.folder / "backups/broken.dump").write_bytes(host.dumps()[-1].read_bytes()[:-100])
    done = host.restore("--replace", "broken.dump", check=False)
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert host.rows() == before
    assert host.is_ready()
    (host.folder / "backups/broken.dump").unlink()


async def test_what_was_acknowledged_before_a_dump_is_there_on_an_empty_server(host: Host, tls: ssl.SSLContext) -> None:
    async with Load(HTTPS_PORT, tls=tls) as load:
        await load.run(2)
        before = load.acknowledged()
        await asyncio.to_thread(host.compose, "exec", "--no-TTY", "backup", "bash", "/scripts/backup", "now")
        await load.run(2)
    dump = host.dumps()[-1]
    # The host is lost, and the dumps were kept elsewhere.
    host.down()
    host.up()
    assert host.rows() == []

    host.restore(dump.name)
    load.compare_with_dump(before, host.rows())
    user, title = next(iter(before.keys() & load.acknowledged().keys()))
    async with httpx.AsyncClient(base_url=URL, verify=host.tls, timeout=30) as client:
        tasks = (await client.get(f"/api/{user}/tasks")).raise_for_status().json()
        assert title in [task["title"] for task in tasks]
        assert (await client.post(TASKS, json={"title": "After"})).status_code == 201
    assert serves(host) == "1"


def serves(host: Host) -> str:
    """The version that serves. It must be the one that .env names."""
    version = str(host.inspect("backend")["Config"]["Image"]).rpartition(":")[2]
    assert f"\nVERSION={version}\n" in (host.folder / ".env").read_text()
    return version


@asynccontextmanager
async def recorded(host: Host) -> AsyncIterator[list[str]]:
    """The starts and ends of containers during the block."""
    events: list[str] = []
    since = time.time()
    yield events
    events += await asyncio.to_thread(host.events, f"{since:.3f}", f"{time.time():.3f}")
