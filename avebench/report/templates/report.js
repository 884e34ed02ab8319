"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const dialog = document.getElementById("provenance");
const content = document.getElementById("provenance-content");

// Sorting: the rows of each section among themselves. Figures come before texts ("not run"), empty cells last.

function sortKey(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.sort ?? cell.textContent.trim();
  const number = cell.tagName === "TD" && !cell.classList.contains("text") ? parseFloat(text) : NaN;
  return { text, number, rank: text === "" ? 2 : isNaN(number) ? 1 : 0 };
}

function compare(a, b, sign) {
  if (a.rank !== b.rank) return a.rank - b.rank;
  if (a.rank === 0) return sign * (a.number - b.number);
  return sign * a.text.localeCompare(b.text, undefined, { numeric: true });
}

function sortBy(header) {
  const table = header.closest("table");
  const column = header.cellIndex;
  const before = header.getAttribute("aria-sort");
  // Figures start with the largest, texts with the first.
  const first = header.classList.contains("figure") ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const order = before === first ? other : first;
  for (const sorted of table.querySelectorAll("[aria-sort]")) sorted.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("section"));
    const keys = new Map(rows.map((row) => [row, sortKey(row, column)]));
    rows.sort((a, b) => compare(keys.get(a), keys.get(b), order === "ascending" ? 1 : -1));
    body.append(...rows);
  }
}

// Provenance: texts are set as text, never as HTML.

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function list(pairs, parent) {
  const found = element("dl", undefined, parent);
  for (const [name, value] of pairs) {
    if (value === "" || value === null || value === undefined) continue;
    element("dt", name, found);
    element("dd", typeof value === "object" ? JSON.stringify(value) : String(value), found);
  }
}

function folded(name, value, parent) {
  const details = element("details", undefined, parent);
  element("summary", name, details);
  element("pre", JSON.stringify(value, null, 1), details);
}

function showCell(number, value) {
  const cell = data.cells[number];
  const shared = (name) => data.shared[cell[name]];
  const article = element("article", undefined, content);
  element("h3", `Repetition ${cell.repetition}: ${Number(value).toPrecision(6)}`, article);
  list([
    ["cell", cell.key],
    ["run first as", `${cell.row} of ${cell.experiment}`],
    ["model", `${cell.model}, implementation ${cell.implementation}`],
    ["seed", cell.seed],
    ["data", `${cell.dataset} ${cell.fingerprint.slice(0, 12)}, ${cell.split}`],
    ["training examples", `${cell.train_examples} (fraction ${cell.train_fraction})`],
    ["profile", cell.profile],
    ["preset", cell.preset],
    ["protocol", cell.protocol],
    ["control", cell.control],
    ["scorer", `version ${cell.scorer_version}, chunk scheme ${cell.chunk_scheme}`],
    ["steps", cell.steps ? `${cell.steps}, checkpoint of ${cell.best_step} chosen by ${cell.selection}` : ""],
    ["revision", cell.revision ? cell.revision + (cell.dirty ? " with uncommitted changes" : "") : "unknown"],
    ["finished", cell.finished],
    ["result", cell.file],
    ["predictions", cell.predictions],
  ], article);
  folded("Config", shared("config"), article);
  folded("Encoders", shared("weights"), article);
  folded("Versions", shared("versions"), article);
  folded("Hardware and times (s)", { ...shared("hardware"), ...cell.seconds, peak_memory: cell.peak_memory }, article);
}

function showPublished(key) {
  const row = data.published[key];
  list([["published in", row.place], ["reference", row.reference], ["row", key]], content);
  for (const caveat of row.caveats) element("p", caveat, content);
}

function show(button) {
  const place = button.closest("td");
  const headings = place.closest("table").tHead.rows;
  const heading = headings[headings.length - 1].cells[place.cellIndex];
  const name = `${place.parentElement.cells[0].textContent}, ${heading.textContent}`;
  document.getElementById("provenance-name").textContent = `${name}: ${button.textContent}`;
  content.replaceChildren();
  if (button.dataset.published) {
    showPublished(button.dataset.published);
  } else {
    const values = button.dataset.values.split(" ");
    button.dataset.cells.split(" ").forEach((number, place) => showCell(Number(number), values[place]));
  }
  dialog.showModal();
  dialog.scrollTop = 0;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (event.target === dialog) dialog.close();
  else if (button && button.classList.contains("sort")) sortBy(button.closest("th"));
  else if (button && button.closest("td")) show(button);
});

// A link into a part that is folded, and paper, need it open.

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
}

addEventListener("hashchange", openTarget);
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("main details")) part.open = true;
});
openTarget();
