"""URLs are read as libpq reads them. Where libpq is installed (with psql), the tests compare with it."""

import os
from pathlib import Path

import pytest

from groundwork.data.connector import connection_target
from groundwork.data.dsn import Host, read_hosts, read_url
from groundwork.tests.core import libpq

KEYS = (
    "host", "hostaddr", "port", "dbname", "user", "password", "passfile", "application_name", "options",
    "target_session_attrs", "sslmode", "sslpassword", "sslnegotiation", "ssl_min_protocol_version",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide libpq's variables and files, because they would fill in what the URL leaves out."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


URLS = [
    "postgresql://",
    "postgresql:///app",
    "postgresql://db",
    "postgres://user@db",
    "postgresql://user:secret@db:5433/app",
    "postgresql://user:secret@localhost/app?host=/cloudsql/project:region:instance",
    "postgresql://user:secret@db:5433/app?host=other",
    "postgresql://user:secret@db/app?user=admin&password=hunter2&dbname=other&port=6000",
    "postgresql://user:secret@db/app?host=&port=&dbname=&password=",
    "postgresql://user:secret@%2Fvar%2Frun/app",
    "postgresql://user@[2001:db8::1]:5433/app",
    "postgresql://user@[2001:db8::1],[::1]:5433/app",
    "postgresql://user@[fe80::1%25eth0]/app",
    "postgresql://user@/app?host=::1",
    "postgresql://user@one:5001,two,three:5003/app",
    "postgresql://user@one,two/app?port=5433",
    "postgresql://user@one,two/app",
    "postgresql://user@:5433/app",
    "postgresql://user@,/app",
    "postgresql://user:secret@db/app?hostaddr=192.0.2.1",
    "postgresql://user:a%40%2F%3A@db/app",
    "postgresql://us%40er:secret@db/a%2Fpp",
    "postgresql://user:a?b#c@db/app",
    "postgresql://user:a:b@db/app",
    "postgresql://user:@db/app",
    "postgresql://:secret@db/app",
    "postgresql://@db/app",
    "postgresql://user@db/app?application_name=a+b",
    "postgresql://user@db/app?application_name=a%20b&options=-c%20statement_timeout%3D5s",
    "postgresql://user@db/app?application_name=one&application_name=two",
    "postgresql://user@db/app?sslmode=require&ssl=true",
    "postgresql://user@db/app?ssl=true&sslmode=verify-full",
    "postgresql://user@db/app?us%65r=other",
    "postgresql://user@db/",
    "postgresql://user@db?sslmode=disable",
    "postgresql://user@db/app@other",
]


@pytest.mark.parametrize("url", URLS)
def test_a_url_means_what_it_means_to_libpq(url: str) -> None:
    if libpq.LIBRARY is None:
        pytest.skip("libpq is not installed")
    parameters = read_url(url)
    read = {key: value for key in KEYS if (value := parameters.get(key)) is not None}
    assert read == libpq.parse(url)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u@db/app", [Host("db", "db", 5432)]),
        ("postgresql://u@localhost/app?host=/cloudsql/a:b:c", [Host("/cloudsql/a:b:c", "/cloudsql/a:b:c", 5432)]),
        ("postgresql://u@one:5001,two/app", [Host("one", "one", 5001), Host("two", "two", 5432)]),
        ("postgresql://u@one,two/app?port=6000", [Host("one", "one", 6000), Host("two", "two", 6000)]),
        ("postgresql://u@db:5433/app?hostaddr=192.0.2.1", [Host("db", "192.0.2.1", 5433)]),
        ("postgresql://u@/app?hostaddr=::1,::2", [Host("::1", "::1", 5432), Host("::2", "::2", 5432)]),
        ("postgresql://u@db:5433/app?port=", [Host("db", "db", 5432)]),
    ],
)  # fmt: skip
def test_hosts_have_each_their_address_and_port(url: str, hosts: list[Host]) -> None:
    assert read_hosts(read_url(url)) == hosts


