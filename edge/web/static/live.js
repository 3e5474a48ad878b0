// The live picture, the count as it grows, and what a person does with both.
import { byId, cellCard, classes, counted, decimal, element, follow, learn, named, onClick, onSubmit, request, styleOf, t } from "./common.js";

const LAST = 24;
const VIEW_IS_OLD_MS = 5000;
const SAID_MS = 5000;
let seenAt = 0;
let best = 0;
let wasDone = null;

function showView(view) {
  if (!view?.jpeg) return;
  seenAt = Date.now();
  const image = byId("view");
  image.src = `data:image/jpeg;base64,${view.jpeg}`;
  image.hidden = false;
  byId("no-view").hidden = true;
  drawBoxes(view);
  // Focus is shown against the best that was seen on this page: turn until the bar is full.
  best = Math.max(best, view.sharpness || 0);
  byId("focus").value = best ? view.sharpness / best : 0;
  byId("focus-value").textContent = best ? `${Math.round((100 * view.sharpness) / best)} %` : "";
  byId("light").value = view.brightness;
  byId("light-value").textContent = Math.round(view.brightness);
}

function drawBoxes(view) {
  const svg = byId("boxes");
  svg.setAttribute("viewBox", `0 0 ${view.size[0]} ${view.size[1]}`);
  svg.replaceChildren();
  const space = "http://www.w3.org/2000/svg";
  for (const cell of view.cells ?? []) {
    const [x, y, width, height] = cell.box;
    const box = document.createElementNS(space, "rect");
    for (const [key, value] of Object.entries({ x, y, width, height, class: styleOf(counted(cell)) })) box.setAttribute(key, value);
    const label = document.createElementNS(space, "text");
    label.setAttribute("x", x);
    label.setAttribute("y", Math.max(12, y - 4));
    label.setAttribute("font-size", Math.max(12, view.size[1] / 32));
    label.textContent = named(counted(cell), "short");
    svg.append(box, label);
  }
}

function showSpecimen(state) {
  const counting = state?.state === "counting";
  byId("stop").disabled = !counting;
  if (!state) return;
  const counts = state.counts;
  // Cells to be looked at are not in the denominator.
  const total = Object.entries(counts).reduce((sum, [name, n]) => sum + (name === "refer" ? 0 : n), 0);
  learn(state.classes ?? []);
  showCounts(counts);
  byId("state").textContent = t(counting ? "live.counting" : "live.done", { specimen: state.specimen, n: total, target: state.target });
  byId("progress").max = state.target || 1;
  byId("progress").value = Math.min(total, state.target);
  const percent = state.blasts_percent;
  byId("percent").textContent = percent === null || percent === undefined ? "" : t("live.percent", {
    name: named((state.classes ?? classes)[0][0]), p: decimal(percent, 1), low: decimal(state.interval_percent[0], 1), high: decimal(state.interval_percent[1], 1),
    adjusted: state.adjusted_percent === null ? "–" : decimal(state.adjusted_percent, 1),
  });
  showChecked(state);
  const report = byId("report");
  report.hidden = !state.specimen;
  report.href = `/report?specimen=${encodeURIComponent(state.specimen)}`;
  const done = total >= state.target;
  if (done && wasDone === false) celebrate();
  wasDone = done;
}

// Only what this box can do is offered; a box of an earlier version does not say, and is offered everything.
function showAbilities(health) {
  const can = (command) => !health?.commands || health.commands.includes(command);
  byId("start").hidden = byId("counting").hidden = !can("specimen_start");
  byId("no-start").hidden = can("specimen_start");
  byId("capture").hidden = !can("capture");
}

// One box a class; those of the model that counts, whichever the page was made for.
function showCounts(counts) {
  const shown = Object.entries(counts).filter(([name, n]) => n > 0 || ["refer", "other"].includes(name) || classes.some((pair) => pair.includes(name)));
  byId("counts").replaceChildren(...shown.map(([name, n]) => element("div", { class: styleOf(name) },
    element("dt", { text: named(name) }), element("dd", { id: `n-${name}`, text: n }))));
}

let askedOf = null;
let checkedHere = false;

// Whether this laboratory has reviewed enough cells of the model: the results' database knows, not the box.
async function showChecked(state) {
  const show = () => { byId("checked").textContent = state.checked_here || checkedHere ? "" : t("live.unchecked"); };
  show();
  if (!state.model || askedOf === state.model.sha256) return;
  askedOf = state.model.sha256;
  try {
    checkedHere = (await request(`/api/checked?model=${encodeURIComponent(askedOf)}`)).checked;
  } catch {
    askedOf = null; // asked again with the next count
  }
  show();
}

function celebrate() {
  const flash = byId("count");
  flash.classList.remove("complete");
  void flash.offsetWidth; // so that the flash begins anew
  flash.classList.add("complete");
  if (!byId("sound").checked) return;
  try {
    const audio = new AudioContext();
    const tone = audio.createOscillator();
    const gain = audio.createGain();
    gain.gain.value = 0.2;
    tone.frequency.value = 880;
    tone.connect(gain).connect(audio.destination);
    tone.start();
    tone.stop(audio.currentTime + 0.6);
  } catch {
    // Without sound the flash says it.
  }
}

function showCell(cell) {
  if (!cell?.id) return;
  const list = byId("last");
  byId("no-last").hidden = true;
  list.prepend(cellCard(cell, true));
  while (list.children.length > LAST) list.lastChild.remove();
}

onSubmit(byId("start"), () => request("/api/commands/specimen_start", {
  specimen: byId("specimen").value.trim(), target: Number(byId("target").value) || 200,
}));
onClick(byId("stop"), () => request("/api/commands/specimen_stop", {}));
onClick(byId("capture"), async () => {
  await request("/api/commands/capture", {});
  byId("captured").textContent = t("live.captured");
  setTimeout(() => { byId("captured").textContent = ""; }, SAID_MS);
});

follow({
  view: showView,
  specimen: showSpecimen,
  health: showAbilities,
  cells: showCell,
});

setInterval(() => {
  if (Date.now() - seenAt > VIEW_IS_OLD_MS) {
    byId("view").hidden = true;
    byId("boxes").replaceChildren();
    byId("no-view").hidden = false;
  }
}, 1000);

// The last cells of before this page was opened.
try {
  const found = await request("/api/cells");
  byId("last").append(...found.cells.slice(0, LAST).map((cell) => cellCard(cell)));
  byId("no-last").hidden = byId("last").children.length > 0;
} catch (error) {
  byId("no-last").textContent = error.message;
  byId("no-last").hidden = byId("last").children.length > 0;
}
