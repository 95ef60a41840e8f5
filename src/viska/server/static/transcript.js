// The transcript on the page: segments of words that can be clicked, searched, followed and edited.

import { clock } from "./formats.js";

const DOUBTFUL = 0.5;

export class TranscriptView {
  constructor(list, player) {
    this.list = list;
    this.player = player;
    this.clear();
    list.addEventListener("click", (event) => this.#clicked(event));
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("input", (event) => this.#edited(event));
    list.addEventListener("paste", pastePlain);
    player.addEventListener("play", () => this.#follow());
    player.addEventListener("seeked", () => this.#light());
  }

  clear() {
    this.list.replaceChildren();
    this.segments = [];
    this.words = []; // of all segments: { start, end, element }
    this.hits = [];
    this.hit = -1;
    this.now = null;
    this.editing = false;
  }

  /** Put a segment at the end. */
  add(segment) {
    const index = this.segments.push({ ...segment }) - 1;
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = clock(segment.start);
    time.dateTime = `PT${segment.start.toFixed(2)}S`;
    const text = document.createElement("p");
    text.dataset.segment = index;
    text.append(...this.#wordNodes(segment));
    item.append(time, text);
    this.list.append(item);
    if (this.words.length && !this.list.querySelector("[tabindex='0']")) this.words[0].element.tabIndex = 0;
  }

  // Words stand in the text of their segment, which has the spaces and what belongs to no word.
  #wordNodes(segment) {
    const nodes = [];
    let text = segment.text.trimStart();
    for (const word of segment.words ?? []) {
      const at = text.indexOf(word.word);
      if (!word.word || at < 0) continue;
      if (at) nodes.push(text.slice(0, at));
      nodes.push(this.#wordNode(word));
      text = text.slice(at + word.word.length);
    }
    if (text.trimEnd()) nodes.push(text.trimEnd());
    return nodes;
  }

  #wordNode(word) {
    const element = document.createElement("span");
    element.className = "word";
    element.role = "button";
    element.tabIndex = -1;
    element.textContent = word.word;
    element.dataset.word = this.words.length;
    if (word.probability < DOUBTFUL) {
      element.classList.add("doubt");
      element.title = `doubtful: ${Math.round(word.probability * 100)} %`;
    }
    this.words.push({ start: word.start, end: word.end, element });
    return element;
  }

  /** The segments as they stand now, edits included. */
  transcript() {
    return { segments: this.segments };
  }

  /** Switch editing on or off. Edited segments lose their words' times. */
  edit(on) {
    this.editing = on;
    for (const text of this.list.querySelectorAll("p")) {
      text.contentEditable = on ? "true" : "false";
      if (on) {
        text.role = "textbox";
        text.setAttribute("aria-label", `Segment at ${clock(this.segments[text.dataset.segment].start)}`);
      } else {
        text.removeAttribute("role");
        text.removeAttribute("aria-label");
      }
      for (const word of text.querySelectorAll(".word")) {
        word.role = on ? null : "button";
      }
    }
    if (on) this.list.querySelector("p")?.focus();
    else this.#count();
  }

  // Editing may have taken words away.
  #count() {
    this.words = this.words.filter((word) => word.element.isConnected);
    for (const [index, word] of this.words.entries()) word.element.dataset.word = index;
    this.#focusable(this.words[0]?.element);
  }

  #edited(event) {
    const text = event.target.closest("p");
    const segment = this.segments[text.dataset.segment];
    const lead = segment.text.match(/^\s*/)[0];
    segment.text = lead + text.textContent;
    delete segment.words;
    delete segment.tokens;
    segment.edited = true;
  }

  /** Mark the words in which, or across which, this is found; the number of places. */
  search(wanted) {
    for (const element of this.list.querySelectorAll(".hit")) element.classList.remove("hit");
    this.hits = [];
    this.hit = -1;
    const needle = wanted.trim().toLowerCase();
    if (!needle) return 0;
    for (const text of this.list.querySelectorAll("p")) this.hits.push(...places(text, needle));
    for (const elements of this.hits) for (const element of elements) element.classList.add("hit");
    return this.hits.length;
  }

  /** Go to the next place that was found, or the one before; its number, from 1. */
  step(by) {
    if (!this.hits.length) return 0;
    this.hit = (this.hit + by + (this.hit < 0 && by < 0 ? 1 : 0) + this.hits.length) % this.hits.length;
    const [first] = this.hits[this.hit];
    first.scrollIntoView({ block: "center" });
    if (first.dataset.word) this.#jump(first);
    return this.hit + 1;
  }

  #clicked(event) {
    const element = event.target.closest(".word");
    if (element && !this.editing) this.#jump(element);
  }

  #jump(element) {
    this.player.currentTime = this.words[element.dataset.word].start;
    this.#focusable(element);
    this.#light();
  }

  // One word can be reached by the tab key; arrows go from there.
  #focusable(element) {
    if (!element) return;
    for (const other of this.list.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    element.tabIndex = 0;
  }

  #key(event) {
    const element = event.target.closest(".word");
    if (!element || this.editing) return;
    const at = Number(element.dataset.word);
    const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + 10, ArrowUp: at - 10 };
    if (event.key === "Enter") this.#jump(element);
    else if (event.key === " ") this.player.paused ? this.player.play() : this.player.pause();
    else if (event.key === "Home") this.#move(Number(element.closest("p").querySelector(".word").dataset.word));
    else if (event.key === "End") this.#move(Number([...element.closest("p").querySelectorAll(".word")].at(-1).dataset.word));
    else if (event.key in moves) this.#move(moves[event.key]);
    else return;
    event.preventDefault();
  }

  #move(to) {
    const { element } = this.words[Math.max(0, Math.min(this.words.length - 1, to))];
    this.#focusable(element);
    element.focus();
  }

  #follow() {
    this.#light();
    if (!this.player.paused) requestAnimationFrame(() => this.#follow());
  }

  /** Light the word that is spoken. */
  #light() {
    const at = this.player.currentTime;
    let [low, high] = [0, this.words.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.words[middle].start <= at + 0.01) low = middle + 1;
      else high = middle;
    }
    const word = low && this.words[low - 1].end >= at - 0.3 ? this.words[low - 1].element : null;
    if (word === this.now) return;
    this.now?.classList.remove("now");
    word?.classList.add("now");
    this.now = word;
    if (word && !this.player.paused) keepInView(word);
  }
}

function keepInView(element) {
  const { top, bottom } = element.getBoundingClientRect();
  if (top < 80 || bottom > innerHeight - 20) element.scrollIntoView({ block: "center" });
}

/** For each place of the needle in a text, the elements that it touches. */
function places(text, needle) {
  const whole = text.textContent.toLowerCase();
  const spans = [];
  let position = 0;
  for (const node of text.childNodes) {
    const end = position + node.textContent.length;
    if (node.nodeType === Node.ELEMENT_NODE) spans.push({ element: node, start: position, end });
    position = end;
  }
  const found = [];
  for (let at = whole.indexOf(needle); at >= 0; at = whole.indexOf(needle, at + needle.length)) {
    const touched = spans.filter((span) => span.start < at + needle.length && span.end > at).map((span) => span.element);
    found.push(touched.length ? touched : [text]);
  }
  return found;
}

function pastePlain(event) {
  event.preventDefault();
  const selection = getSelection();
  if (!selection.rangeCount) return;
  selection.deleteFromDocument();
  selection.getRangeAt(0).insertNode(document.createTextNode(event.clipboardData.getData("text/plain").replace(/\s+/g, " ")));
  selection.collapseToEnd();
  event.target.dispatchEvent(new Event("input", { bubbles: true }));
}
