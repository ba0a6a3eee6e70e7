import os
from pathlib import Path
from typing import Any, Self

import pytest
from pydantic import Field, SecretStr, ValidationError, model_validator

from groundwork.serve.settings import Settings, describe, load, load_settings

URL = "postgresql://user:hunter2@db:5432/app"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without settings and without a `.env`, so that only what a test sets counts."""
    for name in os.environ:
        if name.lower() in Settings.model_fields or name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("groundwork.serve.settings.ENV_FILE", tmp_path / ".env")


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
        "database_open_at_start": 1,
        "database_wait_seconds": 10,
        "database_queue_seconds": 0.2,
        "database_statement_seconds": 10,
        "jobs_poll_seconds": 10,
        "host": "127.0.0.1",
        "port": 8000,
        "root_path": "",
        "forwarded_allow_ips": None,
        "web_concurrency": 2,
        "graceful_shutdown_seconds": 25,
        "keep_alive_seconds": 75,
        "client_wait_seconds": 30,
        "metrics_port": None,
        "reload": False,
        "request_body_limit_bytes": 1024 * 1024,
        "memory_budget_bytes": 16 * 1024 * 1024,
        "cors_origins": (),
        "websockets": False,
        "rate_limit_per_minute": None,
        "rate_limit_burst": None,
        "auth_issuer": None,
        "auth_jwks_url": None,
        "auth_audience": None,
        "auth_roles_claim": "roles",
        "log_level": "info",
        "log_format": "auto",
        "log_client_address": "hash",
        "google_cloud_project": None,
        "access_log_sample": 1,
        "slow_request_seconds": 0.5,
        "slow_statement_seconds": 1,
        "root_page": True,
        "server_timing": False,
        "log_user_key": None,
        "otel_exporter_otlp_endpoint": None,
        "otel_exporter_otlp_traces_endpoint": None,
        "otel_sdk_disabled": False,
        "otel_service_name": None,
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
        ("WEB_CONCURRENCY", "2.0", 2),
        ("WEB_CONCURRENCY", " 3\n", 3),
        ("HOST", "::", "::"),
        ("HOST", "[::1]", "::1"),
        ("HOST", "LOCALHOST", "localhost"),
        ("HOST", "0.0.0.0\n", "0.0.0.0"),
        ("LOG_LEVEL", "\tdebug ", "debug"),
        ("CORS_ORIGINS", "*", ("*",)),
        ("ROOT_PATH", "/", ""),
        ("ROOT_PATH", "/a/b-c_d.e/", "/a/b-c_d.e"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.0/8, ::1", "10.0.0.0/8, ::1"),
        ("FORWARDED_ALLOW_IPS", "*", "*"),
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
    ("WEB_CONCURRENCY", "auto", "must be the number of worker processes, such as 2"),
    ("WEB_CONCURRENCY", "2.5", "valid integer"),
    ("HOST", "hunter2.example.com", "must be an IP address of this machine or localhost"),
    ("HOST", "127.0.0.1:8000", "without a port"),
    ("HOST", "[127.0.0.1]", "must be an IP address"),
    ("HOST", "http://127.0.0.1", "must be an IP address"),
    ("HOST", "*", "must be an IP address"),
    ("HOST", "fe80::1%eth0", "must be an IP address"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:hunter2", "such as http://collector:4318"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://:4318", "such as http://collector:4318"),
    ("RELOAD", "hunter2", "valid boolean"),
    ("REQUEST_BODY_LIMIT_BYTES", "0", "greater than or equal to 1"),
    ("ROOT_PATH", "hunter2", "must be a path such as /service"),
    ("ROOT_PATH", "//hunter2", "must be a path such as /service"),
    ("ROOT_PATH", "/hunter2?", "must be a path such as /service"),
    ("ROOT_PATH", "/hunter2/..", "must be a path such as /service"),
    ("ROOT_PATH", "/api", "must not begin like the service's own paths"),
    ("FORWARDED_ALLOW_IPS", "hunter2", "must be addresses or networks"),
    ("FORWARDED_ALLOW_IPS", "10.0.0.1/8", "must be addresses or networks"),
    ("CORS_ORIGINS", "hunter2.example", "must be origins such as https://app.example.com"),
    ("CORS_ORIGINS", "https://hunter2.example/", "without a path"),
    ("AUTH_ISSUER", "hunter2.example.com", "must be a URL that begins with https://"),
    ("AUTH_ISSUER", "http://hunter2.example.com", "must be a URL that begins with https://"),
    ("AUTH_ISSUER", "https://", "must be a URL that begins with https://"),
    ("AUTH_ISSUER", "https://issuer.example.com?hunter2", "without a query"),
    ("RATE_LIMIT_PER_MINUTE", "0", "greater than or equal to 1"),
    ("RATE_LIMIT_BURST", "5", "has no effect without RATE_LIMIT_PER_MINUTE"),
    ("AUTH_JWKS_URL", "file:///hunter2", "must be a URL that begins with https://"),
    ("AUTH_JWKS_URL", "https://hunter2.example.com/keys", "has no effect without AUTH_ISSUER"),
    ("AUTH_AUDIENCE", "hunter2", "has no effect without AUTH_ISSUER"),
    ("LOG_LEVEL", "hunter2", "'debug', 'info', 'warning' or 'error'"),
    ("LOG_FORMAT", "hunter2", "'auto', 'json', 'gcp', 'datadog', 'ecs' or 'text'"),
    ("LOG_CLIENT_ADDRESS", "hunter2", "'off', 'hash' or 'full'"),
    ("SLOW_STATEMENT_SECONDS", "hunter2", "valid number"),
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
    assert line == "AUTH_AUDIENCE: is not set; with AUTH_ISSUER, set it to the aud of the tokens"


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


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_DIRECT_URL", "LOG_USER_KEY"])
@pytest.mark.parametrize("around", [" {}", "{}\n", "\t{}\r\n", "{} "])
def test_white_space_around_a_secret_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch, name: str, around: str) -> None:
    secret = getattr(with_environment(monkeypatch, **{name: around.format(URL)}), name.lower())
    assert secret.get_secret_value() == URL


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields if name != "database_url"])
def test_a_variable_of_white_space_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert with_environment(monkeypatch, **{name: " \n"}) == with_environment(monkeypatch)


def test_the_file_counts_where_the_environment_has_white_space_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PORT=' 81 '\n")
    assert with_environment(monkeypatch, PORT=" ").port == 81


COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "hunter2"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "hunter2"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20a,hunter2"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "na me=hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "hunter2"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/hunter2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "hunter2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "hunter2"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
    ],
)
def test_what_the_sdk_of_traces_would_not_take_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        with_environment(monkeypatch, **COLLECTOR, **{name: value})
    assert caught.value.code == os.EX_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{name}: ")
    assert "hunter2" not in line
    with_environment(monkeypatch, **COLLECTOR, **{name: value}, OTEL_SDK_DISABLED="true")


def test_what_the_sdk_of_traces_takes_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with_environment(
        monkeypatch,
        **COLLECTOR,
        OTEL_TRACES_SAMPLER="ParentBased_TraceIDRatio\n",
        OTEL_TRACES_SAMPLER_ARG="0.01",
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_PROPAGATORS="tracecontext,baggage",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Basic abc=, x-scope=%20a,",
        OTEL_EXPORTER_OTLP_TIMEOUT="2.5",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_EXPORTER_OTLP_CERTIFICATE=__file__,
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment=staging,team=a",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="100",
        OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="",
    )


class TestSettingsOfATeam:
    """A field that a team adds to Settings. Here it is in a class of its own."""

    class Own(Settings):
        mail_key: SecretStr
        mail_host: str = Field(description="the mail server's name")

        @model_validator(mode="after")
        def _host_and_key(self) -> Self:
            if self.mail_host == "nowhere":
                raise ValueError("MAIL_HOST and MAIL_KEY must belong together")
            return self

    def lines(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **values: str) -> list[str]:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as caught:
            load(self.Own)
        assert caught.value.code == os.EX_CONFIG
        return capsys.readouterr().err.splitlines()

    def test_each_that_is_missing_has_its_own_sentence(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.lines(monkeypatch, capsys) == [
            "DATABASE_URL: is not set; expected a PostgreSQL URL such as postgresql://user:password@host:5432/database",
            "MAIL_KEY: is not set, and has no default; set it in the environment, or in .env",
            "MAIL_HOST: is not set; expected the mail server's name",
        ]

    def test_a_name_that_is_nearly_right_is_pointed_at(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = self.lines(monkeypatch, capsys, DATABSE_URL=URL, MAIL_KEYS="hunter2", MAIL_HOST="a")
        assert lines[0].endswith("(DATABSE_URL is set: is it misspelt?)")
        assert lines[1].endswith("(MAIL_KEYS is set: is it misspelt?)")
        assert "hunter2" not in str(lines)

    def test_a_rule_over_several_fields_is_a_sentence_too(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = {"DATABASE_URL": URL, "MAIL_KEY": "k", "MAIL_HOST": "nowhere"}
        assert self.lines(monkeypatch, capsys, **given) == ["MAIL_HOST and MAIL_KEY must belong together"]

    def test_they_are_read_with_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"DATABASE_URL": URL, "MAIL_KEY": "k\n", "MAIL_HOST": "mail"}.items():
            monkeypatch.setenv(name, value)
        assert load(self.Own).mail_key.get_secret_value() == "k"
