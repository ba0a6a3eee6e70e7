import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.core.settings import Settings, describe, load_settings

URL = "postgresql://user:hunter2@db:5432/app"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test sets itself; no `.env` file either."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("app.core.settings.ENV_FILE", tmp_path / ".env")


def with_environment(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in {"DATABASE_URL": URL, **values}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_only_the_database_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_environment(monkeypatch)
    assert settings.database_url.get_secret_value() == URL
    assert settings.model_dump(exclude={"database_url"}) == {
        "database_direct_url": None,
        "database_pool_size": 10,
        "database_wait_seconds": 10,
        "database_queue_seconds": 0.4,
        "database_statement_seconds": 10,
        "host": "127.0.0.1",
        "port": 8000,
        "web_concurrency": 2,
        "graceful_shutdown_seconds": 25,
        "keep_alive_seconds": 75,
        "client_wait_seconds": 30,
        "metrics_port": None,
        "reload": False,
        "request_body_limit_bytes": 1024 * 1024,
        "memory_budget_bytes": 16 * 1024 * 1024,
        "cors_origins": (),
        "auth_issuer": None,
        "auth_jwks_url": None,
        "auth_audience": None,
        "log_level": "info",
        "log_format": "auto",
        "access_log_sample": 1,
        "slow_request_seconds": 0.5,
        "log_user_key": None,
        "otel_exporter_otlp_endpoint": None,
        "otel_exporter_otlp_traces_endpoint": None,
        "otel_sdk_disabled": False,
        "version": "unknown",
        "revision": "unknown",
    }


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("DATABASE_POOL_SIZE", "3", 3),
        ("DATABASE_WAIT_SECONDS", "0.5", 0.5),
        ("PORT", "80", 80),
        ("RELOAD", "true", True),
        ("LOG_LEVEL", "WARNING", "warning"),
        ("LOG_FORMAT", "Json", "json"),
        ("CORS_ORIGINS", "*", ("*",)),
        ("CORS_ORIGINS", "https://a.example", ("https://a.example",)),
        (
            "CORS_ORIGINS",
            " https://a.example , http://localhost:3000,",
            ("https://a.example", "http://localhost:3000"),
        ),
    ],
)
def test_variables_are_read(monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: Any) -> None:
    assert getattr(with_environment(monkeypatch, **{name: value}), name.lower()) == read


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields if name != "database_url"])
def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert with_environment(monkeypatch, **{name: ""}) == with_environment(monkeypatch)


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_environment(monkeypatch)
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_settings_never_show_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_environment(monkeypatch, DATABASE_DIRECT_URL=URL)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.database_url}"):
        assert "hunter2" not in shown


WRONG = [
    ("DATABASE_URL", "hunter2", "must be a PostgreSQL URL such as postgresql://"),
    ("DATABASE_URL", "mysql://user:hunter2@db/app", "must be a PostgreSQL URL such as postgresql://"),
    ("DATABASE_URL", "postgresql://user:hunter2@db:port/app", "host or port"),
    ("DATABASE_URL", "", "is not set; expected a PostgreSQL URL"),
    ("DATABASE_DIRECT_URL", "hunter2", "must be a PostgreSQL URL such as postgresql://"),
    ("DATABASE_POOL_SIZE", "0", "greater than or equal to 1"),
    ("DATABASE_POOL_SIZE", "hunter2", "valid integer"),
    ("DATABASE_WAIT_SECONDS", "0", "greater than 0"),
    ("DATABASE_WAIT_SECONDS", "nan", "Input should be"),
    ("DATABASE_STATEMENT_SECONDS", "4000", "less than or equal to 3600"),
    ("PORT", "65536", "less than or equal to 65535"),
    ("WEB_CONCURRENCY", "-1", "greater than or equal to 1"),
    ("GRACEFUL_SHUTDOWN_SECONDS", "1.5", "valid integer"),
    ("KEEP_ALIVE_SECONDS", "hunter2", "valid integer"),
    ("RELOAD", "hunter2", "valid boolean"),
    ("REQUEST_BODY_LIMIT_BYTES", "0", "greater than or equal to 1"),
    ("CORS_ORIGINS", "hunter2.example", "must be origins such as https://app.example.com"),
    ("CORS_ORIGINS", "https://hunter2.example/", "without a path"),
    ("AUTH_ISSUER", "hunter2.example.com", "must be a URL that begins with https://"),
    ("AUTH_ISSUER", "http://hunter2.example.com", "must be a URL that begins with https://"),
    ("AUTH_ISSUER", "https://", "must be a URL that begins with https://"),
    ("AUTH_ISSUER", "https://issuer.example.com?hunter2", "without a query"),
    ("AUTH_JWKS_URL", "file:///hunter2", "must be a URL that begins with https://"),
    ("AUTH_JWKS_URL", "https://hunter2.example.com/keys", "has no effect without AUTH_ISSUER"),
    ("AUTH_AUDIENCE", "hunter2", "has no effect without AUTH_ISSUER"),
    ("LOG_LEVEL", "hunter2", "'debug', 'info', 'warning' or 'error'"),
    ("LOG_FORMAT", "hunter2", "'auto', 'json' or 'text'"),
]


@pytest.mark.parametrize(("name", "value", "says"), WRONG)
def test_a_wrong_value_stops_the_start_with_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, says: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        with_environment(monkeypatch, **{name: value})
    assert caught.value.code == os.EX_CONFIG
    assert caught.value.__cause__ is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{name}: ")
    assert says in line
    assert "hunter2" not in line


ISSUER = "https://issuer.example.com/"


@pytest.mark.parametrize("issuer", [ISSUER, "http://localhost:3000", "http://127.0.0.1", "http://[::1]:8080/realms/a"])
def test_sign_in_needs_an_issuer_and_an_audience(monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    read = with_environment(monkeypatch, AUTH_ISSUER=issuer, AUTH_AUDIENCE="api", AUTH_JWKS_URL=ISSUER)
    assert (read.auth_issuer, read.auth_audience, read.auth_jwks_url) == (issuer, "api", ISSUER)


def test_an_issuer_without_an_audience_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        with_environment(monkeypatch, AUTH_ISSUER=ISSUER)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "AUTH_AUDIENCE: is not set; with AUTH_ISSUER it must be what the tokens' aud says"


def test_a_wrong_issuer_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        with_environment(monkeypatch, AUTH_ISSUER="hunter2", AUTH_AUDIENCE="api", AUTH_JWKS_URL=ISSUER)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("AUTH_ISSUER: must be a URL")


def test_every_wrong_variable_gets_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        with_environment(monkeypatch, PORT="hunter2", RELOAD="hunter2", DATABASE_URL="hunter2")
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == ["DATABASE_URL", "PORT", "RELOAD"]


def test_the_error_itself_holds_no_value_either(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"database_url": "mysql://user:hunter2@db/app"})
    assert "hunter2" not in str(caught.value)
    assert len(describe(caught.value)) == 1
