"""Files over HTTP: resumed after an interruption, checked, and under their final name only when whole."""

import errno
import hashlib
import logging
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests
from requests.auth import AuthBase
from tqdm import tqdm

from viska.version import __version__
from viska.weights.source import SourceError, WrongDigestError, sha256_of

_log = logging.getLogger(__name__)

REACH_SECONDS = 3.0
READ_SECONDS = 15.0
ATTEMPTS = 4
PAUSE_SECONDS = 0.5
CHUNK_BYTES = 1 << 15  # a connection that breaks loses the chunk that had begun
HEADERS = {"User-Agent": f"viska/{__version__}", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch. `size` in bytes, `sha256` and `git_sha1` (of git's blob) are checked where they are known."""

    url: str
    name: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None


class _Retry(Exception):
    """The server or the line failed in a way that may pass."""


def unreachable(addresses: Iterable[str], seconds: float = REACH_SECONDS) -> Mapping[str, str]:
    """Ask all hosts at once whether they answer; those that do not within `seconds` in total, with the reason.

    Any answer counts, whatever its status. The threads are daemons because a name resolution that hangs cannot be
    interrupted.
    """
    reasons = dict.fromkeys(addresses, f"no answer within {seconds:g} s")
    threads = [threading.Thread(target=_probe, args=(address, reasons, seconds), daemon=True) for address in reasons]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {address: reason for address, reason in list(reasons.items()) if reason}


def _probe(address: str, reasons: dict[str, str], seconds: float) -> None:
    try:
        requests.head(address, headers=HEADERS, timeout=seconds, allow_redirects=False).close()
    except requests.RequestException as error:
        reasons[address] = describe(error)
    else:
        reasons[address] = ""


def describe(error: BaseException) -> str:
    """A network error in a few words, without the layers of wrapping."""
    while error.args and isinstance(inner := getattr(error.args[0], "reason", error.args[0]), BaseException):
        error = inner
    text = re.sub(r"^<[^>]*>:\s*|^.*? object at 0x[0-9a-f]+>[:,]?\s*", "", str(error.args[-1] if error.args else error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def get_json(url: str, auth: AuthBase | None = None) -> dict[str, object]:
    """A JSON object from a server. Raises SourceError."""
    try:
        with requests.get(url, headers=HEADERS, auth=auth, timeout=(REACH_SECONDS, READ_SECONDS)) as response:
            check_status(response)
            value = response.json()
    except requests.RequestException as error:
        raise SourceError(describe(error)) from error
    if not isinstance(value, dict):
        raise SourceError(f"{url} did not answer with a JSON object")
    return value


def check_status(response: requests.Response) -> None:
    """Raise SourceError for a status of 400 and above, with what can be done about it."""
    advice = {
        401: "private, gated or misspelt; set HF_TOKEN if you have access",
        403: "access refused; accept the model's terms on its page and set HF_TOKEN",
        404: "there is no such file or revision",
        429: "too many requests; try again later",
    }
    if response.status_code >= 400:
        hint = advice.get(response.status_code, response.reason or "no reason given")
        address = response.url.partition("?")[0]  # what follows may be a signature
        raise SourceError(f"HTTP status {response.status_code} for {address} ({hint})")


def download(file: RemoteFile, folder: Path, auth: AuthBase | None = None) -> Path:
    """Fetch `file` into `folder` and return its path there.

    What an earlier run left is continued where the digest is known: only that can tell whether the two halves fit.
    Raises SourceError when the server does not deliver, WrongDigestError when it delivers something else, OSError when
    the disk is full or read-only.
    """
    target = folder / file.name
    if file.sha256 is not None and target.is_file() and sha256_of(target) == file.sha256:
        return target
    partial = folder / f".{file.name}.{(file.sha256 or 'unknown')[:16]}.partial"
    if file.sha256 is None:
        partial.unlink(missing_ok=True)
    resumed = partial.exists()
    _check_space(file, partial)
    _receive(file, partial, auth)
    problem = _difference(file, partial)
    if problem and resumed:
        _log.warning("%s: %s after resuming; starting again from its beginning", file.url, problem)
        partial.unlink()
        _receive(file, partial, auth)
        problem = _difference(file, partial)
    if problem:
        partial.unlink()
        raise WrongDigestError(f"{file.url}: {problem}; the file was refused")
    partial.replace(target)
    return target


def _check_space(file: RemoteFile, partial: Path) -> None:
    if file.size is None:
        return
    needed = file.size - _size(partial)
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{file.name} needs {needed / 1e6:.0f} MB more, and {free / 1e6:.0f} MB are free")


def _receive(file: RemoteFile, partial: Path, auth: AuthBase | None) -> None:
    """Fill `partial` to its end, giving up after `ATTEMPTS` requests in a row that brought nothing."""
    failures = 0
    while True:
        before = _size(partial)
        try:
            _request(file, partial, auth)
            return
        except (_Retry, requests.RequestException) as error:
            reason = describe(error)
        # A line that breaks now and then but brings something each time is not given up.
        failures = 1 if _size(partial) > before else failures + 1
        if failures >= ATTEMPTS:
            raise SourceError(f"{file.url}: {reason} ({ATTEMPTS} attempts)")
        _log.info("%s: %s; trying again", file.url, reason)
        time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _request(file: RemoteFile, partial: Path, auth: AuthBase | None) -> None:
    offset = _size(partial)
    if offset and offset == file.size:
        return
    headers = HEADERS | ({"Range": f"bytes={offset}-"} if offset else {})
    timeout = (REACH_SECONDS, READ_SECONDS)
    with requests.get(file.url, headers=headers, auth=auth, timeout=timeout, stream=True) as response:
        if response.status_code == 416:
            if response.headers.get("Content-Range") == f"bytes */{offset}":
                return  # all of it is here already
            partial.unlink(missing_ok=True)  # longer than the server's file: not a part of it
            raise _Retry("the part on disk does not fit the server's file")
        if response.status_code >= 500 or response.status_code == 429:
            raise _Retry(f"HTTP status {response.status_code}")
        check_status(response)
        continues = response.status_code == 206 and _range_start(response) == offset
        with partial.open("ab" if continues else "wb") as output:
            _copy_body(file, response, output, offset if continues else 0)


def _range_start(response: requests.Response) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _copy_body(file: RemoteFile, response: requests.Response, output: BinaryIO, offset: int) -> None:
    """Append the body to `output`, durably, and stop a server that sends more than the file has."""
    length = response.headers.get("Content-Length", "")
    expected = offset + int(length) if length.isdecimal() else None
    total = file.size if file.size is not None else expected
    received = offset
    quiet = sys.stderr is None or not sys.stderr.isatty()
    try:
        with tqdm(total=total, initial=offset, unit="B", unit_scale=True, desc=file.name, disable=quiet) as bar:
            for chunk in response.iter_content(CHUNK_BYTES):
                received += len(chunk)
                if total is not None and received > total:
                    raise SourceError(f"{file.url}: more than the expected {total} bytes; the file was refused")
                output.write(chunk)
                bar.update(len(chunk))
    finally:
        output.flush()
        os.fsync(output.fileno())
    if total is not None and received < total:
        raise _Retry(f"the connection ended after {received} of {total} bytes")


def _difference(file: RemoteFile, path: Path) -> str | None:
    """What is wrong with the bytes of `path`; None where they are the expected ones."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"it has {size} bytes, expected {file.size}"
    if file.sha256 is not None and (found := sha256_of(path)) != file.sha256:
        return f"it has the SHA-256 {found}, expected {file.sha256}"
    if file.git_sha1 is not None and (found := _git_sha1(path)) != file.git_sha1:
        return f"it has the git object id {found}, expected {file.git_sha1}"
    return None


def _git_sha1(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
