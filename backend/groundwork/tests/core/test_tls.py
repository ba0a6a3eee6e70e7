"""TLS as the URL asks for it: what is supported, what stops the start, and real handshakes."""

import asyncio
import os
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from groundwork.data.connector import connection_target
from groundwork.tests.core.certificates import Authority

URL = "postgresql://user:hunter2@db/app"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    (home / ".postgresql").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def context_of(query: str) -> ssl.SSLContext:
    (context,) = connection_target(f"{URL}?{query}").contexts.values()
    return context


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_modes_without_verification_verify_nothing(mode: str) -> None:
    assert context_of(f"sslmode={mode}").verify_mode == ssl.CERT_NONE


def test_disable_has_no_tls() -> None:
    assert connection_target(f"{URL}?sslmode=disable").contexts == {}


@pytest.mark.parametrize("query", ["ssl=true", "ssl=require", "sslmode=disable&ssl=true"])
def test_ssl_true_is_require_as_libpq_has_it(query: str) -> None:
    assert connection_target(f"{URL}?{query}").sslmode == "require"


@pytest.mark.parametrize(("mode", "checks_name"), [("verify-full", True), ("verify-ca", False)])
@pytest.mark.parametrize("root", ["", "&sslrootcert={root}"], ids=["system", "file"])
def test_verification(authority: Authority, mode: str, checks_name: bool, root: str) -> None:
    context = context_of(f"sslmode={mode}" + root.format(root=authority.root))
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname is checks_name


def test_the_systems_certificates_can_be_asked_for_by_name() -> None:
    assert context_of("sslrootcert=system").check_hostname


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_the_root_certificate_at_home_is_used(authority: Authority, home: Path, mode: str) -> None:
    authority.root.rename(home / ".postgresql/root.crt")
    context = context_of(f"sslmode={mode}")
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("root", ["system", "a file"])
def test_other_parameters_hold_beside_verify_full(authority: Authority, root: str) -> None:
    """With the system's certificates, the other parameters were once ignored."""
    crl = authority.revoke()
    path = "system" if root == "system" else authority.root
    query = f"sslmode=verify-full&sslrootcert={path}&ssl_min_protocol_version=TLSv1.3&sslcrl={crl}"
    context = context_of(query)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN == ssl.VERIFY_CRL_CHECK_CHAIN
    assert connection_target(f"{URL}?{query}&sslnegotiation=direct").direct_tls


def test_the_protocols_versions_are_kept() -> None:
    context = context_of("ssl_max_protocol_version=tlsv1.2")
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("name", ["root.crt", "root.crl", "postgresql.crt", "postgresql.key"])
@pytest.mark.parametrize("mode", ["prefer", "require", "verify-full"])
def test_files_of_another_user_at_home_are_as_none(
    monkeypatch: pytest.MonkeyPatch, home: Path, name: str, mode: str
) -> None:
    (home / ".postgresql" / name).write_text("nobody may read this")
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert context_of(f"sslmode={mode}").verify_mode == (ssl.CERT_REQUIRED if "verify" in mode else ssl.CERT_NONE)


@pytest.mark.parametrize("home_folder", ["/root", "/nonexistent", ""])
def test_any_home_will_do(monkeypatch: pytest.MonkeyPatch, home_folder: str) -> None:
    monkeypatch.setenv("HOME", home_folder)
    assert connection_target(URL).contexts


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-full"])
@pytest.mark.parametrize("key", ["sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"])
@pytest.mark.parametrize("path", ["/nonexistent/file", "/"])
def test_a_named_file_that_cannot_be_read_stops_the_start(key: str, path: str, mode: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: '{path}' cannot be read: ") as caught:
        connection_target(f"{URL}?sslmode={mode}&{key}={path}")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_a_variable_names_is_named_by_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", "/nonexistent/file")
    with pytest.raises(ValueError, match=r"^PGSSLROOTCERT: '/nonexistent/file' cannot be read: No such file"):
        connection_target(URL)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("sslmode=always", "sslmode must be one of disable, allow"),
        ("sslmode=", "sslmode must be one of disable, allow"),
        ("ssl=false", "ssl must be true"),
        ("ssl=1", "ssl must be true"),
        ("sslmode=require&sslrootcert=system", "needs sslmode=verify-full"),
        ("sslnegotiation=later", "sslnegotiation must be one of postgres, direct"),
        ("sslnegotiation=direct", "needs sslmode=require"),
        ("ssl_min_protocol_version=SSLv3", "must be one of TLSv1,"),
        ("ssl_max_protocol_version=1.2", "must be one of TLSv1,"),
        ("ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2", "is lower than"),
        ("sslmode=require&sslrootcert={garbage}", "sslrootcert: '.*' holds no"),
        ("sslmode=require&sslrootcert={garbage}", "garbage"),
        ("sslmode=verify-ca&sslcrl={garbage}", "sslcrl: '.*' holds no"),
        ("sslmode=verify-ca&sslcrldir=/nonexistent", "sslcrldir: '/nonexistent' cannot be read"),
        ("sslcert={garbage}", "sslcert: '.*' and its key do not match"),
        ("sslcert={certificate}&sslkey={other_key}", "sslcert: '.*' and its key do not match"),
        ("sslcert={certificate}&sslkey={locked_key}&sslpassword=wrong", "sslpassword does not decrypt"),
        ("sslcert={certificate}&sslkey={locked_key}", "sslpassword does not decrypt"),
        ("sslcertmode=require", "sslcertmode is not supported"),
        ("sslsni=0", "sslsni is not supported"),
        ("sslcompression=1", "sslcompression is not supported"),
        ("sslaccept=strict", "sslaccept is not supported"),
        ("tls=true", "tls is not supported"),
        ("requiressl=1", "requiressl is not supported"),
        ("requirepeer=postgres", "requirepeer is not supported"),
        ("require_auth=scram-sha-256", "require_auth is not supported"),
        ("gssencmode=require", "gssencmode is not supported"),
    ],
)
def test_what_is_not_supported_stops_the_start(authority: Authority, query: str, says: str) -> None:
    certificate, key, _ = authority.issue("service")
    _, other_key, _ = authority.issue("other")
    garbage = authority.folder / "garbage"
    garbage.write_text("garbage")
    locked, locked_key, _ = authority.issue("locked", password=b"right")
    files = {"garbage": garbage, "other_key": other_key, "locked_key": locked_key}
    chosen = locked if "locked" in query else certificate
    with pytest.raises(ValueError, match=says) as caught:
        connection_target(f"{URL}?{query}".format(**files, certificate=chosen))
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert connection_target(f"{URL}?sslcert={locked}&sslkey={locked_key}&sslpassword=right").contexts
    assert connection_target(f"{URL}?sslcert={certificate}&sslkey={key}").contexts


