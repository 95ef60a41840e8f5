"""A transcription or translation, from the request to its answer."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from viska.result import Segment, Transcript
from viska.server.admission import Gate
from viska.server.answers import CONTENT_TYPES, json_body, plain_body
from viska.server.errors import ApiError, api_error, server_error, stopping
from viska.server.fields import Wanted, parse
from viska.server.models import ModelStore
from viska.server.observe import Metrics, facts
from viska.server.recogniser import Job, Recogniser
from viska.server.settings import Settings
from viska.server.stream import END, STILL_HERE, Event, EventWriter, frame
from viska.server.uploads import Form, check_duration, check_file, read_form

logger = logging.getLogger(__name__)

STILL_HERE_S = 10.0


@dataclass(frozen=True)
class Service:
    """All that a request needs."""

    settings: Settings
    models: ModelStore
    recogniser: Recogniser
    gate: Gate
    metrics: Metrics

    async def answer(self, request: Request, task: str) -> Response:
        """Read a request, do what it asks, and answer. Raises ApiError."""
        with ExitStack() as held:
            held.callback(self.gate.enter())
            form = await read_form(request, self.settings)
            held.callback(form.close)
            wanted, model = self._understood(form, task, request)
            file = check_file(form, self.settings)
            promised_s = await run_in_threadpool(check_duration, file, self.settings.max_duration)
            follower = Follower(request, self)
            job = Job(file, model, wanted.options, follower.segment, follower.progress)
            job.promised_s = promised_s
            # From here on the job holds the file and the place, wherever the request goes.
            release = held.pop_all().close
            job.future.add_done_callback(lambda _: release())
        follower.start(job)
        self.recogniser.submit(job)
        headers = {"x-viska-unused-fields": ", ".join(wanted.unused)} if wanted.unused else {}
        if wanted.stream:
            return await follower.stream(wanted, headers)
        transcript = await follower.result()
        self.note(request, job, transcript)
        return body_response(transcript, wanted, job, headers)

    def _understood(self, form: Form, task: str, request: Request) -> tuple[Wanted, str]:
        known = facts(request.scope)
        known["bytes"] = form.size
        self.metrics.uploaded.inc(form.size)
        if self.settings.log_content:
            known["filename"] = form.filename
        wanted = parse(form.fields, task)
        known |= {"format": wanted.response_format, "stream": wanted.stream}
        model = self.models.resolve(wanted.model)
        if model is None:
            raise unknown_model(wanted.model, self.models)
        known["model"] = model
        return wanted, model

    def note(self, request: Request, job: Job, transcript: Transcript) -> None:
        """Count and log what was transcribed."""
        self.metrics.audio.inc(job.duration_s)
        known = facts(request.scope)
        known |= {"audio_seconds": round(job.duration_s, 2), "language": transcript.language}
        if self.settings.log_content:
            known["text"] = transcript.text


def unknown_model(name: str, models: ModelStore) -> ApiError:
    """A model that is not offered."""
    offered = ", ".join([*models.names, *models.aliases])
    return ApiError(
        404,
        f"the model {name[:100]!r} does not exist here; offered are {offered}",
        param="model",
        code="model_not_found",
    )


def body_response(transcript: Transcript, wanted: Wanted, job: Job, headers: dict[str, str]) -> Response:
    """The answer that is not streamed."""
    if (content_type := CONTENT_TYPES.get(wanted.response_format)) is not None:
        body = plain_body(transcript, wanted.response_format)
        return PlainTextResponse(body, headers={**headers, "content-type": content_type})
    return JSONResponse(json_body(transcript, wanted, job.duration_s, job.token_bytes), headers=headers)


class Sign(Enum):
    """What a job may tell beside its segments."""

    PROGRESS = "progress"
    END = "end"


class Follower:
    """Follows a job for one request: what the recogniser's thread tells is handed to the request's event loop."""

    def __init__(self, request: Request, service: Service) -> None:
        self.request = request
        self.service = service
        self.began = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[Segment | Sign] = asyncio.Queue()
        self._stirred = asyncio.Event()
        self._spoke = False
        self.job: Job

    def start(self, job: Job) -> None:
        """Follow this job."""
        self.job = job
        job.future.add_done_callback(lambda _: self._tell(Sign.END))

    def segment(self, segment: Segment) -> None:
        """A segment was decoded; called from a thread of the recogniser."""
        if not self._spoke:
            self._spoke = True
            self.service.metrics.first_text.observe(time.monotonic() - self.began)
        self._tell(segment)

    def progress(self) -> None:
        """The job came further; called from a thread of the recogniser."""
        self._tell(Sign.PROGRESS)

    def _tell(self, news: Segment | Sign) -> None:
        # The loop is closed where the server has stopped, and nobody listens.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._hear, news)

    def _hear(self, news: Segment | Sign) -> None:
        self._news.put_nowait(news)
        self._stirred.set()

    async def result(self) -> Transcript:
        """The transcript. Raises what went wrong; the job ends with the client, or with our patience."""
        try:
            await self._first_of(asyncio.wrap_future(self.job.future))
            return finished(self.job)
        finally:
            self.job.cancel()

    async def stream(self, wanted: Wanted, headers: dict[str, str]) -> Response:
        """The answer as events. Raises what goes wrong before the first of them."""
        try:
            await self._first_of(asyncio.ensure_future(self._stirred.wait()))
            if self.job.done:
                finished(self.job)
        except BaseException:
            self.job.cancel()
            raise
        return EventStream(self.job, self._frames(EventWriter(wanted, self.job)), headers)

    async def _first_of(self, waiting: "asyncio.Future[Any]") -> None:
        """Wait for it, as long as the client does. Raises ClientDisconnect, and ApiError for our own impatience."""
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait({waiting, gone}, timeout=self._patience_s(), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise ClientDisconnect if gone.done() else self._too_long()
        finally:
            gone.cancel()
            if not waiting.cancel() and not waiting.cancelled():
                waiting.exception()  # `finished` tells it

    async def _frames(self, writer: EventWriter) -> AsyncIterator[bytes]:
        """The lines of the answer; an error ends them."""
        try:
            async for event in self._events(writer):
                yield STILL_HERE if event is None else frame(event)
        except (Exception, asyncio.CancelledError) as error:
            answer = api_error(error)
            facts(self.request.scope)["error"] = answer.code
            if answer.status >= 500:
                logger.error("a stream failed", exc_info=error)
            yield frame(answer.body())
        yield END

    async def _events(self, writer: EventWriter) -> AsyncIterator[Event | None]:
        """The events; None where nothing happened for long."""
        while (news := await self._next_news()) is not Sign.END:
            if isinstance(news, Segment):
                for event in writer.segment(news):
                    yield event
            else:
                yield writer.progress() if news is Sign.PROGRESS else None
        transcript = finished(self.job)
        self.service.note(self.request, self.job, transcript)
        for event in writer.done(transcript):
            yield event

    async def _next_news(self) -> Segment | Sign | None:
        patience_s = self._patience_s()
        try:
            async with asyncio.timeout(min(STILL_HERE_S, patience_s)):
                return await self._news.get()
        except TimeoutError:
            if patience_s <= STILL_HERE_S:
                raise self._too_long() from None
            return None

    async def _gone(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    def _patience_s(self) -> float:
        limit = self.service.settings.request_timeout
        return max(0.0, self.began + limit - time.monotonic()) if limit else float(2**31)

    def _too_long(self) -> ApiError:
        limit = self.service.settings.request_timeout
        return server_error(
            503, f"transcribing took longer than {limit:g} s; send the recording in parts", "request_timeout"
        )


def finished(job: Job) -> Transcript:
    """The transcript of a job that is done. Raises what went wrong; half of a transcript is none."""
    if job.cancelled:
        raise stopping()
    return job.future.result()


class EventStream(StreamingResponse):
    """An answer that ends its job when it ends, in whatever way."""

    def __init__(self, job: Job, frames: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        headers = {**headers, "cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(frames, media_type="text/event-stream", headers=headers)
        self.job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.cancel()
