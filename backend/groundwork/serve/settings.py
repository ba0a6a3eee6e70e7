"""The settings: environment variables and, in development, a `.env` file in the repository's root."""

import re
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from groundwork.auth.trusted_urls import trusted
from groundwork.data.connector import connection_target
from groundwork.http.byte_budget import DEFAULT_BYTES
from groundwork.observe.log_members import Members
from groundwork.serve.config_error import config_error
from groundwork.serve.env_file import read_variables
from groundwork.serve.listening import readable_host
from groundwork.serve.origins import networks, origin
from groundwork.serve.trace_variables import collector, trace_problems


def _env_file() -> Path:
    """`.env` in the repository's root, which is the folder that this process runs in, or its parent."""
    here = Path.cwd()
    return (here if (here / "backend").is_dir() else here.parent) / ".env"


ENV_FILE = _env_file()

Seconds = Annotated[float, Field(gt=0, le=3600)]


def _database(url: SecretStr) -> SecretStr:
    connection_target(url.get_secret_value())
    return url


DatabaseURL = Annotated[SecretStr, AfterValidator(_database)]
TrustedURL = Annotated[str, AfterValidator(trusted)]
CollectorURL = Annotated[str, AfterValidator(collector)]


def _workers(value: object) -> object:
    # Some services take `auto` for the number of cores, which says nothing about how many a container may use.
    if isinstance(value, str) and value.lower() == "auto":
        raise ValueError("must be the number of worker processes, such as 2; auto is not supported")
    return value


def _path(value: str) -> str:
    path = value.rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*", path):
        raise ValueError("must be a path such as /service, of letters, digits, dots, hyphens and underscores")
    # If the proxy removes the prefix, such a path would look like one of the service's own paths.
    if path.startswith(("/api", "/docs", "/health", "/openapi.json")):
        raise ValueError(
            "must not begin like the service's own paths, /api, /docs and /health; choose another, such as /service"
        )
    return path


