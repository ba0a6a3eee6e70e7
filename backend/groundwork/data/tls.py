"""Sets up TLS as the URL demands. Each `sslmode` means the same as in libpq (PostgreSQL manual, section 34.19)."""

import os
import ssl
from pathlib import Path
from typing import Any

from groundwork.data.dsn import SSL_MODES, Parameters

_VERSIONS = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
_VERIFYING = ("verify-ca", "verify-full")
_NAMED_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# PostgreSQL requires this ALPN protocol when TLS begins without asking the server first (sslnegotiation=direct).
_PROTOCOLS = ["postgresql"]


class HostContext(ssl.SSLContext):
    """A context that sends and verifies the name `host`, even where the connection is opened to an IP address."""

    host: str

    def wrap_bio(self, incoming: Any, outgoing: Any, server_side: bool = False, *_: Any, **__: Any) -> ssl.SSLObject:  # noqa: FBT001, FBT002
        return super().wrap_bio(incoming, outgoing, server_side, self.host)


def read_mode(parameters: Parameters) -> str:
    """The `sslmode`.

    Raises:
        ValueError: the mode is unknown, or a file of certificates that the URL names cannot be read. The files are
            checked in every mode.
    """
    from_system = parameters.get("sslrootcert") == "system"
    mode = parameters.one_of("sslmode", SSL_MODES, "verify-full" if from_system else "prefer")
    if from_system and mode != "verify-full":
        raise ValueError("sslrootcert=system needs sslmode=verify-full")
    for key in _NAMED_FILES:
        if not (from_system and key == "sslrootcert"):
            parameters.file(key)
    return mode


def is_direct(parameters: Parameters, mode: str) -> bool:
    """Whether TLS begins without asking the server first. PostgreSQL supports it since version 17.

    Raises:
        ValueError: `sslmode` allows a connection without TLS.
    """
    direct = parameters.one_of("sslnegotiation", ("postgres", "direct"), "postgres") == "direct"
    if direct and mode not in ("require", *_VERIFYING):
        raise ValueError("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full")
    return direct


def make_context(parameters: Parameters, mode: str, host: str) -> HostContext:
    """A TLS context for this host.

    Without a file of root certificates, libpq would fail. Here the root certificates of the system are used instead.

    Raises:
        ValueError: a file, a folder or a version of TLS cannot be used. The message says which.
    """
    context = HostContext(ssl.PROTOCOL_TLS_CLIENT)
    context.host = host
    context.set_alpn_protocols(_PROTOCOLS)
    context.check_hostname = mode == "verify-full"
    _set_versions(context, parameters)
    _trust(context, parameters, mode)
    _load_own_certificate(context, parameters)
    return context


def _set_versions(context: ssl.SSLContext, parameters: Parameters) -> None:
    context.minimum_version = _version(parameters, "ssl_min_protocol_version") or ssl.TLSVersion.TLSv1_2
    maximum = _version(parameters, "ssl_max_protocol_version")
    if maximum and maximum < context.minimum_version:
        raise ValueError(
            "ssl_max_protocol_version is lower than ssl_min_protocol_version, or than TLSv1.2: raise it, or leave it"
            " out"
        )
    if maximum:
        context.maximum_version = maximum


def _version(parameters: Parameters, key: str) -> ssl.TLSVersion | None:
    value = parameters.get(key)
    if value and value.lower() not in _VERSIONS:
        raise ValueError(f"{parameters.label(key)} must be one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3")
    return _VERSIONS[value.lower()] if value else None


def _trust(context: ssl.SSLContext, parameters: Parameters, mode: str) -> None:
    root = parameters.get("sslrootcert") or _default_file("root.crt")
    if mode in ("allow", "prefer") or (mode == "require" and not root):
        context.verify_mode = ssl.CERT_NONE
    elif root == "system" or not root:
        context.load_default_certs()
    else:
        _load(context, parameters, "sslrootcert", cafile=root)
    _check_revocation(context, parameters)


def _check_revocation(context: ssl.SSLContext, parameters: Parameters) -> None:
    file, folder = parameters.get("sslcrl"), parameters.get("sslcrldir")
    if not file and not folder:
        file = _default_file("root.crl")
    if file:
        _load(context, parameters, "sslcrl", cafile=file)
    if folder:
        if not os.access(folder, os.R_OK | os.X_OK):
            raise ValueError(
                f"{parameters.label('sslcrldir')}: {folder!r} cannot be read: name a folder that the service may read"
            )
        _load(context, parameters, "sslcrldir", capath=folder)
    if file or folder:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load(context: ssl.SSLContext, parameters: Parameters, key: str, **where: str) -> None:
    try:
        context.load_verify_locations(**where)
    except OSError:  # ssl.SSLError is one
        (path,) = where.values()
        raise ValueError(
            f"{parameters.label(key)}: {path!r} holds no certificates or revocation lists in PEM format;"
            " name one that does"
        ) from None


def _load_own_certificate(context: ssl.SSLContext, parameters: Parameters) -> None:
    certificate = parameters.get("sslcert") or _default_file("postgresql.crt")
    if not certificate:
        return
    key = parameters.get("sslkey") or _default_file("postgresql.key")
    # Given as a function, because OpenSSL would otherwise ask on the terminal for a missing password.
    password = parameters.get("sslpassword") or ""
    try:
        context.load_cert_chain(certificate, key, lambda: password)
    except OSError:
        raise ValueError(
            f"sslcert: {certificate!r} and its key do not match, or sslpassword does not decrypt the key;"
            " give the key of this certificate"
        ) from None


def _default_file(name: str) -> str | None:
    """The path of one of libpq's files in `~/.postgresql`, or None if it is missing or cannot be read."""
    path = Path(os.path.expanduser("~/.postgresql")) / name  # noqa: PTH111 - it does not fail without a home
    return str(path) if os.access(path, os.R_OK) else None
