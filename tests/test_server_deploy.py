"""The files for running the server as a service say what the server understands."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from viska.server.settings import Settings, settings_from

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
NAMES = {setting.name.upper() for setting in fields(Settings)} | {"CONFIG", "CACHE"}


def test_the_settings_file_is_accepted():
    assert settings_from({"config": str(DEPLOY / "viska.toml")}, {}).model == ("base",)
    assert set(tomllib.loads((DEPLOY / "viska.toml").read_text())) <= {setting.name for setting in fields(Settings)}


@pytest.mark.parametrize("path", ["deploy/viska.service", "deploy/Containerfile", "docs/serve.md", "README.md"])
def test_variables_that_are_named_exist(path):
    assert set(re.findall(r"\bVISKA_([A-Z_]+)", (ROOT / path).read_text())) <= NAMES


def test_the_service_gives_requests_their_grace():
    unit = (DEPLOY / "viska.service").read_text()
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1]) > Settings().shutdown_grace
    assert re.search(r"^ExecStart=\S+/viska serve --config ", unit, re.M)


def test_the_container_listens_to_others_and_so_needs_a_key():
    file = (DEPLOY / "Containerfile").read_text()
    assert "VISKA_HOST=0.0.0.0" in file
    assert re.search(r"^USER viska$", file, re.M)
    assert "VISKA_API_KEY" not in "".join(line for line in file.splitlines() if not line.startswith("#"))


def test_every_setting_is_documented():
    text = (ROOT / "docs" / "serve.md").read_text()
    assert [setting.name for setting in fields(Settings) if f"`{setting.name}`" not in text] == []