def _comma_separated(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _all_or_some(origins: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in origins and len(origins) > 1:
        raise ValueError("must be * alone, for every origin, or a list of origins without *")
    return origins


def _without_query(url: str) -> str:
    if "?" in url or "#" in url:
        raise ValueError("must be a URL without a query or a fragment")
    return url


class Settings(BaseModel):
    """Every variable that the service reads. A field has its variable's name in lower case. See `.env.example`."""

    model_config = ConfigDict(frozen=True, validate_default=True, hide_input_in_errors=True)

    database_url: DatabaseURL = Field(
        description="a PostgreSQL URL such as postgresql://user:password@host:5432/database"
    )
    """The PostgreSQL URL as the provider prints it, direct or through a transaction pooler."""
    database_direct_url: DatabaseURL | None = None
    """The same database without a pooler, for migrations, and to listen for changes. When not set, they use
    `database_url`."""
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    """How many connections each worker may have."""
    database_open_at_start: int = Field(default=1, ge=0, le=1000)
    """How many of them each worker opens when it starts, before a request needs them."""
    database_wait_seconds: Seconds = 10
    """How long a request waits for a connection before it gets 503. The wake-up of a sleeping database is included.
    Once the database has been away for this long, requests get 503 without waiting."""
    database_queue_seconds: Seconds = 0.2
    """When all connections are busy, a request that would wait longer than this for its turn gets 503 at once."""
    database_statement_seconds: Seconds = 10
    """How long a statement may take before it is cancelled and its request gets 503."""

    jobs_poll_seconds: Seconds = 10
    """How soon a worker of background jobs looks again after the database has closed its connection."""

    host: Annotated[str, AfterValidator(readable_host)] = "127.0.0.1"
    """The address to listen on: an IPv4 or IPv6 address, or `localhost`."""
    port: int = Field(default=8000, ge=1, le=65535)
    root_path: Annotated[str, AfterValidator(_path)] = ""
    """The path under which a proxy serves this service. Links begin with it."""
    forwarded_allow_ips: Annotated[str, AfterValidator(networks)] | None = None
    """The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted: addresses and networks, or `*`."""
    web_concurrency: Annotated[int, BeforeValidator(_workers)] = Field(default=2, ge=1, le=512)
    """The number of worker processes. Hosting platforms set this name."""
    graceful_shutdown_seconds: int = Field(default=25, ge=1, le=3600)
    """How long requests in flight may take to finish after SIGTERM."""
    keep_alive_seconds: int = Field(default=75, ge=1, le=3600)
    """How long an idle connection stays open. It must be longer than the load balancer's idle timeout."""
    client_wait_seconds: Seconds = 30
    """How long a client may take to send a request, or may read nothing of its answer. After at most twice this time
    its connection is cut."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """The port for Prometheus, on the same address. It serves `/metrics` and nothing else."""
    reload: bool = False
    """Restart the workers when the code changes, for development."""

    request_body_limit_bytes: int = Field(default=1024 * 1024, ge=1)
    """A larger request body gets 413."""
    memory_budget_bytes: int = Field(default=DEFAULT_BYTES, ge=1024 * 1024)
    """How much memory requests and answers in transit may take in each worker. Beyond it, large ones get 503."""
    cors_origins: Annotated[
        tuple[Annotated[str, AfterValidator(origin)], ...],
        BeforeValidator(_comma_separated),
        AfterValidator(_all_or_some),
    ] = ()
    """The origins whose web pages may call the API: comma-separated, or `*`."""
    root_page: bool = True
    """Serve a page at `/` with the service's name, its version and links; programs get the same as JSON."""
    websockets: bool = False
    """Serve WebSockets. It needs the package `websockets`."""

    rate_limit_per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    """How many requests a user may send in a minute. Further ones get 429. When not set, there is no limit."""
    rate_limit_burst: int | None = Field(default=None, ge=1, le=1_000_000)
    """How many of them may come at once. When not set, all of a minute."""

    auth_issuer: Annotated[TrustedURL, AfterValidator(_without_query)] | None = None
    """The issuer of the access tokens, exactly as in their `iss`. Sign-in is on when this is set."""
    auth_jwks_url: TrustedURL | None = None
    """The URL of the issuer's keys. When not set, it is taken from the issuer's metadata."""
    auth_audience: str | None = None
    """What the tokens' `aud` must be or contain."""
    auth_roles_claim: str = Field(default="roles", min_length=1)
    """The claim with a user's roles, or the path to it, as `realm_access.roles`. Only the routes of `staff` read it."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)] = "info"
    log_format: Annotated[Literal["auto", "json", "gcp", "datadog", "ecs", "text"], BeforeValidator(str.lower)] = "auto"
    """`auto` writes text to a terminal and JSON elsewhere. docs/logs.md says who reads which format."""
    log_client_address: Annotated[Literal["off", "hash", "full"], BeforeValidator(str.lower)] = "hash"
    """Whether a request's line has the client's address, its keyed hash, or neither."""
    google_cloud_project: str | None = None
    """The project whose traces the lines of `log_format` gcp name."""
    access_log_sample: float = Field(default=1, ge=0, le=1)
    """The share of requests that get a line in the log. Slow requests and those answered with 5xx always get one."""
    slow_request_seconds: Seconds = 0.5
    """A request that takes this long or longer is marked as slow."""
    slow_statement_seconds: Seconds = 1
    """A statement that takes this long or longer gets a line in the log."""
    server_timing: bool = False
    """Whether responses say in `Server-Timing` where their time went."""
    log_user_key: SecretStr | None = None
    """With this key, the hash of a user or an address is the same in every container and after every restart."""

    otel_exporter_otlp_endpoint: CollectorURL | None = None
    """A collector's URL; traces go to `/v1/traces` below it. The SDK reads this and all other `OTEL_…` itself."""
    otel_exporter_otlp_traces_endpoint: CollectorURL | None = None
    """The complete URL for traces alone."""
    otel_sdk_disabled: bool = False
    otel_service_name: str | None = None
    """What the service is called in traces, and in the log."""

    version: str = "unknown"
    revision: str = "unknown"
    """What is running, for the metrics. The image's build sets both."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.metrics_port == self.port:
            raise ValueError(
                "METRICS_PORT: must differ from PORT, because the metrics are not public; choose another port"
            )
        if self.websockets and find_spec("websockets") is None:
            raise ValueError(
                "WEBSOCKETS: needs the package websockets: add websockets>=17,<18 to the dependencies in"
                " backend/pyproject.toml, then run `make lock` and install the requirements again"
            )
        if self.rate_limit_burst and not self.rate_limit_per_minute:
            raise ValueError("RATE_LIMIT_BURST: has no effect without RATE_LIMIT_PER_MINUTE; set both, or neither")
        # With incomplete settings of sign-in, the service would be open to everybody.
        for name in ("auth_jwks_url", "auth_audience"):
            if getattr(self, name) is not None and self.auth_issuer is None:
                raise ValueError(f"{name.upper()}: has no effect without AUTH_ISSUER; set both, or neither")
        if self.auth_issuer is not None and self.auth_audience is None:
            raise ValueError("AUTH_AUDIENCE: is not set; with AUTH_ISSUER, set it to the aud of the tokens")
        return self

    @property
    def direct_url(self) -> tuple[str, str]:
        """The name of the variable with the address without a pooler, and that address."""
        if self.database_direct_url:
            return "DATABASE_DIRECT_URL", self.database_direct_url.get_secret_value()
        return "DATABASE_URL", self.database_url.get_secret_value()

    @property
    def log_members(self) -> Members:
        """The members of JSON lines in the log."""
        version = None if self.version == "unknown" else self.version
        return Members(
            self.log_format, service=self.otel_service_name, version=version, project=self.google_cloud_project
        )

    @property
    def traces(self) -> bool:
        """Whether requests are traced."""
        endpoint = self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint
        return endpoint is not None and not self.otel_sdk_disabled


AnySettings = TypeVar("AnySettings", bound=Settings)


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SystemExit: a setting is wrong or missing, or `.env` cannot be read. Standard error has one line for each.
    """
    return load(Settings)


def load(kind: type[AnySettings]) -> AnySettings:
    """The settings of this class: `Settings`, or a team's own with more fields.

    Raises:
        SystemExit: as above.
    """
    variables = read_variables(ENV_FILE)
    given = {name: variables[name.upper()] for name in kind.model_fields if name.upper() in variables}
    try:
        settings = kind.model_validate(given)
    except ValidationError as error:
        raise config_error(*describe(error, kind, variables)) from None
    if settings.traces and (problems := trace_problems(variables)):
        raise config_error(*problems)
    return settings


def describe(error: ValidationError, kind: type[Settings] = Settings, variables: Collection[str] = ()) -> list[str]:
    """One line for each wrong variable. No line contains a value, because values can be secret."""
    lines = []
    for part in error.errors(include_url=False, include_input=False):
        message = " ".join(part["msg"].removeprefix("Value error, ").split())
        if part["type"] == "missing":
            message = _missing(str(part["loc"][0]), kind, variables)
        # The error of a validator of the whole class has no field. Its message begins with the variable.
        lines.append(f"{str(part['loc'][0]).upper()}: {message}" if part["loc"] else message)
    return lines


def _missing(name: str, kind: type[Settings], variables: Collection[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only a start that fails needs it

    sentence = "is not set, and has no default; set it in the environment, or in .env"
    if expected := kind.model_fields[name].description:
        sentence = f"is not set; expected {expected}"
    similar = get_close_matches(name.upper(), variables, n=1, cutoff=0.9)
    return f"{sentence} ({similar[0]} is set: is it misspelt?)" if similar else sentence
