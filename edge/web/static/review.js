// One cell after the other: a person decides, the model's verdict comes after that.
import { byId, onClick, onSubmit, request, showFault, t } from "./common.js";

const KEYS = { 1: "ALL", 2: "HEM", 3: "other", 4: "not a cell", 5: "cannot say" };
const BATCH_PAGES = 5;
let waiting = [];
let last = null;
let current = null;
let done = 0;
const blind = byId("one").dataset.blind === "1";
const reviewer = byId("reviewer");
reviewer.value = localStorage.getItem("reviewer") ?? "";

const doubt = (cell) => Math.abs((cell.probabilities?.ALL ?? 0.5) - 0.5);

function shuffled(list) {
  const order = [...list];
  for (let i = order.length - 1; i > 0; i -= 1) {
    const j = Math.floor(Math.random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

async function begin() {
  localStorage.setItem("reviewer", reviewer.value.trim());
  const found = [];
  let before = "";
  for (let page = 0; page < BATCH_PAGES; page += 1) {
    const query = new URLSearchParams({ reviewed: "no", before });
    const specimen = byId("r-specimen").value.trim();
    if (specimen) query.set("specimen", specimen);
    const answer = await request(`/api/cells?${query}`);
    found.push(...answer.cells.filter((cell) => cell.image));
    before = answer.next;
    if (!before) break;
  }
  waiting = byId("order").value === "random" ? shuffled(found) : found.sort((a, b) => doubt(a) - doubt(b));
  done = 0;
  show();
}

function show() {
  current = waiting[0] ?? null;
  byId("one").hidden = !current;
  byId("review-none").hidden = Boolean(current);
  byId("undo").disabled = !last;
  if (!current) return;
  byId("review-picture").src = `/api/cells/${encodeURIComponent(current.id)}/picture`;
  byId("review-progress").textContent = t("review.progress", { done, left: waiting.length });
  byId("verdict").textContent = blind ? (last ? t("review.was", { label: t(`label.${last.label}`), verdict: t(`counted.${last.cell.verdict}`) }) : "")
    : t("review.model", { verdict: t(`counted.${current.verdict}`), p: (current.probabilities.ALL ?? 0).toFixed(2) });
  byId("comment").value = "";
}

async function decide(label) {
  if (!current) return;
  const cell = current;
  await request(`/api/cells/${encodeURIComponent(cell.id)}/review`, { label, reviewer: reviewer.value.trim(), comment: byId("comment").value });
  last = { cell, label };
  waiting.shift();
  done += 1;
  show();
}

function undo() {
  if (!last) return;
  // Reviews are only added, and the newest counts: the cell comes again, and the next decision replaces this one.
  waiting.unshift(last.cell);
  last = null;
  done -= 1;
  show();
}

function skip() {
  if (waiting.length) waiting.push(waiting.shift());
  show();
}

onSubmit(byId("who"), begin);
for (const button of document.querySelectorAll("[data-label]")) onClick(button, () => decide(button.dataset.label));
onClick(byId("undo"), async () => undo());
onClick(byId("next"), async () => skip());
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.altKey || event.metaKey || !current) return;
  const key = event.key.toLowerCase();
  if (KEYS[key]) decide(KEYS[key]).catch((error) => showFault(error.message));
  else if (key === "u") undo();
  else if (key === "n") skip();
});
