// One cell: picture, what speaks for which verdict, and the whole record.
import { byId, counted, decimal, element, moment, named, request, showFault, t } from "./common.js";

const id = byId("cell").dataset.cell;
const path = `/api/cells/${encodeURIComponent(id)}`;

function fact(name, value) {
  if (value === "" || value === null || value === undefined) return;
  byId("facts").append(element("dt", { text: name }), element("dd", { text: value }));
}

try {
  const cell = await request(path);
  fact(t("cells.verdict"), named(counted(cell)));
  for (const [name, p] of Object.entries(cell.probabilities)) fact(t("cell.probability", { name }), decimal(p, 3));
  fact(t("cell.reasons"), cell.reasons.join("; "));
  fact(t("cells.reviewed"), cell.review ? `${named(cell.review.label, "label")}, ${cell.review.reviewer}, ${moment(cell.review.at)} ${cell.review.comment}` : "–");
  fact(t("live.specimen"), cell.specimen || "–");
  fact(t("cell.captured"), moment(cell.captured_at));
  fact(t("cell.source"), cell.source);
  fact(t("cell.box"), `${cell.device}, ${cell.sequence}`);
  fact(t("cell.model"), `${cell.model.name}, ${cell.model.sha256}`);
  fact(t("cell.software"), cell.software);
  fact(t("cell.quality"), Object.entries(cell.quality).map(([name, value]) => `${name} ${Number(value).toPrecision(3)}`).join(", "));
  fact(t("cell.timings"), Object.entries(cell.timings_ms).map(([name, value]) => `${name} ${decimal(Number(value), 2)} ms`).join(", "));
  fact("id", cell.id);
  if (cell.image) {
    const picture = byId("cell-picture");
    picture.src = `${path}/picture`;
    picture.hidden = false;
    picture.addEventListener("error", () => { picture.hidden = true; byId("no-picture").hidden = false; });
    const map = byId("cell-map");
    map.addEventListener("load", () => { map.hidden = false; });
    map.addEventListener("error", () => request(`${path}/map`).catch((error) => { byId("no-map").textContent = error.message; }));
    map.src = `${path}/map`;
  } else {
    byId("no-picture").hidden = false;
  }
} catch (error) {
  showFault(error.message);
}
