"""What `make test` says of its PostgreSQL: first what it tries, and at the end what it took instead, and why."""

import contextlib
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from docker.errors import APIError, DockerException

from groundwork.testing import postgres

DOCKER = "Docker 28.1.1"
NO_HOST = 'Get "https://images.example/v2/": dial tcp: lookup images.example on 10.0.0.53:53: no such host'


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (APIError("500", explanation=NO_HOST), "dial tcp: lookup images.example on 10.0.0.53:53: no such host"),
        (DockerException("Error while fetching: refused.\nMore."), "Error while fetching: refused"),
        (DockerException(""), "DockerException"),
        (APIError("500 Server Error for http+docker://localhost/v1.45/images: Internal"), "500 Server Error Internal"),
    ],
)
def test_the_reason_is_the_engines_first_sentence(error: Exception, reason: str) -> None:
    assert postgres.reason_of(error) == reason


def test_a_long_reason_is_cut() -> None:
    assert len(postgres.reason_of(DockerException("no space left " * 40))) <= 120


def test_what_is_tried_is_said_first_and_what_was_used_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither server is started here."""
    said: list[str] = []

    class Embedded:
        def url(self) -> str:
            return "postgresql://embedded"

    monkeypatch.setattr(postgres, "container_engine", lambda: DOCKER)
    monkeypatch.setattr(postgres, "changes_of_choice", said)
    monkeypatch.setattr(postgres, "EmbeddedPostgres", lambda *_, **__: contextlib.nullcontext(Embedded()))
    container = MagicMock()
    container.with_command.return_value.__enter__.side_effect = APIError("500", explanation=NO_HOST)
    monkeypatch.setattr("testcontainers.community.postgres.PostgresContainer", lambda *_, **__: container)

    assert postgres.describe_choice().startswith(f"{postgres.IMAGE} in {DOCKER}, or embedded if that cannot start")
    with postgres.running_server(tmp_path) as server:
        assert server.url("test") == "postgresql://embedded/test"
    assert said == [
        f"the embedded one was used, because {DOCKER} cannot start {postgres.IMAGE}: dial tcp: lookup images.example on"
        " 10.0.0.53:53: no such host. Mend that, or set NO_CONTAINERS=1, which does not try."
    ]
