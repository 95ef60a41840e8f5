"""The `openai` client of npm, once."""

import json
import shutil
import subprocess

import pytest

from serving import running
from viska.server.models import ModelStore
from viska.server.settings import Settings

CLIENT = "openai@7.57.0"
SCRIPT = """
import fs from "node:fs";
import OpenAI from "openai";
const [baseURL, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "key", maxRetries: 0 });
const ask = (options) =>
  client.audio.transcriptions.create({ file: fs.createReadStream(path), model: "whisper-1", ...options });
const found = {};
for (const response_format of ["json", "text", "srt", "vtt", "verbose_json"]) {
  found[response_format] = await ask({ response_format });
}
found.words = await ask({ response_format: "verbose_json", timestamp_granularities: ["word"] });
found.events = [];
for await (const event of await ask({ stream: true })) found.events.push(event);
found.models = [];
for await (const model of client.models.list()) found.models.push(model.id);
found.model = (await client.models.retrieve("org/name")).id;
found.errors = [];
for (const options of [{ model: "none" }, { temperature: 3 }]) {
  await ask(options).catch((error) => {
    found.errors.push([error.constructor.name, error.status, error.param, error.code, Boolean(error.requestID)]);
  });
}
const stranger = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
await stranger.models.list().catch((error) => found.errors.push([error.constructor.name, error.status, error.code]));
console.log(JSON.stringify(found));
"""


@pytest.mark.slow
def test_the_client_of_npm(tiny_en, recordings, tmp_path, pytestconfig):
    if shutil.which("npm") is None:
        pytest.skip("no npm to fetch the client with")
    folder = pytestconfig.cache.mkdir("npm")
    if not (folder / "node_modules" / "openai").is_dir():
        subprocess.run(["npm", "install", "--prefix", str(folder), CLIENT], check=True, capture_output=True)
    script = folder / "client.mjs"
    script.write_text(SCRIPT)
    settings = Settings(model=("tiny.en", "org/name"), api_key=("key",))
    models = ModelStore(settings.model, lambda name: tiny_en, aliases=settings.aliases())
    recording = recordings / "sense_and_sensibility_0870.wav"
    with running(settings, models) as server:
        result = subprocess.run(["node", script, server.api, recording], check=True, capture_output=True, text=True)
    found = json.loads(result.stdout)
    text = found["json"]["text"]
    assert "John Dashwood" in text
    assert found["text"].strip() == found["verbose_json"]["text"] == text
    assert found["srt"].startswith("1\n00:00:00,000 --> ")
    assert found["vtt"].startswith("WEBVTT\n\n")
    assert " ".join(word["word"] for word in found["words"]["words"]) == text
    assert "".join(event.get("delta", "") for event in found["events"]) == found["events"][-1]["text"] == text
    assert found["models"][:2] == ["tiny.en", "org/name"]
    assert found["model"] == "org/name"
    assert found["errors"] == [
        ["NotFoundError", 404, "model", "model_not_found", True],
        ["BadRequestError", 400, "temperature", "invalid_value", True],
        ["AuthenticationError", 401, "invalid_api_key"],
    ]
