"""What every request passes through: an id, errors in one shape, a line in the log, and counts."""

import json
import logging
import re
import secrets
import time
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from viska.server.errors import ApiError, api_error

logger = logging.getLogger("viska.server.requests")

GONE = 499
"""The status in the log for a client that did not wait for one."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """Counts for Prometheus, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("path", "status")
        self.requests = Counter("viska_requests", "Requests answered", labels, registry=self.registry)
        self.seconds = Histogram(
            "viska_request_seconds",
            "From the request to the end of its answer",
            ("path",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.audio = Counter("viska_audio_seconds", "Seconds of sound transcribed", registry=self.registry)
        self.uploaded = Counter("viska_uploaded_bytes", "Bytes of recordings received", registry=self.registry)
        self.first_text = Histogram(
            "viska_first_text_seconds", "From the request to the first text", registry=self.registry, buckets=_SECONDS
        )

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge whose value is read when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(read)


def facts(scope: Scope) -> dict[str, Any]:
    """What the log shall say of a request; whoever knows something adds it."""
    found: dict[str, Any] = scope.setdefault("viska.facts", {})
    return found


class Observe:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and see to its end."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        try:
            await self.app(scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.status = GONE
        except (Exception, CancelledError) as error:  # uvicorn cancels what runs beyond the grace
            await exchange.fail(error, receive)
        finally:
            self._note(scope, exchange)

    def _note(self, scope: Scope, exchange: "_Exchange") -> None:
        elapsed = time.monotonic() - exchange.began
        path = scope["path"] if scope["path"] in self.paths else "other"
        status = exchange.status or GONE
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.seconds.labels(path).observe(elapsed)
        line = {
            "request_id": exchange.request_id,
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(elapsed, 3),
            **facts(scope),
        }
        logger.log(logging.ERROR if status in (500, 503) else logging.INFO, "request", extra={"facts": line})


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.began = time.monotonic()
        self.status = 0
        self.request_id = request_id(Headers(scope=scope).get("x-request-id"))
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on, with the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.request_id
            headers.setdefault("x-content-type-options", "nosniff")
        await self._send(message)

    async def fail(self, error: Exception | CancelledError, receive: Receive) -> None:
        """Answer with an error, where the answer has not begun."""
        answer = api_error(error)
        facts(self.scope)["error"] = answer.code
        if answer.status >= 500:
            logger.error("request %s failed", self.request_id, exc_info=error)
        if not self.status:
            await error_response(answer)(self.scope, receive, self.send)


def error_response(error: ApiError) -> JSONResponse:
    """The answer that tells an error."""
    return JSONResponse(error.body(), error.status, error.headers)


def request_id(given: str | None) -> str:
    """The id that the client gave, if it is fit for logs, else a new one."""
    return given if given and _ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


class JsonLines(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """A log record as one line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        known = getattr(record, "facts", {})
        details = "".join(f" {name}={value}" for name, value in known.items())
        return super().format(record) + details
