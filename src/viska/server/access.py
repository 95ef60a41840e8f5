"""Who may ask: keys where there are any; else this machine alone, and no web page but the server's own."""

import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from viska.server.errors import ApiError


class RequireKey:
    """Lets requests with one of the keys through; all, where there are no keys."""

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self.app = app
        self.keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with an ApiError."""
        if self.keys:
            self._check(Headers(scope=scope).get("authorization", ""))
        await self.app(scope, receive, send)

    def _check(self, header: str) -> None:
        scheme, _, given = header.partition(" ")
        key = given.strip().encode("latin-1", "replace")
        # Every key is compared, in constant time, so that the time taken tells nothing.
        matches = [hmac.compare_digest(key, known) for known in self.keys]
        if scheme.lower() != "bearer" or not any(matches):
            problem = "is not known" if key else "is missing"
            raise ApiError(
                401,
                f"the API key {problem}; send a key of this server as 'Authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )


class OnlyOwnPages:
    """Without keys, a browser must not be a way in: for pages of other sites, or by a name that leads to this machine.

    Requests from programs have no `Origin`, and pass.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app = app
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with an ApiError."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host, origin = headers.get("host", ""), headers.get("origin")
            if not is_loopback(host):
                message = f"{host[:100]!r} is no name of this machine; use localhost, or set a key"
                raise ApiError(403, message, code="host_not_allowed")
            if origin is not None and origin not in self.origins and urlsplit(origin).netloc != host:
                message = f"pages of {origin[:100]} may not use this server; allow them with cors_origin"
                raise ApiError(403, message, code="origin_not_allowed")
        await self.app(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine; one that is missing comes from no browser."""
    try:
        name = urlsplit(f"//{host}").hostname or "localhost"
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
