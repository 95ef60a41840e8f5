"""Models from OpenAI's own files. `VISKA_OPENAI_URL` names a mirror with the same layout: BASE/SHA256/NAME.pt."""

import os
from dataclasses import dataclass
from pathlib import Path

from viska.weights.download import RemoteFile, download

DEFAULT_BASE = "https://openaipublic.azureedge.net/main/whisper/models"


@dataclass(frozen=True)
class OpenAIFetch:
    """One `.pt` file, whose address holds its SHA-256."""

    name: str
    sha256: str

    label = "OpenAI's files"
    folder_name = "openai"
    offline_variables = ()

    @property
    def address(self) -> str | None:
        """OpenAI's storage, or the mirror that `VISKA_OPENAI_URL` names."""
        return os.environ.get("VISKA_OPENAI_URL", "").rstrip("/") or DEFAULT_BASE

    def fetch(self, folder: Path) -> list[str]:
        """Fetch the file into `folder`."""
        file = f"{self.name}.pt"
        download(RemoteFile(f"{self.address}/{self.sha256}/{file}", file, sha256=self.sha256), folder)
        return [file]
