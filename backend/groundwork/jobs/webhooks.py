"""Webhooks, signed as https://www.standardwebhooks.com says. A job calls `send_webhook()`, and the queue repeats it.

The URL comes from a user, so its host could be in the network of the service. The host is looked up once, and the
connection goes to the address that was checked. A second lookup could give another address.
"""

import asyncio
import hmac
import re
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from functools import cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from secrets import token_bytes
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from groundwork.data.connecting import addresses
from groundwork.jobs.handlers import Job

# For the `retry_after` of a job: eight attempts in 28 hours.
RETRY_AFTER = (5, 300, 1800, 7200, 18000, 36000, 36000)

_PREFIX = "whsec_"
# IPv6 addresses outside this range can stand for an IPv4 address in a private network.
_PUBLIC_IPV6 = IPv6Network("2000::/3")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]").match
_SUCCESS = range(200, 300)


class WebhookFailed(Exception):
    """The receiver did not accept the webhook, or its URL is not allowed. The message says why."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        # The answer's status; None if there was no answer. 410 means that the receiver wants no more webhooks.
        self.status = status


def new_secret() -> str:
    """A secret for one receiver, in the form that the libraries of Standard Webhooks read."""
    return _PREFIX + b64encode(token_bytes(32)).decode()


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header `webhook-signature`: one signature for each secret.

    Args:
        secrets: as `new_secret()` makes them.
        timestamp: Unix time in seconds.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    keys = [b64decode(secret.removeprefix(_PREFIX), validate=True) for secret in secrets]
    return " ".join(f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in keys)


async def send_webhook(
    job: Job, url: str, secrets: Sequence[str], body: bytes, *, timeout_seconds: float = 15, loopback: bool = False
) -> None:
    """Send a webhook once. Its id is the same in each attempt of the job, so the receiver can recognise a repetition.

    Args:
        url: the receiver's URL. It must be https, and its host must have public addresses only.
        secrets: the receiver's secret. While the secret is being replaced, the new one and the old one.
        body: JSON.
        timeout_seconds: the time limit for everything, from the lookup of the host to the answer's status.
        loopback: allow this machine, and http there: for tests and development.

    Raises:
        TypeError: there is no secret, or it is a text and no list.
        WebhookFailed: the URL is refused, there is no answer in time, or its status is not 2xx. Redirects are not
            followed.
    """
    if isinstance(secrets, str) or not secrets:
        raise TypeError("a webhook needs its receiver's secret: give a list, as in [secret]")
    message_id, timestamp = f"msg_{job.created_at:%Y%m%d%H%M%S%f}_{job.id}", int(time.time())
    try:
        headers = {
            "content-type": "application/json",
            "content-length": len(body),
            "connection": "close",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(secrets, message_id, timestamp, body),
        }
        async with asyncio.timeout(timeout_seconds):
            status = await _post(_read(url, loopback=loopback), headers, body, loopback=loopback)
    except TimeoutError as error:
        raise WebhookFailed(f"there was no answer in {timeout_seconds:g} s") from error
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise WebhookFailed(f"it could not be sent: {error}") from error
    if status not in _SUCCESS:
        raise WebhookFailed(f"the receiver answered with status {status}", status=status)


def _read(url: str, *, loopback: bool) -> SplitResult:
    parts = urlsplit(url)
    if not (url.isascii() and url.isprintable() and parts.hostname) or " " in url or "@" in parts.netloc:
        raise WebhookFailed("the URL must have a host, no user, and only characters that need no encoding")
    if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
        raise WebhookFailed("the URL must begin with https://")
    return parts


async def _post(parts: SplitResult, headers: dict[str, Any], body: bytes, *, loopback: bool) -> int:
    """Send a request; returns the status of the answer."""
    secure = parts.scheme == "https"
    host, port = str(parts.hostname), parts.port or (443 if secure else 80)
    found = await addresses(host, port)
    if not all(map(_is_loopback if loopback else _is_public, found)):
        raise WebhookFailed("the URL's host is not on the public internet")
    options: dict[str, Any] = {"ssl": _context(), "server_hostname": host} if secure else {}
    reader, writer = await asyncio.open_connection(found[0], port, **options)
    target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    lines = [f"POST {target} HTTP/1.1", f"host: {parts.netloc}", *(f"{name}: {headers[name]}" for name in headers)]
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        return await _status(reader)
    finally:
        writer.transport.abort()


async def _status(reader: asyncio.StreamReader) -> int:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if not (found := _STATUS(head)):
            raise ValueError("the answer is not HTTP/1.1")
        # Skip interim answers (1xx), which come before the final one.
        if (status := int(found[1])) >= _SUCCESS.start:
            return status


def _is_public(address: str) -> bool:
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        return ip.is_global and ip in _PUBLIC_IPV6 and ip.sixtofour is None
    return ip.is_global and not ip.is_multicast


def _is_loopback(address: str) -> bool:
    return ip_address(address).is_loopback


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
