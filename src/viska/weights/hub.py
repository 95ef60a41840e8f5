"""Models from the Hugging Face hub, over plain HTTPS.

`HF_ENDPOINT` names another hub or a mirror, `HF_TOKEN` opens private and gated models, `HF_HUB_OFFLINE=1` forbids the
hub. Only safetensors and CTranslate2 weights are fetched: a pickle from a stranger is never read.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import requests
from requests.auth import AuthBase

from viska.weights.checkpoint import read_json
from viska.weights.download import RemoteFile, download, get_json
from viska.weights.registry import HubSource
from viska.weights.source import SourceError

DEFAULT_ENDPOINT = "https://huggingface.co"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
WEIGHTS, INDEX, CTRANSLATE2 = "model.safetensors", "model.safetensors.index.json", "model.bin"
SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "added_tokens.json")
SHARD = re.compile(r"[\w.-]+\.safetensors")


class _Bearer(AuthBase):
    """The hub's token, as an auth object so that a .netrc cannot replace it and a redirect to another host drops it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def parse_hub_id(text: str) -> HubSource | None:
    """`owner/name` or `owner/name@revision`; None for any other text."""
    repo, _, revision = text.partition("@")
    if not HUB_ID.fullmatch(repo) or ".." in repo or (revision == "" and "@" in text):
        return None
    return HubSource(repo, revision or "main")


@dataclass(frozen=True)
class HubFetch:
    """A repository of the hub as a source."""

    hub: HubSource

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"Hugging Face hub ({self.hub.repo})"

    folder_name = "hub"
    offline_variables = ("HF_HUB_OFFLINE",)

    @property
    def address(self) -> str | None:
        """The hub, or the mirror that `HF_ENDPOINT` names."""
        return os.environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_ENDPOINT

    def fetch(self, folder: Path) -> list[str]:
        """Fetch what is needed of the repository into `folder`, all from one commit."""
        token = os.environ.get("HF_TOKEN", "").strip()
        auth = _Bearer(token) if token else None
        revision = quote(self.hub.revision, safe="")
        info = get_json(f"{self.address}/api/models/{self.hub.repo}/revision/{revision}?blobs=true", auth)
        commit = info.get("sha")
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise SourceError(f"the answer about {self.hub.repo} names no commit")
        files = self._remote_files(info, commit)
        names = [name for name in SMALL_FILES if name in files] + self._weights(files, folder, auth)
        for name in names:
            download(files[name], folder, auth)
        return names

    def _remote_files(self, info: Mapping[str, object], commit: str) -> dict[str, RemoteFile]:
        siblings = info.get("siblings")
        entries = siblings if isinstance(siblings, list) else []
        files: dict[str, RemoteFile] = {}
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(name := entry.get("rfilename"), str):
                continue
            lfs = entry.get("lfs")
            lfs = lfs if isinstance(lfs, dict) else {}
            size = lfs.get("size", entry.get("size"))
            digest = dict(self.hub.digests).get(name, lfs.get("sha256"))
            files[name] = RemoteFile(
                url=f"{self.address}/{self.hub.repo}/resolve/{commit}/{quote(name)}",
                name=name,
                size=size if isinstance(size, int) and size >= 0 else None,
                sha256=_hexadecimal(digest, 64),
                git_sha1=None if lfs else _hexadecimal(entry.get("blobId"), 40),
            )
        return files

    def _weights(self, files: Mapping[str, RemoteFile], folder: Path, auth: AuthBase | None) -> list[str]:
        """Names of the files that hold the weights: whole safetensors, else sharded ones, else CTranslate2's."""
        if WEIGHTS in files:
            return [WEIGHTS]
        if INDEX in files:
            shards = read_json(download(files[INDEX], folder, auth)).get("weight_map")
            names = sorted(set(shards.values())) if isinstance(shards, dict) else []
            if not names or not all(isinstance(name, str) and SHARD.fullmatch(name) for name in names):
                raise SourceError(f"{INDEX} of {self.hub.repo} does not name its shards")
            absent = [name for name in names if name not in files]
            if absent:
                raise SourceError(f"{self.hub.repo} lacks the shard {absent[0]}")
            return [INDEX, *names]
        if CTRANSLATE2 in files:
            return [CTRANSLATE2]
        raise SourceError(
            f"{self.hub.repo} has neither {WEIGHTS} nor {CTRANSLATE2}; weights in other files are not read "
            "(a pickle can run code): convert them to safetensors first"
        )


def _hexadecimal(value: object, length: int) -> str | None:
    """A digest from a server's answer; it becomes part of a file's name, so that nothing else is taken for one."""
    return value if isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{length}}}", value) else None
