// The box's health in plain words, each with what to do.
import { byId, element, follow, t } from "./common.js";

const seen = {};

function line(good, title, advice) {
  return element("li", good ? {} : { class: "bad" }, element("strong", { text: title }), ...(good || !advice ? [] : [element("p", { text: advice })]));
}

function show() {
  const list = [];
  const state = seen.status?.state ?? "unknown";
  list.push(line(state === "online", t("health.box", { state: t(`state.${state}`) }), t("health.box_do")));
  if (seen.status?.fault) list.push(line(false, seen.status.fault, t("health.fault_do")));
  const health = seen.health;
  if (health) {
    const camera = String(health.camera?.state ?? health.camera ?? "");
    list.push(line(camera.startsWith("ok") || camera === "", t("health.camera", { state: camera || "–" }), t("health.camera_do")));
    const waiting = health.outbox?.depth ?? health.outbox?.waiting ?? 0;
    list.push(line(waiting < 1000, t("health.outbox", { n: waiting }), t("health.outbox_do")));
    const degrees = health.machine?.temperature_c ?? health.temperature_c;
    if (degrees !== undefined && degrees !== null) list.push(line(degrees < 80, t("health.temperature", { c: Math.round(degrees) }), t("health.temperature_do")));
    const free = health.machine?.disk_free_mb ?? health.disk?.free_mb;
    if (free !== undefined) list.push(line(free > 500, t("health.disk", { mb: Math.round(free) }), t("health.disk_do")));
    byId("raw").textContent = JSON.stringify(health, null, 2);
  } else {
    list.push(line(false, t("health.none"), t("health.box_do")));
  }
  byId("health").replaceChildren(...list);
}

follow({
  status: (status) => { seen.status = status; show(); },
  health: (health) => { seen.health = health; show(); },
});
show();
