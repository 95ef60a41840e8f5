"use strict";
const recordings = [...document.querySelectorAll(".recording")];
const fields = ["find", "kind", "language"].map((id) => document.getElementById(id));

function filter() {
  const [find, kind, language] = fields.map((field) => field.value);
  let shown = 0;
  for (const one of recordings) {
    const matches = (!kind || one.dataset.kind === kind) && (!language || one.dataset.language === language)
      && one.textContent.toLowerCase().includes(find.toLowerCase());
    one.hidden = !matches;
    shown += matches;
  }
  document.getElementById("shown").textContent = `${shown} of ${recordings.length}`;
}

fields.forEach((field) => field.addEventListener("input", filter));
filter();

document.getElementById("recordings").addEventListener("click", (event) => {
  const word = event.target.closest("[data-start]");
  const player = word && word.closest(".recording").querySelector("audio");
  if (!player) return;
  player.currentTime = Number(word.dataset.start);
  player.play().catch(() => {});  // what the browser cannot decode stays silent
});
