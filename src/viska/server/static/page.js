// What the page does: takes a recording, sends it, shows what comes, and gives it back in the form that is wanted.

import { ApiError, models, transcribe } from "./api.js";
import { clock, FORMATS, TYPES } from "./formats.js";
import { languages } from "./languages.js";
import { Recorder } from "./recorder.js";
import { TranscriptView } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const view = new TranscriptView($("transcript"), $("player"));
const recorder = new Recorder((loudness, seconds) => {
  $("meter").value = loudness;
  $("clock").textContent = clock(seconds);
});
const state = { name: "transcript", running: null, source: null, language: "", duration: 0 };

function show(id, visible) {
  $(id).hidden = !visible;
}

function tell(message) {
  if ($("status").textContent !== message) $("status").textContent = message;
}

function complain(message) {
  $("error").textContent = message;
  show("error", Boolean(message));
}

async function listModels() {
  try {
    const names = await models($("key").value);
    $("model").replaceChildren(...names.map((name) => new Option(name, name)));
    complain("");
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      $("options").open = true;
      if ($("key").value) complain(error.message);
      else $("key").focus();
    } else complain(`The server cannot be reached: ${error.message}`);
  }
}

function load(file) {
  if (state.source) URL.revokeObjectURL(state.source);
  state.source = URL.createObjectURL(file);
  state.name = (file.name || "recording").replace(/\.[^.]+$/, "");
  $("player").src = state.source;
}

// What a browser records does not say how long it is, and cannot be moved in until its end was looked for.
$("player").addEventListener("loadedmetadata", () => {
  const player = $("player");
  if (Number.isFinite(player.duration)) return;
  player.addEventListener("durationchange", () => (player.currentTime = 0), { once: true });
  player.currentTime = Number.MAX_SAFE_INTEGER;
});

/** One recording, from the file to its last word. */
async function run(file) {
  state.running?.abort();
  const running = (state.running = new AbortController());
  reset(file);
  try {
    const wanted = {
      task: $("task").value,
      model: $("model").value || "whisper-1",
      language: $("language").value,
      prompt: $("prompt").value,
      key: $("key").value,
      signal: running.signal,
    };
    for await (const event of transcribe(file, wanted)) {
      if (running.signal.aborted) return;
      take(event);
    }
  } catch (error) {
    if (running.signal.aborted) tell("Cancelled.");
    else fail(error);
  } finally {
    if (state.running === running) {
      state.running = null;
      show("work", false);
      $("edit").disabled = false;
    }
  }
}

function reset(file) {
  complain("");
  load(file);
  view.clear();
  $("edit").setAttribute("aria-pressed", "false");
  $("edit").disabled = true;
  search();
  $("progress").removeAttribute("value");
  tell(`Sending ${file.name || "the recording"} …`);
  show("work", true);
  show("result", true);
}

function take(event) {
  if (event.type === "transcript.text.delta" && event.segment) view.add(event.segment);
  if (event.type === "transcript.progress") {
    state.duration = event.duration;
    $("progress").max = event.duration || 1;
    $("progress").value = event.position;
    tell(`Transcribing: ${clock(event.position)} of ${clock(event.duration)}`);
  }
  if (event.type === "transcript.text.done") {
    state.language = event.language;
    tell(event.text ? "Done." : "Done. No speech was found.");
    if (!event.text) complain("No speech was found in this recording.");
  }
}

function fail(error) {
  complain(error.message);
  if (error.status === 401) {
    $("options").open = true;
    $("key").focus();
  }
}

async function toggleRecording() {
  const button = $("record");
  const on = button.getAttribute("aria-pressed") === "true";
  complain("");
  try {
    if (on) {
      const file = await recorder.stop();
      settle(false);
      run(file);
    } else {
      await recorder.start();
      settle(true);
    }
  } catch (error) {
    settle(false);
    complain(error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone." : error.message);
  }
}

function settle(recording) {
  $("record").setAttribute("aria-pressed", String(recording));
  $("record").textContent = recording ? "Stop and transcribe" : "Record";
  show("level", recording);
}

function search() {
  const wanted = $("search").value;
  const count = view.search(wanted);
  $("hits").textContent = wanted.trim() ? `${count} found` : "";
}

function step(by) {
  const at = view.step(by);
  if (at) $("hits").textContent = `${at} of ${view.hits.length}`;
}

function download(format) {
  const content = FORMATS[format]({ language: state.language, duration: state.duration, ...view.transcript() });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: `${TYPES[format]};charset=utf-8` }));
  link.download = `${state.name}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function copy() {
  try {
    await navigator.clipboard.writeText(FORMATS.txt(view.transcript()));
    $("copy").textContent = "Copied";
    setTimeout(() => ($("copy").textContent = "Copy"), 2000);
  } catch {
    complain("The browser did not allow copying; download the text instead.");
  }
}

function toggleEditing() {
  const on = $("edit").getAttribute("aria-pressed") !== "true";
  $("edit").setAttribute("aria-pressed", String(on));
  view.edit(on);
}

function acceptDrops() {
  const area = document.body;
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    area.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    });
  }
  area.addEventListener("drop", (event) => {
    const [file] = event.dataTransfer.files;
    if (file) run(file);
  });
}

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  $("file").value = "";
  if (file) run(file);
});
$("record").addEventListener("click", toggleRecording);
$("cancel").addEventListener("click", () => state.running?.abort());
$("search").addEventListener("input", search);
$("search").addEventListener("keydown", (event) => event.key === "Enter" && step(event.shiftKey ? -1 : 1));
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("edit").addEventListener("click", toggleEditing);
$("copy").addEventListener("click", copy);
$("doubts").addEventListener("change", () => $("transcript").classList.toggle("doubts", $("doubts").checked));
for (const button of document.querySelectorAll("[data-format]")) {
  button.addEventListener("click", () => download(button.dataset.format));
}
$("key").value = sessionStorage.getItem("viska-key") ?? "";
$("key").addEventListener("change", () => {
  sessionStorage.setItem("viska-key", $("key").value);
  listModels();
});
$("transcript").classList.add("doubts");
for (const [code, name] of languages()) $("language").append(new Option(name, code));
acceptDrops();
listModels();