@pytest.mark.parametrize(
    "query", ["sslsni=1", "sslcompression=0", "sslcertmode=allow", "gssencmode=disable", "gssencmode=prefer"]
)
def test_a_value_that_demands_nothing_is_accepted(query: str) -> None:
    assert connection_target(f"{URL}?{query}").ignored == []


def test_a_demand_in_the_environment_stops_the_start_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGREQUIREAUTH", "scram-sha-256")
    with pytest.raises(ValueError, match=r"^PGREQUIREAUTH is not supported"):
        connection_target(URL)


class TlsServer:
    """Accepts TLS, records the server name that the client sent, and then refuses to authenticate."""

    REFUSAL = b"SFATAL\0C28000\0Mno entry\0\0"

    def __init__(self, certificate: Path, key: Path, *, answer: bytes = b"S") -> None:
        self.names: list[str | None] = []
        self.plain = 0
        self._answer = answer
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._context.set_alpn_protocols(["postgresql"])
        self._context.sni_callback = lambda _socket, name, _context: self.names.append(name)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            _, code = struct.unpack("!ii", await reader.readexactly(8))
            if code == 80877103:
                writer.write(self._answer)
                if self._answer == b"S":
                    await writer.start_tls(self._context)
                    await reader.readexactly(8)
            else:
                self.plain += 1
            writer.write(b"E" + struct.pack("!i", len(self.REFUSAL) + 4) + self.REFUSAL)
            await writer.drain()
        except (OSError, EOFError):
            pass
        writer.close()


async def error_of(port: int, query: str, *, host: str = "localhost") -> Exception:
    target = connection_target(f"postgresql://user:hunter2@{host}:{port}/app?{query}")
    with pytest.raises(Exception) as caught:
        await target.connect(timeout_seconds=10)
    return caught.value


async def test_the_hosts_name_is_sent_and_verified_though_its_address_is_connected_to(authority: Authority) -> None:
    server = TlsServer(*authority.issue("localhost")[:2])
    async with server.serving() as port:
        query = f"sslmode=verify-full&sslrootcert={authority.root}"
        assert isinstance(await error_of(port, query), asyncpg.InvalidAuthorizationSpecificationError)
        assert isinstance(await error_of(port, query, host="127.0.0.1"), ssl.SSLCertVerificationError)
        by_address = f"{query}&hostaddr=127.0.0.1"
        assert isinstance(await error_of(port, by_address), asyncpg.InvalidAuthorizationSpecificationError)
        assert isinstance(await error_of(port, by_address, host="other"), ssl.SSLCertVerificationError)
    assert server.names == ["localhost", None, "localhost", "other"]
    assert server.plain == 0


async def test_a_revoked_certificate_is_refused(authority: Authority) -> None:
    certificate, key, revoked = authority.issue("localhost")
    crl = authority.revoke(revoked)
    async with TlsServer(certificate, key).serving() as port:
        error = await error_of(port, f"sslmode=verify-full&sslrootcert={authority.root}&sslcrl={crl}")
    assert "revoked" in str(error)


@pytest.mark.parametrize(
    ("mode", "plain"),
    [("disable", 1), ("allow", 1), ("prefer", 1), ("require", 0), ("verify-ca", 0), ("verify-full", 0)],
)
async def test_only_modes_that_permit_it_connect_in_plain_text(authority: Authority, mode: str, plain: int) -> None:
    server = TlsServer(*authority.issue("localhost")[:2], answer=b"N")
    async with server.serving() as port:
        await error_of(port, f"sslmode={mode}")
    assert server.plain == plain


async def test_ssl_true_does_not_connect_in_plain_text(authority: Authority) -> None:
    server = TlsServer(*authority.issue("localhost")[:2], answer=b"N")
    async with server.serving() as port:
        assert isinstance(await error_of(port, "ssl=true"), ConnectionError)
    assert server.plain == 0
