"""Behind a real proxy, links have the proxy's path. Its headers are trusted only if a setting names the proxy."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from groundwork.tests import nginx
from groundwork.tests.process import server

ROOT = "/sub/path"
HEADERS = """
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto https;
"""
STRIPPED = f"location {ROOT}/ {{ proxy_pass http://127.0.0.1:%d/; {HEADERS} }}"
KEPT = f"location {ROOT}/ {{ proxy_pass http://127.0.0.1:%d; {HEADERS} }}"
SPOOFED = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil"}


@pytest.fixture(scope="module")
def service(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    """A service that trusts proxies on this machine and has the root path `ROOT`."""
    with server.running(
        tmp_path_factory.mktemp("behind"),
        application="groundwork.tests.process.echo:app",
        DATABASE_URL=module_database,
        WEB_CONCURRENCY="1",
        ROOT_PATH=ROOT,
        FORWARDED_ALLOW_IPS="127.0.0.1, ::1",
    ) as service:
        yield service


@pytest.fixture(params=[STRIPPED, KEPT], ids=["the proxy takes its path off", "the proxy leaves its path"])
def proxy(request: pytest.FixtureRequest, service: server.Server, tmp_path: Path) -> Iterator[httpx.Client]:
    if not nginx.is_installed():
        pytest.skip(nginx.MISSING)
    with nginx.running_nginx(tmp_path / "nginx", request.param % service.port) as url, httpx.Client(base_url=url) as it:
        yield it


def test_links_and_the_documentation_carry_the_proxys_path(proxy: httpx.Client) -> None:
    created = [proxy.post(f"{ROOT}/api/alice%20b/tasks", json={"title": title}) for title in "ab"]
    for answer in created:
        assert answer.headers["location"].startswith(f"{ROOT}/api/alice%20b/tasks/")
        assert proxy.get(answer.headers["location"]).content == answer.content
    page = proxy.get(f"{ROOT}/api/alice%20b/tasks?limit=1")
    link = page.headers["link"].partition(">")[0].removeprefix("<")
    assert link.startswith(f"{ROOT}/api/alice%20b/tasks?")
    assert len(proxy.get(link).json()) == 1
    assert f"'{ROOT}/openapi.json'" in proxy.get(f"{ROOT}/docs").text
    assert proxy.get(f"{ROOT}/docs/files/swagger-ui.css").status_code == 200
    assert proxy.get(f"{ROOT}/openapi.json").json()["servers"] == [{"url": ROOT}]
    assert proxy.head(f"{ROOT}/health/ready").status_code == 200
    assert proxy.get(f"{ROOT}/nowhere").status_code == 404


def test_a_key_means_the_same_past_the_proxy(proxy: httpx.Client, service: server.Server) -> None:
    """A retry may bypass the proxy although the first attempt went through it."""
    request = {"json": {"title": "x"}, "headers": {"Idempotency-Key": f"by-{proxy.base_url.port}"}}
    first = proxy.post(f"{ROOT}/api/bob/tasks", **request)  # type: ignore[arg-type]
    again = httpx.post(f"{service.url}/api/bob/tasks", **request)  # type: ignore[arg-type]
    assert (again.status_code, again.json()) == (201, first.json())


def test_a_named_proxy_is_believed(proxy: httpx.Client) -> None:
    answer = proxy.get(f"{ROOT}/echo", headers={"X-Forwarded-For": "203.0.113.7"})
    assert answer.json() == {"client": "203.0.113.7", "scheme": "https"}
    spoofed = proxy.get(f"{ROOT}/echo", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.7"})
    assert spoofed.json()["client"] == "203.0.113.7"


def test_a_prefix_is_a_setting_and_no_clients_word(service: server.Server) -> None:
    answer = httpx.post(f"{service.url}/api/carol/tasks", json={"title": "x"}, headers=SPOOFED)
    assert answer.headers["location"].startswith(f"{ROOT}/api/carol/tasks/")
    assert httpx.get(f"{service.url}/openapi.json", headers=SPOOFED).json()["servers"] == [{"url": ROOT}]


@pytest.mark.parametrize("named", [{}, {"FORWARDED_ALLOW_IPS": "192.0.2.1,198.51.100.0/24"}], ids=["none", "others"])
def test_nobody_else_is_believed(module_database: str, tmp_path: Path, named: dict[str, str]) -> None:
    variables = {"DATABASE_URL": module_database, "WEB_CONCURRENCY": "1", **named}
    with server.running(tmp_path, application="groundwork.tests.process.echo:app", **variables) as service:
        assert httpx.get(f"{service.url}/echo", headers=SPOOFED).json() == {"client": "127.0.0.1", "scheme": "http"}
        answer = httpx.post(f"{service.url}/api/dave/tasks", json={"title": "x"}, headers=SPOOFED)
        assert answer.headers["location"].startswith("/api/dave/tasks/")
