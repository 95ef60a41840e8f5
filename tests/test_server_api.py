"""The real `openai` client, blocking and asynchronous, against a real server with the real tiny.en."""

import asyncio
import json
import shutil
import subprocess
import urllib.request
import warnings
from collections.abc import Iterator

import httpx2
import numpy as np
import openai
import pytest

import viska
from serving import Running, running, tone, wav
from viska.server.models import ModelStore
from viska.server.settings import Settings

KEY = "key of the tests"
TEXT = (
    "And Mr. John Dashwood had then leisure to consider how much there might be prudently in his power to do for them."
)
FORMATS = ["json", "text", "srt", "vtt", "verbose_json"]


@pytest.fixture(scope="module")
def server(tiny_en) -> Iterator[Running]:
    settings = Settings(model=("tiny.en", "org/name"), api_key=(KEY,), max_upload=25.0)
    models = ModelStore(settings.model, lambda name: tiny_en, aliases=settings.aliases())
    with running(settings, models) as found:
        yield found


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.api, api_key=KEY, max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def recording(recordings):
    return recordings / "sense_and_sensibility_0870.wav"


def transcribe(client: openai.OpenAI, file, **options):
    return client.audio.transcriptions.create(model="whisper-1", file=file, **options)


def text_of(answer, response_format: str) -> str:
    """The spoken text in an answer, whatever its form."""
    if response_format in ("json", "verbose_json"):
        return answer.text
    lines = [line for line in answer.splitlines() if line and not line.isdigit() and "-->" not in line]
    return " ".join(line for line in lines if line != "WEBVTT")


def joined(logprobs) -> bytes:
    """The bytes of all tokens; the client makes floats of them."""
    return bytes(int(byte) for entry in logprobs for byte in entry.bytes)


INPUTS = {
    "handle": lambda path: path.open("rb"),
    "path": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "tuple": lambda path: ("speech.webm", path.read_bytes(), "audio/webm"),
}


@pytest.mark.parametrize("response_format", FORMATS)
@pytest.mark.parametrize("kind", INPUTS)
def test_every_format_for_every_kind_of_input(client, recording, response_format, kind):
    file = INPUTS[kind](recording)
    answer = transcribe(client, file, response_format=response_format)
    if kind == "handle":
        file.close()
    assert text_of(answer, response_format) == TEXT


@pytest.mark.parametrize("kind", INPUTS)
def test_the_asynchronous_client(server, recording, kind):
    async def ask() -> list:
        async with openai.AsyncOpenAI(base_url=server.api, api_key=KEY, max_retries=0) as client:
            answers = []
            for name in FORMATS:
                file = INPUTS[kind](recording)
                answer = await client.audio.transcriptions.create(model="whisper-1", file=file, response_format=name)
                answers.append(answer)
                if kind == "handle":
                    file.close()
            stream = await client.audio.transcriptions.create(model="whisper-1", file=recording, stream=True)
            return [*answers, [event async for event in stream]]

    *answers, events = asyncio.run(ask())
    for answer, name in zip(answers, FORMATS, strict=True):
        assert text_of(answer, name) == TEXT
    assert events[-1].text == TEXT


def test_the_client_within_the_process(server, recording):
    async def ask() -> list:
        transport = httpx2.ASGITransport(app=server.app)
        async with (
            httpx2.AsyncClient(transport=transport) as http,
            openai.AsyncOpenAI(base_url="http://localhost/v1", api_key=KEY, max_retries=0, http_client=http) as client,
        ):
            models = await client.models.list()
            answer = await client.audio.transcriptions.create(model="whisper-1", file=recording)
            return [models.data[0].id, answer.text]

    assert asyncio.run(ask()) == ["tiny.en", TEXT]


