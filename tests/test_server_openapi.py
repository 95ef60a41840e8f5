"""The server's own description: it is true, and requests made up from it find no fault."""

import base64
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from serving import Scripted, no_models, running, says, tone
from viska.server.openapi import description
from viska.server.settings import Settings


@pytest.mark.parametrize("keys", [False, True])
def test_the_description_names_every_route(keys):
    found = description(keys=keys)
    with running(Settings(api_key=("one",) if keys else ()), no_models(), Scripted(says(" One."))) as server:
        served = {
            f"{getattr(route, 'path', '')}{getattr(inner, 'path', '')}".replace(":path", "")
            for route in server.app.routes
            for inner in getattr(route, "routes", None) or [None]
        }
        with urllib.request.urlopen(server.url + "/openapi.json") as answer:
            assert json.load(answer) == found
    assert served - set(found["paths"]) == {"/", "/docs", "/openapi.json", "/static"}
    assert set(found["paths"]) <= served
    assert ("security" in found) == keys


HOOKS = """
import base64
import schemathesis

SOUND = base64.b64decode("%s")

@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.body, dict):
        case.body.update(file=SOUND, model="base")
"""
# A description cannot say which bytes are a recording, nor which fields go together: what it allows may be refused.
ALLOWED = "positive_data_acceptance"
# With a recording put into every request, a wrong one may have become right.
FORBIDDEN = "negative_data_rejection"


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "one"])
@pytest.mark.parametrize("sound", [True, False])
def test_schemathesis_finds_nothing(tmp_path, key, sound):
    settings = Settings(api_key=(key,) if key else (), workers=4)
    (tmp_path / "hooks.py").write_text(HOOKS % base64.b64encode(tone(0.1)).decode() if sound else "")
    with running(settings, no_models("base", "tiny.en"), Scripted(says(" One.", " Two."))) as server:
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{server.url}/openapi.json",
            "--max-examples=30",
            "--seed=20",
            "--no-color",
            "--request-timeout=20",
            f"--exclude-checks={ALLOWED},{FORBIDDEN}" if sound else f"--exclude-checks={ALLOWED}",
            *([f"--header=Authorization: Bearer {key}"] if key else []),
        ]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)}
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
