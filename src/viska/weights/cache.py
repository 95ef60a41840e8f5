"""Where fetched models are kept, and how they get there whole.

    MODELS/tiny.en/                 a model: its files and viska.json, which lists their sizes and SHA-256
    MODELS/owner--name@revision/    a model of the hub
    MODELS/.incoming/KEY/SOURCE/    what is being fetched; renamed to MODELS/KEY when all of it is there and right
    MODELS/.incoming/KEY.lock       held while KEY is being fetched

Every load hashes what it reads from here; a file that has changed is set aside as KEY.damaged and fetched again.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from viska.errors import DigestError, DownloadError, ModelError, OutputError
from viska.weights.download import REACH_SECONDS, unreachable
from viska.weights.registry import HubSource, OfficialModel
from viska.weights.source import Source, SourceError, WrongDigestError, sha256_of, sync_folder, write_durably

_log = logging.getLogger(__name__)

MANIFEST = "viska.json"
INCOMING = ".incoming"


def models_folder(download_root: str | Path | None = None) -> Path:
    """The folder of fetched models.

    `download_root` itself where given, else `$VISKA_CACHE/models`, else `viska/models` in `$XDG_CACHE_HOME` or
    `~/.cache`.
    """
    if download_root is not None:
        return Path(download_root).expanduser()
    if own := os.environ.get("VISKA_CACHE"):
        return Path(own).expanduser() / "models"
    return _user_cache() / "viska" / "models"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def official_key(model: OfficialModel) -> str:
    """The folder name of an official model."""
    return model.name


def hub_key(hub: HubSource) -> str:
    """The folder name of a model of the hub."""
    revision = "" if hub.revision == "main" else f"@{hub.revision.replace('/', '--')}"
    return hub.repo.replace("/", "--") + revision


def name_of(key: str) -> str:
    """The hub's id for a folder name, as `rm` and `fetch` take it."""
    owner, _, rest = key.partition("--")
    return f"{owner}/{rest}" if rest else key


@dataclass(frozen=True)
class CachedModel:
    """A model of the cache: its folder, where it came from, and its files with size and SHA-256."""

    folder: Path
    source: str
    files: dict[str, tuple[int, str]]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(size for size, _ in self.files.values())

    def damage(self) -> str | None:
        """What is wrong with the files on the disk; None where they are what was fetched."""
        for name, (size, sha256) in self.files.items():
            path = self.folder / name
            if not path.is_file():
                return f"{path} is missing"
            if path.stat().st_size != size:
                return f"{path} has {path.stat().st_size} bytes, expected {size}"
            if (found := sha256_of(path)) != sha256:
                return f"{path} has the SHA-256 {found}, expected {sha256}"
        return None