def test_without_a_host_the_usual_sockets_are_looked_at() -> None:
    hosts = read_hosts(read_url("postgresql://u@:5433/app"))
    assert {host.port for host in hosts} == {5433}
    assert [host.is_socket for host in hosts] == [True, True, True, True, False]


VARIABLES = {
    "PGHOST": "host", "PGHOSTADDR": "hostaddr", "PGPORT": "port", "PGDATABASE": "dbname", "PGUSER": "user",
    "PGPASSWORD": "password", "PGAPPNAME": "application_name", "PGOPTIONS": "options",
    "PGTARGETSESSIONATTRS": "target_session_attrs", "PGSSLMODE": "sslmode",
}  # fmt: skip


@pytest.mark.parametrize(("variable", "key"), VARIABLES.items())
def test_a_variable_speaks_where_the_url_is_silent(monkeypatch: pytest.MonkeyPatch, variable: str, key: str) -> None:
    monkeypatch.setenv(variable, "from the environment")
    assert read_url("postgresql://").get(key) == "from the environment"
    assert read_url(f"postgresql:///?{key}=").get(key) == "", "an empty value is one, as in libpq"
    assert read_url(f"postgresql:///?{key}=x").get(key) == "x"
    monkeypatch.setenv(variable, "")
    assert read_url("postgresql://").get(key) is None


def test_services_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "production")
    assert connection_target("postgresql://u@db/app?service=production").ignored == ["service"]


WRONG = {
    "postgresql://user:hunter2@db:port/app": "host or port",
    "postgresql://user:hunter2@db:0/app": "host or port",
    "postgresql://user:hunter2@db:99999/app": "host or port",
    f"postgresql://user:hunter2@db:{'9' * 9999}/app": "host or port",
    "postgresql://user:hunter2@db:5432,other:port/app": "host or port",
    "postgresql://user:hunter2@[::1/app": "host or port",
    "postgresql://user:hunter2@[]/app": "host or port",
    "postgresql://user:hunter2@[::1]x/app": "host or port",
    "postgresql://user:hunter2@db..example/app": "host or port",
    f"postgresql://user:hunter2@{'d' * 64}/app": "host or port",
    "postgresql://user:hunter2@d b/app": "host or port",
    "postgresql://user:hunter2@db/app?port=x": "host or port",
    "postgresql://user:hunter2@a,b/app?port=1,2,3": "differ in length",
    "postgresql://user:hunter2@a,b/app?hostaddr=192.0.2.1": "differ in length",
    "postgresql://user:hunter2/more@db/app": "percent-encoded",
    "postgresql://user:hunter2@more@db/app": "percent-encoded",
    "postgresql://user:hunter2%@db/app": "%25",
    "postgresql://user:hunter2%zz@db/app": "%25",
    "postgresql://user:hunter2%00@db/app": "%25",
    "postgresql://user:hunter2%ff@db/app": "UTF-8",
    "postgresql://user:hunter2@db/app?hunter2": "without '='",
    "postgresql://user:hunter2@db/app?user=": "names no user",
    "postgresql://user:hunter2@db/app?target_session_attrs=hunter2": "target_session_attrs must be one of any",
    "postgresql://user:hunter2@db/app?target_session_attrs=": "target_session_attrs must be one of any",
}


@pytest.fixture(params=WRONG, ids=lambda url: url[17:60])
def wrong(request: pytest.FixtureRequest) -> str:
    url: str = request.param
    return url


def test_what_cannot_be_read_is_said_in_a_sentence_without_the_password(wrong: str) -> None:
    with pytest.raises(ValueError) as caught:
        connection_target(wrong)
    assert WRONG[wrong] in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, UnicodeError)


def test_a_process_without_a_name_needs_one_in_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 2**31 - 7)
    with pytest.raises(ValueError, match="names no user"):
        connection_target("postgresql://db/app")
