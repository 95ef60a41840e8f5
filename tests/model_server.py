"""A web server on this machine with the faults that real ones have, and a hub's answers about made-up repositories."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c0ffee" * 6 + "c0de"


@dataclass
class ModelServer:
    """`files` maps paths to bytes; the other fields are faults. `requests` holds (method, path, headers) of all."""

    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)  # answered first, one a request
    redirects: dict[str, str] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)  # bytes after which a body ends, one a request for a body
    ranges: bool = True
    announce_length: bool = True
    stall_s: float = 0.0  # before every answer
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def bodies(self, path: str) -> list[dict[str, str]]:
        """The headers of all requests for the body of one file."""
        return [headers for method, found, headers in self.requests if method == "GET" and found == path]

    def add_repository(self, repo: str, folder: Path, *, large: tuple[str, ...] = ()) -> None:
        """Serve the files of `folder` as a repository of the hub; `large` ones are declared with their SHA-256."""
        siblings: list[dict[str, Any]] = []
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            data = path.read_bytes()
            self.files[f"/{repo}/resolve/{COMMIT}/{path.name}"] = data
            entry: dict[str, Any] = {"rfilename": path.name, "size": len(data)}
            entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if path.suffix in {".safetensors", ".bin"} or path.name in large:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                entry["blobId"] = "0" * 40  # of the pointer
            siblings.append(entry)
        self.declare(repo, {"sha": COMMIT, "siblings": siblings})

    def declare(self, repo: str, info: Any, revision: str = "main") -> None:
        """The hub's answer about a repository."""
        self.files[f"/api/models/{repo}/revision/{revision}"] = json.dumps(info).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    @property
    def model(self) -> ModelServer:
        return self.server.model  # type: ignore[attr-defined]

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.model.requests.append((self.command, path, dict(self.headers)))
        time.sleep(self.model.stall_s)
        if path in self.model.redirects:
            self.send_response(302)
            self.send_header("Location", self.model.redirects[path])
            self.end_headers()
            return
        planned = self.model.statuses.get(path, []) if body else []
        data = self.model.files.get(path)
        status = planned.pop(0) if planned else 200 if data is not None else 404
        if status != 200 or data is None:
            self.send_response(status)
            self.end_headers()
            return
        self.send_file(data, body)

    def send_file(self, data: bytes, body: bool) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if self.model.ranges else None
        start = int(match[1]) if match else 0
        if match and start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.end_headers()
            return
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.model.announce_length:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            end = start + self.model.cut_after.pop(0) if self.model.cut_after else len(data)
            self.wfile.write(data[start:end])


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of these tests hang up on purpose."""


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """Serve until the block ends."""
    model = ModelServer()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.model = model  # type: ignore[attr-defined]
        model.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield model
        server.shutdown()
        thread.join()
