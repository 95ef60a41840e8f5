// A transcript as txt, srt, vtt and json. Pure functions of its segments: { start, end, text, words? }.

function stamp(seconds, comma) {
  const ms = Math.max(0, Math.round(seconds * 1000));
  const part = (value, width = 2) => String(value).padStart(width, "0");
  const [hours, minutes] = [Math.floor(ms / 3600000), Math.floor(ms / 60000) % 60];
  return `${part(hours)}:${part(minutes)}:${part(Math.floor(ms / 1000) % 60)}${comma}${part(ms % 1000, 3)}`;
}

/** A time for reading: 1:05, or 1:01:05. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const tail = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

// An arrow would be taken for a line of times.
const cueText = (text) => text.trim().replace(/-{2,}>/g, "->");

export const FORMATS = {
  txt: (transcript) => transcript.segments.map((segment) => `${segment.text.trim()}\n`).join(""),
  srt: (transcript) =>
    transcript.segments
      .map((s, i) => `${i + 1}\n${stamp(s.start, ",")} --> ${stamp(s.end, ",")}\n${cueText(s.text)}\n\n`)
      .join(""),
  vtt: (transcript) =>
    `WEBVTT\n\n${transcript.segments
      .map((s) => `${stamp(s.start, ".")} --> ${stamp(s.end, ".")}\n${cueText(s.text)}\n\n`)
      .join("")}`,
  json: (transcript) =>
    `${JSON.stringify({ ...transcript, text: transcript.segments.map((s) => s.text).join("").trim() }, null, 1)}\n`,
};

export const TYPES = { txt: "text/plain", srt: "application/x-subrip", vtt: "text/vtt", json: "application/json" };