def find_cached(root: Path, key: str) -> CachedModel | None:
    """The model of that key in the cache, unchecked; None where there is none."""
    folder = root / key
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files = {str(name): (int(facts["size"]), str(facts["sha256"])) for name, facts in manifest["files"].items()}
        return CachedModel(folder, str(manifest["source"]), files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        _log.warning("%s is unreadable (%s: %s) and is ignored", folder / MANIFEST, type(error).__name__, error)
        return None


def find_upstream_file(model: OfficialModel, download_root: str | Path | None = None) -> Path | None:
    """OpenAI's `.pt` where openai/whisper has put it, when its digest is right. It is read and never changed."""
    if model.openai_sha256 is None:
        return None
    folders = [_user_cache() / "whisper"]
    if download_root is not None:
        folders.insert(0, Path(download_root).expanduser())
    for folder in folders:
        path = folder / f"{model.name}.pt"
        if not path.is_file():
            continue
        try:
            if sha256_of(path) == model.openai_sha256:
                return path
        except OSError as error:
            _log.warning("%s cannot be read (%s) and is ignored", path, error.strerror)
            continue
        _log.warning("%s does not have the SHA-256 of OpenAI's file and is ignored", path)
    return None


def why_offline(offline: bool | None = None) -> str | None:
    """Why nothing may be fetched; None where it may. `offline` None leaves it to the environment variable."""
    if offline:
        return "offline=True (--offline, local_files_only) forbids to fetch it"
    if offline is None and _forbids("VISKA_OFFLINE"):
        return "VISKA_OFFLINE is set, which forbids to fetch it"
    return None


def obtain(key: str, sources: Sequence[Source], root: Path, *, offline: bool | None = None) -> Path:
    """The folder of a model: from the cache if it is whole there, else fetched from the first source that can.

    Two processes that want the same model take turns. `offline` True asks no source, None asks none where the
    environment variable VISKA_OFFLINE is true. Raises DownloadError when no source may be asked, none delivers or the
    cache cannot be written, DigestError when one delivered other bytes and none the right ones.
    """
    folder = root / key
    problem = _damage(root, key)
    if problem is None:
        return folder
    if reason := why_offline(offline):
        raise DownloadError(
            f"the model {key} is not whole in {root} ({problem}), and {reason}. Run 'viska models fetch "
            f"{name_of(key)}' where there is a connection, and copy {folder} from there; or give the path of a model"
        )
    try:
        with _turn(root, key):
            problem = _damage(root, key)
            if problem is None:
                return folder  # another process has fetched it meanwhile
            if folder.exists():
                _set_aside(folder, problem)
            return _fetch(key, sources, root)
    except OSError as error:
        raise DownloadError(
            f"the model {key} cannot be stored in {root}: {error.strerror or error}; give a folder that can be written "
            "and has room for it, as download_root (--model_dir) or in the environment variable VISKA_CACHE"
        ) from error


def _damage(root: Path, key: str) -> str | None:
    cached = find_cached(root, key)
    if cached is None:
        return f"{root / key / MANIFEST} is missing or unreadable"
    try:
        return cached.damage()
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"


def _set_aside(folder: Path, problem: str) -> None:
    """Rename a damaged model. Only what has a manifest is Viska's: anything else is never moved nor deleted."""
    if not (folder / MANIFEST).is_file():
        raise DownloadError(
            f"{folder} exists and is not Viska's; give its path to load it, move it away, or choose another "
            "download_root (--model_dir) or VISKA_CACHE"
        )
    aside = folder.with_name(f"{folder.name}.damaged")
    _log.warning("%s; setting %s aside as %s and fetching it again", problem, folder, aside.name)
    _delete_own(aside)
    folder.rename(aside)


def _delete_own(folder: Path) -> None:
    if (folder / MANIFEST).is_file():
        shutil.rmtree(folder)


@contextmanager
def _turn(root: Path, key: str) -> Iterator[None]:
    """Hold the lock of one model; the system frees it when the process dies."""
    (root / INCOMING).mkdir(parents=True, exist_ok=True)
    path = root / INCOMING / f"{key}.lock"
    lock: BaseFileLock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        _log.info("another process is fetching %s; waiting for it", key)
        lock.acquire()
    except NotImplementedError:  # a network file system without locks
        lock = SoftFileLock(path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(key: str, sources: Sequence[Source], root: Path) -> Path:
    forbidden = {source.label: variable for source in sources if (variable := _forbidden(source))}
    silent = unreachable({source.address for source in sources if source.address and source.label not in forbidden})
    failures: list[tuple[Source, SourceError]] = []
    for source in sources:
        try:
            if source.label in forbidden:
                raise SourceError(f"not asked, because {forbidden[source.label]} is set")
            if source.address is not None and source.address in silent:
                raise SourceError(f"{source.address}: {silent[source.address]}")
            return _fetch_from(source, key, root)
        except SourceError as error:
            failures.append((source, error))
            level = logging.WARNING if isinstance(error, WrongDigestError) else logging.INFO
            _log.log(level, "%s not from %s: %s", key, source.label, error)
    raise _failure(key, failures)


def _forbidden(source: Source) -> str | None:
    return next(filter(_forbids, source.offline_variables), None)


def _forbids(variable: str) -> bool:
    # Any other word was meant to forbid: to open no connection is the safe way to be wrong.
    return os.environ.get(variable, "").strip().lower() not in {"", "0", "false", "no", "off"}


def _fetch_from(source: Source, key: str, root: Path) -> Path:
    incoming = root / INCOMING / key
    folder = incoming / source.folder_name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    files = {name: folder / name for name in source.fetch(folder)}
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()  # left by an earlier, interrupted run
    manifest = {
        "source": source.label,
        "files": {name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for name, path in files.items()},
    }
    write_durably(folder / MANIFEST, json.dumps(manifest, indent=2).encode())
    sync_folder(folder)
    target = root / key
    folder.rename(target)
    sync_folder(root)
    shutil.rmtree(incoming, ignore_errors=True)
    _log.info("%s is in %s, from %s", key, target, source.label)
    return target


def _failure(key: str, failures: Sequence[tuple[Source, SourceError]]) -> ModelError:
    reasons = "".join(f"\n  - {source.label}: {error}" for source, error in failures)
    wrong = any(isinstance(error, WrongDigestError) for _, error in failures)
    kind: type[ModelError] = DigestError if wrong else DownloadError
    return kind(
        f"the model {key} could not be fetched:{reasons or ' it has no source that may be asked'}\n"
        "What helps: give the folder or file of a model in place of its name; copy a filled cache and name it in "
        "VISKA_CACHE; set HTTPS_PROXY, HF_ENDPOINT or VISKA_OPENAI_URL for a proxy or mirror, or pip's index-url for a "
        f"mirror of the package index. A host is given up after {REACH_SECONDS:g} s."
    )


def list_cached(root: Path) -> dict[str, CachedModel]:
    """All models in the cache by key, unchecked."""
    if not root.is_dir():
        return {}
    found = {path.name: find_cached(root, path.name) for path in sorted(root.iterdir()) if path.is_dir()}
    return {key: cached for key, cached in found.items() if cached is not None}


def remove_cached(root: Path, key: str) -> bool:
    """Delete a model from the cache with what is left of fetching it; False where there was none."""
    if not root.is_dir():
        return False
    folder = root / key
    try:
        with _turn(root, key):
            existed = find_cached(root, key) is not None
            if existed:
                # Renamed first, so that an interrupted removal never looks like a model.
                removed = root / INCOMING / f"{key}.removed"
                shutil.rmtree(removed, ignore_errors=True)
                folder.rename(removed)
                shutil.rmtree(removed)
            _delete_own(root / f"{key}.damaged")
            shutil.rmtree(root / INCOMING / key, ignore_errors=True)
            return existed
    except OSError as error:
        raise OutputError(f"{folder} cannot be removed: {error.strerror or error}") from error


def describe_files(cached: CachedModel) -> dict[str, Any]:
    """What `viska models --json` says of a cached model."""
    return {"folder": str(cached.folder), "bytes": cached.size, "source": cached.source, "files": sorted(cached.files)}
