"""The application: routes, and what every request passes through."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from viska.server.access import OnlyOwnPages, RequireKey
from viska.server.admission import Gate
from viska.server.errors import ApiError
from viska.server.models import ModelStore
from viska.server.observe import Metrics, Observe, error_response, facts
from viska.server.openapi import description
from viska.server.recogniser import Recogniser
from viska.server.service import Service, unknown_model
from viska.server.settings import Settings

STATIC = Path(__file__).parent / "static"
PATHS = frozenset(
    {"/", "/docs", "/openapi.json", "/health", "/metrics", "/v1/models"}
    | {"/v1/audio/transcriptions", "/v1/audio/translations"}
)
PAGE_HEADERS = {
    # Nothing from elsewhere is loaded, and nothing is sent elsewhere.
    "content-security-policy": "default-src 'self'; media-src 'self' blob:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(settings: Settings, models: ModelStore, recogniser: Recogniser) -> Starlette:
    """The ASGI application; it closes the recogniser when it is shut down."""
    gate = Gate(settings.workers + settings.max_queue)
    metrics = Metrics()
    metrics.watch("viska_requests_inside", "Requests that hold a place", lambda: gate.inside)
    metrics.watch("viska_model_bytes", "Weights in memory", lambda: sum(models.loaded().values()))
    service = Service(settings, models, recogniser, gate, metrics)
    keys = settings.keys()
    keyed = [Middleware(RequireKey, keys=keys)]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(recogniser.close)

    return Starlette(
        routes=[
            Mount("/v1", routes=_api_routes(service), middleware=keyed),
            Route("/metrics", _metrics(metrics), middleware=keyed),
            Route("/health", _health(models)),
            Route("/openapi.json", _fixed(description(keys=bool(keys)))),
            Route("/docs", _page("docs.html")),
            Route("/", _page("index.html")),
            Mount("/static", _Static(directory=STATIC)),
        ],
        middleware=[
            Middleware(Observe, metrics=metrics, paths=PATHS),
            *([Middleware(CORSMiddleware, **_cors(settings))] if settings.cors_origin else []),
            *([] if keys else [Middleware(OnlyOwnPages, origins=settings.cors_origin)]),
        ],
        exception_handlers={ApiError: _on_api_error, HTTPException: _on_http_exception},
        lifespan=lifespan,
    )


def _api_routes(service: Service) -> list[Route]:
    async def transcribe(request: Request) -> Response:
        return await service.answer(request, "transcribe")

    async def translate(request: Request) -> Response:
        return await service.answer(request, "translate")

    return [
        Route("/audio/transcriptions", transcribe, methods=["POST"]),
        Route("/audio/translations", translate, methods=["POST"]),
        *_model_routes(service.models),
    ]


def _model_routes(models: ModelStore) -> list[Route]:
    created = int(time.time())

    def entry(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": created, "owned_by": "viska"}

    async def listed(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [entry(name) for name in [*models.names, *models.aliases]]})

    async def one(request: Request) -> Response:
        name = request.path_params["model"]
        if models.resolve(name) is None:
            raise unknown_model(name, models)
        return JSONResponse(entry(name))

    return [Route("/models", listed), Route("/models/{model:path}", one)]


def _health(models: ModelStore) -> Endpoint:
    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "models": list(models.names), "loaded": sorted(models.loaded())})

    return health


def _metrics(metrics: Metrics) -> Endpoint:
    async def answer(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return answer


def _fixed(content: dict[str, Any]) -> Endpoint:
    async def answer(_: Request) -> Response:
        return JSONResponse(content)

    return answer


def _page(name: str) -> Endpoint:
    async def answer(_: Request) -> Response:
        return FileResponse(STATIC / name, headers=PAGE_HEADERS)

    return answer


class _Static(StaticFiles):
    """Scripts and styles, which are asked for anew when they have changed."""

    def file_response(self, *args: Any, **keywords: Any) -> Response:
        """A file, with the headers of the pages."""
        response = super().file_response(*args, **keywords)
        response.headers.update(PAGE_HEADERS)
        return response


def _cors(settings: Settings) -> dict[str, Any]:
    return {
        "allow_origins": settings.cors_origin,
        "allow_methods": ["GET", "POST"],
        "allow_headers": ["*"],
        "expose_headers": ["x-request-id", "x-viska-unused-fields", "retry-after"],
    }


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    facts(request.scope)["error"] = error.code
    return error_response(error)


async def _on_http_exception(_: Request, error: Exception) -> Response:
    """What the router and the form parser refuse, in the shape of the API."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    message = {404: "there is nothing at this address; /docs lists what there is"}.get(error.status_code, error.detail)
    return error_response(ApiError(error.status_code, message, code=code, headers=error.headers))
