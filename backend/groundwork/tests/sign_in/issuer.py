"""A small issuer of tokens: it serves its metadata and keys over HTTP, and signs tokens."""

import json
import threading
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

AUDIENCE = "https://api.example.com"
OPENID = "/.well-known/openid-configuration"
KEYS = "/keys"
ALGORITHMS = ["RS256", "ES256", "EdDSA", "Ed25519"]


@cache
def rsa_key(key_id: str) -> RSAKey:
    """A key for each name. Making one takes a while, so it is made only once."""
    return RSAKey.generate_key(2048, {"kid": key_id})


def new_key(algorithm: str, key_id: str) -> Key:
    if algorithm == "RS256":
        return rsa_key(key_id)
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", {"kid": key_id})
    return OKPKey.generate_key("Ed25519", {"kid": key_id})


def public(key: Key, **changes: Any) -> dict[str, Any]:
    """The key's member in a JWK Set."""
    return {**key.as_dict(private=False), **changes}


def encoded(value: Any) -> str:
    """A part of a token in base64url: an object as JSON, or bytes as they are."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(text).rstrip(b"=").decode()


def sign(key: Key, content: Any, *, algorithm: str = "ES256", **header: Any) -> str:
    """A token with these claims or bytes, signed even if they are wrong. A value of None removes the member."""
    members = {"alg": algorithm, "kid": key.kid, "typ": "JWT", **header}
    signed = f"{encoded(_given(members))}.{encoded(_given(content) if isinstance(content, dict) else content)}"
    return f"{signed}.{encoded(JWSRegistry.algorithms[algorithm].sign(signed.encode(), key))}"


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


class Issuer:
    """An issuer on this machine. Tests change its answers, and read the requests that it got."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.signs_with: tuple[Key, str] = (new_key("ES256", "first"), "ES256")
        self.answers: dict[str, Any] = {
            OPENID: {"issuer": self.url, "jwks_uri": f"{self.url}{KEYS}"},
            KEYS: {"keys": [public(self.key)]},
        }
        """The answer of each path: an object as JSON, or bytes as they are. Every other path is a 404."""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.delay_seconds = 0.0
        self.asked: Counter[str] = Counter()

    def settings(self, **more: str) -> dict[str, str]:
        """The settings of a service that trusts this issuer."""
        return {"auth_issuer": self.url, "auth_audience": AUDIENCE, **more}

    @property
    def key(self) -> Key:
        return self.signs_with[0]

    def use(self, key: Key, algorithm: str = "ES256") -> None:
        """Sign with this key from now on, and withdraw the earlier ones."""
        self.signs_with = (key, algorithm)
        self.answers[KEYS] = {"keys": [public(key)]}

    def claims(self, user_id: str = "alice", **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        return {"iss": self.url, "aud": AUDIENCE, "sub": user_id, "iat": now, "exp": now + 300, **changes}

    def token(self, user_id: str = "alice", **changes: Any) -> str:
        key, algorithm = self.signs_with
        return sign(key, self.claims(user_id, **changes), algorithm=algorithm)

    def forged(self, key_id: str) -> dict[str, str]:
        """A token whose `kid` is a key that the issuer does not have."""
        key, algorithm = self.signs_with
        return {"Authorization": f"Bearer {sign(key, self.claims(), algorithm=algorithm, kid=key_id)}"}

    def bearer(self, user_id: str = "alice", **changes: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user_id, **changes)}"}


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked[self.path] += 1
            time.sleep(issuer.delay_seconds)
            answer = issuer.answers.get(self.path)
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(404 if answer is None else issuer.status)
            for header in issuer.headers.items():
                self.send_header(*header)
            self.send_header("Content-Length", str(len(body)))
            # The client may be gone, because a fetch ends when its time is over.
            with suppress(OSError):
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any, **__: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer = Issuer(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