def test_curl(server, recording):
    if shutil.which("curl") is None:
        pytest.skip("no curl here")

    def curl(*arguments: str) -> str:
        command = ["curl", "--silent", "--show-error", "-H", f"Authorization: Bearer {KEY}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    url = f"{server.api}/audio/transcriptions"
    answer = curl(url, "-F", "model=whisper-1", "-F", f"file=@{recording}")
    assert json.loads(answer)["text"] == TEXT
    words = curl(
        url,
        *("-F", f"file=@{recording}", "-F", "model=whisper-1", "-F", "response_format=verbose_json"),
        *("-F", "timestamp_granularities=word,segment", "-F", 'chunking_strategy={"type": "server_vad"}'),
    )
    assert {"words", "segments"} <= set(json.loads(words))
    stream = curl("-N", url, "-F", "model=whisper-1", "-F", "stream=true", "-F", f"file=@{recording}")
    assert stream.endswith("data: [DONE]\n\n")
    # A body as it comes, of no length that is told.
    chunked = curl(url, "-H", "Transfer-Encoding: chunked", "-F", "model=whisper-1", "-F", f"file=@{recording}")
    assert json.loads(chunked)["text"] == TEXT


def test_the_text_is_the_one_from_python(client, recordings, tiny_en):
    for name in ("sense_and_sensibility_0880.flac", "sense_and_sensibility_0890.flac"):
        for options in ({}, {"temperature": 0.7, "extra_body": {"seed": 3}}, {"prompt": "Dashwood."}):
            ours = dict(options.get("extra_body", {}))
            if "temperature" in options:
                ours["temperature"] = 0.7
            if "prompt" in options:
                ours["initial_prompt"] = "Dashwood."
            expected = viska.transcribe(tiny_en, recordings / name, **ours)
            answer = transcribe(client, recordings / name, response_format="verbose_json", **options)
            assert answer.text == expected.text.strip()
            assert [segment.text for segment in answer.segments] == [segment.text for segment in expected.segments]


@pytest.mark.parametrize("granularities", [None, ["segment"], ["word"], ["word", "segment"]])
def test_granularities(client, recording, granularities):
    options = {} if granularities is None else {"timestamp_granularities": granularities}
    answer = transcribe(client, recording, response_format="verbose_json", **options)
    wanted = granularities or ["segment"]
    assert (answer.segments is not None) == ("segment" in wanted)
    assert (answer.words is not None) == ("word" in wanted)
    assert answer.language == "english"
    assert answer.duration == pytest.approx(7.1)
    assert answer.usage.seconds == pytest.approx(7.1)
    if answer.words is not None:
        assert " ".join(word.word for word in answer.words) == TEXT
        assert all(
            before.end <= after.start + 1e-6 for before, after in zip(answer.words, answer.words[1:], strict=False)
        )
        assert 0 < answer.words[0].model_extra["probability"] <= 1
    if answer.segments is not None:
        assert "".join(segment.text for segment in answer.segments) == " " + TEXT
        assert answer.segments[0].avg_logprob < 0


@pytest.mark.parametrize("options", [{}, {"response_format": "verbose_json"}, {"include": ["logprobs"]}])
def test_a_stream_gives_the_text_of_the_answer_that_is_not_streamed(client, recordings, options):
    file = wav(np.concatenate([viska.load_audio(path) for path in sorted(recordings.glob("*_08*"))]))
    whole = transcribe(client, file)
    events = list(transcribe(client, file, stream=True, **options))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    ends = [event for event in events if event.type == "transcript.text.done"]
    assert len(ends) == 1
    assert events[-1] is ends[0]
    assert "".join(deltas) == ends[0].text == whole.text
    assert len(deltas) > 1
    if "include" in options:
        assert joined(ends[0].logprobs).decode().strip() == whole.text


def test_log_probabilities(client, recording):
    answer = transcribe(client, recording, include=["logprobs"])
    assert joined(answer.logprobs).decode().strip() == TEXT
    assert all(entry.logprob <= 0 for entry in answer.logprobs)


@pytest.mark.parametrize("temperature", [0, 0.7])
def test_temperatures(client, recording, temperature):
    answer = transcribe(client, recording, temperature=temperature, response_format="verbose_json")
    assert answer.segments[0].temperature == temperature


def test_extensions_reach_the_recogniser(client, recording, tiny_en):
    bias = ["Jon Dashwoode"]
    extra = {"hotwords": bias, "bias_strength": 6, "beam_size": 2}
    expected = viska.transcribe(tiny_en, recording, bias=bias, bias_strength=6, beam_size=2).text.strip()
    assert transcribe(client, recording, extra_body=extra).text == expected != TEXT


def test_fields_without_effect_are_named_in_a_header(client, recording):
    answer = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1", file=recording, chunking_strategy={"type": "server_vad"}, extra_body={"vad_filter": True}
    )
    assert answer.headers["x-viska-unused-fields"] == "chunking_strategy, vad_filter"
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.parse().text == TEXT


