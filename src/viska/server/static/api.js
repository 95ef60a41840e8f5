// The server's API, as the page uses it: models, and a transcription whose events come one by one.

export class ApiError extends Error {
  constructor(error, status) {
    super(error?.message ?? `The server answered with status ${status}.`);
    this.code = error?.code ?? null;
    this.status = status;
  }
}

function headers(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function refused(response) {
  const body = await response.json().catch(() => ({}));
  return new ApiError(body.error, response.status);
}

/** The names of the models that the server has. */
export async function models(key) {
  const response = await fetch("/v1/models", { headers: headers(key) });
  if (!response.ok) throw await refused(response);
  return (await response.json()).data.map((model) => model.id);
}

/** Sends a recording and gives the events of its transcription, as they come. */
export async function* transcribe(file, { task, model, language, prompt, key, signal }) {
  const form = new FormData();
  form.append("model", model);
  form.append("response_format", "verbose_json");
  form.append("stream", "true");
  if (task === "transcriptions" && language) form.append("language", language);
  if (prompt) form.append("prompt", prompt);
  form.append("timestamp_granularities[]", "word");
  form.append("timestamp_granularities[]", "segment");
  form.append("file", file, file.name ?? "recording");
  const response = await fetch(`/v1/audio/${task}`, { method: "POST", body: form, headers: headers(key), signal });
  if (!response.ok) throw await refused(response);
  for await (const line of lines(response.body)) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    const event = JSON.parse(line.slice(6));
    if (event.error) throw new ApiError(event.error, 200);
    yield event;
  }
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}
