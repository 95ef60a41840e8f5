"""The description of the API, for tools and for the page at /docs."""

from typing import Any

from viska.languages import LANGUAGES
from viska.server.fields import EXTENSIONS, FORMATS, GRANULARITIES, MAX_CHARACTERS, Extension
from viska.version import __version__

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _extension(name: str, extension: Extension) -> Schema:
    schema: Schema = {"type": extension.kind, "description": f"`{name}` of viska.transcribe."}
    if extension.kind != "boolean":
        schema |= {"minimum": extension.least, "maximum": extension.most}
    return schema


_ERROR = _object(
    {
        "error": _object(
            {"message": _TEXT, "type": _TEXT, "param": _nullable(_TEXT), "code": _nullable(_TEXT)},
        )
    }
)
_USAGE = _object({"type": {"const": "duration"}, "seconds": _NUMBER})
_SEGMENT = _object(
    {
        "id": {"type": "integer"},
        "seek": {"type": "integer"},
        "start": _NUMBER,
        "end": _NUMBER,
        "text": _TEXT,
        "tokens": _list({"type": "integer"}),
        "temperature": _NUMBER,
        "avg_logprob": _NUMBER,
        "compression_ratio": _NUMBER,
        "no_speech_prob": _NUMBER,
    }
)
_WORD = _object({"word": _TEXT, "start": _NUMBER, "end": _NUMBER, "probability": _NUMBER})
_LOGPROB = _object({"token": _TEXT, "logprob": _NUMBER, "bytes": _list({"type": "integer"})})
_JSON = _object({"text": _TEXT, "usage": _ref("Usage")}, {"logprobs": _list(_ref("LogProb"))})
_VERBOSE = _object(
    {
        "task": {"enum": ["transcribe", "translate"]},
        "language": _TEXT,
        "duration": _NUMBER,
        "text": _TEXT,
        "usage": _ref("Usage"),
    },
    {"segments": _list(_ref("Segment")), "words": _list(_ref("Word")), "record": _list({"type": "object"})},
)
_MODEL = _object({"id": _TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": _TEXT})

_FILE: Schema = {
    "type": "string",
    "contentMediaType": "application/octet-stream",
    "description": "A recording: FLAC, MP3, MP4, M4A, Ogg, WAV, WebM and others; told by its content.",
}
_COMMON: dict[str, Schema] = {
    "prompt": {
        **_TEXT,
        "maxLength": MAX_CHARACTERS,
        "description": "Text to stand before the recording: names, spellings, style.",
    },
    "temperature": {"type": "number", "minimum": 0, "maximum": 1, "description": "0 goes up by itself where needed."},
    "stream": {"type": "boolean", "description": "Whether to send text as it comes, as text/event-stream."},
    **{name: _extension(name, extension) for name, extension in EXTENSIONS.items()},
}
_TRANSCRIPTION: dict[str, Schema] = {
    **_COMMON,
    "language": {"enum": sorted(LANGUAGES), "description": "A code, or an English name; told where it is left out."},
    "languages[]": {**_list({"enum": sorted(LANGUAGES)}), "description": "Those among which to tell."},
    "response_format": {"enum": [name for name in FORMATS if name != "diarized_json"], "default": "json"},
    "timestamp_granularities[]": {
        **_list({"enum": list(GRANULARITIES)}),
        "description": "What verbose_json has; segments where nothing is asked for.",
    },
    "include[]": {**_list({"enum": ["logprobs"]}), "description": "With json: the log-probability of each token."},
    "keywords[]": {**_list(_TEXT), "description": "Words and phrases to expect."},
    "chunking_strategy": {**_TEXT, "description": "Checked, and without effect: recordings are cut by the model."},
}


def _errors(*statuses: int) -> dict[str, Any]:
    texts = {
        400: "A field, or the file, is not accepted",
        401: "No key of this server",
        403: "Not from this machine",
        404: "No such model",
        408: "The upload is too slow",
        413: "The upload is too large",
        415: "No multipart/form-data",
        429: "The server is full; see retry-after",
        500: "The server failed",
        503: "The model cannot be had, or it took too long",
    }
    content = {"application/json": {"schema": _ref("Error")}}
    return {str(status): {"description": texts[status], "content": content} for status in statuses}


def _speech(task: str, fields: dict[str, Schema]) -> Schema:
    body = _object({"file": _FILE, "model": {**_TEXT, "minLength": 1}}, fields)
    text = {"schema": _TEXT}
    good = {
        "application/json": {"schema": {"anyOf": [_ref("Verbose"), _ref("Text")]}},
        "text/plain": text,
        "application/x-subrip": text,
        "text/vtt": text,
        "text/event-stream": {"schema": _object({"data": {**_TEXT, "description": "JSON, or [DONE] at the end"}})},
    }
    return {
        "summary": "Speech to text" if task == "transcription" else "Speech in any language to English text",
        "operationId": f"create_{task}",
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}},
        "responses": {
            "200": {"description": "The text", "content": good},
            **_errors(400, 401, 403, 404, 408, 413, 415, 429, 500, 503),
        },
    }


def _get(summary: str, schema: Schema, *errors: int, kind: str = "application/json") -> Schema:
    answer = {"description": summary, "content": {kind: {"schema": schema}}}
    return {"summary": summary, "responses": {"200": answer, **_errors(*errors)}}


def description(*, keys: bool) -> Schema:
    """The OpenAPI document; `keys` tells whether the server wants one."""
    translation = {name: schema for name, schema in _TRANSCRIPTION.items() if name in {*_COMMON, "response_format"}}
    model = _get("A model", _ref("Model"), 401, 403, 404)
    model["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {**_TEXT, "minLength": 1}}]
    public: Schema = {"security": []}
    health = _object({"status": {"const": "ok"}, "models": _list(_TEXT), "loaded": _list(_TEXT)})
    secured: Schema = {"security": [{"key": []}]} if keys else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Viska",
            "version": __version__,
            "description": "Speech to text with OpenAI's Whisper models; the clients of the hosted API work unchanged.",
        },
        **secured,
        "paths": {
            "/v1/audio/transcriptions": {"post": _speech("transcription", _TRANSCRIPTION)},
            "/v1/audio/translations": {"post": _speech("translation", translation)},
            "/v1/models": {
                "get": _get(
                    "The models", _object({"object": {"const": "list"}, "data": _list(_ref("Model"))}), 401, 403
                )
            },
            "/v1/models/{model}": {"get": model},
            "/health": {"get": {**_get("Whether the server works", health, 403), **public}},
            "/metrics": {"get": _get("Counts for Prometheus", _TEXT, 401, 403, kind="text/plain")},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": _ERROR,
                "Usage": _USAGE,
                "Segment": _SEGMENT,
                "Word": _WORD,
                "LogProb": _LOGPROB,
                "Text": _JSON,
                "Verbose": _VERBOSE,
                "Model": _MODEL,
            },
        },
    }
