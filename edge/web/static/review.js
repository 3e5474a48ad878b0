// One cell after the other: a person decides, the model's verdict comes after that.
import { byId, classesOf, counted, decimal, element, follow, named, onClick, onSubmit, probability, request, showFault, t } from "./common.js";

const KEYS = Object.fromEntries([...document.querySelectorAll("[data-label]")].map((button, i) => [i + 1, button.dataset.label]));
let waiting = [];
let last = null;
let done = 0;
const reviewer = byId("reviewer");
const specimen = byId("r-specimen");
reviewer.value = localStorage.getItem("reviewer") ?? "";
specimen.value = new URLSearchParams(location.search).get("specimen") ?? "";

const name = () => reviewer.value.trim();

async function begin() {
  localStorage.setItem("reviewer", name());
  const query = new URLSearchParams({
    reviewer: name(), specimen: specimen.value.trim(), order: byId("order").value, second: byId("second").checked ? "1" : "0",
  });
  waiting = (await request(`/api/review?${query}`)).cells;
  last = null;
  done = 0;
  show();
  byId("one").scrollIntoView({ block: "start" });
  await showAgreement();
}

// Where there are more of them than one answer holds, the next are fetched; the count goes on.
async function more() {
  const before = done;
  await begin();
  done = before;
  show();
}

const modelSaid = (cell) => ({ verdict: named(counted(cell)), name: classesOf(cell)[0], p: decimal(probability(cell) ?? 0, 3) });

function show() {
  const current = waiting[0] ?? null;
  byId("one").hidden = !current && !last;
  byId("decide").hidden = !current;
  byId("review-none").hidden = Boolean(current);
  byId("undo").disabled = !last;
  byId("review-progress").textContent = t("review.progress", { done, left: waiting.length });
  const said = last ? t("review.was", { label: named(last.label, "label"), ...modelSaid(last) }) : "";
  const now = current?.verdict ? t("review.model", modelSaid(current)) : "";
  byId("verdict").textContent = [said, now].filter(Boolean).join(" ");
  byId("comment").value = "";
  if (current) byId("review-picture").src = `/api/cells/${encodeURIComponent(current.id)}/picture`;
}

const store = (id, label, comment) => request(`/api/cells/${encodeURIComponent(id)}/review`, { label, reviewer: name(), comment });

let busy = false; // a key that is held down decides once
async function decide(label) {
  const current = waiting[0];
  if (!current || busy) return;
  busy = true;
  try {
    const answer = await store(current.id, label, byId("comment").value);
    last = { ...answer, id: current.id, label, cell: current };
    waiting.shift();
    done += 1;
    if (waiting.length) show();
    else await more();
  } finally {
    busy = false;
  }
}

// Reviews are only added: this one takes the last one back, and the cell comes again.
async function undo() {
  if (!last || busy) return;
  busy = true;
  try {
    await store(last.id, "undone", "");
    waiting.unshift(last.cell);
    last = null;
    done -= 1;
    show();
  } finally {
    busy = false;
  }
}

function skip() {
  if (waiting.length) waiting.push(waiting.shift());
  show();
}

async function showAgreement() {
  const { agreements } = await request(`/api/agreement?${new URLSearchParams({ specimen: specimen.value.trim() })}`);
  byId("agreement").replaceChildren(...agreements.map((one) => element("li", {
    text: t("review.agreement", { one: one.reviewers[0], other: one.reviewers[1], n: one.cells, alike: one.alike, kappa: one.kappa === null ? "–" : decimal(one.kappa, 2) }),
  })));
}

const guarded = (action) => action().catch((error) => showFault(error.message));
onSubmit(byId("who"), begin);
for (const button of document.querySelectorAll("[data-label]")) onClick(button, () => decide(button.dataset.label));
onClick(byId("undo"), undo);
onClick(byId("next"), async () => skip());
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const key = event.key.toLowerCase();
  if (KEYS[key]) guarded(() => decide(KEYS[key]));
  else if (key === "u") guarded(undo);
  else if (key === "n") skip();
});
follow({});
