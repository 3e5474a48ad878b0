// The box's health in plain words, each with what to do.
import { byId, decimal, element, follow, t } from "./common.js";

const seen = {};

function line(good, title, advice) {
  return element("li", good ? {} : { class: "bad" }, element("strong", { text: title }), ...(good || !advice ? [] : [element("p", { text: advice })]));
}

const HOT_C = 80;
const WAITING_MANY = 1000;
const DISK_LOW_MB = 500;

function aboutHealth(health) {
  const list = [];
  const camera = String(health.camera ?? "");
  list.push(line(camera === "ok", t("health.camera", { state: camera || "–" }), t("health.camera_do")));
  const outbox = health.outbox ?? {};
  list.push(line((outbox.depth ?? 0) < WAITING_MANY, t("health.outbox", { n: outbox.depth ?? 0 }), t("health.outbox_do")));
  if (outbox.aside) list.push(line(false, t("health.aside", { n: outbox.aside }), t("health.fault_do")));
  const degrees = health.temperature_c;
  if (Number.isFinite(degrees)) list.push(line(degrees < HOT_C, t("health.temperature", { c: Math.round(degrees) }), t("health.temperature_do")));
  if (health.throttling?.now?.length) list.push(line(false, t("health.throttled", { why: health.throttling.now.join(", ") }), t("health.throttled_do")));
  const free = health.disk_free_mb;
  if (Number.isFinite(free)) list.push(line(free > DISK_LOW_MB, t("health.disk", { gb: decimal(free / 1000, 1) }), t("health.disk_do")));
  if (health.drift?.moved) {
    const far = health.drift.colour?.moved ? health.drift.colour : health.drift;  // colours tell more of what to mend
    list.push(line(false, t("health.drift", { d: decimal(far.distance, 2), limit: decimal(far.threshold, 2) }), t("health.drift_do")));
  }
  if (health.model?.fault) list.push(line(false, t("lab.fault", { why: health.model.fault }), t("health.fault_do")));
  if (health.archive?.fault) list.push(line(false, t("health.archive", { why: health.archive.fault }), t("health.disk_do")));
  return list;
}

function show() {
  const list = [];
  list.push(line(seen.broker?.connected === true, t(seen.broker?.connected ? "health.broker_ok" : "error.broker"), t("health.broker_do")));
  const state = seen.status?.state ?? "unknown";
  list.push(line(state === "online", t("health.box", { state: t(`state.${state}`) }), t("health.box_do")));
  if (seen.status?.fault) list.push(line(false, seen.status.fault, t("health.fault_do")));
  if (seen.health) {
    list.push(...aboutHealth(seen.health));
    byId("raw").textContent = JSON.stringify(seen.health, null, 2);
  } else {
    list.push(line(false, t("health.none"), t("health.box_do")));
  }
  byId("health").replaceChildren(...list);
}

follow({
  broker: (broker) => { seen.broker = broker; show(); },
  status: (status) => { seen.status = status; show(); },
  health: (health) => { seen.health = health; show(); },
});
show();