def test_long_references_of_known_speakers_come_through(client, recording):
    reference = "data:audio/wav;base64," + "A" * 1_500_000
    answer = transcribe(
        client, recording, extra_body={"known_speaker_names": ["Jane"], "known_speaker_references": [reference]}
    )
    assert answer.text == TEXT


def test_models(client):
    listed = client.models.list().data
    assert [model.id for model in listed[:2]] == ["tiny.en", "org/name"]
    assert {"whisper-1", "gpt-4o-transcribe"} <= {model.id for model in listed}
    assert client.models.retrieve("org/name").id == "org/name"
    assert client.models.retrieve("whisper-1").owned_by == "viska"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no/such")
    assert caught.value.code == "model_not_found"


def failing(client, expected: type[openai.APIStatusError], file, **options) -> openai.APIStatusError:
    with pytest.raises(expected) as caught:
        client.audio.transcriptions.create(**{"model": "whisper-1", "file": file, **options})
    assert caught.value.request_id.startswith("req_")
    assert caught.value.body["message"]
    return caught.value


def test_errors_say_what_is_wrong_in_the_shape_of_the_api(client, recording):
    error = failing(client, openai.NotFoundError, recording, model="whisper-9")
    assert (error.param, error.code, error.type) == ("model", "model_not_found", "invalid_request_error")
    for file in (("a.wav", b""), b"not a sound at all", tone()[:30]):
        error = failing(client, openai.BadRequestError, file)
        assert (error.param, error.code) == ("file", "invalid_audio")
    error = failing(client, openai.BadRequestError, recording, temperature=3)
    assert (error.param, error.code) == ("temperature", "invalid_value")
    error = failing(client, openai.BadRequestError, recording, language="xx")
    assert (error.param, error.code) == ("language", "unsupported_value")
    error = failing(client, openai.BadRequestError, recording, response_format="diarized_json")
    assert (error.param, error.code) == ("response_format", "unsupported_value")


def test_errors_come_before_a_stream_begins(client, recording):
    assert failing(client, openai.BadRequestError, b"not a sound", stream=True).code == "invalid_audio"
    assert failing(client, openai.NotFoundError, recording, model="x", stream=True).code == "model_not_found"


def test_26_mb_where_25_are_the_limit(client):
    error = failing(client, openai.APIStatusError, b"\0" * 26_000_001)
    assert (error.status_code, error.code, error.param) == (413, "file_too_large", "file")
    assert error.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("key", ["wrong", ""])
def test_a_wrong_or_missing_key(server, recording, key):
    with openai.OpenAI(base_url=server.api, api_key=key or "none", max_retries=0) as client:
        options = {} if key else {"extra_headers": {"Authorization": openai.Omit()}}
        with pytest.raises(openai.AuthenticationError) as caught:
            client.audio.transcriptions.create(model="whisper-1", file=recording, **options)
        assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")
        with pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_translations(base, recording):
    settings = Settings(model=("base",))
    models = ModelStore(settings.model, lambda name: base, aliases=settings.aliases())
    with (
        running(settings, models) as server,
        openai.OpenAI(base_url=server.api, api_key="any", max_retries=0) as client,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)  # of the client: the hosted API is being retired
        answers = {
            name: client.audio.translations.create(model="whisper-1", file=recording, response_format=name)
            for name in FORMATS
        }
        with pytest.raises(openai.BadRequestError) as caught:
            client.audio.translations.create(model="whisper-1", file=recording, temperature=2)
    assert caught.value.param == "temperature"
    texts = {text_of(answer, name) for name, answer in answers.items()}
    assert len(texts) == 1
    assert "John Dashwood" in texts.pop()
    assert answers["verbose_json"].task == "translate"


def test_what_is_public_needs_no_key(server):
    for path, kind in {
        "/": "text/html",
        "/docs": "text/html",
        "/health": "application/json",
        "/openapi.json": "application/json",
        "/static/page.js": "javascript",
    }.items():
        with urllib.request.urlopen(server.url + path) as answer:
            assert kind in answer.headers["content-type"]
            assert answer.headers["x-request-id"]
    with urllib.request.urlopen(server.url + "/openapi.json") as answer:
        assert json.load(answer)["security"] == [{"key": []}]
    for path in ("/metrics", "/v1/nothing", "/v1/models"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server.url + path)
        assert caught.value.code == 401
        assert caught.value.headers["www-authenticate"] == "Bearer"
        caught.value.close()
