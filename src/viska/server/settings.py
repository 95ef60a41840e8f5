"""What can be set of the server: by flags, by the environment (`VISKA_PORT=8000`) and by a TOML file, in this order."""

import ipaddress
import os
import re
import ssl
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from viska.errors import OptionError

PREFIX = "VISKA_"
_ORIGIN = re.compile(r"https?://[^/\s]+")

ALIASES = {
    "whisper-1",
    "gpt-transcribe",
    "gpt-live-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-transcribe-diarize",
}
"""Names of hosted models, which mean the default model here."""


def _number(text: Any) -> float:
    if isinstance(text, bool):
        raise ValueError
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError
    return number


def _count(text: Any) -> int:
    if isinstance(text, bool) or int(text) != float(text) or int(text) < 0:
        raise ValueError
    return int(text)


def _some(text: Any) -> int:
    if (count := _count(text)) < 1:
        raise ValueError
    return count


def _switch(text: Any) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(text).lower()]


def _names(given: Any) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else [str(part) for part in given]
    return tuple(part.strip() for part in parts if part.strip())


_KINDS = {
    _number: "a number, 0 or more",
    _count: "a whole number, 0 or more",
    _some: "a whole number, 1 or more",
    _switch: "true or false",
}


def _setting(default: Any, parse: Callable[[Any], Any], text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "help": text})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the server runs. Times in seconds, sizes in MB (a million bytes)."""

    host: str = _setting("127.0.0.1", str, "address to listen on; other machines reach 0.0.0.0, which needs a key")
    port: int = _setting(8000, _count, "port to listen on; 0 takes a free one")
    model: tuple[str, ...] = _setting(("base",), _names, "models to offer; the first is the default and loaded at once")
    alias: tuple[str, ...] = _setting((), _names, "further names for models, as name=model")
    model_dir: str | None = _setting(None, str, "where models are kept (the user's cache folder)")
    device: str | None = _setting(None, str, "cpu, cuda, cuda:1, mps (cuda where there is one, else cpu)")
    compute_type: str = _setting("auto", str, "auto, float32, int8, float16, bfloat16")
    api_key: tuple[str, ...] = _setting(
        (), _names, "keys that clients must have one of; better set by file or variable"
    )
    api_key_file: str | None = _setting(None, str, "a file with one key a line")
    workers: int = _setting(16, _some, "recordings that are worked on at once")
    max_queue: int = _setting(32, _count, "further requests that may wait; beyond, the answer is 429")
    max_upload: float = _setting(500.0, _number, "the largest upload, in MB")
    max_duration: float = _setting(4 * 3600.0, _number, "the longest recording, in seconds; 0 sets no limit")
    upload_timeout: float = _setting(600.0, _number, "seconds for sending one request; 0 sets no limit")
    idle_timeout: float = _setting(
        30.0, _number, "seconds for the next part of an upload, or the next request, to arrive; 0 sets no limit"
    )
    request_timeout: float = _setting(
        3600.0, _number, "seconds for transcribing one recording, waiting included; 0 sets no limit"
    )
    shutdown_grace: float = _setting(30.0, _number, "seconds for running requests, when the server is told to stop")
    memory_budget: float = _setting(0.0, _number, "MB for the weights of all models together; 0 sets no limit")
    unload_after: float = _setting(
        0.0, _number, "seconds without use after which a model leaves the memory; 0 keeps it"
    )
    cors_origin: tuple[str, ...] = _setting(
        (), _names, "origins of web pages, as https://example.org, that may use the server; * is all"
    )
    log_format: str = _setting("json", str, "json, or text")
    log_content: bool = _setting(False, _switch, "whether names of files and texts of transcripts are logged")
    tls_cert: str | None = _setting(None, str, "certificate file, for https")
    tls_key: str | None = _setting(None, str, "key file of the certificate")

    def __post_init__(self) -> None:
        if not self.model:
            raise OptionError("model names no model; give at least one, such as base")
        if self.workers < 1:
            raise OptionError(f"workers is {self.workers}; it must be 1 or more")
        if self.port > 65535:
            raise OptionError(f"port is {self.port}; accepted are 0 to 65535")
        if self.log_format not in ("json", "text"):
            raise OptionError(f"log_format is {self.log_format!r}; accepted are json and text")
        if self.tls_key and not self.tls_cert:
            raise OptionError("tls_key needs the certificate that it belongs to: give tls_cert too")
        if self.tls_cert:
            _check_certificate(self.tls_cert, self.tls_key)
        if wrong := [origin for origin in self.cors_origin if origin != "*" and not _ORIGIN.fullmatch(origin)]:
            raise OptionError(
                f"cors_origin is {wrong[0]!r}; accepted are * and origins such as https://example.org:8080"
            )
        self.aliases()
        keys = self.keys()
        if not self.is_local() and not keys:
            raise OptionError(
                f"host is {self.host!r}, where other machines can reach the server, and there is no key: "
                f"set {PREFIX}API_KEY or api_key_file, or listen on 127.0.0.1"
            )

    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def keys(self) -> frozenset[str]:
        """The keys, those of the file included. Raises OptionError where it cannot be read."""
        if self.api_key_file is None:
            return frozenset(self.api_key)
        try:
            lines = Path(self.api_key_file).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"api_key_file {self.api_key_file!r} cannot be read ({error})") from error
        keys = {*self.api_key, *(line.strip() for line in lines)} - {""}
        if not keys:
            raise OptionError(f"api_key_file {self.api_key_file!r} holds no key; write one on a line")
        return frozenset(keys)

    def aliases(self) -> dict[str, str]:
        """Further names of models, those of the hosted API among them. Raises OptionError for a wrong one."""
        names = {name: self.model[0] for name in sorted(ALIASES) if name not in self.model}
        for pair in self.alias:
            name, equals, target = pair.partition("=")
            if not (name and equals and target in self.model):
                raise OptionError(f"alias is {pair!r}; accepted is name=model with one of {', '.join(self.model)}")
            names[name] = target
        return names


def _check_certificate(cert: str, key: str | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ValueError) as error:
        files = f"tls_cert {cert!r}" + (f" with tls_key {key!r}" if key else "")
        raise OptionError(
            f"{files} cannot be used ({error}); give a PEM certificate and the key that fits it"
        ) from error


def settings_from(flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """The settings: a flag that is not None counts first, then a variable, then the file, then the default.

    The file is named by the flag `config` or the variable VISKA_CONFIG. Raises OptionError for what is not accepted.
    """
    environment = os.environ if environment is None else environment
    known = {setting.name: setting for setting in fields(Settings)}
    variables = {
        name: environment[PREFIX + name.upper()] for name in known if environment.get(PREFIX + name.upper(), "")
    }
    path = flags.get("config") or environment.get(PREFIX + "CONFIG")
    given = {name: (value, f"in {path}") for name, value in _read_file(path, set(known)).items()} if path else {}
    given |= {name: (value, f"in {PREFIX}{name.upper()}") for name, value in variables.items()}
    given |= {name: (flags[name], f"in --{name}") for name in known if flags.get(name) is not None}
    return Settings(**{name: _parsed(known[name], value, where) for name, (value, where) in given.items()})


def _read_file(path: str, known: set[str]) -> dict[str, Any]:
    try:
        content = tomllib.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"the settings file {path!r} cannot be read ({error})") from error
    if unknown := sorted(set(content) - known):
        raise OptionError(f"{path} sets {', '.join(unknown)}; accepted are {', '.join(sorted(known))}")
    return content


def _parsed(setting: "Field[Any]", value: Any, where: str) -> Any:
    parse = setting.metadata["parse"]
    try:
        return parse(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise OptionError(f"{setting.name} is {value!r} {where}; accepted is {_KINDS.get(parse, 'a list')}") from None
