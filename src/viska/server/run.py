"""The server as a process: logs, models, sockets, and a clean end."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from viska.errors import OptionError
from viska.model import Whisper
from viska.server.app import create_app
from viska.server.models import ModelStore
from viska.server.observe import JsonLines, TextLines
from viska.server.recogniser import ThreadRecogniser
from viska.server.settings import Settings
from viska.transcription.backend import backend_for
from viska.weights import load_model
from viska.weights.load import check_known

logger = logging.getLogger("viska.server")


def serve(settings: Settings) -> None:
    """Serve until the process is told to stop. Raises ViskaError where the server cannot start."""
    set_up_logs(settings)
    for name in settings.model:
        check_known(name)
    with bound(settings.host, settings.port) as sockets:
        _serve(settings, sockets)


def _serve(settings: Settings, sockets: list[socket.socket]) -> None:
    def load(name: str) -> Whisper:
        model = load_model(name, settings.device, settings.model_dir, compute_type=settings.compute_type)
        backend_for(model, reference=False)  # the engine is made now, and not for the first request
        return model

    models = ModelStore(
        settings.model,
        load,
        aliases=settings.aliases(),
        budget_mb=settings.memory_budget,
        unload_after_s=settings.unload_after,
    )

    def load_first() -> None:
        with models.use(settings.model[0]):
            pass

    with ThreadPoolExecutor(1) as aside:  # whose helpers end with it: see viska.server.threads
        aside.submit(load_first).result()  # now: what is wrong with it is told at once
    recogniser = ThreadRecogniser(models, settings.workers)
    # uvicorn raises the signal that ended it once more; a server that was told to stop and did has not failed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        Server(uvicorn_config(create_app(settings, models, recogniser), settings)).run(sockets)
    finally:
        recogniser.close()


@contextmanager
def bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets that have the address, one for each kind of network, and do not listen yet: that takes the model.

    Raises OptionError for an address that cannot be had.
    """
    with ExitStack() as stack:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            sockets = [stack.enter_context(_bound(*one)) for one in found]
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OptionError(f"cannot listen on {host}, port {port} ({reason}); give another host or port") from error
        yield sockets


def _bound(family: int, kind: int, protocol: int, _name: str, address: Any) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
    except OSError:
        one.close()
        raise
    return one


def uvicorn_config(app: Any, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the application."""

    class Protocol(ImpatientProtocol):
        idle_s = settings.idle_timeout

    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


class Server(uvicorn.Server):
    """Tells where it listens."""

    async def startup(self, sockets: Any = None) -> None:
        """Listen."""
        await super().startup(sockets)
        for address in self.addresses():
            logger.info("listening on %s", address)

    def addresses(self) -> list[str]:
        """The addresses under which the server is reached."""
        scheme = "https" if self.config.is_ssl else "http"
        found = [socket.getsockname() for server in getattr(self, "servers", []) for socket in server.sockets]
        return [
            f"{scheme}://[{name[0]}]:{name[1]}" if ":" in name[0] else f"{scheme}://{name[0]}:{name[1]}"
            for name in found
        ]


class ImpatientProtocol(H11Protocol):
    """Closes connections that wait for nothing, or send the headers of a request too slowly."""

    idle_s = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        self._patience.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Count anew, for the next request or the rest of a refused one."""
        super().on_response_complete()
        self._patience.cancel()
        self._arm()

    def _arm(self) -> None:
        self._patience = self.loop.call_later(self.idle_s or 3600, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def set_up_logs(settings: Settings) -> None:
    """Logs of Viska and uvicorn to standard error, as JSON or text."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonLines() if settings.log_format == "json" else TextLines("%(asctime)s %(levelname)s %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("viska.server").setLevel(logging.INFO)
