"""Errors in the shape of the hosted API: a status, and `{"error": {message, type, param, code}}`."""

import re
from asyncio import CancelledError
from collections.abc import Mapping
from typing import Any

from viska.errors import AudioError, LanguageError, ModelError, OptionError, OutOfMemoryError, ViskaError

INVALID_REQUEST = "invalid_request_error"


class ApiError(ViskaError):
    """An answer that says what is wrong; `param` names the field at fault, `code` is for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = INVALID_REQUEST,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.kind = kind
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


def invalid(param: str, message: str, code: str = "invalid_value") -> ApiError:
    """A field whose value is not accepted."""
    return ApiError(400, message, param=param, code=code)


def server_error(status: int, message: str, code: str) -> ApiError:
    """A fault of the server that trying again will not mend."""
    return ApiError(status, message, code=code, kind="server_error", headers={"x-should-retry": "false"})


def too_many(message: str, retry_after: int, code: str = "queue_full") -> ApiError:
    """The server is full for now."""
    headers = {"retry-after": str(retry_after)}
    return ApiError(429, message, code=code, kind="rate_limit_error", headers=headers)


def model_busy(name: str) -> ApiError:
    """A model that finds no room in memory for now."""
    message = f"other models are in use, and leave no room in memory for {name}; try again later"
    return ApiError(503, message, code="model_busy", kind="server_error", headers={"retry-after": "30"})


def stopping() -> ApiError:
    """A request that the end of the server cuts short; another one, or this one when it is back, may do it."""
    message = "the server is stopping before the recording is transcribed; send it again"
    return ApiError(503, message, code="shutting_down", kind="server_error", headers={"retry-after": "30"})


def api_error(error: BaseException) -> ApiError:
    """What to answer for an error of any kind; messages of unexpected ones are for the log alone."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, CancelledError):
        return stopping()
    if isinstance(error, AudioError):
        return invalid("file", _plain(str(error)), "invalid_audio")
    if isinstance(error, LanguageError):
        return invalid("language", str(error), "unsupported_value")
    if isinstance(error, OptionError):
        return ApiError(400, str(error), code="invalid_value")
    if isinstance(error, OutOfMemoryError | MemoryError):
        return server_error(
            503, "the recording does not fit into the server's memory: send it in parts", "out_of_memory"
        )
    if isinstance(error, ModelError):
        return server_error(503, "the model cannot be loaded; the server's log says why", "model_unavailable")
    return server_error(500, "the server failed at this request; its log says why, by the request id", "internal_error")


def _plain(message: str) -> str:
    """A message about the upload, which is an unnamed file on this side."""
    return re.sub(r"^The file object \S+ ", "The uploaded file ", message)
