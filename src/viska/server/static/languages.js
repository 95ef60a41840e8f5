// The languages that Whisper knows, by code; their names come from the browser.

export const CODES =
  "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja " +
  "jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq " +
  "sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh";

/** Pairs of code and name, in the order of the names. */
export function languages() {
  const names = new Intl.DisplayNames(["en"], { type: "language" });
  // Whisper's old code for Javanese.
  const pairs = CODES.split(" ").map((code) => [code, names.of(code === "jw" ? "jv" : code)]);
  return pairs.sort((a, b) => a[1].localeCompare(b[1]));
}
