// The description of the API, for reading.

function node(name, content = "", attributes = {}) {
  const element = Object.assign(document.createElement(name), attributes);
  element.append(...[content].flat());
  return element;
}

function table(caption, head, rows) {
  const line = (cells, kind) => node("tr", cells.map((cell) => node(kind, cell)));
  const body = [node("caption", caption, { className: "hidden" }), node("thead", line(head, "th"))];
  return node("div", node("table", [...body, node("tbody", rows.map((row) => line(row, "td")))]), { className: "table", tabIndex: 0 });
}

function kind(schema) {
  if (schema.enum) return schema.enum.length < 20 ? schema.enum.join(", ") : "a code, such as en";
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  const range = schema.maximum === undefined ? "" : ` ${schema.minimum} to ${schema.maximum}`;
  return [schema.type ?? "value"].flat().join(" or ") + range;
}

function operation(path, method, described) {
  const parts = [node("h2", `${method.toUpperCase()} ${path}`), node("p", described.summary)];
  const form = described.requestBody?.content["multipart/form-data"].schema;
  if (form) {
    const rows = Object.entries(form.properties).map(([name, schema]) => [
      node("code", name),
      kind(schema) + (form.required.includes(name) ? ", required" : ""),
      schema.description ?? "",
    ]);
    parts.push(table("Fields", ["field", "value", "meaning"], rows));
  }
  const answers = Object.entries(described.responses).map(([status, answer]) => [status, answer.description]);
  parts.push(table("Answers", ["status", "meaning"], answers));
  return node("article", parts);
}

const description = await (await fetch("/openapi.json")).json();
const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, described]) => operation(path, method, described)),
);
document.getElementById("paths").replaceChildren(node("p", description.info.description), ...operations);
