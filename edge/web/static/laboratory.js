// The laboratory's own model: which one the box uses, what reviewed cells would gain, install and take back.
import { byId, decimal, element, follow, moment, onClick, request, t } from "./common.js";

const STEP_MS = 700;
// How many cells are reviewed is asked so often: somebody else may review too.
const AGAIN_MS = 5000;
const FIGURES = ["auc", "sensitivity", "specificity"];
let model = null;
let asked = "";
let askedAt = 0;

const number = (value) => (Number.isFinite(value) ? decimal(value, 2) : "–");
const withLimits = (side, name) => `${number(side[name])} (${side.intervals[name].map(number).join(" – ")})`;

async function showModel() {
  if (!model) return;
  const found = await request(`/api/laboratory?model=${encodeURIComponent(model.sha256)}`);
  const adapted = model.adapted;
  const total = adapted ? Object.values(adapted.reviewed).reduce((sum, n) => sum + n, 0) : found.reviewed;
  const key = adapted ? "lab.adapted" : found.checked ? "lab.checked" : "lab.unchecked";
  const said = [t(key, {
    name: model.name, n: total, needed: found.needed, at: adapted ? moment(adapted.at) : "",
    before: number(adapted?.before?.auc), after: number(adapted?.after?.auc),
  })];
  if (model.on_trial) said.push(t("lab.trial"));
  if (model.fault) said.push(t("lab.fault", { why: model.fault }));
  byId("lab-model").textContent = said.join(" ");
}

function showOutcome({ running, outcome, error }) {
  byId("adapt").disabled = running;
  byId("install").disabled = running || !outcome?.taken;
  const table = byId("lab-gain");
  table.hidden = !outcome;
  if (running) byId("lab-state").textContent = t("lab.running");
  else if (error) byId("lab-state").textContent = t("lab.failed", { why: error });
  if (!outcome) return;
  const n = Object.values(outcome.reviewed).reduce((sum, count) => sum + count, 0);
  byId("lab-state").textContent = t(outcome.taken ? "lab.better" : "lab.worse", { n, held: t(outcome.held_back === "specimens" ? "lab.specimens" : "lab.cells") });
  table.tBodies[0].replaceChildren(...FIGURES.map((name) => element("tr", {},
    element("th", { scope: "row", text: t(`lab.${name}`) }),
    ...["before", "after"].map((side) => element("td", { text: withLimits(outcome[side], name) })))));
}

async function watch() {
  const found = await request("/api/laboratory?model=");
  showOutcome(found);
  if (found.running) {
    await new Promise((resolve) => { setTimeout(resolve, STEP_MS); });
    await watch();
  }
}

onClick(byId("adapt"), async () => {
  await request("/api/laboratory/adapt", {});
  await watch();
});
onClick(byId("install"), async () => {
  const { result } = await request("/api/laboratory/install", {});
  const changed = Object.values(result.trial.verdicts_that_change).reduce((sum, n) => sum + n, 0);
  byId("lab-state").textContent = t("lab.installed", { n: result.trial.pictures, changed });
  byId("install").disabled = true;
});
onClick(byId("back"), async () => {
  await request("/api/laboratory/back", {});
  byId("lab-state").textContent = t("lab.again");
});
follow({
  health: (health) => {
    if (!health?.model) return;
    model = health.model;
    const now = JSON.stringify(model);
    if (now === asked && Date.now() - askedAt < AGAIN_MS) return;
    asked = now;
    askedAt = Date.now();
    showModel().catch(() => { asked = ""; });
  },
});
watch().catch(() => {}); // a database that is not there yet is said elsewhere
